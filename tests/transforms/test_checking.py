"""checked: wrong values by module path, arrays not used, keys used again, buffers discarded; off, it is not there."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 3)), jnp.float32)


def net():
    return purenn.compose(
        lambda m, x: m.head(m.drop(m.norm(m.log(m.body(x) ** 2)))),
        body=L.Linear(3, 4), log=jnp.log, norm=L.BatchNorm1d(4), drop=L.Dropout(0.5), head=L.Linear(4, 2),
    )  # fmt: skip


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, nn.Module, transforms.remat, lambda m: transforms.ensemble(m, 2)],
    ids=["pure", "module", "remat", "ensemble"],
)
def test_the_module_whose_output_is_not_finite_is_named(wrap):
    model = wrap(net())
    checked = transforms.checked(model)
    params, buffers = checked.init(KEY)
    close(checked.apply(params, buffers, X), model.apply(params, buffers, X))
    zero = jax.tree.map(jnp.zeros_like, params)
    with refused(checkify.JaxRuntimeError, "checked: the output of log must be finite."):
        checked.apply(zero, buffers, X)
    loose = transforms.checked(model, finite=False)
    assert not np.isfinite(loose.apply(zero, buffers, X)[0]).all()


def test_indices_out_of_range_are_named():
    checked = transforms.checked(L.Sequential(L.Embedding(4, 3), L.Linear(3, 2)))
    with refused(checkify.JaxRuntimeError, "embedding: input must lie in [0, 4)"):
        checked.apply(*checked.init(KEY), jnp.array([0, 7]))


def test_off_it_adds_nothing_to_the_program():
    plain, model = net(), transforms.checked(net())
    arrays = plain.init(KEY)

    def program(model):
        def run(p, b):
            return jax.grad(lambda p: model.apply(p, b, X, rng=KEY, train=True)[0].sum())(p)

        return str(jax.make_jaxpr(run)(*arrays))

    assert program(model) == program(plain)


def test_a_training_step_is_looked_into():
    model = transforms.checked(net())
    trainer = transforms.train_step(model, lambda m, x: (m(x) ** 2).mean(), optax.sgd(0.1), donate=False)
    state = trainer.init(KEY)
    look = purenn.checked(trainer.step)
    close(look(state, X)[0].params, trainer.step(state, X)[0].params)
    with refused(checkify.JaxRuntimeError, "checked: the output of body must be finite."):
        look(state, X * jnp.inf)
    donated = transforms.train_step(model, lambda m, x: (m(x) ** 2).mean(), optax.sgd(0.1))
    close(purenn.checked(donated.step)(donated.init(KEY), X)[0].params, trainer.step(state, X)[0].params)


def test_children_that_a_loss_calls_are_looked_at():
    model = transforms.checked(net())
    arrays = model.init(KEY)

    def value(params, x):
        return purenn.bind(model, params, arrays[1]).log(x).sum()

    with refused(checkify.JaxRuntimeError, "checked: the output of log must be finite."):
        purenn.checked(value)(arrays[0], X * 0)


def test_arrays_that_a_training_call_does_not_use_are_named():
    def wire(m, x):
        m.seen = m.seen + 1
        return m.body(x) + m.shift

    model = purenn.compose(
        wire, body=L.Linear(3, 2), aside=L.Linear(3, 2), seen=purenn.buffer(0), shift=purenn.buffer(jnp.ones(2)),
        table=purenn.buffer(jnp.ones(5)),
    )  # fmt: skip
    checked = transforms.checked(model)
    arrays = checked.init(KEY)
    with refused(
        ValueError,
        "checked: a training call must use every array, got unused=['aside.bias', 'aside.weight', 'table']. Leave them out, or freeze what is kept on purpose: checked(model, unused=False).",
    ):
        checked.apply(*arrays, X, train=True)
    checked.apply(*arrays, X)
    _, after = transforms.checked(model, unused=False).apply(*arrays, X, train=True)
    assert int(after["seen"]) == 1
    transforms.checked(net()).apply(*net().init(KEY), X, rng=KEY, train=True)


def test_discarded_buffers_are_an_error():
    model = transforms.checked(net())
    params, buffers = model.init(KEY)
    _, after = model.apply(params, buffers, X, rng=KEY, train=True)
    model.apply(params, buffers, X)  # evaluation changes nothing
    with refused(
        ValueError,
        "checked: a training call must be given the buffers that the last one returned, got discarded=['norm.num_batches_tracked', 'norm.running_mean', 'norm.running_var']. Keep them: out, buffers = model.apply(",
    ):
        model.apply(params, buffers, X, rng=jax.random.key(1), train=True)
    model.apply(params, after, X, rng=jax.random.key(1), train=True)
    free = transforms.checked(net(), reused=False)
    for _ in range(2):
        free.apply(params, buffers, X, rng=KEY, train=True)


def test_a_key_used_by_two_calls_is_an_error():
    model = transforms.checked(net())
    params, buffers = model.init(KEY)
    for seed, key in ((0, jax.random.key(0)), (1, jax.random.PRNGKey(1))):
        _, buffers = model.apply(params, buffers, X, rng=key, train=True)
        with refused(
            ValueError,
            "checked: a training call must have a key of its own, got rng='one used before'. Fold the step into it: jax.random.fold_in(rng, step).",
        ):
            model.apply(params, buffers, X, rng=jax.random.key(seed), train=True)
    quiet = transforms.checked(L.Linear(3, 2))  # draws nothing
    for _ in range(2):
        quiet.apply(*quiet.init(KEY), X, rng=KEY, train=True)


def test_a_key_used_twice_in_a_call_is_an_error():
    def wire(m, x):
        return m.inner(x)

    def twice(m, x):
        key = m.rng()
        return F.dropout(x, 0.5, rng=key) + F.dropout(x, 0.5, rng=key)

    model = transforms.checked(purenn.compose(wire, inner=purenn.compose(twice)))
    with refused(
        ValueError,
        "checked: a key must be used once in a call, got rng='one used before'. Draw from a key of its own each time: m.rng(), or jax.random.split.",
    ):
        model.apply({}, {}, X, rng=KEY, train=True)


def test_a_second_call_compiles_nothing_and_flags_go_through():
    traces = []

    def wire(m, x, mode, flag=False):
        traces.append(mode)
        return m.a(x) if flag else x

    model = transforms.checked(purenn.compose(wire, a=L.Linear(3, 2)))
    arrays = model.init(KEY)
    model.apply(*arrays, X, "up", flag=True)
    count = len(traces)
    model.apply(*arrays, X + 1, "up", flag=True)
    assert len(traces) == count
    model.apply(*arrays, X, "down", flag=True)
    assert set(traces) == {"up", "down"}
    again = pickle.loads(pickle.dumps(model := transforms.checked(L.Linear(3, 2))))
    assert again == model


def test_what_is_no_model_is_refused():
    with refused(TypeError, "checked: model must be a model, not a class, got model='Linear'. Call it."):
        transforms.checked(L.Linear)
