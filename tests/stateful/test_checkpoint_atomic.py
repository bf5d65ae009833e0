"""Files that are replaced: a crash leaves the old one or the new one, and no litter stays."""

import errno
import os
import pathlib
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import stateful as nn
from purenn.files import atomic as file_atomic

BASE = np.arange(24, dtype=np.float32).reshape(4, 6)


def whole(tmp_path):
    path = tmp_path / "whole.safetensors"
    nn.save(path, {"w": BASE, "b": np.ones(3, np.float16), "n": np.int32(3)})
    return path, path.read_bytes()


class Full:
    """A disk that is full after some bytes, and takes few of them at a time."""

    def __init__(self, write, room):
        self.write, self.room = write, room

    def __call__(self, file, data):
        view = memoryview(data).cast("B")
        if view.nbytes > self.room:
            self.write(file, view[: self.room])
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= view.nbytes
        self.write(file, view)


@pytest.mark.parametrize("room", [0, 8, 300, 500])
def test_a_full_disk_leaves_the_old_file_and_gives_the_numbers(tmp_path, monkeypatch, room):
    path, content = whole(tmp_path)
    from purenn.files import safetensors as file_safetensors

    monkeypatch.setattr(file_safetensors, "write_all", Full(file_atomic.write_all, room))
    with pytest.raises(OSError) as caught:
        nn.save(path, {"w": BASE, "x": BASE * 2, "y": BASE * 3})
    assert caught.value.errno == errno.ENOSPC
    text = str(caught.value)
    assert text.startswith(f"save: the disk must have room for the file, got path={str(path)!r} and written={room} and")
    assert text.endswith(". What was there before is untouched. No space left on device.")
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


def test_a_limit_of_the_system_on_the_size_of_files(tmp_path):
    path, content = whole(tmp_path)
    code = """
import resource, signal, sys, numpy as np, stateful as nn
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    nn.save(sys.argv[1], {"w": np.ones(100_000)})
except OSError as error:
    print(error)
"""
    out = run(code, path)
    assert out.startswith("save: the disk must have room for the file, got path=")
    assert "and written=100000 and free=" in out
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


def run(code, *args):
    root = pathlib.Path(nn.__file__).parents[1]
    command = [sys.executable, "-c", code, *map(str, args)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=root, env=env, check=True, timeout=120, capture_output=True, text=True).stdout


def test_writes_that_take_fewer_bytes_go_on(tmp_path):
    class Slow:
        def __init__(self):
            self.content = b""

        def write(self, view):
            self.content += bytes(view[:3])
            return len(view[:3])

    slow = Slow()
    file_atomic.write_all(slow, np.arange(5, dtype=np.int16))
    assert slow.content == np.arange(5, dtype=np.int16).tobytes()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken disk"), KeyboardInterrupt("broken disk")], ids=["error", "interrupt"]
)
def test_a_failure_before_the_rename_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call, error):
    path, content = whole(tmp_path)

    def broken(*args):
        raise error

    monkeypatch.setattr(file_atomic.os, call, broken)
    with pytest.raises(type(error), match="broken disk"):
        nn.save(path, {"w": BASE * 2})
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


@pytest.fixture
def calls(tmp_path, monkeypatch):
    noted = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(number):
        noted.append("sync folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "sync file")
        fsync(number)

    def note_replace(a, b):
        noted.append(f"rename {pathlib.Path(b).suffix}")
        replace(a, b)

    monkeypatch.setattr(file_atomic.os, "fsync", note_fsync)
    monkeypatch.setattr(file_atomic.os, "replace", note_replace)
    return noted


def test_the_file_is_synced_before_the_rename_and_the_folder_after(tmp_path, calls):
    nn.save(tmp_path / "a.x", {"w": BASE})
    assert calls == ["sync file", "rename .x", "sync folder"]
    calls.clear()
    nn.save(tmp_path / "a.x", {"w": BASE}, fsync=False)
    assert calls == ["rename .x"]


def test_the_files_of_a_set_are_synced_before_its_index(tmp_path, calls):
    nn.save(tmp_path / "m.safetensors.index.json", {"a": BASE, "b": BASE + 1}, shard_bytes=100)
    file = ["sync file", "rename .safetensors"]
    assert calls == [*file, *file, "sync folder", "sync file", "rename .json", "sync folder"]


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"the folder of the file must be there: '{tmp_path}/none'"):
        nn.save(tmp_path / "none" / "a", {"w": BASE})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        nn.save(tmp_path / "folder", {"w": BASE})
    assert os.listdir(tmp_path) == ["folder"]


