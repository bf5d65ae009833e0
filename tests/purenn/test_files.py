"""load_safetensors and save_safetensors: a dict of arrays in a file, as everyone reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

import purenn
from purenn import layers as L

NET = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4))


def test_a_pure_model_keeps_its_weights(tmp_path):
    arrays, path = NET.init(jax.random.key(0)), tmp_path / "net.safetensors"
    purenn.save_safetensors(path, purenn.state_dict(NET, *arrays))
    params, buffers = purenn.load_state_dict(NET, purenn.load_safetensors(path))
    jax.tree.map(np.testing.assert_array_equal, (params, buffers), arrays)


def test_a_nested_dict_and_tied_arrays(tmp_path):
    w, path = jnp.arange(6.0).reshape(2, 3).T, tmp_path / "w.safetensors"
    purenn.save_safetensors(path, {"a": {"weight": w}, "b": {"weight": w, "half": torch.ones(2, dtype=torch.bfloat16)}})
    loaded = purenn.load_safetensors(path)
    assert set(loaded) == {"a.weight", "b.weight", "b.half"}
    assert loaded["a.weight"] is loaded["b.weight"]
    np.testing.assert_array_equal(loaded["a.weight"], w)
    assert loaded["b.half"].dtype == jnp.bfloat16
    assert not [*tmp_path.glob(".*")]


def test_torch_reads_and_writes_such_files(tmp_path):
    path = tmp_path / "net.safetensors"
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    safetensors.torch.save_model(twin, path)
    loaded = purenn.load_safetensors(path)
    np.testing.assert_array_equal(loaded["0.weight"], twin[0].weight.detach())
    purenn.save_safetensors(path, {name: 2 * array for name, array in loaded.items()})
    np.testing.assert_array_equal(safetensors.torch.load_file(path)["0.weight"], 2 * twin[0].weight.detach())


def test_what_is_no_dict_of_arrays_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "w.safetensors"
    purenn.save_safetensors(path, {"w": np.ones(3)})
    with pytest.raises(TypeError, match="save_safetensors: arrays must be a dict of arrays, flat or nested, got type="):
        purenn.save_safetensors(path, [np.ones(3)])
    with pytest.raises(TypeError, match="save_safetensors: a name must be a string, got name=3"):
        purenn.save_safetensors(path, {3: np.ones(3)})
    with pytest.raises(TypeError, match=r"save_safetensors: a\.b must be an array, got type='float'"):
        purenn.save_safetensors(path, {"a": {"b": 1.0}})
    with pytest.raises(
        TypeError, match="save_safetensors: rng must have a dtype that files have, got dtype='key<fry>'"
    ):
        purenn.save_safetensors(path, {"rng": jax.random.key(0)})
    with pytest.raises(
        ValueError, match="save_safetensors: every array must have a name of its own, a text, got name="
    ):
        purenn.save_safetensors(path, {"a.b": np.ones(3), "a": {"b": np.ones(3)}})
    np.testing.assert_array_equal(purenn.load_safetensors(path)["w"], np.ones(3))


def test_a_damaged_file_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    purenn.save_safetensors(path, {"w": np.ones(3)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(purenn.CheckpointError, match="load: w must have its checksum"):
        purenn.load_safetensors(path)
    assert purenn.load_safetensors(path, verify=False)["w"].shape == (3,)
