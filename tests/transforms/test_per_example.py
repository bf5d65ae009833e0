"""per_example_grad: the gradients of a batch, example by example."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)
Y = jnp.array([0, 1, 1, 0, 1])


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def net(lib):
    return lib.Sequential(lib.Linear(3, 8), torch.nn.ReLU() if lib is torch.nn else F.relu, lib.Linear(8, 2))


def loss(m, batch):
    logits = m(batch[0])
    return F.cross_entropy(logits, batch[1]), {"right": logits.argmax(-1)[0] == batch[1][0]}


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def close(a, b, tol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


@pytest.mark.parametrize("lib", [L, nn], ids=["pure", "module"])
def test_gradients_are_torchs_one_by_one(lib):
    theirs, model = net(torch.nn), net(lib)
    params, buffers = purenn.load_state_dict(model, theirs.state_dict())
    fn = jax.jit(transforms.per_example_grad(model, loss))
    ((values, metrics), _), grads = fn(params, buffers, (X, Y))
    assert metrics["right"].shape == (5,)
    for i in range(5):
        theirs.zero_grad()
        x, y = torch.tensor(np.array(X[i : i + 1])), torch.tensor(np.array(Y[i : i + 1])).long()
        value = torch.nn.functional.cross_entropy(theirs(x), y)
        value.backward()
        np.testing.assert_allclose(values[i], value.item(), rtol=1e-5)
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(purenn.tree.flatten(grads)[name][i], p.grad, rtol=1e-4, atol=1e-6)
    _, mean = transforms.value_and_grad(model, loss)(params, buffers, (X, Y))
    close(jax.tree.map(lambda g: g.mean(0), grads), mean)
    assert fn._cache_size() == 1


def test_examples_draw_from_keys_of_their_own():
    model = L.Dropout(0.5)
    ones = jnp.ones((4, 64))
    (kept, _), _ = transforms.per_example_grad(model, lambda m, x: (m(x).sum(), m(x)))({}, {}, ones, rng=KEY)
    rows = {np.asarray(row).tobytes() for row in kept[1]}
    assert len(rows) == 4


def test_where_and_axes():
    model = net(L)
    params, buffers = model.init(KEY)
    fn = transforms.per_example_grad(model, lambda m, x, scale: (m(x.T) * scale).sum(), "2.*", in_axes=(1, None))
    (values, _), grads = fn(params, buffers, X.T, 3.0)
    assert list(grads) == ["2"]
    assert grads["2"]["bias"].shape == (5, 2)
    close(values, 3 * model.apply(params, buffers, X)[0].sum(-1))


def test_buffers_stay_whole_in_evaluation_and_are_refused_where_they_mix_examples():
    model = L.Sequential(L.Conv1d(1, 2, 2), L.BatchNorm1d(2))
    params, buffers = model.init(KEY)
    fn = transforms.per_example_grad(model, lambda m, x: m(x).sum())
    (_, after), grads = jax.jit(fn, static_argnames="train")(params, buffers, X[:, None], train=False)
    jax.tree.map(np.testing.assert_array_equal, after, buffers)
    assert grads["0"]["weight"].shape == (5, 2, 1, 2)
    with refused(
        ValueError, "per_example_grad: buffers must not depend on the example. Pass train=False, or normalise"
    ):
        fn(params, buffers, X[:, None])


def test_other_errors_pass():
    with refused(TypeError, "per_example_grad: model must have init and apply"):
        transforms.per_example_grad(3, loss)
    params, buffers = net(L).init(KEY)
    with refused(ValueError, "per_example_grad: the loss must be a scalar, got its shape=(1, 2)."):
        transforms.per_example_grad(net(L), lambda m, x: m(x))(params, buffers, X)
    with refused(ValueError, "per_example_grad: where must match something, got where='9.*'."):
        transforms.per_example_grad(net(L), loss, "9.*")(params, buffers, (X, Y))


def test_works_without_arrays_and_inside_jit_and_ensemble():
    model = transforms.ensemble(net(L), 2)
    params, buffers = jax.eval_shape(model.init, KEY)
    fn = transforms.per_example_grad(model, lambda m, batch: F.cross_entropy(m(batch[0])[0], batch[1]))
    _, grads = jax.eval_shape(fn, params, buffers, (X, Y))
    assert grads["0"]["weight"].shape == (5, 2, 8, 3)
