"""accumulate: a batch in micro-batches is the batch."""

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
X = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)), jnp.float32)
Y = jnp.array([0, 1, 1, 0, -100, 0, -100, 1])  # of four micro-batches, the first has one ignored target, the third two
Y = Y.at[2].set(-100)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def forward(m, x):
    return m.head(F.relu(m.body(x)))


def pure():
    return purenn.compose(forward, body=L.Linear(3, 8), head=L.Linear(8, 2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return forward(self, x)


def loss(m, batch):
    x, y = batch
    logits = m(x)
    metrics = {"top": logits.max(-1).mean(), "count": (y >= 0).sum(), "first": (y == 0).any()}
    return F.cross_entropy(logits, y.clip(0)), metrics


def ignoring(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1], ignore_index=-100)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def close(a, b, tol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("make", [pure, Net], ids=["pure", "module"])
def test_value_gradients_and_metrics_are_those_of_the_large_batch(make):
    model = make()
    params, buffers = model.init(KEY)
    got = jax.jit(transforms.accumulate(model, loss, 4))(params, buffers, (X, Y))
    close(got, jax.jit(transforms.value_and_grad(model, loss))(params, buffers, (X, Y)))
    ((_, metrics), _), _ = got
    assert metrics["count"].dtype == jnp.int32
    assert metrics["first"].dtype == bool


def test_one_micro_batch_is_the_plain_function_bit_for_bit():
    model = L.Sequential(L.Linear(3, 8), L.BatchNorm1d(8), L.Dropout(0.5), L.Linear(8, 2))
    params, buffers = model.init(KEY)
    functions = transforms.accumulate(model, loss, 1), transforms.value_and_grad(model, loss)
    equal(*(jax.jit(fn)(params, buffers, (X, Y), rng=KEY) for fn in functions))


def test_weights_make_the_mean_over_what_is_not_ignored():
    model = pure()
    params, buffers = model.init(KEY)
    weighted = transforms.accumulate(model, ignoring, 4, weight=lambda batch: (batch[1] >= 0).sum())
    big = jax.jit(transforms.value_and_grad(model, ignoring))(params, buffers, (X, Y))
    got = jax.jit(weighted)(params, buffers, (X, Y))
    close(got, big)
    # the third micro-batch has no target at all: its mean is NaN, and without weights it spoils the whole
    assert np.isnan(jax.jit(transforms.accumulate(model, ignoring, 4))(params, buffers, (X, Y))[0][0])


def test_no_target_in_the_whole_batch_is_nan_as_the_large_batch_is():
    model = pure()
    params, buffers = model.init(KEY)
    weighted = transforms.accumulate(model, ignoring, 4, weight=lambda batch: (batch[1] >= 0).sum())
    (value, _), _ = weighted(params, buffers, (X, jnp.full_like(Y, -100)))
    assert np.isnan(value)


def test_sums_add_up():
    model = pure()
    params, buffers = model.init(KEY)

    def total(m, x):
        out = m(x)
        return (out**2).sum(), {"mean": out.mean()}

    big = jax.jit(transforms.value_and_grad(model, total))(params, buffers, X)
    close(jax.jit(transforms.accumulate(model, total, 2, reduction="sum"))(params, buffers, X), big)


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(3, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def test_buffers_and_gradients_are_those_of_torchs_loop():
    theirs = TorchNet()
    model = purenn.compose(
        lambda m, x: m.head(m.norm(m.body(x))), body=L.Linear(3, 8), norm=L.BatchNorm1d(8), head=L.Linear(8, 2)
    )
    params, buffers = purenn.load_state_dict(model, theirs.state_dict())
    x, y = torch.tensor(np.array(X)), torch.tensor(np.array(Y.clip(0)))
    for i in range(4):
        (torch.nn.functional.cross_entropy(theirs(x[i::4]), y[i::4].long()) / 4).backward()
    (_, after), grads = jax.jit(transforms.accumulate(model, loss, 4))(params, buffers, (X, Y))
    for path, array in purenn.tree.flatten(after).items():
        np.testing.assert_allclose(array, theirs.state_dict()[path], rtol=1e-5, atol=1e-6)
    assert int(after["norm"]["num_batches_tracked"]) == 4
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(purenn.tree.flatten(grads)[name], p.grad, rtol=1e-4, atol=1e-5)


def test_micro_batches_draw_from_keys_of_their_own():
    model = L.Dropout(0.5)
    ones = jnp.ones((8, 64))
    seen = []

    def note(m, x):
        out = m(x)
        jax.debug.callback(lambda out: seen.append(np.array(out[0])), out)
        return out.mean()

    transforms.accumulate(model, note, 4)({}, {}, ones, rng=KEY)
    jax.effects_barrier()
    assert len({row.tobytes() for row in seen}) == 4
    again = [model.apply({}, {}, ones[:2], rng=jax.random.fold_in(KEY, i), train=True)[0][0] for i in range(4)]
    assert {row.tobytes() for row in seen} == {np.array(row).tobytes() for row in again}


def test_where_differentiates_a_part():
    model = pure()
    params, buffers = model.init(KEY)
    _, grads = jax.jit(transforms.accumulate(model, loss, 4, "head.*"))(params, buffers, (X, Y))
    _, all_grads = jax.jit(transforms.value_and_grad(model, loss))(params, buffers, (X, Y))
    assert list(grads) == ["head"]
    close(grads["head"], all_grads["head"])


def test_halves_are_added_up_in_float32():
    model = purenn.compose(lambda m, x: (m.w * x).mean(), w=purenn.param(jnp.zeros((), jnp.bfloat16)))
    params, buffers = model.init(KEY)
    x = jnp.ones((512,), jnp.bfloat16).at[0].set(64)
    _, grads = transforms.accumulate(model, lambda m, x: m(x), 512)(params, buffers, x)
    assert grads["w"].dtype == jnp.bfloat16
    # 64 + 511 ones in bfloat16 would stay at 256
    np.testing.assert_allclose(np.float32(grads["w"]), (64 + 511) / 512, rtol=1e-2)


def test_axes_of_the_batch_and_what_is_shared():
    model = pure()
    params, buffers = model.init(KEY)

    def scaled(m, batch, scale):
        return (m(batch["x"].T) * scale * batch["scale"]).mean()

    batch = {"x": X.T, "scale": jnp.asarray(3.0), "name": "train"}
    fn = transforms.accumulate(model, scaled, 2, in_axes=({"x": -1, "scale": None, "name": None}, None))
    close(fn(params, buffers, batch, 2.0), transforms.value_and_grad(model, scaled)(params, buffers, batch, 2.0))


def test_traces_once_and_keeps_its_program():
    model = L.Sequential(L.Linear(3, 8), L.BatchNorm1d(8), L.Linear(8, 2))
    params, buffers = model.init(KEY)
    fn = jax.jit(transforms.accumulate(model, loss, 2))
    (_, buffers), _ = fn(params, buffers, (X, Y))
    fn(params, buffers, (X, Y))
    assert fn._cache_size() == 1
    text = jax.make_jaxpr(transforms.accumulate(model, loss, 2))(params, buffers, (X, Y))
    longer = jax.make_jaxpr(transforms.accumulate(model, loss, 4))(params, buffers, (X, Y))
    assert len(text.eqns) == len(longer.eqns)


def test_works_without_arrays():
    model = pure()
    params, buffers = jax.eval_shape(model.init, KEY)
    (_, grads) = jax.eval_shape(transforms.accumulate(model, loss, 4), params, buffers, (X, Y))
    assert jax.tree.map(lambda g: g.shape, grads) == jax.tree.map(lambda p: p.shape, params)


class Growing:
    def init(self, rng):
        return {}, {"seen": jnp.zeros((1,))}

    def apply(self, params, buffers, x, rng=None, train=False):
        return x.mean(), {"seen": jnp.concatenate([buffers["seen"], x[:1, 0]])}


def test_errors():
    model = pure()
    params, buffers = model.init(KEY)
    accumulate = transforms.accumulate
    with refused(TypeError, "accumulate: model must have init and apply"):
        accumulate(3, loss, 2)
    for n in (0, 2.0, True):
        with refused(ValueError, f"accumulate: n must be a positive integer, got n={n}."):
            accumulate(model, loss, n)
    with refused(ValueError, "accumulate: reduction must be 'mean' or 'sum', got reduction='none'."):
        accumulate(model, loss, 2, reduction="none")
    with refused(ValueError, "accumulate: weight must be None where the loss sums, got reduction='sum'."):
        accumulate(model, loss, 2, reduction="sum", weight=len)
    with refused(ValueError, "accumulate: n must divide the number of examples, and leave some for each micro-batch, "
                 "got n=3 and the number of examples=8."):  # fmt: skip
        accumulate(model, loss, 3)(params, buffers, (X, Y))
    with refused(ValueError, "accumulate: an array must have the axis of the examples, "
                 "got batch[1].shape=() and its axis=0. Say what all examples share with None"):  # fmt: skip
        accumulate(model, lambda m, x, s: (m(x) * s).mean(), 2)(params, buffers, X, 2.0)
    with refused(ValueError, "accumulate: the arrays of batch must have one number of examples, "
                 "got theirs={'batch[0]': 8, 'batch[1]': 4}."):  # fmt: skip
        accumulate(model, lambda m, x, s: (m(x) * s).mean(), 2)(params, buffers, X, X[:4])
    with refused(ValueError, "accumulate: in_axes must have one entry for each argument, "
                 "got len(in_axes)=2 and len(batch)=1."):  # fmt: skip
        accumulate(model, loss, 2, in_axes=(0, 0))(params, buffers, (X, Y))
    with refused(ValueError, "accumulate: weight must give a scalar, got its shape=(4,). Sum it over the examples."):
        accumulate(model, ignoring, 2, weight=lambda batch: batch[1] >= 0)(params, buffers, (X, Y))
    with refused(ValueError, "accumulate: metrics must be scalars, got metrics[0]='shape (4, 2)'. Reduce it"):
        accumulate(model, lambda m, x: (m(x).mean(), m(x)), 2)(params, buffers, X)
    with refused(ValueError, "accumulate: a call must keep the shapes and dtypes of the buffers, got changed=['seen']"):
        accumulate(Growing(), lambda m, x: m(x), 2)({}, {"seen": jnp.zeros((1,))}, X)
    with refused(ValueError, "accumulate: the loss must be a scalar, got its shape=(4, 2)."):
        accumulate(model, lambda m, x: m(x), 2)(params, buffers, X)
    with refused(ValueError, "accumulate: where must match something, got where='tail'."):
        accumulate(model, loss, 2, "tail")(params, buffers, (X, Y))
    with refused(ValueError, "accumulate: the arrays of batch must have one number of examples, got theirs={}."):
        accumulate(model, lambda m: m.head.weight.sum(), 2)(params, buffers)
