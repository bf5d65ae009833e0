"""torch's own files: read without torch and without running anything, and written so that torch reads them."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import collections
import io
import os
import pickle
import re
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import stateful as nn
from stateful import checkpoint_pickle, checkpoint_torch

KEY = jax.random.key(0)
LEGACY = [False, True]
TYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "float8_e8m0fnu",
]  # fmt: skip


def tensor(shape, dtype):
    size = int(np.prod(shape))
    numbers = torch.arange(size, dtype=torch.float64).reshape(shape) + 1
    return (numbers % 2 > 0) if dtype == "bool" else numbers.to(getattr(torch, dtype))


def bits(x):
    x = x.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return x.reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""


def write(path, value, legacy=False):
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def same(mine, theirs):
    mine = np.asarray(mine)
    name = {"float4_e2m1fn": "float4_e2m1fn_x2"}.get(str(mine.dtype), str(mine.dtype))
    assert f"torch.{name}" == str(theirs.dtype)
    assert mine.shape == tuple(theirs.shape)
    assert mine.tobytes() == bits(theirs)


def refused(path, words):
    return pytest.raises(
        nn.CheckpointError, match="^" + re.escape(f"load: {words}").replace("PATH", re.escape(repr(str(path))))
    )


# --------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("legacy", LEGACY)
def test_every_dtype_and_layout(tmp_path, legacy):
    base = torch.arange(24.0).reshape(4, 6)
    given = {f"{dtype}{shape}": tensor(shape, dtype) for dtype in TYPES for shape in [(), (0,), (2, 3), (4, 0, 2)]}
    given |= {
        "transposed": base.t(), "strided": base[::2, 1::3], "expanded": torch.ones(1, 5).expand(7, 5),
        "expanded scalar": torch.tensor(3.0).expand(2, 2), "row": base[2], "offset": base[1:, 2:], "base": base,
        "parameter": torch.nn.Parameter(torch.ones(3)), "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "buffer": torch.nn.Buffer(torch.ones(2)), "conj": torch.tensor([1 + 2j]).conj(),
        "imag of conj": torch.tensor([1 + 2j]).conj().imag, "channels last": torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "half transposed": base.to(torch.bfloat16).t(), "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
    }  # fmt: skip
    named = torch.nn.Parameter(torch.ones(2))
    named.note = "an attribute"
    given["parameter with an attribute"] = named
    back = nn.load(write(tmp_path / "a.pt", given, legacy))
    assert list(back) == [*given]
    for name, x in given.items():
        same(back[name], x)


def test_pairs_of_float4(tmp_path):
    packed = torch.tensor([[0x01, 0x23], [0x45, 0x67]], dtype=torch.uint8)
    write(tmp_path / "a.pt", {"x": packed.view(torch.float4_e2m1fn_x2), "t": packed.t().view(torch.float4_e2m1fn_x2)})
    back = nn.load(tmp_path / "a.pt")
    assert np.asarray(back["x"]).view(np.uint8).tolist() == [[1, 0, 3, 2], [5, 4, 7, 6]]
    assert np.asarray(back["t"]).view(np.uint8).tolist() == [[1, 0, 5, 4], [3, 2, 7, 6]]


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("legacy", LEGACY)
def test_a_state_dict_with_tied_weights(tmp_path, legacy):
    net = Tied()
    back = nn.load(write(tmp_path / "a.pt", net.state_dict(), legacy))
    assert back["head.weight"] is back["embed.weight"]
    assert set(back) == set(net.state_dict())
    for name, x in net.state_dict().items():
        same(back[name], x)


@pytest.mark.parametrize("legacy", LEGACY)
def test_a_training_checkpoint(tmp_path, legacy):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    given = {
        "model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5, "note": "ü", "none": None,
        "losses": [1.0, 2, True], "shape": torch.Size([2, 3]), "dtype": torch.bfloat16, "device": torch.device("cuda", 1),
        "huge": 2**70, "big": -(2**33),
    }  # fmt: skip
    back = nn.load(write(tmp_path / "a.pt", given, legacy))
    same(back["model.weight"], net.weight)
    same(back["optimizer.state.1.exp_avg"], optimizer.state_dict()["state"][1]["exp_avg"])
    assert back["optimizer.param_groups.0.betas.1"] == 0.999
    assert back["optimizer.param_groups.0.params.1"] == 1
    assert [back[f"losses.{i}"] for i in range(3)] == [1.0, 2, True]
    assert (back["epoch"], back["best"], back["note"], back["none"], back["huge"], back["big"]) == (
        3,
        0.5,
        "ü",
        None,
        2**70,
        -(2**33),
    )
    assert (back["shape.0"], back["shape.1"], back["dtype"], back["device"]) == (2, 3, "torch.bfloat16", "cuda:1")
    mine = nn.Linear(3, 2)
    report = nn.load_into(mine, tmp_path / "a.pt", prefix="model.")
    assert report.verified is not legacy
    same(mine.weight, net.weight)


def test_other_protocols_of_pickle(tmp_path):
    given = collections.OrderedDict(a=torch.arange(3.0), b=[1, (2, "x")], c={})
    for protocol in (2, 3, 4, 5):
        torch.save(given, tmp_path / "a.pt", pickle_protocol=protocol)
        back = nn.load(tmp_path / "a.pt")
        same(back["a"], given["a"])
        assert (back["b.0"], back["b.1.0"], back["b.1.1"]) == (1, 2, "x")


def test_an_archive_in_the_other_byte_order(tmp_path):
    given = {
        "f": torch.arange(3.0),
        "h": torch.ones(2, dtype=torch.bfloat16),
        "c": torch.tensor([1 + 2j]),
        "b": torch.ones(2, dtype=torch.uint8),
    }
    write(tmp_path / "a.pt", given)

    def swap(name, data):
        if name.endswith("byteorder"):
            return b"big"
        width = {"data/0": 4, "data/1": 2, "data/2": 4}.get("/".join(name.split("/")[1:]))
        return np.frombuffer(data, f"u{width}").byteswap().tobytes() if width else data

    rewrite(tmp_path / "a.pt", swap)
    back = nn.load(tmp_path / "a.pt")
    for name, x in given.items():
        same(back[name], x)


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            if (changed := change(name, data)) is not None:
                archive.writestr(name, changed)


# --------------------------------------------------------------------------------------------------------- bad files


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Built:
    def __reduce__(self):
        return (collections.OrderedDict, (), {"__class__": os.system})


EVIL = {
    "system": Runs(os.system, "touch ran"), "exec": Runs(exec, "open('ran', 'w')"), "eval": Runs(eval, "open('ran', 'w')"),
    "getattr": Runs(getattr, Runs(__import__, "os"), "system"), "load": Runs(torch.load, "ran"), "import": Runs(__import__, "ran"),
    "open": Runs(open, "ran", "w"), "class": Built(), "a class": io.BytesIO, "a set": {1, 2}, "bytes": b"x", "complex": 1j,
    "a function": torch.nn.functional.relu, "an object": torch.nn.ReLU(), "a generator": torch.Generator(),
    "sparse": torch.eye(3).to_sparse(),
}  # fmt: skip


@pytest.mark.parametrize("legacy", LEGACY)
def test_what_is_no_tensor_or_plain_value_is_refused_and_nothing_is_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    for name, value in EVIL.items():
        path = tmp_path / "a.pt"
        write(path, {"w": torch.ones(2), "x": value}, legacy)
        with refused(path, "") as caught:
            nn.load(path)
        assert "Nothing in a file is ever run." in str(caught.value) or name in ("bytes", "complex"), name
        assert os.listdir(tmp_path) == ["a.pt"]


def archive(path, pickled, storages=(), extra=()):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        for number, data in enumerate(storages):
            file.writestr(f"a/data/{number}", data)
        for name, data in extra:
            file.writestr(name, data)
    return path


def one(
    storage="torch\nFloatStorage",
    key=b"0",
    count=2,
    offset=0,
    shape=(2,),
    strides=(1,),
    function=b"ctorch._utils\n_rebuild_tensor_v2\n",
):
    def number(n):
        return b"J" + struct.pack("<i", n)

    sizes = [b"(" + b"".join(map(number, part)) + b"t" for part in (shape, strides)]
    place = (
        b"(X\x07\0\0\0storagec"
        + storage.encode()
        + b"\nX"
        + struct.pack("<I", len(key))
        + key
        + b"X\3\0\0\0cpu"
        + number(count)
        + b"tQ"
    )
    return b"\x80\x02}(X\1\0\0\0w" + function + b"(" + place + number(offset) + sizes[0] + sizes[1] + b"\x89}tRu."


BOMB = (
    b"(" * 1 + b"t" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
)  # a tuple of 2^60 leaves

BAD = {
    "beyond the storage": (one(shape=(3,)), "a tensor must lie within its storage, got path=PATH and offset=0 and shape=(3,) and strides=(1,) and its bytes=8"),
    "an offset beyond": (one(offset=1), "a tensor must lie within its storage"),
    "a stride beyond": (one(strides=(2,)), "a tensor must lie within its storage"),
    "400 GB by strides of 0": (one(shape=(100_000, 1_000_000), strides=(0, 0)), "tensors must not be larger than the file"),
    "a negative size": (one(shape=(-1,)), "sizes and strides must be natural numbers, got path=PATH and sizes=(-1,)"),
    "a negative stride": (one(strides=(-1,)), "sizes and strides must be natural numbers"),
    "a negative offset": (one(offset=-1), "a tensor must have sizes and strides"),
    "fewer strides": (one(shape=(1, 2)), "a tensor must have sizes and strides, got path=PATH and shape=(1, 2) and strides=(1,)"),
    "too many axes": (one(shape=(1,) * 40, strides=(1,) * 40), "a tensor must have sizes and strides"),
    "another storage": (one(storage="torch\nQInt8Storage"), "a storage must be of a known kind, got path=PATH and storage='torch.QInt8Storage' and key='0'"),
    "a storage of another module": (one(storage="os\nFloatStorage"), "a storage must be of a known kind"),
    "a negative storage": (one(count=-1), "a storage must be of a known kind"),
    "a missing storage": (one(key=b"../1"), "a storage must be there, in its size, got path=PATH and storage='../1' and its bytes=None and elements=2"),
    "a storage of another size": (one(count=3), "a storage must be there, in its size"),
    "another function": (one(function=b"ctorch._utils\n_rebuild_wrapper\n"), "the file must hold tensors and plain values only, got path=PATH and found='torch._utils._rebuild_wrapper'"),
    "wrong arguments": (b"\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(K\1tRu.", "a tensor must be written as torch does"),
    "a storage alone": (b"\x80\x02}(X\1\0\0\0wK\1Qu.", "a storage must be part of a tensor, got path=PATH and id=1"),
    "no dict": (b"\x80\x02K\1.", "every tensor must have a name of its own, got path=PATH and name=''"),
    "one name for two": (b"\x80\x02}(K\1K\1X\1\0\0\x001K\2u.", "every tensor must have a name of its own, got path=PATH and name='1'"),
    "a list in itself": (b"\x80\x02]q\0h\0a.", "the content must not be nested without end"),
    "two to the sixty leaves": (b"\x80\x02}(X\1\0\0\0w" + BOMB + b"u.", "the content must not be nested without end"),
    "a key that takes for ever to hash": (b"\x80\x02}(" + BOMB + b"K\1u.", "the pickle must be one of tensors and plain values, got path=PATH and error='a key is a tuple'. Nothing in a file is ever run."),
    "a memo of 2^31": (b"\x80\x02K\1r\xff\xff\xff\x7f0.", "the pickle must be one of tensors and plain values, got path=PATH and error='it has the instruction POP at step 3'"),
    "an extension": (b"\x80\x02\x82\1.", "the pickle must be one of tensors and plain values"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "the pickle must be one of tensors and plain values"),
    "a new object": (b"\x80\x02cos\nsystem\n)\x81.", "the pickle must be one of tensors and plain values"),
    "a call of no global": (b"\x80\x02K\1)R.", "the pickle must be one of tensors and plain values, got path=PATH and error='what is called is no global'"),
    "no end": (b"\x80\x02K\1", "the pickle must be one of tensors and plain values"),
    "two objects": (b"\x80\x02K\1K\1.", "the pickle must be one of tensors and plain values, got path=PATH and error='it does not leave one object'"),
    "an empty stack": (b"\x80\x02a.", "the pickle must be one of tensors and plain values, got path=PATH and error='the stack is empty'"),
    "no mark": (b"\x80\x02]e.", "the pickle must be one of tensors and plain values, got path=PATH and error='there is no mark'"),
    "a list that is none": (b"\x80\x02K\1K\2a.", "the pickle must be one of tensors and plain values, got path=PATH and error='there is no list on the stack'"),
    "an odd dict": (b"\x80\x02}(K\1u.", "the pickle must be one of tensors and plain values, got path=PATH and error='a key has no value'"),
    "nothing remembered": (b"\x80\x02h\5.", "the pickle must be one of tensors and plain values, got path=PATH and error='nothing was remembered as 5'"),
    "a mark remembered": (b"\x80\x02(q\1.", "the pickle must be one of tensors and plain values, got path=PATH and error='the stack is empty'"),
    "a global without a name": (b"\x80\x04K\1K\2\x93.", "the pickle must be one of tensors and plain values, got path=PATH and error='the name of a global is no string'"),
    "a string that is longer than the file": (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fx.", "the pickle must be one of tensors and plain values"),
    "a number of many digits": (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "the pickle must be one of tensors and plain values"),
    "tensors in tensors": (b"\x80\x02}(X\1\0\0\0w" + b"ctorch._utils\n_rebuild_parameter\n(" * 2000 + b"K\1" + b"\x89NtR" * 2000 + b"u.", "a tensor must be written as torch does"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_hostile_pickles(tmp_path, name):
    pickled, words = BAD[name]
    path = archive(tmp_path / "a.pt", pickled, [b"\0" * 8])
    with refused(path, words):
        nn.load(path)


def test_the_archive_of_these_is_read_when_it_is_good(tmp_path):
    back = nn.load(archive(tmp_path / "a.pt", one(), [np.float32([1, 2]).tobytes()]))
    np.testing.assert_array_equal(back["w"], [1, 2])


def test_one_storage_has_one_dtype(tmp_path):
    two = one()[:-2] + one(storage="torch\nIntStorage")[4:].replace(b"X\1\0\0\0w", b"X\1\0\0\0v")
    path = archive(tmp_path / "a.pt", two, [b"\0" * 8])
    with refused(path, "a storage must have one dtype and one size, got path=PATH and key='0'"):
        nn.load(path)
    x = torch.ones(4, dtype=torch.uint8)
    write(path, {"a": x.view(torch.float8_e4m3fn), "b": x.view(torch.float8_e5m2)})
    with refused(
        path, "a storage must have one dtype, got path=PATH and storage='0' and dtypes=['float8_e4m3fn', 'float8_e5m2']"
    ):
        nn.load(path)


def test_hostile_archives(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\0" * 10_000_000)
    with refused(path, "members must not be compressed or encrypted, got path=PATH and member='a/data.pkl'"):
        nn.load(path)
    archive(path, one(), [b"\0" * 8], [("b/data.pkl", b"x")])
    with refused(
        path, "the archive must hold one data.pkl, got path=PATH and members=['a/data.pkl', 'a/data/0', 'b/data.pkl']"
    ):
        nn.load(path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, one(), [b"\0" * 8], [("a/data/0", b"\1" * 8)])
    with refused(path, "an archive must have no member twice, got path=PATH and members=3 and names=2"):
        nn.load(path)
    archive(path, b"\0" * (checkpoint_torch._MAX_PICKLE + 1))
    with refused(path, "a description must have at most 64000000 bytes, got path=PATH and bytes=64000001"):
        nn.load(path)
    content = archive(path, one(), [b"\0" * 8]).read_bytes()
    for place, words in (
        (content.rfind(b"PK\5\6") + 12, "the directory of an archive must fit into memory"),
        (content.find(b"PK\1\2") + 42, "a member must be where the directory says"),
    ):
        path.write_bytes(content[:place] + b"\xfe\xff\xff\x00" + content[place + 4 :])
        with refused(path, ""):
            nn.load(path)
        assert words
    path.write_bytes(content[: len(content) // 2])
    with refused(
        path, "the file must be a whole zip archive, got path=PATH and error='it has no directory at its end'"
    ):
        nn.load(path)


def test_long_pickles_are_refused_before_they_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_pickle, "MAX_STEPS", 5000)
    path = archive(tmp_path / "a.pt", b"\x80\x02" + b"]" * 6000 + b".")
    with refused(
        path,
        "the pickle must be one of tensors and plain values, got path=PATH and error='it has the instruction EMPTY_LIST at step 5001'",
    ):
        nn.load(path)


def test_flipped_bits_in_the_numbers_are_noticed(tmp_path):
    given = {"w": torch.arange(64.0), "part": torch.arange(100.0)[3:9], "t": torch.arange(6.0).reshape(2, 3).t()}
    content = write(tmp_path / "a.pt", given).read_bytes()
    for x in given.values():
        raw = x.untyped_storage()
        place = content.find(bytes(raw)) + len(bytes(raw)) - 1
        path = tmp_path / "b.pt"
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with refused(path, "a storage must have its checksum, got path=PATH and storage="):
            nn.load(path)
        assert set(nn.load(path, verify=False)) == set(given)


def test_a_boolean_of_another_byte(tmp_path):
    path = archive(tmp_path / "a.pt", one(storage="torch\nBoolStorage"), [b"\0\2"])
    with refused(path, "booleans must be 0 or 1, got path=PATH and storage='0' and a byte=2"):
        nn.load(path)


def test_the_older_form_cut_short_or_changed(tmp_path):
    content = write(tmp_path / "a.pt", {"w": torch.ones(3), "v": torch.ones(2)}, True).read_bytes()
    path = tmp_path / "b.pt"
    for end in [*range(14, len(content), 5), len(content) - 1]:
        path.write_bytes(content[:end])
        with refused(path, ""):
            nn.load(path)
    path.write_bytes(content + b"\0")
    with refused(path, "the file must end with the last storage, got path=PATH and size="):
        nn.load(path)
    path.write_bytes(content.replace(b"\xe9\x03", b"\xea\x03"))
    with refused(path, "the file must be of torch's older form, got path=PATH and version=1002"):
        nn.load(path)
    count = content.rfind(struct.pack("<q", 2))
    path.write_bytes(content[:count] + struct.pack("<q", 1) + content[count + 8 :])
    with refused(path, "a storage must have the size that is said"):
        nn.load(path)
    keys = pickle.dumps(["1"], 2)
    path.write_bytes(content[: content.rfind(b"\x80\x02]")] + keys)
    with refused(path, "every storage must be named once, got path=PATH and key='1'"):
        nn.load(path)


# --------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_torch_loads_what_is_written(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    half = jnp.arange(6.0).reshape(2, 3).astype(jnp.bfloat16)
    given = {
        "model": nn.Linear(3, 2), "half": half, "tied": half, "list": [np.float64(1.5), (1, 2.5, "ü", None, True, -(2**40), 2**300)],
        "ints": {0: np.arange(3), 1: jnp.zeros((0, 2), jnp.int8)}, "transposed": np.arange(6.0).reshape(2, 3).T,
        "f8": jnp.ones((2, 3), jnp.float8_e5m2), "f4": np.arange(8, dtype=np.uint8).reshape(2, 4).view(jnp.float4_e2m1fn),
        "u": np.uint32([7]), "c": np.complex128([1 + 2j]), "b": np.array([True]),
    }  # fmt: skip
    nn.save(path, given)
    for options in ({}, {"mmap": True}):
        back = torch.load(path, weights_only=True, **options)
        assert list(back) == [*given]
        torch.nn.Linear(3, 2).load_state_dict(back["model"])
        same(given["model"].weight, back["model"]["weight"])
        same(half, back["half"])
        assert back["tied"].data_ptr() == back["half"].data_ptr()
        assert back["list"][0].item() == 1.5
        assert back["list"][1] == (1, 2.5, "ü", None, True, -(2**40), 2**300)
        assert list(back["ints"]) == [0, 1]
        same(given["ints"][1], back["ints"][1])
        for name in ("transposed", "f8", "u", "c", "b"):
            same(given[name], back[name])
        assert back["f4"].view(torch.uint8).tolist() == [[0x10, 0x32], [0x54, 0x76]]
    mine = nn.load(path)
    np.testing.assert_array_equal(np.asarray(mine["f4"]).astype(float), given["f4"].astype(float))
    with zipfile.ZipFile(path) as file:  # torch maps the numbers where they lie
        raw = path.read_bytes()
        for info in file.infolist():
            start = (
                info.header_offset
                + 30
                + sum(struct.unpack("<HH", raw[info.header_offset + 26 : info.header_offset + 30]))
            )
            assert start % 64 == 0
    again = path.read_bytes()
    nn.save(path, given)
    assert path.read_bytes() == again


def test_a_module_is_written_as_a_state_dict(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    nn.save(tmp_path / "a.pt", net)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    twin.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True), strict=True)
    same(net[0].weight, twin[0].weight)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (KEY, "save: x must be no PRNG key in a file of torch's, got x='key'. Save jax.random.key_data(key)."),
        (
            jnp.ones(2, jnp.int4),
            "save: x must have a dtype that torch has, got dtype='int4' and shape=(2,). Save as .safetensors.",
        ),
        (
            jnp.ones(3, jnp.float4_e2m1fn),
            "save: x must have a dtype that torch has, got dtype='float4_e2m1fn' and shape=(3,). Save as .safetensors.",
        ),
        (
            2**3000,
            "save: torch's files hold no such scalar, got value='an integer of 3001 bits'. Save as .safetensors.",
        ),
        (1j, "save: torch's files hold no such scalar, got value=1j. Save as .safetensors."),
    ],
)
def test_what_torch_cannot_hold(tmp_path, value, words):
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        nn.save(tmp_path / "a.pt", {"x": value})
    assert os.listdir(tmp_path) == []
