"""Parametrizations of weights that members or layers keep stacked, and of weights that are cast: each has its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenn
import transforms
from purenn import layers as L

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)
CASES = {
    "lora": lambda model, where: transforms.lora(model, where, rank=2, dropout=0.0),
    "weight_norm": transforms.weight_norm,
    "spectral_norm": transforms.spectral_norm,
    "orthogonal": lambda model, where: transforms.orthogonal(model, where, "householder"),
    "quantize": lambda model, where: transforms.quantize(model, where, bits=4, group_size=2, symmetric=False),
    "prune": lambda model, where: transforms.prune(model, where, 0.5),
}


def cases(*names):
    return pytest.mark.parametrize("wrap", [CASES[name] for name in names], ids=names)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def layer():
    return L.Sequential(L.Linear(4, 4), jnp.tanh)


def close(a, b, tol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def step(model, arrays):
    fn = transforms.value_and_grad(model, lambda m, x: (m(x) ** 2).mean())
    return jax.jit(lambda params, buffers: fn(params, buffers, X))(*arrays)


@cases("lora", "weight_norm", "spectral_norm", "quantize")
def test_around_a_scan_it_is_that_of_each_layer(wrap):
    around, plain = (
        wrap(transforms.scan(layer(), 3), "*.weight"),
        wrap(L.Sequential(*[layer()] * 3), "*.weight"),
    )
    params, buffers = around.init(KEY)
    state = purenn.state_dict(around, params, buffers)
    mine = purenn.load_state_dict(plain, state)
    assert list(state) == list(purenn.state_dict(plain, *mine))
    ((value, after), grads), ((expected, expected_after), expected_grads) = (
        step(around, (params, buffers)),
        step(plain, mine),
    )
    close(value, expected)
    close(
        purenn.state_dict(around, grads, after),
        purenn.state_dict(plain, expected_grads, expected_after),
    )
    merged, *arrays = transforms.merge(around, params, buffers)
    assert merged == transforms.scan(layer(), 3)
    close(merged.apply(*arrays, X)[0], around.apply(params, buffers, X)[0])


@cases("weight_norm", "prune")
def test_around_an_ensemble_it_is_that_of_each_member(wrap):
    around, inside = (
        wrap(transforms.ensemble(layer(), 2), "*.weight"),
        transforms.ensemble(wrap(layer(), "*.weight"), 2),
    )
    arrays = around.init(KEY)
    assert jax.tree.map(jnp.shape, arrays) == jax.tree.map(jnp.shape, inside.init(KEY))
    close(around.apply(*arrays, X)[0], inside.apply(*arrays, X)[0])


def test_vectors_that_are_stacked_are_no_matrices():
    params, buffers = transforms.lora(transforms.scan(layer(), 3), rank=2).init(KEY)
    assert sorted(params["0:3"]["0"]) == ["bias", "lora_A", "lora_B"]
    assert params["0:3"]["0"]["lora_A"]["weight"].shape == (3, 2, 4)
    assert list(buffers["0:3"]["0"]) == ["weight"]


def test_layers_and_members_draw_their_own():
    A = transforms.lora(transforms.ensemble(transforms.scan(layer(), 3), 2), rank=2).init(KEY)[0]["0:3"]["0"]["lora_A"]
    parts = A["weight"].reshape(6, 2, 4)
    assert len({np.asarray(part).tobytes() for part in parts}) == 6
    dropped = transforms.lora(transforms.scan(layer(), 3), rank=2, dropout=0.5)
    params, buffers = jax.tree.map(jnp.ones_like, dropped.init(KEY))
    shown, _, _ = dropped.enter(params, buffers, KEY, True)
    assert len({np.asarray(weight).tobytes() for weight in shown["0:3"]["0"]["weight"]}) > 1


def test_an_average_of_stacked_layers_has_a_name_for_each():
    model = transforms.ema(transforms.scan(layer(), 2), 0.9)
    assert "averaged.1.0.weight" in purenn.state_dict(model, *model.init(KEY))


@cases("lora", "spectral_norm", "orthogonal", "quantize")
def test_low_precision_around_sees_low_precision(wrap):
    """Statistics stay in float32, and no weight is wider than what it is multiplied with."""
    model = transforms.precision(wrap(layer(), "*.weight"))
    params, buffers = model.init(KEY)
    bound = purenn.bind(model, params, buffers, None, True)
    assert bound["0"].weight.dtype == jnp.bfloat16
    assert jax.tree.map(jnp.result_type, bound.buffers) == jax.tree.map(jnp.result_type, buffers)
    inside = wrap(transforms.precision(layer()), "*.weight")
    close(model.apply(params, buffers, X)[0], inside.apply(params, buffers, X)[0], 3e-2)
