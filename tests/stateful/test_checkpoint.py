"""Checkpoints: what is written is what is read, by torch too; and a crash leaves the old file or the new one."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import errno
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from oracle import assert_close, to_numpy

import purenn
import stateful as nn
from purenn import layers as L
from purenn import tree
from stateful import checkpoint

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
TORCH = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
SHAPES = [(), (1,), (0,), (3,), (2, 3), (4, 0, 2), (2, 3, 4), (1, 1, 1, 1)]


def numbers(shape, dtype):
    x = RNG.standard_normal(shape) * 10
    return np.asarray(np.abs(x) if np.dtype(dtype).kind in "ub" else x).astype(dtype)


def same(a, b):
    """Equal to the bit, in shape and dtype."""
    a, b = np.asarray(a), np.asarray(b)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.tobytes() == b.tobytes()


def bits(tensor):
    tensor = tensor.contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.body = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.norm(self.body(self.embed(x))))


class TorchTied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.body = torch.nn.Linear(3, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.norm(self.body(self.embed(x))))


# ---------------------------------------------------------------------------------------------------------- round trips


def test_the_tables_of_dtypes_are_one():
    assert {str(dtype): name for dtype, name in checkpoint._NAMES.items()} == TORCH


@pytest.mark.parametrize("dtype", TORCH)
def test_every_dtype_and_shape_comes_back_to_the_bit(tmp_path, dtype):
    path = tmp_path / "a.safetensors"
    given = {f"x{i}": numbers(shape, dtype) for i, shape in enumerate(SHAPES)}
    nn.save(path, given)
    back = nn.load(path)
    assert list(back) == list(given)
    for name, x in given.items():
        same(back[name], x)
    wide = jnp.dtype(dtype).itemsize == 8 and dtype != "complex64"
    assert all(isinstance(x, np.ndarray if wide else jax.Array) for x in back.values())
    if hasattr(torch, dtype):
        theirs = safetensors.torch.load_file(path)
        for name, x in given.items():
            assert tuple(theirs[name].shape) == x.shape
            assert str(theirs[name].dtype) == f"torch.{dtype}"
            assert bits(theirs[name]) == x.tobytes()
        other = tmp_path / "b.safetensors"
        safetensors.torch.save_file(theirs, other)
        for name, x in nn.load(other).items():
            same(x, given[name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38])
def test_special_values_keep_their_bits(tmp_path, value):
    nn.save(tmp_path / "a", {"x": np.float32([value])})
    same(nn.load(tmp_path / "a")["x"], np.float32([value]))


BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
VIEWS = {
    "fortran": np.asfortranarray(BASE), "transposed": BASE.T, "strided": BASE[::2, 1::2], "reversed": BASE[::-1, ::-1],
    "broadcast": np.broadcast_to(BASE[:1], (4, 6)), "scalar broadcast": np.broadcast_to(np.float32(3), (2, 3)),
    "permuted": BASE.reshape(2, 3, 4).transpose(2, 0, 1), "big-endian": BASE.astype(">f4"), "offset": BASE[1:, 2:],
    "read-only": np.frombuffer(BASE.tobytes(), np.float32).reshape(4, 6)[:, ::-1], "half": BASE.astype(jnp.bfloat16).T,
    "bool": (BASE > 4).T, "0-d": BASE[1, 2, ...].T, "big-endian 0-d": np.asarray(7, ">i4"), "numpy scalar": np.float16(3),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_arrays_that_are_not_contiguous(tmp_path, name):
    view = VIEWS[name]
    given = {"before": BASE, "x": view, "after": BASE + 1}
    nn.save(tmp_path / "a", given)
    for back in (
        nn.load(tmp_path / "a"),
        {k: to_numpy(x) for k, x in safetensors.torch.load_file(tmp_path / "a").items()},
    ):
        np.testing.assert_array_equal(np.asarray(back["x"]).astype(float), np.asarray(view).astype(float))
        np.testing.assert_array_equal(back["after"], BASE + 1)


def test_jax_and_torch_arrays_are_saved(tmp_path):
    given = {
        "jax": jnp.arange(6.0).reshape(2, 3).T, "torch": torch.arange(6.0).reshape(2, 3).T,
        "half": torch.ones(2, dtype=torch.bfloat16), "grad": torch.ones(3, requires_grad=True),
        "conjugate": torch.tensor([1 + 2j]).conj(), "key": jax.random.key_data(KEY),
    }  # fmt: skip
    nn.save(tmp_path / "a", given)
    back = nn.load(tmp_path / "a")
    same(back["jax"], np.asarray(given["jax"]))
    np.testing.assert_array_equal(back["torch"], given["torch"].numpy())
    assert back["half"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(back["grad"], np.ones(3))
    assert complex(back["conjugate"][0]) == 1 - 2j
    np.testing.assert_array_equal(
        jax.random.normal(jax.random.wrap_key_data(back["key"]), (3,)), jax.random.normal(KEY, (3,))
    )


def test_wide_files_stay_whole_with_and_without_x64(tmp_path):
    given = {"i": np.array([2**40 + 1]), "f": np.array([0.1]), "u": np.array([2**63], np.uint64)}
    nn.save(tmp_path / "a", given)
    back = nn.load(tmp_path / "a")
    for name, x in given.items():
        assert isinstance(back[name], np.ndarray)
        same(back[name], x)
    with jax.enable_x64(True):
        back = nn.load(tmp_path / "a")
        for name, x in given.items():
            assert isinstance(back[name], jax.Array)
            same(back[name], x)


def test_names_of_any_kind(tmp_path):
    names = ["a.b.c", "ü", "名前", 'quote"d', "back\\slash", "line\nbreak", "nul\0", " ", "é" * 300, "0"]
    given = {name: np.float32([i]) for i, name in enumerate(names)}
    nn.save(tmp_path / "a", given)
    assert {name: float(x[0]) for name, x in nn.load(tmp_path / "a").items()} == {
        n: float(i) for i, n in enumerate(names)
    }
    assert set(safetensors.torch.load_file(tmp_path / "a")) == set(names)


def test_nested_trees_are_saved_under_dotted_names(tmp_path):
    params, buffers = L.Sequential(L.Linear(3, 2), L.BatchNorm1d(2)).init(KEY)
    nn.save(tmp_path / "a", tree.combine(params, buffers))
    assert list(nn.load(tmp_path / "a")) == list(tree.flatten(tree.combine(params, buffers)))
    nn.save(tmp_path / "a", {"z": {"b": np.ones(1), "a": np.ones(1)}, "y": np.ones(1)})
    assert list(nn.load(tmp_path / "a")) == ["z.b", "z.a", "y"]


def test_the_order_of_names_is_kept_whatever_the_dtypes(tmp_path):
    given = {
        "z": np.ones(3, np.int8),
        "a": np.ones(3, np.float64),
        "m": np.ones(3, np.float16),
        "b": np.ones(1, np.int8),
    }
    nn.save(tmp_path / "a", given)
    assert list(nn.load(tmp_path / "a")) == list(given)
    # and every array is aligned to its own dtype, as readers that map the file want it
    content = (tmp_path / "a").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert size % 8 == 0
    assert all(header[name]["data_offsets"][0] % x.itemsize == 0 for name, x in given.items())


def test_an_empty_state(tmp_path):
    for empty in ({}, nn.Identity(), {"a": {}}):
        nn.save(tmp_path / "a", empty)
        assert nn.load(tmp_path / "a") == {}


def test_the_callers_dict_is_untouched(tmp_path):
    x = np.asfortranarray(BASE)
    given = {"b": x, "a": x, "c": jnp.ones(2)}
    before = dict(given)
    nn.save(tmp_path / "a", given)
    assert list(given) == list(before)
    assert all(given[name] is before[name] for name in given)
    assert x.flags.f_contiguous
    back = nn.load(tmp_path / "a")
    assert back["b"] is not x


def test_files_are_reproducible_to_the_byte(tmp_path):
    net = Tied()
    for name in ("a", "b"):
        nn.save(tmp_path / name, net)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    code = "import numpy as np, stateful as nn, sys; nn.save(sys.argv[1], {'b': np.ones((2, 3)), 'a': np.arange(4)})"
    for seed in ("0", "1"):
        run([sys.executable, "-c", code, str(tmp_path / seed)], PYTHONHASHSEED=seed)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def run(command, **env):
    root = pathlib.Path(nn.__file__).parents[1]
    return subprocess.run(command, cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"} | env, check=True, timeout=120)


# ------------------------------------------------------------------------------------------------------ modules and torch


def test_a_module_comes_back(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net(jnp.ones((5, 3)))
    nn.save(tmp_path / "a", net)
    again = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    again.load_state_dict(nn.load(tmp_path / "a"))
    for name, x in net.state_dict().items():
        same(again.state_dict()[name], x)
    assert list(nn.load(tmp_path / "a")) == list(net.state_dict())
    params, buffers = purenn.load_state_dict(
        L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Linear(4, 2)), nn.load(tmp_path / "a")
    )
    same(params["0"]["weight"], net[0].weight)
    same(buffers["1"]["running_mean"], net[1].running_mean)


def test_torch_loads_ours_strictly_and_we_load_torchs(tmp_path):
    make = lambda t: t.Sequential(t.Conv2d(3, 4, 3), t.BatchNorm2d(4), t.Conv2d(4, 2, 3))  # noqa: E731
    net, twin = make(nn), make(torch.nn)
    nn.save(tmp_path / "a", net)
    twin.load_state_dict(safetensors.torch.load_file(tmp_path / "a"), strict=True)
    x = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    assert_close(net.eval()(jnp.asarray(x)), twin.eval()(torch.tensor(x)))
    torch.manual_seed(3)
    other = make(torch.nn)
    safetensors.torch.save_file(other.state_dict(), tmp_path / "b", metadata={"format": "pt"})
    net.load_state_dict(nn.load(tmp_path / "b"))
    assert_close(net(jnp.asarray(x)), other.eval()(torch.tensor(x)))
    params, buffers = purenn.load_state_dict(net, nn.load(tmp_path / "b"))
    assert_close(net.apply(params, buffers, jnp.asarray(x))[0], other(torch.tensor(x)))


def test_tied_weights_are_stored_once_and_restored_under_both_names(tmp_path):
    net, path = Tied(), tmp_path / "a"
    nn.save(path, net)
    with safetensors.safe_open(path, "np") as file:
        assert sorted(file.keys()) == sorted(set(net.state_dict()) - {"head.weight"})
        assert file.metadata() == {"head.weight": "embed.weight"}
    back = nn.load(path)
    assert set(back) == set(net.state_dict())
    assert back["head.weight"] is back["embed.weight"]
    again = Tied()
    again.load_state_dict(back)
    assert again.head.weight is again.embed.weight
    same(again.embed.weight, net.embed.weight)
    # torch's reader of shared tensors understands the metadata, and we understand torch's
    twin = TorchTied()
    safetensors.torch.load_model(twin, path, strict=True)
    index = np.array([0, 1, 4])
    assert_close(net.eval()(jnp.asarray(index)), twin.eval()(torch.tensor(index)))
    safetensors.torch.save_model(twin, tmp_path / "b")
    theirs = nn.load(tmp_path / "b")
    assert set(theirs) == set(net.state_dict())
    again.load_state_dict(theirs)


def test_equal_arrays_that_are_not_one_are_stored_twice(tmp_path):
    nn.save(tmp_path / "a", {"x": np.ones(3), "y": np.ones(3)})
    with safetensors.safe_open(tmp_path / "a", "np") as file:
        assert sorted(file.keys()) == ["x", "y"]
        assert file.metadata() is None


def test_three_names_of_one_array(tmp_path):
    x = jnp.ones(3)
    nn.save(tmp_path / "a", {"c": x, "a": x, "b": x, "d": jnp.zeros(1)})
    back = nn.load(tmp_path / "a")
    assert back["c"] is back["a"] is back["b"]
    assert set(back) == set("abcd")


def test_metadata_of_others_names_nothing(tmp_path):
    tensors = {"w": torch.ones(2)}
    safetensors.torch.save_file(tensors, tmp_path / "a", metadata={"format": "pt", "w": "w", "note": "nothing"})
    assert list(nn.load(tmp_path / "a")) == ["w"]


# ------------------------------------------------------------------------------------------------------------- bad files


def whole(tmp_path):
    path = tmp_path / "whole.safetensors"
    nn.save(path, {"w": BASE, "b": np.ones(3, np.float16), "n": np.int32(3)})
    return path, path.read_bytes()


WORDS = "load: the file must be a whole safetensors file, got path="


def test_files_cut_short_anywhere_are_refused(tmp_path):
    path, content = whole(tmp_path)
    header = 8 + int.from_bytes(content[:8], "little")
    offsets = {*range(header + 1), *range(header, len(content), 7), len(content) - 1}
    for offset in sorted(offsets):
        path.write_bytes(content[:offset])
        with refused(ValueError, WORDS) as caught:
            nn.load(path)
        assert f"size={offset}. It is damaged, cut short or of another format: " in str(caught.value)
    path.write_bytes(content + b"\0")
    with refused(ValueError, WORDS):
        nn.load(path)
    path.write_bytes(content)
    assert set(nn.load(path)) == {"w", "b", "n"}


def outcome(path):
    try:
        return "another name" if len(nn.load(path)) <= 4 else "too much"
    except ValueError as error:
        return "refused" if str(error).startswith("load: ") else error


def test_files_with_a_flipped_byte_in_the_header_never_crash(tmp_path):
    path, content = whole(tmp_path)
    header = 8 + int.from_bytes(content[:8], "little")
    outcomes = set()
    for offset in range(header):
        for flip in (0x01, 0x20, 0xFF):
            path.write_bytes(content[:offset] + bytes([content[offset] ^ flip]) + content[offset + 1 :])
            outcomes.add(outcome(path))
    assert outcomes == {"refused", "another name"}


def header_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 8, b"PK\x03\x04" + b"\0" * 100, b"\x80\x02}q\x00.", b"hello world, this is text", b"\xff" * 64, b"\x89HDF\r\n\x1a\n" * 4,
        header_file(b"[]"), header_file(b"{"), header_file(b"\xff\xfe"), header_file({"w": 1}), header_file({"w": {}}),
        header_file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_file({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        header_file({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_file({"w": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_file({"w": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_file({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        (2**63).to_bytes(8, "little") + b"{}", (10**8 + 1).to_bytes(8, "little") + b"{}",
    ],
    ids=range(20),
)  # fmt: skip
def test_other_formats_and_corrupt_headers_are_refused(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    with refused(ValueError, f"{WORDS}{str(path)!r} and size={len(content)}. It is damaged"):
        nn.load(path)


def test_torchs_own_formats_are_refused(tmp_path):
    for legacy in (True, False):
        torch.save({"w": torch.ones(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        with refused(ValueError, WORDS):
            nn.load(tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", w=BASE)
    with refused(ValueError, WORDS):
        nn.load(tmp_path / "a.npz")


def test_a_dtype_of_the_format_that_jax_lacks_is_named(tmp_path):
    (tmp_path / "a").write_bytes(
        header_file({"w": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}, b"\0" * 4)
    )
    with refused(ValueError, "load: w must have a known dtype, got dtype='F8_E8M0' and path="):
        nn.load(tmp_path / "a")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (lambda: [np.ones(1)], TypeError, "save: what is saved must be a Module or a dict of arrays, got type='list'."),
        (lambda: L.Linear(3, 2), TypeError, "save: what is saved must be a Module or a dict of arrays, got type='Linear'."),
        (lambda: {"a": [1.0]}, TypeError, "save: a must be an array of numbers, got a='list'. A PRNG key is saved as jax.random.key_data(key)."),
        (lambda: {"a": 1.0}, TypeError, "save: a must be an array of numbers, got a='float'."),
        (lambda: {"a": None}, TypeError, "save: a must be an array of numbers, got a='NoneType'."),
        (lambda: {"k": KEY}, TypeError, "save: k must be an array of numbers, got k='key<fry>'. A PRNG key is saved as jax.random.key_data(key)."),
        (lambda: {"a": np.array(["x"])}, TypeError, "save: a must have a dtype of the format, got dtype='<U1'."),
        (lambda: {"a": np.array([None])}, TypeError, "save: a must have a dtype of the format, got dtype='object'."),
        (lambda: {"a": np.ones(1, complex)}, TypeError, "save: a must have a dtype of the format, got dtype='complex128'."),
        (lambda: {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}, TypeError, "save: a must have a dtype of the format, got dtype='object'."),
        (lambda: {0: np.ones(1)}, ValueError, "save: a name must be a string, and not __metadata__, got name=0."),
        (lambda: {"__metadata__": np.ones(1)}, ValueError, "save: a name must be a string, and not __metadata__, got name='__metadata__'."),
        (lambda: {"a": {"b": np.ones(1)}, "c.d": np.ones(1)}, ValueError, "flatten: a name must be non-empty and without a dot, got name='c.d'."),
    ],
)  # fmt: skip
def test_what_is_not_saved_leaves_the_old_file(tmp_path, bad, kind, words):
    path, content = whole(tmp_path)
    with refused(kind, words):
        nn.save(path, bad())
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


# -------------------------------------------------------------------------------------------------------------- atomicity


class Full:
    """A disk that is full after some bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 8, 100, 300, 400])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, room):
    path, content = whole(tmp_path)
    original = checkpoint._write
    monkeypatch.setattr(checkpoint, "_write", lambda file, *rest: original(Full(file, room), *rest))
    with pytest.raises(OSError, match="No space left on device"):
        nn.save(path, {"w": BASE, "x": BASE * 2, "y": BASE * 3})
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken disk"), KeyboardInterrupt("broken disk")], ids=["error", "interrupt"]
)
def test_a_failure_before_the_rename_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call, error):
    path, content = whole(tmp_path)

    def broken(*args):
        raise error

    monkeypatch.setattr(checkpoint.os, call, broken)
    with pytest.raises(type(error), match="broken disk"):
        nn.save(path, {"w": BASE * 2})
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


