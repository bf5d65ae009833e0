"""What the laws cannot say of recurrent networks: gradients of weights, lengths, dropout, and how it is computed."""

import cases_rnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close, to_torch
from test_laws import as_jax, weighted_sum

import purenn.functional as F

NETWORKS = {
    "rnn_tanh": cases_rnn.net("rnn_tanh", layers=2, two=True),
    "rnn_relu": cases_rnn.net("rnn_relu", N=0),
    "gru": cases_rnn.net("gru", layers=2, two=True, lengths=[2, 4, 1], N=3),
    "lstm": cases_rnn.net("lstm", layers=2, two=True, lengths=[2, 4, 1], N=3),
    "projected": cases_rnn.net("lstm", L=3, H=3, proj=2, lengths=[2, 3]),
}
each = pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)


def function(case):
    """The case as a scalar function of input, states and weights."""
    (_, _, _, *options), kwargs = as_jax(case.numpy())
    return lambda *arrays: weighted_sum(getattr(F, case.name)(*arrays, *options, **kwargs))


def arrays(case):
    return as_jax(case.numpy()[0][:3])


@each
def test_gradients_of_weights_and_states_equal_torchs(case):
    args, kwargs = case.numpy()
    theirs = to_torch(args, requires_grad=True)
    weighted_sum(case.torch_fn(*theirs, **to_torch(kwargs))).backward()
    expected = jax.tree.map(lambda x: x.grad, theirs[:3], is_leaf=lambda x: isinstance(x, torch.Tensor))
    gradients = jax.jit(jax.grad(function(case), (0, 1, 2)))(*arrays(case))
    assert_close(gradients, expected)


@each
def test_forward_mode_agrees_over_the_weights(case):
    xs = arrays(case)
    f = jax.jit(function(case))
    tangents = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), xs)
    _, forward = jax.jvp(f, xs, tangents)
    gradients = jax.grad(f, (0, 1, 2))(*xs)
    reverse = sum(jnp.vdot(g, t) for g, t in zip(jax.tree.leaves(gradients), jax.tree.leaves(tangents), strict=True))
    assert_close(forward, np.asarray(reverse))


@pytest.mark.parametrize("name", ["projected", "gru"])
def test_second_derivatives(name):
    f = function(NETWORKS[name])
    x, *rest = arrays(NETWORKS[name])
    direction = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    gradient = jax.jit(jax.grad(lambda x: f(x, *rest)))
    _, along = jax.jvp(gradient, (x,), (direction,))
    ahead, behind = gradient(x + 1e-2 * direction), gradient(x - 1e-2 * direction)
    np.testing.assert_allclose(along, (ahead - behind) / 2e-2, atol=3e-3 * float(jnp.abs(along).max()) + 1e-4)


def products(jaxpr, inside=0):
    """How many matrix products stand outside of all loops, and how many inside."""
    count = np.zeros(2, int)
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            count[inside] += 1
        for inner in inners(eqn):
            count += products(inner, inside or int(eqn.primitive.name == "scan"))
    return count


def inners(eqn):
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_weights_gradient_is_one_product_after_the_loop(name):
    case = cases_rnn.net(name)
    outside, inside = products(jax.make_jaxpr(jax.grad(function(case), (0, 1, 2)))(*arrays(case)).jaxpr)
    # the state's product, forward and transposed; accumulated step by step, the weight's would be a third
    assert inside == 2
    # the input's product, its two gradients, and the gradient of weight_hh
    assert outside == 4


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_what_follows_the_end_is_not_read(name):
    case = cases_rnn.net(name, two=True, lengths=[2, 4, 1], N=3, layers=2)
    f, (x, *rest) = function(case), arrays(case)
    wild = x.at[2:, 0].set(jnp.nan).at[1:, 2].set(jnp.inf)
    assert_close(f(wild, *rest), np.asarray(f(x, *rest)))
    gradients, expected = (jax.jit(jax.grad(f, (0, 1, 2)))(y, *rest) for y in (wild, x))
    assert_close(gradients, jax.tree.map(np.asarray, expected))
    assert (gradients[0][2:, 0] == 0).all()


