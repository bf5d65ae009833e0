"""Running statistics, forward mode of forward mode, mixed precision, and the edges of norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from oracle import assert_close, to_numpy, to_torch

import purenn.functional as F


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0, -1.0])
@pytest.mark.parametrize("dtypes", ["float32 float32", "bfloat16 bfloat16", "float16 float32", "bfloat16 float32"])
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_running_statistics_equal_torchs(name, dtypes, momentum):
    of_input, of_rest = dtypes.split()
    x, mean, var = (jnp.asarray(a, of_input) for a in (numbers(0, 6, 3, 4), numbers(1, 3), abs(numbers(2, 3))))
    mean, var, weight, bias = (jnp.asarray(a, of_rest) for a in (mean, var, numbers(3, 3), numbers(4, 3)))
    tensors = [to_torch(np.array(a)) for a in (x, mean, var, weight, bias)]
    out, statistics = getattr(F, f"{name}_update")(x, mean, var, weight, bias, momentum=momentum)
    expected = getattr(TF, name)(*tensors, True, momentum)
    assert out.dtype == x.dtype
    assert {s.dtype for s in statistics} == {mean.dtype}
    assert_close((out, statistics), (expected, tensors[1:3]), dtype=of_input)
    if momentum == 0.0:
        assert_close(statistics, (mean, var))


def test_momentum_weighs_the_new_value_and_the_variance_is_unbiased():
    x = jnp.asarray([[1.0], [2.0], [3.0], [6.0]])
    _, (mean, var) = F.batch_norm_update(x, jnp.zeros(1), jnp.ones(1), momentum=0.25)
    np.testing.assert_allclose(mean, [0.25 * 3.0])
    np.testing.assert_allclose(var, [0.75 * 1.0 + 0.25 * 14.0 / 3.0], rtol=1e-6)


def test_a_traced_momentum_makes_the_cumulative_average():
    batches = numbers(0, 5, 8, 3)

    def step(statistics, batch):
        mean, var, count = statistics
        _, (mean, var) = F.batch_norm_update(batch, mean, var, momentum=1 / (count + 1))
        return (mean, var, count + 1), None

    (mean, var, _), _ = jax.lax.scan(step, (jnp.zeros(3), jnp.ones(3), jnp.zeros(())), jnp.asarray(batches))
    np.testing.assert_allclose(mean, batches.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(var, batches.var(1, ddof=1).mean(0), rtol=1e-5)


@pytest.mark.parametrize("update", [F.batch_norm_update, F.instance_norm_update])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0)])
def test_an_empty_batch_leaves_the_statistics(update, shape):
    mean, var = jnp.arange(3.0), jnp.ones(3)
    out, statistics = update(jnp.zeros(shape), mean, var)
    assert out.shape == shape
    assert_close(statistics, (mean, var))


def test_new_statistics_carry_no_gradient():
    f = lambda x, m: sum(s.sum() for s in F.batch_norm_update(x, m, jnp.ones(3))[1])  # noqa: E731
    for gradient in jax.grad(f, (0, 1))(jnp.asarray(numbers(0, 4, 3)), jnp.zeros(3)):
        assert not gradient.any()


def test_statistics_may_stay_float32_beside_16_bit_weights():
    x, w = jnp.asarray(numbers(0, 4, 3), jnp.bfloat16), jnp.ones(3, jnp.bfloat16)
    out, (mean, _) = F.batch_norm_update(x, jnp.zeros(3), jnp.ones(3), w, w)
    assert out.dtype == jnp.bfloat16
    assert mean.dtype == jnp.float32
    assert F.batch_norm(x, jnp.zeros(3), jnp.ones(3), w, w).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm", "instance_norm"])
def test_float32_weights_beside_a_16_bit_input(name):
    shape = {"batch_norm": (None, None), "layer_norm": ((3,),), "group_norm": (3,), "instance_norm": (None, None)}[name]
    more = {"training": True} if name == "batch_norm" else {}
    x = jnp.asarray(numbers(0, 4, 3, 3), jnp.bfloat16)
    w, b = numbers(1, 3), numbers(2, 3)
    out = getattr(F, name)(x, *shape, jnp.asarray(w), jnp.asarray(b), **more)
    assert out.dtype == jnp.bfloat16
    assert_close(out, getattr(TF, name)(*to_torch((np.array(x), *shape, w, b)), **more), dtype="bfloat16")
    gradient = jax.grad(lambda w: getattr(F, name)(x, *shape, w, jnp.asarray(b), **more).sum())(jnp.asarray(w))
    assert gradient.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_of_large_16_bit_numbers_do_not_overflow(dtype):
    x = jnp.asarray(1000 + 100 * numbers(0, 2, 64), dtype)
    for ours, theirs in ((F.layer_norm, TF.layer_norm), (F.rms_norm, TF.rms_norm)):
        assert_close(ours(x, (64,)), theirs(to_torch(np.array(x)), (64,)), dtype=dtype)


def test_a_large_mean_does_not_eat_the_variance():
    # E[x²] - E[x]² would be off by 1e-2 here
    x = 200 + numbers(0, 4, 32)
    exact = torch.from_numpy(x.astype("float64"))
    assert_close(F.layer_norm(jnp.asarray(x), (32,)), to_numpy(TF.layer_norm(exact, (32,))))


NORMS = {
    "layer": (lambda x: F.layer_norm(x, (3,)), lambda x: TF.layer_norm(x, (3,))),
    "rms": (lambda x: F.rms_norm(x, (3,)), lambda x: TF.rms_norm(x, (3,))),
    "group": (lambda x: F.group_norm(x, 2), lambda x: TF.group_norm(x, 2)),
    "batch": (lambda x: F.batch_norm(x, *[None] * 4, True), lambda x: TF.batch_norm(x, *[None] * 4, True)),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_hessians_by_every_pair_of_modes(name):
    ours, theirs = NORMS[name]
    x = numbers(0, 2, 4, 3)
    scalar = lambda x: (ours(x) ** 3).sum()  # noqa: E731
    expected = torch.autograd.functional.hessian(lambda x: (theirs(x) ** 3).sum(), torch.from_numpy(x))
    for outer in (jax.jacfwd, jax.jacrev):
        for inner in (jax.jacfwd, jax.jacrev):
            assert_close(outer(inner(scalar))(jnp.asarray(x)), expected)


def test_the_gradient_of_zero_norms():
    zeros = jnp.zeros((1, 3))
    slope = jax.grad(lambda x: F.normalize(x).sum())(zeros)
    np.testing.assert_allclose(slope, np.full((1, 3), 1e12), rtol=1e-6)
    slope = jax.grad(lambda x: F.cosine_similarity(x, jnp.ones((1, 3))).sum())(zeros)
    np.testing.assert_allclose(slope, np.full((1, 3), 1e8 / np.sqrt(3)), rtol=1e-6)
    for p in (0.5, 1.0, 1.5, 2.0, 3.0, jnp.inf):
        slope = jax.grad(lambda x, p=p: F.pairwise_distance(x, zeros, p, 0.0).sum())(zeros)
        assert not slope.any()
        assert not jax.grad(lambda x, p=p: F.pdist(x, p).sum())(jnp.zeros((2, 3))).any()


def test_a_norm_of_exactly_eps_passes_its_gradient():
    x = np.asarray([[0.0, 1.0, 0.0]], "float32")
    tensor = torch.from_numpy(x).requires_grad_()
    TF.normalize(tensor, eps=1.0).sum().backward()
    assert_close(jax.grad(lambda x: F.normalize(x, eps=1.0).sum())(jnp.asarray(x)), tensor.grad)


@pytest.mark.parametrize("name", ["normalize", "pairwise_distance", "rms_norm"])
def test_complex_numbers(name):
    x, y = numbers(0, 3, 4) + 1j * numbers(1, 3, 4), numbers(2, 3, 4) + 1j * numbers(3, 3, 4)
    args = {"normalize": (x,), "pairwise_distance": (x, y), "rms_norm": (x, (4,))}[name]
    arrays = tuple(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args)
    out, expected = getattr(F, name)(*arrays), getattr(TF, name)(*to_torch(args))
    assert_close((out.real, out.imag), (expected.real, torch.view_as_real(expected + 0j)[..., 1]))
    tensor = torch.from_numpy(x).requires_grad_()
    getattr(TF, name)(tensor, *to_torch(args[1:])).abs().sum().backward()
    ours = jax.grad(lambda x: jnp.abs(getattr(F, name)(x, *arrays[1:])).sum())(arrays[0])
    assert_close(ours.conj().real, tensor.grad.real.numpy())
    assert_close(ours.conj().imag, tensor.grad.imag.numpy())


def test_statistics_can_be_differentiated_in_evaluation():
    # torch refuses to; a fit of the statistics themselves needs it
    x, mean, var = jnp.asarray(numbers(0, 4, 3)), jnp.zeros(3), jnp.ones(3)
    slope = jax.grad(lambda m: F.batch_norm(x, m, var, eps=0.0).sum())(mean)
    np.testing.assert_allclose(slope, np.full(3, -4.0), rtol=1e-6)