def test_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nn.save("a.safetensors", {"w": BASE})
    assert os.listdir() == ["a.safetensors"]
    np.testing.assert_array_equal(nn.load("a.safetensors")["w"], BASE)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    nn.save(tmp_path / "link", {"w": BASE})
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "real") == ["a"]
    np.testing.assert_array_equal(nn.load(tmp_path / "link")["w"], BASE)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        nn.save(tmp_path / "a", {"w": BASE})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_litter_of_the_dead_is_removed_and_work_of_the_living_is_not(tmp_path):
    path = tmp_path / "a[1].safetensors"
    dead = tmp_path / f".{path.name}.{'0' * 16}.tmp"
    other = tmp_path / f".b.{'0' * 16}.tmp"
    dead.write_bytes(b"half")
    other.write_bytes(b"half")
    with file_atomic.replacing(path) as file:
        file.write(b"slow")
        nn.save(path, {"w": BASE})
        assert not dead.exists()
        assert other.exists()  # of another file
        assert pathlib.Path(file.name).exists()
    assert path.read_bytes() == b"slow"
    assert sorted(os.listdir(tmp_path)) == [other.name, path.name]


def test_litter_of_a_set_with_another_number_of_files(tmp_path):
    path = tmp_path / "m.safetensors.index.json"
    dead = [
        f".m-00003-of-00007.safetensors.{'0' * 16}.tmp",
        "m-01234567-00003-of-00007.safetensors",
        "m-00001-of-00002.safetensors",
    ]
    others = ["m2-00001-of-00002.safetensors", "m-a.safetensors", f".m2-00003-of-00007.safetensors.{'0' * 16}.tmp"]
    for name in (*dead, *others):
        (tmp_path / name).write_bytes(b"half")
    nn.save(path, {"w": BASE})
    found = set(os.listdir(tmp_path))
    assert not found & set(dead)
    assert found >= set(others)
    np.testing.assert_array_equal(nn.load(path)["w"], BASE)


def test_a_file_taken_for_litter_before_its_lock_is_made_again(tmp_path, monkeypatch):
    original, taken = file_atomic.lock, []

    def lock(number):
        if not taken:  # somebody else sweeps between the creation and the lock
            taken.append([name.unlink() for name in tmp_path.iterdir()])
        return original(number)

    monkeypatch.setattr(file_atomic, "lock", lock)
    nn.save(tmp_path / "a", {"w": BASE})
    assert taken == [[None]]
    np.testing.assert_array_equal(nn.load(tmp_path / "a")["w"], BASE)


def test_without_locks_files_are_replaced_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(file_atomic, "fcntl", None)
    for _ in range(2):
        nn.save(tmp_path / "a", {"w": BASE})
        nn.save(tmp_path / "m.safetensors.index.json", {"w": BASE})
    assert len(os.listdir(tmp_path)) == 3
    np.testing.assert_array_equal(nn.load(tmp_path / "m.safetensors.index.json")["w"], BASE)


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.index.json"])
def test_savers_at_once_do_not_mix(tmp_path, name):
    def work(value):
        for _ in range(8):
            nn.save(tmp_path / name, {f"w{i}": np.full(500, value, np.float32) for i in range(3)}, shard_bytes=3000)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / name).exists():
            values = {float(x) for array in nn.load(tmp_path / name).values() for x in np.unique(array)}
            assert len(values) == 1
    for thread in threads:
        thread.join()
    nn.save(tmp_path / name, {"w": BASE})
    assert len(os.listdir(tmp_path)) == (2 if name.endswith("json") else 1)


KILLS = pathlib.Path(__file__).parents[2] / "benchmarks" / "kills.py"


def kills(*options):
    done = subprocess.run([sys.executable, KILLS, *map(str, options)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_kill_at_any_moment_leaves_the_last_finished_state_or_the_next():
    lines = kills("--trials", 12, "--floats", 5_000)
    assert [line.partition(":")[0] for line in lines] == ["file", "set", "folder"]
    # else the trials would not show that litter is removed
    assert all("in the midst of a save" in line and " 0 in the midst" not in line for line in lines)


@pytest.mark.sweep
def test_three_hundred_kills():
    assert len(kills("--trials", 300)) == 3
    with pytest.raises(AssertionError, match="Error"):
        kills("--trials", 100, "--kinds", "in place")


def test_readers_never_see_half_a_file_while_one_saves(tmp_path):
    path = tmp_path / "a"
    contents = [{"w": np.full(30_000, value, np.float32)} for value in (1, 2)]
    nn.save(path, contents[0])
    for i in range(10):
        with open(path, "rb") as held:
            nn.save(path, contents[i % 2])
            old = held.read()
        assert len(old) == path.stat().st_size  # whoever had it open still has the old one, whole
        assert np.unique(nn.load(path)["w"]).tolist() == [1 + i % 2]
