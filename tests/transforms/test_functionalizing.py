"""functionalize: children are declared where they are used."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenn
import stateful as nn
import transforms
from purenn import init
from purenn import layers as L

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)), jnp.float32)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def mlp(m, x, scale=1.0):
    x = jnp.tanh(m("body", L.Linear(x.shape[-1], 8))(x))
    x = m("norm", L.BatchNorm1d(8))(x) * m("gain", purenn.param(init.ones, (8,)))
    return m("head", L.Linear(8, 2))(m("drop", L.Dropout(0.25))(x)) * scale


def composed():
    def wire(m, x, scale=1.0):
        return m.head(m.drop(m.norm(jnp.tanh(m.body(x))) * m.gain)) * scale

    gain = purenn.param(init.ones, (8,))
    return purenn.compose(
        wire, body=L.Linear(4, 8), norm=L.BatchNorm1d(8), gain=gain, head=L.Linear(8, 2), drop=L.Dropout(0.25)
    )


@pytest.mark.parametrize("given", [X, jax.ShapeDtypeStruct((6, 4), jnp.float32)], ids=["array", "shape"])
def test_it_is_the_composed_model(given):
    model, plain = transforms.functionalize(mlp, given, scale=2.0), composed()
    trees = model.init(KEY)
    equal(trees, plain.init(KEY))
    assert list(purenn.state_dict(model, *trees)) == list(purenn.state_dict(plain, *trees))
    mode = {"rng": KEY, "train": True, "scale": 2.0}
    equal(model.apply(*trees, X, **mode), plain.apply(*trees, X, **mode))
    assert model == transforms.functionalize(mlp, given)
    (_, taken), _ = transforms.capture(model, "*").apply(*trees, X)
    assert list(taken) == ["body", "norm", "drop", "head"]
    module = nn.Module(model)
    assert list(module.state_dict()) == list(purenn.state_dict(model, *trees))
    module.update(*trees)
    np.testing.assert_allclose(module.eval()(X), model.apply(*trees, X)[0], rtol=1e-6, atol=1e-6)


def test_modules_called_by_themselves_are_children():
    def net(m, x):
        x = nn.Linear(x.shape[-1], 8)(x)
        x = nn.Dropout(0.5)(nn.BatchNorm1d(8)(x))
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))(nn.Linear(8, 8)(x)) + 0 * m("extra", L.Linear(4, 2))(X)

    model = transforms.functionalize(net, X)
    params, buffers = model.init(KEY)
    assert list(params) == ["linear", "batchnorm1d", "linear_1", "sequential", "extra"]
    out, after = jax.jit(lambda p, b: model.apply(p, b, X, rng=KEY, train=True))(params, buffers)
    assert out.shape == (6, 2)
    assert int(after["batchnorm1d"]["num_batches_tracked"]) == 1
    with jax.checking_leaks():
        jax.jit(lambda p: model.apply(p, buffers, X)[0])(params)
    trained = transforms.ensemble(transforms.remat(model), 2)
    assert jax.eval_shape(lambda: trained.apply(*trained.init(KEY), X)[0]).shape == (2, 6, 2)
    nn.Linear(4, 2)(X)  # outside it is an object, as ever


def test_one_name_is_one_child_however_often_it_is_used():
    def tied(m, x):
        for _ in range(3):
            x = m("cell", L.Linear(4, 4))(x)
        return x

    model = transforms.functionalize(tied, X)
    params, buffers = model.init(KEY)
    assert list(params) == ["cell"]
    x = X
    for _ in range(3):
        x = L.Linear(4, 4).apply(params["cell"], {}, x)[0]
    equal(model.apply(params, buffers, X)[0], x)


def test_mode_and_keys_are_those_of_the_call():
    def noisy(m, x):
        return x + jax.random.normal(m.rng(), x.shape) if m.training else m("a", L.Linear(4, 4))(x)

    model = transforms.functionalize(noisy, X)
    trees = model.init(KEY)
    out, _ = model.apply(*trees, X, rng=KEY, train=True)
    assert (out != X).all()
    equal(model.apply(*trees, X)[0], L.Linear(4, 4).apply(trees[0]["a"], {}, X)[0])


def late(m, x):
    return m("late", L.Linear(4, 4))(x) if m.training else x


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.functionalize(3), TypeError, "functionalize: fn must be a function, got type(fn)='int'."),
        (lambda: transforms.functionalize(lambda m, x: m("a", 3), X), TypeError, "functionalize: a must be a model, a function, purenn.param(...)"),
        (lambda: transforms.functionalize(lambda m, x: (m("a", L.Linear(4, 4))(x), m("a", L.Linear(4, 2))(x)), X), ValueError, "functionalize: a name must stand for one child, got name='a' and first='Linear' and again='Linear'. Give the second one its own name."),
        (lambda: transforms.functionalize(lambda m, x: x * m("s", purenn.param(jnp.ones(4))), X), ValueError, "functionalize: an array must be given by an initializer and a shape, got name='s'. purenn.param(init.ones, (4,))."),
        (lambda: transforms.functionalize(late, X).apply({}, {}, X, train=True), ValueError, "functionalize: the function must build the same children in every call, got name='late'. Which there are must not depend on m.training"),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()
