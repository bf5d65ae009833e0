"""Checkpoints: what is written is what is read, by torch too."""

import json
import os
import pathlib
import subprocess
import sys

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
from purenn.files import dtypes as file_dtypes
from purenn.files.safetensors import CHUNK, SMALL, open_safetensors

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
TORCH = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn": "F4",
}  # fmt: skip
SHAPES = [(), (1,), (0,), (3,), (2, 3), (4, 0, 2), (2, 3, 4), (1, 1, 1, 1)]


def numbers(shape, dtype):
    x = RNG.standard_normal(shape) * 10
    return np.asarray(np.abs(x) if jnp.dtype(dtype).kind in "ub" else x).astype(jnp.dtype(dtype))


def same(a, b):
    """Equal to the bit, in shape and dtype."""
    a, b = np.asarray(a), np.asarray(b)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.tobytes() == b.tobytes()


def bits(tensor):
    tensor = tensor.contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


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


# ------------------------------------------------------------------------------------ round trips


def test_the_tables_of_dtypes_are_one():
    assert {str(dtype): name for dtype, name in file_dtypes.NAMES.items()} == TORCH


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
    "bool": (BASE > 4).T, "0-d": BASE[1, 2, ...].T, "big-endian 0-d": np.asarray(7, ">i4"), "a number": np.float16(3),
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


def test_small_arrays_are_read_and_written_together_in_any_order(tmp_path):
    sizes = [3, 0, SMALL - 1, SMALL, SMALL + 1, *[50_001] * 45, CHUNK + 7, 1, SMALL // 2]
    rng = np.random.default_rng(0)
    state = {f"a{i}": rng.integers(0, 255, size, np.uint8) for i, size in enumerate(sizes)}
    state["w"] = rng.standard_normal((5, 3))
    nn.save(tmp_path / "a", state)
    theirs = safetensors.torch.load_file(tmp_path / "a")
    np.testing.assert_equal({name: tensor.numpy() for name, tensor in theirs.items()}, state)
    with open_safetensors(tmp_path / "a") as content:
        for order in (list(state), list(state)[::-1], rng.permutation(list(state))):
            found = {name: content.entries[name].read() for name in order}
            np.testing.assert_equal(found, state)
        assert all(array.ctypes.data % 64 == 0 for array in found.values())
        found["a0"][:] = 0  # each has memory of its own
        assert content.entries["a0"].read().any()
        os.truncate(tmp_path / "a", 2_000_000)
        with pytest.raises(nn.CheckpointError, match="the file must not end within an array"):
            [content.entries[name].read() for name in order]


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
    run([sys.executable, "-c", code, str(tmp_path / "there")], PYTHONHASHSEED="1")
    nn.save(tmp_path / "here", {"b": np.ones((2, 3)), "a": np.arange(4)})
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def run(command, **env):
    root = pathlib.Path(nn.__file__).parents[1]
    return subprocess.run(command, cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"} | env, check=True, timeout=120)


# ------------------------------------------------------------------------------------ modules and torch


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
        assert set(file.metadata()) == {"format", "purenn", "purenn.header", "head.weight"}
        assert file.metadata()["head.weight"] == "embed.weight"
        assert file.metadata()["format"] == "pt"  # what Hugging Face's readers ask for
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
        assert set(file.metadata()) == {"format", "purenn", "purenn.header"}


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


# ------------------------------------------------------------------------------------ what the format cannot say


OTHERS = ["int2", "uint2", "int4", "uint4", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "complex128"]


def test_the_other_dtypes_are_all_there():
    assert {str(dtype) for dtype in file_dtypes.OTHERS} == set(OTHERS)


@pytest.mark.parametrize("dtype", [*OTHERS, "float4_e2m1fn"])
def test_dtypes_that_the_format_lacks_come_back_and_others_read_their_bytes(tmp_path, dtype):
    given = {f"x{i}": numbers(shape, dtype) for i, shape in enumerate(SHAPES)}
    given["odd"] = numbers((3, 5), dtype)
    given["odd transposed"] = numbers((3, 5), dtype).T
    nn.save(tmp_path / "a", given)
    for name, x in nn.load(tmp_path / "a").items():
        same(x, given[name])
    theirs = safetensors.torch.load_file(tmp_path / "a")
    assert set(theirs) == set(given)
    width = {"int2": 4, "uint2": 4, "int4": 2, "uint4": 2, "float4_e2m1fn": 2}.get(dtype)
    if width:  # packed: as many bytes as it takes
        assert theirs["odd"].untyped_storage().nbytes() == -(-15 // width)
    elif dtype == "complex128":
        np.testing.assert_array_equal(torch.view_as_complex(theirs["odd"]).numpy(), given["odd"])


def test_small_elements_are_packed_lower_bits_first_as_torch_packs_them(tmp_path):
    given = np.array([1, 0, 3, 2], np.uint8).view(jnp.float4_e2m1fn)
    nn.save(tmp_path / "a", {"x": given})
    packed = torch.tensor([0x01, 0x23], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    safetensors.torch.save_file({"x": packed}, tmp_path / "b")
    same(nn.load(tmp_path / "b")["x"], given)
    assert safetensors.torch.load_file(tmp_path / "a")["x"].view(torch.uint8).tolist() == [0x01, 0x23]


def test_random_keys_keep_their_implementation(tmp_path):
    given = {"a": KEY, "b": jax.random.split(jax.random.key(3, impl="rbg"), (2, 3)), "raw": jax.random.PRNGKey(1)}
    nn.save(tmp_path / "a", given | {"again": given["b"]})
    back = nn.load(tmp_path / "a")
    assert back["again"] is back["b"]
    for name in ("a", "b"):
        assert back[name].dtype == given[name].dtype
        same(jax.random.key_data(back[name]), jax.random.key_data(given[name]))
    same(back["raw"], given["raw"])
    # for everybody else they are their words
    assert safetensors.torch.load_file(tmp_path / "a")["b"].shape == (2, 3, 4)


SCALARS = {
    "true": True, "int": 3, "huge": -(10**400), "float": 0.1, "tiny": 5e-324, "inf": float("inf"), "complex": 1 - 2j,
    "text": "nul\0 ü 名 \ud800", "empty": "", "none": None,
}  # fmt: skip


def test_python_scalars_come_back_as_they_were(tmp_path):
    nn.save(tmp_path / "a", {"x": np.ones(2), **SCALARS, "nan": float("nan")})
    back = nn.load(tmp_path / "a")
    assert {name: (type(back[name]), back[name]) for name in SCALARS} == {n: (type(v), v) for n, v in SCALARS.items()}
    assert np.isnan(back["nan"])
    assert list(safetensors.torch.load_file(tmp_path / "a")) == ["x"]


def test_names_that_the_metadata_uses_itself(tmp_path):
    x = jnp.ones(3)
    given = {"a": x, "purenn": x, "format": x, "purenn.header": x, "pt": jnp.zeros(2)}
    nn.save(tmp_path / "a", given)
    back = nn.load(tmp_path / "a")
    assert set(back) == set(given)
    for name, value in given.items():
        same(back[name], value)
