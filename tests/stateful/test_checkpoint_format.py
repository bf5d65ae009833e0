"""Hostile and damaged files: each is refused, with one kind of error, before a value of it is used."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

import stateful as nn
from purenn import layers as L
from purenn.files import notes as file_notes

KEY = jax.random.key(0)
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
NOTES, CHECK = "purenn", "purenn.header"


def refused(path, words, kind=nn.CheckpointError):
    words = re.escape(f"load: {words}").replace("PATH", re.escape(repr(str(path))))
    return pytest.raises(kind, match=f"^{words}")


def whole(tmp_path):
    path = tmp_path / "whole.safetensors"
    nn.save(
        path, {"w": BASE, "b": np.ones(3, np.float16), "n": np.int32(3), "t": jnp.ones(3, jnp.int4), "s": 0.5, "k": KEY}
    )
    return path, path.read_bytes()


def test_files_cut_short_anywhere_are_refused(tmp_path):
    path, content = whole(tmp_path)
    header = 8 + int.from_bytes(content[:8], "little")
    offsets = {*range(0, header + 1, 3), *range(header, len(content), 7), len(content) - 1}
    for offset in sorted(offsets):
        path.write_bytes(content[:offset])
        with refused(path, ""):
            nn.load(path)
    path.write_bytes(content + b"\0")
    with refused(path, "the file must end with the last array, got path=PATH and its bytes="):
        nn.load(path)


def test_a_flipped_bit_anywhere_is_noticed_and_unflipped_loads(tmp_path):
    path, content = whole(tmp_path)
    flips = (0x01, 0x20, 0x80)
    for offset in range(len(content)):
        flip = flips[offset % 3]
        path.write_bytes(content[:offset] + bytes([content[offset] ^ flip]) + content[offset + 1 :])
        with refused(path, ""):
            nn.load(path)
    path.write_bytes(content)
    assert set(nn.load(path)) == {"w", "b", "n", "t", "s", "k"}


def test_damage_of_the_numbers_names_the_array_and_can_be_let_through(tmp_path):
    path, content = whole(tmp_path)
    place = content.find(BASE.tobytes()) + 12
    path.write_bytes(content[:place] + b"\0\0\xc0\x7f" + content[place + 4 :])
    with refused(path, "w must have its checksum, got path=PATH and written='"):
        nn.load(path)
    with refused(path, "w must have its checksum"):
        nn.restore(path, {"w": BASE}, strict=False)
    net = nn.Linear(6, 4)
    with refused(path, "w must have its checksum"):
        nn.load_into(net, path, map={"^w$": "weight"}, strict=False)
    assert not net._parameters["weight"].drawn  # nothing was changed
    assert np.isnan(nn.load(path, verify=False)["w"][0, 3])
    assert nn.load(path, where="b")["b"].tolist() == [1, 1, 1]  # what is not read is not checked


def damaged(content, kind, rng):
    """One damaged copy."""
    content = bytearray(content)
    if kind == "bit":
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    elif kind == "start":
        content[rng.integers(min(4096, len(content)))] ^= rng.integers(1, 256)
    elif kind == "short":
        del content[rng.integers(len(content)) :]
    elif kind == "long":
        content += rng.bytes(rng.integers(1, 100))
    elif kind == "zeroed":
        place = rng.integers(len(content) - 4096)
        content[place : place + 4096] = bytes(4096)
    else:
        blocks = (len(content) // 4096) - 1
        a, b = (4096 * int(n) for n in rng.choice(blocks, 2, replace=False))
        content[a : a + 4096], content[b : b + 4096] = content[b : b + 4096], content[a : a + 4096]
    return bytes(content)


DAMAGES = ("bit", "start", "short", "long", "zeroed", "swapped")


def unnoticed(tmp_path, name, trials):
    """How many damaged copies of a file, or of the files of a set, load."""
    rng = np.random.default_rng(0)
    given = {f"w{i}": rng.standard_normal((50, 60)).astype(np.float32) for i in range(8)}
    nn.save(tmp_path / name, given, shard_bytes=40_000)
    files = sorted(tmp_path.iterdir())
    found = []
    for kind in DAMAGES:
        for trial in range(trials):
            file = files[trial % len(files)]
            content = file.read_bytes()
            if len(content) < 3 * 4096 and kind in ("zeroed", "swapped"):
                continue
            file.write_bytes(damaged(content, kind, rng))
            try:
                nn.load(tmp_path / name)
                found.append((kind, trial, file.name))
            except nn.CheckpointError:
                pass
            file.write_bytes(content)
    assert set(nn.load(tmp_path / name)) == set(given)
    return found


SETS = ["a.safetensors", "a.safetensors.index.json"]


@pytest.mark.parametrize("name", SETS)
def test_damaged_files_are_noticed(tmp_path, name):
    assert unnoticed(tmp_path, name, 12) == []


@pytest.mark.sweep
@pytest.mark.parametrize("name", SETS)
def test_six_hundred_damaged_files_are_noticed(tmp_path, name):
    assert unnoticed(tmp_path, name, 100) == []


def test_damage_of_an_npz_is_noticed_where_it_is_in_the_numbers(tmp_path):
    path = tmp_path / "a.npz"
    nn.save(path, {"w": BASE})
    content = path.read_bytes()
    place = content.find(BASE.tobytes())
    for offset in range(place, place + BASE.nbytes, 5):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with refused(path, ""):
            nn.load(path)


# ---------------------------------------------------------------------------------------------------------------- headers


def header_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more}


def both(first, second):
    return {
        "a": {"dtype": "U8", "shape": [first[1] - first[0]], "data_offsets": first},
        "b": {"dtype": "U8", "shape": [second[1] - second[0]], "data_offsets": second},
    }


def noted(notes=None, check="00000000", **metadata):
    given = {CHECK: check} if check is not None else {}
    return {
        "__metadata__": ({} if notes is None else {NOTES: notes if isinstance(notes, str) else json.dumps(notes)})
        | given
        | metadata
    } | one()


WHOLE = "the file must be a whole safetensors file, got path=PATH and size="
JSON = "the header must be JSON, got path=PATH and error="
SHAPE = "shape must be at most 32 sizes, and data_offsets two places"
SIZE = "data_offsets must hold the bytes of the array, got path=PATH and name='w'"
ORDER = "arrays must lie one after the other, got path=PATH and name="
OWN = "the notes must be those that save writes, got path=PATH and "
F4 = {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}
BAD = {
    "empty": (b"", WHOLE), "zeros": (b"\0" * 8, WHOLE), "text": (b"hello world, this is text", WHOLE), "a pickle": (b"\x80\x02}q\x00.", WHOLE),
    "0xff": (b"\xff" * 64, WHOLE), "hdf5": (b"\x89HDF\r\n\x1a\n" * 4, WHOLE), "2^63": ((2**63).to_bytes(8, "little") + b"{}", WHOLE),
    "more than the limit": ((10**8 + 1).to_bytes(8, "little") + b"{}" * 9, WHOLE),
    "a list": (header_file(b"[]"), "the header must begin with a brace"), "a space": (header_file(b" {}"), "the header must begin with a brace, got path=PATH and its beginning=b' {}'"),
    "half a brace": (header_file(b"{ "), JSON), "no utf-8": (header_file(b'{"\xff":1}'), JSON), "a number": (header_file({"w": 1}), "an array must have dtype, shape and data_offsets, got path=PATH and w=1"),
    "nothing": (header_file({"w": {}}), "an array must have dtype, shape and data_offsets"), "more": (header_file(one(more=1), b"\0" * 4), "an array must have dtype, shape and data_offsets"),
    "trailing": (header_file(b'{}{"a":1}'), JSON), "NaN": (header_file(b'{"w":NaN}'), f"{JSON}'NaN is no JSON'"), "a name twice": (header_file(b'{"a":1,"a":2}'), f"{JSON}'a name stands twice'"),
    "metadata twice": (header_file(b'{"__metadata__":{},"__metadata__":{}}'), JSON), "dtype twice": (header_file(b'{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'), JSON),
    "deep": (header_file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), JSON), "digits": (header_file(b'{"a":' + b"9" * 5000 + b"}"), JSON),
    "metadata of numbers": (header_file({"__metadata__": {"a": 1}}), "__metadata__ must be a dict of strings"), "metadata a list": (header_file({"__metadata__": []}), "__metadata__ must be a dict of strings, got path=PATH and __metadata__=[]"),
    "an unknown dtype": (header_file(one("F99"), b"\0" * 4), "an array must have a known dtype, got path=PATH and name='w' and dtype='F99'. Known ones are F64, F32,"), "a dtype that is none": (header_file(one([])), "an array must have a known dtype"),
    "F6": (header_file(one("F6_E2M3", (4,), (0, 3)), b"\0" * 3), "an array must have a known dtype"),
    "a negative size": (header_file(one(shape=(-1,)), b"\0" * 4), SHAPE), "a size of true": (header_file(one(shape=(True,)), b"\0" * 4), SHAPE), "a size of 1.0": (header_file(one(shape=(1.0,)), b"\0" * 4), SHAPE),
    "a size of text": (header_file(one(shape=("1",)), b"\0" * 4), SHAPE), "33 axes": (header_file(one(shape=(1,) * 33), b"\0" * 4), SHAPE), "one offset": (header_file(one(offsets=(4,)), b"\0" * 4), SHAPE),
    "negative offsets": (header_file(one(offsets=(-4, 0)), b"\0" * 4), SHAPE), "too large an offset": (header_file(one(offsets=(0, 2**64)), b"\0" * 4), SHAPE),
    "fewer bytes": (header_file(one(shape=(2,)), b"\0" * 4), SIZE), "reversed offsets": (header_file(one(offsets=(4, 0)), b"\0" * 4), SIZE), "2^62 by 2^62": (header_file(one(shape=(2**62, 2**62)), b"\0" * 4), SIZE),
    "2^62 by 2^62 by 0": (header_file(one(shape=(2**62, 2**62, 0)), b"\0" * 4), SIZE), "half a byte": (header_file({"w": F4}, b"\0" * 2), SIZE),
    "a hole before": (header_file(one(offsets=(4, 8)), b"\0" * 8), ORDER), "a hole": (header_file(both([0, 2], [3, 4]), b"\0" * 4), ORDER), "overlap": (header_file(both([0, 3], [2, 4]), b"\0" * 4), ORDER),
    "the same place": (header_file(both([0, 2], [0, 2]), b"\0" * 2), ORDER), "an empty one in another": (header_file(both([0, 4], [2, 2]), b"\0" * 4), ORDER),
    "bytes after": (header_file(one(), b"\0" * 5), "the file must end with the last array, got path=PATH and its bytes=5 and the last one ends=4"), "bytes missing": (header_file(one(), b"\0" * 3), "the file must end with the last array"),
    "bytes after nothing": (header_file({}, b"\0"), "the file must end with the last array"), "a boolean of 2": (header_file(one("BOOL", (1,), (0, 1)), b"\2"), "w must hold booleans, got path=PATH and a byte=2"),
    "many values": (header_file(b'{"a":' + b"[]," * 1_000_000 + b"}" + b"," * 2_000_000), "the header must fit into memory, got path=PATH and bytes="),
    "no check": (header_file(noted({"crc32": {"w": "00000000"}}, None), b"\0" * 4), OWN), "a check alone": (header_file(noted(), b"\0" * 4), OWN), "another check": (header_file(noted({"crc32": {"w": "2144df1c"}}), b"\0" * 4), "the header must have its checksum, got path=PATH and written='00000000' and found='"),
    "notes of no JSON": (header_file(noted("{"), b"\0" * 4), OWN), "notes of a list": (header_file(noted([]), b"\0" * 4), OWN), "an unknown note": (header_file(noted({"crc32": {"w": ""}, "x": 1}), b"\0" * 4), OWN),
    "checks of others": (header_file(noted({"crc32": {"v": "0"}}), b"\0" * 4), OWN), "keys of none": (header_file(noted({"crc32": {"w": "0"}, "keys": {"v": "rbg"}}), b"\0" * 4), OWN),
    "a scalar and array": (header_file(noted({"crc32": {"w": "0"}, "scalars": {"w": ["int", "1"]}}), b"\0" * 4), OWN),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_hostile_headers(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / "a"
    path.write_bytes(content)
    with refused(path, words):
        nn.load(path)


def signed(notes):
    """A file whose checksums are right, whatever it says."""
    header = noted({"crc32": {"w": "2144df1c"}, **notes})
    text = file_notes.with_check(json.dumps(header, separators=(",", ":")).encode())
    return header_file(text, b"\0" * 4)


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ({"scalars": {"n": ["int", "x"]}}, "a scalar must be written as save does, got path=PATH and n=['int', 'x']"),
        ({"scalars": {"n": ["list", "[]"]}}, "a scalar must be written as save does"),
        ({"scalars": {"n": ["bool", "None"]}}, "a scalar must be written as save does"),
        ({"scalars": {"n": ["int", "9" * 5000]}}, "a scalar must be written as save does"),
        ({"stored": {"w": ["int4", [9]]}}, "the notes must fit the array, got path=PATH and name='w' and dtype='int4' and shape=[9]"),
        ({"stored": {"w": ["object", [4]]}}, "the notes must fit the array"),
        ({"stored": {"w": [[], [4]]}}, "the notes must fit the array"),
        ({"stored": {"w": ["int4", [-8]]}}, "the notes must fit the array"),
        ({"keys": {"w": "dice"}}, "a PRNG key must be of an implementation that jax knows, got path=PATH and w='dice'"),
        ({"keys": {"w": "rbg"}}, "a PRNG key must be of an implementation that jax knows"),
    ],
)  # fmt: skip
def test_hostile_notes(tmp_path, notes, words):
    path = tmp_path / "a"
    path.write_bytes(signed({}))
    assert nn.load(path)["w"].tolist() == [0]
    path.write_bytes(signed(notes))
    with refused(path, words):
        nn.load(path)


def test_good_headers_of_others(tmp_path):
    path = tmp_path / "a"
    for header in (one(), one() | {"__metadata__": {"format": "pt"}}, one(shape=(1,) * 32)):
        path.write_bytes(header_file(header, b"\0" * 4))
        assert nn.load(path)["w"].size == 1
    path.write_bytes(header_file(json.dumps(one()).encode() + b"   \n", b"\0" * 4))
    assert nn.load(path)["w"].shape == (1,)
    path.write_bytes(header_file(both([0, 0], [0, 4]), b"\0" * 4))
    assert nn.load(path)["a"].shape == (0,)
    assert not nn.load_into(nn.Linear(1, 1, bias=False), write_one(tmp_path)).verified


def write_one(tmp_path):
    safetensors.torch.save_file({"weight": torch.ones(1, 1)}, tmp_path / "theirs")
    return tmp_path / "theirs"


def test_a_sparse_file_of_forty_gigabytes_takes_no_memory(tmp_path):
    path = tmp_path / "a"
    header = header_file(one("U8", (40 * 10**9,), (0, 40 * 10**9)))
    path.write_bytes(header)
    os.truncate(path, len(header) + 40 * 10**9 - 1)
    with refused(path, "the file must end with the last array"):
        nn.load(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)


# ------------------------------------------------------------------------------------------------------------- the sets


def a_set(tmp_path, **options):
    path = tmp_path / "m.safetensors.index.json"
    x = jnp.arange(4.0)
    nn.save(path, {"a": x, "b": x + 1, "tied": x, "k": KEY, "n": 3}, shard_bytes=20, **options)
    return path, json.loads(path.read_text())


def test_a_set_is_read_by_us_and_by_others(tmp_path):
    path, index = a_set(tmp_path)
    back = nn.load(path)
    assert back["tied"] is back["a"]
    assert back["n"] == 3
    assert back["k"].dtype == KEY.dtype
    assert set(index["weight_map"]) == {"a", "b", "k"}
    assert index["metadata"]["total_size"] == 40
    for name, file in index["weight_map"].items():
        assert re.fullmatch(r"m-[0-9a-f]{8}-0000\d-of-00003\.safetensors", file)
        assert name in safetensors.torch.load_file(tmp_path / file)
    again = tmp_path / "again"
    again.mkdir()
    a_set(again)
    assert sorted(os.listdir(again)) == sorted(set(os.listdir(tmp_path)) - {"again"})
    for file in os.listdir(again):
        assert (again / file).read_bytes() == (tmp_path / file).read_bytes()


def test_sets_of_others_with_wrong_totals_and_links(tmp_path):
    store = tmp_path / "blobs"
    store.mkdir()
    for number, name in enumerate("ab"):
        safetensors.torch.save_file({name: torch.full((2,), float(number))}, store / name)
        (tmp_path / f"m-{number}.safetensors").symlink_to(store / name)
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(
        json.dumps({"metadata": {"total_size": 7}, "weight_map": {"b": "m-1.safetensors", "a": "m-0.safetensors"}})
    )
    back = nn.load(path)
    assert list(back) == ["b", "a"]
    assert back["b"].tolist() == [1, 1]


def change_index(path, index, change):
    changed = json.loads(json.dumps(index))
    change(changed)
    text = json.dumps(changed, separators=(",", ":")).replace(index["metadata"][CHECK], "00000000").encode()
    path.write_bytes(file_notes.with_check(text))


SETS_BAD = {
    "a shard of another folder": (lambda i: i["weight_map"].update(a="../m.safetensors"), "weight_map must name files beside the index, got path=PATH and a='../m.safetensors'"),
    "an absolute path": (lambda i: i["weight_map"].update(a="/etc/passwd.safetensors"), "weight_map must name files beside the index"),
    "another kind": (lambda i: i["weight_map"].update(a="m.pt"), "weight_map must name files beside the index"),
    "no string": (lambda i: i["weight_map"].update(a=1), "weight_map must name files beside the index, got path=PATH and a=1"),
    "a missing file": (lambda i: i["weight_map"].update(a="none.safetensors"), "every file of the index must be there, got path=PATH and missing="),
    "files exchanged": (
        lambda i: i["weight_map"].update(a=i["weight_map"]["b"], b=i["weight_map"]["a"]),
        "the index must name the file of every array, got path=PATH and name='",
    ),
    "a missing name": (lambda i: i["weight_map"].pop("a"), "every file of the set must be in the index, got path=PATH and files="),
    "a name of none": (lambda i: i["weight_map"].update(z=i["weight_map"]["b"]), "a file must hold the arrays that the index says, got path=PATH and name='z'"),
    "no map": (lambda i: i.pop("weight_map"), "the index must be JSON with a weight_map"),
    "a map of a list": (lambda i: i.update(weight_map=[]), "the index must be JSON with a weight_map"),
    "no check": (lambda i: i["metadata"].pop(CHECK), "the index must have its checksum, because its files are of a set that has one"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS_BAD)
def test_hostile_indexes(tmp_path, name):
    path, index = a_set(tmp_path)
    change, words = SETS_BAD[name]
    change_index(path, index, lambda i: None)
    assert nn.load(path)["n"] == 3
    if name == "no check":
        change(index)
        path.write_text(json.dumps(index))
    else:
        change_index(path, index, change)
    with refused(path, words):
        nn.load(path)


def test_indexes_that_are_no_json(tmp_path):
    path = tmp_path / "m.safetensors.index.json"
    for text in (b"", b"{", b"[1]", b"\xff", b'{"weight_map":{},"weight_map":{}}', b"[" * 100_000):
        path.write_bytes(text)
        with refused(path, "the index must be JSON with a weight_map, got path=PATH and error="):
            nn.load(path)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("m.json", {}, "save: the path of an index must end in .safetensors.index.json, got path="),
        (".safetensors.index.json", {}, "save: the path of an index must end in .safetensors.index.json, got path="),
        (
            "m.safetensors.index.json",
            {"shard_bytes": 0},
            "save: shard_bytes must be a positive integer, got shard_bytes=0.",
        ),
        (
            "m.safetensors.index.json",
            {"shard_bytes": True},
            "save: shard_bytes must be a positive integer, got shard_bytes=True.",
        ),
    ],
)
def test_sets_that_are_not_saved(tmp_path, name, options, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        nn.save(tmp_path / name, {"a": BASE}, **options)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------------- npz


def test_an_npz_comes_back_and_numpy_reads_it(tmp_path):
    x = jnp.arange(4.0)
    given = {
        "a.b": BASE.T, "half": x.astype(jnp.bfloat16), "tied": x, "x": x, "i4": jnp.arange(3, dtype=jnp.int4), "k": KEY, "n": 2**70, "none": None,
        "empty": np.ones((0, 3)), "c": np.complex128(1j), "b": np.array([True, False]), "big": np.arange(3, dtype=">i4"), "f8": jnp.ones(3, jnp.float8_e5m2),
    }  # fmt: skip
    nn.save(tmp_path / "a.npz", given)
    back = nn.load(tmp_path / "a.npz")
    assert set(back) == set(given)
    assert back["tied"] is back["x"]
    assert (back["n"], back["none"], back["k"].dtype) == (2**70, None, KEY.dtype)
    for name in ("a.b", "half", "x", "i4", "empty", "c", "b", "big", "f8"):
        assert back[name].dtype == np.asarray(given[name]).dtype.newbyteorder("=")
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(given[name]))
    with np.load(tmp_path / "a.npz") as theirs:
        np.testing.assert_array_equal(theirs["a.b"], BASE.T)
        assert theirs["half"].dtype == np.uint16
    content = (tmp_path / "a.npz").read_bytes()
    nn.save(tmp_path / "a.npz", given)
    assert (tmp_path / "a.npz").read_bytes() == content


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_of_numpy(tmp_path, save):
    given = {
        "x": BASE,
        "f": np.asfortranarray(BASE),
        "s": np.float64(3),
        "e": np.ones((2, 0), np.int8),
        "big": BASE.astype(">f4"),
    }
    save(tmp_path / "a.npz", **given)
    back = nn.load(tmp_path / "a.npz")
    for name, x in given.items():
        np.testing.assert_array_equal(back[name], x)


def npz(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(header, data=b"", version=(1, 0)):
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + data


F4S = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
NPZ_BAD = {
    "objects": ({"x.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x02.")}, "an array must be of numbers, and as large as its member, got path=PATH and member='x.npy' and dtype='object'"),
    "records": ({"x.npy": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"\0" * 4)}, "an array must be of numbers"),
    "text": ({"x.npy": npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", b"\0" * 4)}, "an array must be of numbers"),
    "code": ({"x.npy": npy("__import__('os').system('true')")}, "every member must be an array"),
    "no magic": ({"x.npy": b"hello, this is text"}, "every member must be an array, got path=PATH and member='x.npy' and error="),
    "short": ({"x.npy": npy(F4S, b"\0" * 3)}, "an array must be of numbers, and as large as its member"), "long": ({"x.npy": npy(F4S, b"\0" * 5)}, "an array must be of numbers, and as large as its member"),
    "huge": ({"x.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }")}, "an array must be of numbers, and as large as its member"),
    "notes of text": ({"x.npy": npy(F4S, b"\0" * 4), "purenn.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", b"{")}, "the notes must be those that save writes, got path=PATH and error="),
}  # fmt: skip


@pytest.mark.parametrize("name", NPZ_BAD)
def test_hostile_npz(tmp_path, name):
    members, words = NPZ_BAD[name]
    path = npz(tmp_path / "a.npz", members)
    with refused(path, words):
        nn.load(path)


@pytest.mark.parametrize(
    "notes",
    [
        {}, {"stored": {"x": ["int4", [9]]}}, {"stored": {"x": ["int4", [-2, -4]]}}, {"stored": {"y": ["int4", [8]]}}, {"aliases": {"y": "z"}},
        {"aliases": {"x": "x"}}, {"scalars": {"x": ["int", "1"]}}, {"scalars": {"y": ["list", "1"]}}, {"keys": {"y": "rbg"}},
    ],
)  # fmt: skip
def test_hostile_notes_of_an_npz(tmp_path, notes):
    notes = {"stored": {}, "aliases": {}, "keys": {}, "scalars": {}, **notes} if notes else {}
    text = json.dumps(notes).encode()
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},), }}"
    path = npz(tmp_path / "a.npz", {"x.npy": npy(F4S, b"\0" * 4), "purenn.npy": npy(header, text)})
    with refused(path, "the notes must be those that save writes, got path=PATH and error="):
        nn.load(path)


def test_a_zip_of_both_kinds_is_none(tmp_path):
    path = npz(tmp_path / "a.npz", {"x.npy": npy(F4S, b"\0" * 4), "x.txt": b""})
    with refused(path, "the archive must hold one data.pkl, got path=PATH and members=['x.npy', 'x.txt']"):
        nn.load(path)


@pytest.mark.parametrize("name", ["purenn", "a\0b"])
def test_names_that_an_npz_cannot_hold(tmp_path, name):
    with pytest.raises(ValueError, match=r"^save: an .npz must not hold such a name, got name="):
        nn.save(tmp_path / "a.npz", {name: BASE})


# -------------------------------------------------------------------------------------------------------------- not saved


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (lambda: np.ones(1), TypeError, "save: what is saved must be a Module or a tree of arrays, got type='ndarray'. Arrays, PRNG keys, numbers, strings and None can be saved."),
        (lambda: L.Linear(3, 2), TypeError, "save: what is saved must be a Module or a tree of arrays, got type='Linear'."),
        (lambda: {"a": object()}, TypeError, "save: a must be an array, got a='object'. Arrays, PRNG keys, numbers, strings and None can be saved."),
        (lambda: {"a": b"x"}, TypeError, "save: a must be an array, got a='bytes'."),
        (lambda: {"a": np.array(["x"])}, TypeError, "save: a must have a dtype that files have, got dtype='<U1'."),
        (lambda: {"a": np.array([None])}, TypeError, "save: a must have a dtype that files have, got dtype='object'."),
        (lambda: {"a": np.ones(1, "V4")}, TypeError, "save: a must have a dtype that files have, got dtype='|V4'."),
        (lambda: {"a": np.ones(1, np.longdouble)}, TypeError, "save: a must have a dtype that files have, got dtype='"),
        (lambda: {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}, TypeError, "save: a must be an array, got a='ShapeDtypeStruct'."),
        (lambda: {1.5: np.ones(1)}, TypeError, "save: a name must be a string, got name=1.5. The keys of a tree are strings or integers."),
        (lambda: {"__metadata__": np.ones(1)}, ValueError, "save: a name must not be __metadata__, got name='__metadata__'."),
        (lambda: {"a": {"b": np.ones(1)}, "a.b": np.ones(1)}, ValueError, "save: two leaves must not have one name, got name='a.b'."),
        (lambda: {"\ud800": np.ones(1)}, ValueError, "save: a name must be text, got name='\\ud800'."),
    ],
)  # fmt: skip
def test_what_is_not_saved_leaves_the_old_file(tmp_path, bad, kind, words):
    path, content = whole(tmp_path)
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        nn.save(path, bad())
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


def test_tracers_are_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"^save: x must have values, got x='a tracer'. Save outside of jit."):
        jax.jit(lambda x: nn.save(tmp_path / "a", {"x": x}))(jnp.ones(1))


MEMORY = """
import resource, sys, numpy as np, jax, stateful as nn
path = sys.argv[1]
like = nn.load(path, where="small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
arrays = nn.load(path, **eval(sys.argv[2]))
jax.block_until_ready(arrays)
total = sum(x.nbytes for x in arrays.values())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - total)
"""


@pytest.mark.parametrize("options", ["{}", "{'dtype': 'bfloat16'}"])
def test_loading_takes_little_memory_beyond_the_arrays(tmp_path, options):
    size = 4_000_000
    nn.save(tmp_path / "a", {"small": np.ones(2)} | {f"w{i}": np.ones(size // 4, np.float32) for i in range(12)})
    root = pathlib.Path(nn.__file__).parents[1]
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a"), options]
    out = subprocess.run(
        command, cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True, capture_output=True, text=True
    )
    assert int(out.stdout) < 1.5 * size + 4_000_000  # what jax and the allocator take besides