def test_lengths_may_be_traced():
    case = cases_rnn.net("gru", two=True, N=3)
    args = as_jax(case.numpy()[0])
    lengths = jnp.array([2, 4, 1])
    assert_close(
        jax.jit(lambda n: F.gru(*args, lengths=n))(lengths), jax.tree.map(np.asarray, F.gru(*args, lengths=lengths))
    )


def test_an_unbatched_sequence_may_have_a_length():
    case = cases_rnn.net("lstm", N=0, two=True)
    x, hx, *rest = as_jax(case.numpy()[0])
    whole = F.lstm(x, hx, *rest, lengths=jnp.array(3))
    cut = F.lstm(x[:3], hx, *rest)
    assert_close((whole[0][:3], *whole[1:]), jax.tree.map(np.asarray, cut))
    assert (whole[0][3:] == 0).all()


def test_missing_states_are_zero():
    for name in ("gru", "lstm"):
        case = cases_rnn.net(name)
        x, hx, *rest = as_jax(case.numpy()[0])
        zeros = jax.tree.map(jnp.zeros_like, hx)
        assert_close(getattr(F, name)(x, None, *rest), jax.tree.map(np.asarray, getattr(F, name)(x, zeros, *rest)))
        x, w = x[0], rest[0]
        step = getattr(F, f"{name}_cell")
        assert_close(step(x, None, *w), jax.tree.map(np.asarray, step(x, jax.tree.map(lambda s: s[0], zeros), *w)))


@pytest.mark.parametrize("raw", [False, True])
def test_dropout_is_between_the_layers(raw):
    H, rng = 64, jax.random.PRNGKey(0) if raw else jax.random.key(0)
    # each layer hands relu(x) = x on, so that what was dropped shows
    eye, none = jnp.eye(H), jnp.zeros((H, H))
    x = jnp.ones((10, 4, H))
    run = lambda layers, rng, p=0.25, train=True: F.rnn_relu(  # noqa: E731
        x, None, (eye, none) * layers, False, layers, p, train, False, False, rng=rng
    )[0]
    out = np.asarray(run(2, rng))
    kept = out > 0
    np.testing.assert_allclose(out[kept], 4 / 3, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 4 * (0.25 * 0.75 / out.size) ** 0.5
    assert_close(run(2, rng), out)
    assert abs((np.asarray(run(3, rng)) > 0).mean() - 0.75**2) < 0.05
    assert (run(1, None) == 1).all()
    assert (run(2, None, train=False) == 1).all()
    assert (run(2, None, p=1.0) == 0).all()


def test_half_precision_accumulates_in_float32():
    # 512 steps of 2^-9 each: in bfloat16 the sum would stop at 1/2
    one = jnp.ones((1, 1), jnp.bfloat16)
    x = jnp.full((512, 1, 1), 2.0**-9, jnp.bfloat16)
    gates = jnp.array([[0.0], [0], [1], [0]], jnp.bfloat16)  # only g reads the input
    open_ = jnp.array([30.0, 30, 0, 30], jnp.bfloat16)
    _, _, c = F.lstm(x, None, (gates, 0 * gates, open_, 0 * open_), True, 1, 0.0, False, False, False)
    assert c.dtype == jnp.bfloat16
    np.testing.assert_allclose(c.astype(jnp.float32), one[None].astype(jnp.float32), rtol=1e-2)


def test_pad_sequence_under_vmap_and_its_inverse():
    sequences = [jnp.arange(6.0).reshape(3, 2), jnp.ones((1, 2))]
    padded = jax.vmap(lambda *xs: F.pad_sequence(xs, padding_value=-1.0))(*[jnp.stack([x, 2 * x]) for x in sequences])
    assert_close(padded[0], np.asarray(F.pad_sequence(sequences, padding_value=-1.0)))
    assert_close(padded[1], np.asarray(F.pad_sequence([2 * x for x in sequences], padding_value=-1.0)))
    back = F.unpad_sequence(padded[0], (3, 1))
    assert_close(back, [np.asarray(x) for x in sequences])
    assert_close(F.pad_sequence(padded[0]), np.asarray(padded[0].swapaxes(0, 1)))