def test_the_file_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(number):
        kind = "folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file"
        calls.append((kind, (tmp_path / "a").exists()))
        fsync(number)

    monkeypatch.setattr(checkpoint.os, "fsync", note_fsync)
    monkeypatch.setattr(checkpoint.os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    nn.save(tmp_path / "a", {"w": BASE})
    assert calls == [("file", False), "rename", ("folder", True)]


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.save(tmp_path / "none" / "a", {"w": BASE})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        nn.save(tmp_path / "folder", {"w": BASE})
    assert os.listdir(tmp_path) == ["folder"]


def test_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nn.save("a.safetensors", {"w": BASE})
    assert os.listdir() == ["a.safetensors"]
    same(nn.load("a.safetensors")["w"], BASE)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        nn.save(tmp_path / "a", {"w": BASE})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


# Saves two contents in turn, as fast as it can; both are one number repeated, so a mixture would show.
WRITER = """
import sys, numpy as np, stateful as nn
path, size = sys.argv[1], int(sys.argv[2])
contents = [{f"w{i}": np.full(size, value, np.float32) for i in range(8)} for value in (1, 2)]
print("ready", flush=True)
n = 0
while True:
    nn.save(path, contents[n % 2])
    n += 1
"""


def killed_while_saving(path, size, trials):
    """Forks savers and kills each at a random moment; the file must be whole every time."""
    nn.save(path, {f"w{i}": np.full(size, 1, np.float32) for i in range(8)})
    seen, rng = set(), np.random.default_rng(0)
    code = WRITER.replace("n = 0\nwhile", FORKED)
    root = pathlib.Path(nn.__file__).parents[1]
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(size)], cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout.readline() == "ready\n"
        for _ in range(trials):
            server.stdin.write("go\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            time.sleep(rng.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            assert server.stdout.readline() == "dead\n"
            values = {float(x) for array in nn.load(path).values() for x in np.unique(array)}
            assert len(values) == 1
            assert len(nn.load(path)) == 8
            seen |= values
    finally:
        server.kill()
        server.communicate()
    return seen


# One process imports once; each trial is a fork of it, that saves from another start until it is killed.
FORKED = """
import os
trial = 0
for _ in sys.stdin:
    trial += 1
    child = os.fork()
    if child == 0:
        break
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
else:
    sys.exit()
n = trial
while"""


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path):
    assert killed_while_saving(tmp_path / "a", 5_000, 60) == {1.0, 2.0}


@pytest.mark.sweep
def test_three_hundred_kills(tmp_path):
    assert killed_while_saving(tmp_path / "a", 200_000, 300) == {1.0, 2.0}


def test_readers_never_see_half_a_file_while_one_saves(tmp_path):
    path = tmp_path / "a"
    contents = [{"w": np.full(30_000, value, np.float32)} for value in (1, 2)]
    nn.save(path, contents[0])
    for i in range(20):
        with open(path, "rb") as held:
            nn.save(path, contents[i % 2])
            old = held.read()
        assert len(old) == path.stat().st_size  # whoever had it open still has the old one, whole
        assert np.unique(nn.load(path)["w"]).tolist() == [1 + i % 2]
