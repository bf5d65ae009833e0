"""export and load_exported: a program and its weights, without the model's code; to_torch: the way back."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
import transforms
from purenn import layers as L
from transforms.torch_trees import Record

NET = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Dropout(0.5))


def test_a_program_runs_without_the_models_code(tmp_path):
    arrays = NET.init(jax.random.key(0))
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n,3"), jnp.float32)
    transforms.export(NET, (shape,), arrays=arrays).save(tmp_path)
    loaded = transforms.load_exported(tmp_path)
    params, buffers = loaded.init()
    assert [*purenn.tree.flatten(params)] == [*purenn.tree.flatten(arrays[0])]
    for n in (2, 5):
        x = jnp.arange(3.0 * n).reshape(n, 3)
        np.testing.assert_allclose(loaded.apply(params, buffers, x)[0], NET.apply(*arrays, x)[0], rtol=1e-6)
    slope = jax.grad(lambda p: loaded.apply(p, buffers, x)[0].sum())(params)
    expected = jax.grad(lambda p: NET.apply(p, buffers, x)[0].sum())(arrays[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), slope, expected)


def test_the_training_mode_takes_a_key_and_gives_the_buffers(tmp_path):
    arrays, x = NET.init(jax.random.key(0)), jnp.arange(12.0).reshape(4, 3)
    transforms.export(NET, (x,), arrays=arrays, rng=jax.random.key(0), train=True).save(tmp_path)
    loaded = transforms.load_exported(tmp_path)
    out, after = loaded.apply(*arrays, x, rng=jax.random.key(3), train=True)
    wanted, wanted_after = NET.apply(*arrays, x, rng=jax.random.key(3), train=True)
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
    np.testing.assert_allclose(after["1"]["running_mean"], wanted_after["1"]["running_mean"], rtol=1e-6)
    with pytest.raises(ValueError, match="export: train must be True, as at export, got train=False"):
        loaded.apply(*arrays, x)


def test_a_record_goes_through(tmp_path):
    model = purenn.compose(lambda m, x: Record(logits=x * m.w, hidden=x), w=purenn.param(jnp.ones(3)))
    x = jnp.arange(3.0)
    transforms.export(model, (x,), arrays=model.init(jax.random.key(0))).save(tmp_path)
    loaded = transforms.load_exported(tmp_path)
    out, _ = loaded.apply(*loaded.init(), x)
    assert list(out) == ["logits", "hidden"]
    np.testing.assert_array_equal(out.logits, out[0])
    with pytest.raises(AttributeError, match="the result has no 'loss'; it has: logits, hidden"):
        _ = out.loss


def test_what_cannot_be_exported_is_refused(tmp_path):
    with pytest.raises(TypeError, match="export: args must be a tuple"):
        transforms.export(NET, jnp.ones(3))
    with pytest.raises(ValueError, match="export: arrays must be given, the params and buffers of the model"):
        transforms.export(NET, (jnp.ones((2, 3)),))


def test_arrays_of_small_dtypes_and_tied_ones_come_back(tmp_path):
    w = jnp.ones(3, jnp.int4)
    model = purenn.compose(lambda m, x: x, w=purenn.buffer(w), a=purenn.buffer(jnp.ones(2)), v=purenn.buffer(w))
    params, buffers = model.init(jax.random.key(0))
    transforms.export(model, (jnp.ones(3),), arrays=(params, buffers | {"v": buffers["w"]})).save(tmp_path)
    loaded = transforms.load_exported(tmp_path)
    assert [(name, x.dtype) for name, x in loaded.buffers.items()] == [("w", "int4"), ("a", "float32"), ("v", "int4")]


def test_a_damaged_export_is_refused(tmp_path):
    model = purenn.compose(lambda m, x: x * m.w, w=purenn.param(jnp.ones(3)))
    transforms.export(model, (jnp.ones(3),), arrays=model.init(jax.random.key(0))).save(tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="load_exported: the folder must hold a whole export"):
        transforms.load_exported(tmp_path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"export: flatbuffers must be installed. Install purenn\[export\]."):
        transforms.load_exported(tmp_path)


def test_to_torch_gives_a_state_dict_that_torch_loads():
    arrays = NET.init(jax.random.key(0))
    state = transforms.to_torch(*arrays, NET)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    assert list(state) == list(twin.state_dict())
    twin.load_state_dict(state)
    np.testing.assert_array_equal(twin[0].weight.detach(), arrays[0]["0"]["weight"])
    half = transforms.to_torch({"w": jnp.ones(3, jnp.bfloat16)}, {})
    assert half["w"].dtype == torch.bfloat16


def test_to_torch_refuses_foreign_names_and_keys():
    with pytest.raises(ValueError, match="to_torch: params and buffers must hold the model's names"):
        transforms.to_torch({}, {}, NET)
    with pytest.raises(TypeError, match="to_torch: key must be an array of numbers"):
        transforms.to_torch({"key": jax.random.key(0)}, {})
