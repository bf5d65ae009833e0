"""What makes functions of a model, over every kind of model: one table, and laws that compile next to nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import CASES, MODELS

import purenn
import transforms
from purenn import tree

KEY = jax.random.key(0)
X = jax.ShapeDtypeStruct((6, 4), jnp.float32)


def loss(m, x):
    out = m(x)
    return sum((leaf.astype(jnp.float32) ** 2).mean() for leaf in jax.tree.leaves(out))


# from a model to fn(params, buffers, x, rng, train) -> gradients
FUNCTIONS = {
    "value_and_grad": lambda model: transforms.value_and_grad(model, loss),
    "accumulate": lambda model: transforms.accumulate(model, loss, 3),
    "per_example_grad": lambda model: transforms.per_example_grad(model, loss),
    "hvp": lambda model: (
        lambda params, buffers, *args, **mode: transforms.hvp(model, loss)(params, buffers, params, *args, **mode)
    ),
}
WRAPPED = [case for case in CASES if case.name not in ("scan", "capture")]


def shapes(trees):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), trees)


def gradients(name, model):
    """Shapes of params, buffers, and what the function gives in a call of training."""
    params, buffers = jax.eval_shape(model.init, KEY)
    train = name != "per_example_grad"  # which batch normalisation does not allow
    call = FUNCTIONS[name](model)
    (_, after), grads = jax.eval_shape(lambda *args: call(*args, rng=KEY, train=train), params, buffers, X)
    return params, buffers, after, grads


def check(name, model):
    params, buffers, after, grads = gradients(name, model)
    grads = jax.tree.map(lambda g: g.update(shape=g.shape[1:]) if name == "per_example_grad" else g, grads)
    assert shapes(grads) == shapes(params)
    assert shapes(after) == shapes(buffers)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_have_the_structure_of_params_and_buffers_theirs(name, make):
    check(name, make())


@pytest.mark.parametrize("case", WRAPPED, ids=lambda case: case.name)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_also_of_what_a_transform_gives(name, case):
    check(name, case.wrap(MODELS["pure"]()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_summary_counts_the_leaves_of_what_a_transform_gives(case):
    model = case.wrap(MODELS["pure"]())
    params, buffers = jax.eval_shape(model.init, KEY)
    report = transforms.summary(model, X, train=True)
    assert (report.total.params, report.total.buffers) == (tree.count(params), tree.count(buffers))
    assert (report.param_bytes, report.buffer_bytes) == (tree.nbytes(params), tree.nbytes(buffers))
    assert report.total.output is not None
    assert report.total.flops > transforms.summary(MODELS["pure"](), X).total.flops / 2


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_part_and_the_rest_are_the_whole(make):
    model = make()
    params, buffers = model.init(KEY)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(X.shape), jnp.float32)
    whole, head, body = (
        transforms.value_and_grad(model, loss, where) for where in (None, "head.*", ["body.*", "norm.*"])
    )

    @jax.jit
    def both(params, buffers, x):
        (_, parts), (_, others) = (fn(params, buffers, x, rng=KEY) for fn in (head, body))
        return whole(params, buffers, x, rng=KEY)[1], purenn.tree.combine(parts, others)

    grads, together = both(params, buffers, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), grads, together)


def test_the_check_of_structure_can_fail():
    def short(model):
        def call(params, buffers, x, rng, train):
            (out, after), grads = transforms.value_and_grad(model, loss)(params, buffers, x, rng=rng, train=train)
            return (out, after), {"head": grads["head"]}

        return call

    FUNCTIONS["short"] = short
    try:
        with pytest.raises(AssertionError):
            check("short", MODELS["pure"]())
    finally:
        del FUNCTIONS["short"]
