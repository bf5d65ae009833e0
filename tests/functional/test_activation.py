"""Activations far from 0, at their joints, at infinity and NaN, with torch as the oracle, value by value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from oracle import assert_close

import purenn.functional as F

FAR = np.concatenate([np.linspace(-120, 120, 97), [-1e-8, 1e-8, -0.0, 20.0, 19.9, 20.1, 6.0, 1e4, -1e4]])
ENDS = np.array([-np.inf, np.inf, np.nan])
OPTIONS = {
    "relu": [()], "relu6": [()], "elu": [(), (1.5,)], "selu": [()], "celu": [(), (2.0,)], "leaky_relu": [(), (-0.3,)],
    "rrelu": [()], "gelu": [()], "logsigmoid": [()], "hardshrink": [(), (-0.5,)], "tanhshrink": [()], "softsign": [()],
    "softshrink": [()], "hardtanh": [()], "hardsigmoid": [()], "hardswish": [()], "silu": [()], "mish": [()],
    "threshold": [(0.5, 20.0)], "tanh": [()], "sigmoid": [()], "softplus": [(), (2, 3), (-1, 3)],
}  # fmt: skip
CALLS = [(name, options) for name, every in OPTIONS.items() for options in every]
each = pytest.mark.parametrize(("name", "options"), CALLS, ids=str)


def both(name, options, points, dtype="float32"):
    """Values and pointwise gradients, ours and torch's; torch takes one point at a time, past its vector kernels."""
    f = jax.jit(jax.vmap(jax.value_and_grad(lambda x: getattr(F, name)(x, *options))))
    value, gradient = f(jnp.asarray(points, dtype))
    theirs = []
    for point in points:
        x = torch.tensor(point, dtype=getattr(torch, dtype), requires_grad=True)
        y = getattr(TF, name)(x, *options)
        y.backward()
        theirs.append((y.item(), x.grad.item()))
    return np.asarray(value), np.asarray(gradient), *np.array(theirs).T


@each
def test_values_and_gradients_far_out_and_at_infinity_are_torchs(name, options):
    value, gradient, their_value, their_gradient = both(name, options, np.append(FAR, ENDS))
    np.testing.assert_allclose(value, their_value, rtol=1e-5, atol=1e-6)
    # at NaN torch's scalar and vector kernels give different gradients: only the value counts there
    np.testing.assert_allclose(gradient[:-1], their_gradient[:-1], rtol=1e-5, atol=1e-6)


def test_tanh_gelu_far_out():
    x = torch.tensor(FAR, dtype=torch.float32)
    value = F.gelu(jnp.asarray(FAR, jnp.float32), approximate="tanh")
    assert_close(value / np.maximum(1, abs(FAR)), TF.gelu(x, approximate="tanh") / x.abs().clamp(min=1))


def test_prelu_leaves_its_weight_a_finite_gradient_at_infinity():
    x, w = torch.tensor([np.inf, 2.0, -3.0]), torch.tensor([0.25], requires_grad=True)
    TF.prelu(x, w).sum().backward()
    gradient = jax.grad(lambda w: jnp.where(jnp.isinf(y := F.prelu(jnp.asarray(x), w)), 0, y).sum())(jnp.array([0.25]))
    assert_close(gradient, w.grad)


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_softmax_of_infinities_is_torchs(name):
    inf = np.inf
    rows = np.array([[-inf, 0, 1], [inf, 0, 1], [-inf, -inf, -inf], [inf, inf, 0], [np.nan, 0, 1], [1e4, -1e4, 0]])
    rows = rows.astype(np.float32)
    ours, theirs = getattr(F, name)(jnp.asarray(rows), 1), getattr(TF, name)(torch.tensor(rows), 1)
    assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "bool", "complex64"])
def test_softmax_casts_first(name, dtype):
    if name == "softmin" and dtype == "bool":
        return
    x = np.array([[-3, -1, 0, 1, 2, 5]]).astype(dtype)
    x = x + np.complex64(1j) if dtype == "complex64" else x
    for result in ("float32", "float16"):
        ours = getattr(F, name)(jnp.asarray(x), 1, dtype=result)
        theirs = getattr(TF, name)(torch.from_numpy(x), 1, dtype=getattr(torch, result))
        assert ours.dtype == result
        assert_close(ours, theirs, dtype=result)
    assert_close(getattr(F, name)(jnp.asarray(x), 1, 3, jnp.float32), getattr(F, name)(jnp.asarray(x), 1, dtype="f4"))


def test_softmax_sums_half_precision_in_float32():
    # 4096 equal terms: a sum kept in bfloat16 stops growing at 256
    assert float(F.softmax(jnp.zeros(4096, "bfloat16"), 0)[0]) == 1 / 4096
    assert abs(float(F.log_softmax(jnp.zeros(4096, "float16"), 0)[0]) + np.log(4096)) < 4e-3


def test_softplus_of_half_precision_does_not_overflow():
    x = jnp.array([11.5, 15.0, 20.0], "float16")  # exp leaves float16 at 11.1
    np.testing.assert_array_equal(F.softplus(x), x)
    np.testing.assert_array_equal(F.mish(x), x)


@pytest.mark.parametrize("name", ["silu", "sigmoid", "tanh", "tanhshrink", "softsign"])
def test_complex_numbers_are_taken(name):
    x = (np.linspace(-3, 3, 12) + 1j * np.cos(np.arange(12))).astype(np.complex64)
    ours, theirs = getattr(F, name)(jnp.asarray(x)), getattr(TF, name)(torch.from_numpy(x))
    assert ours.dtype == jnp.complex64
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "dtypes"),
    [
        ("relu", (), ("int8", "uint8", "int32")),
        ("relu6", (), ("int8", "uint8", "int32")),
        ("hardtanh", (0, 2), ("int8", "uint8", "int32")),
        ("hardtanh", (-1.5, 2.7), ("int8", "int32")),
        ("threshold", (0.5, 2.7), ("int8", "uint8", "int32")),
        ("threshold", (-1, 3), ("int8", "uint8", "int32")),
        ("tanh", (), ("bool", "uint8", "int32")),
        ("sigmoid", (), ("bool", "uint8", "int32")),
        ("tanhshrink", (), ("uint8", "int32")),
        ("softsign", (), ("int8", "int32")),
    ],
)
def test_integers_are_torchs(name, options, dtypes):
    for dtype in dtypes:
        x = np.array([-3, -1, 0, 1, 2, 7]).astype(dtype)
        ours, theirs = getattr(F, name)(jnp.asarray(x), *options), getattr(TF, name)(torch.from_numpy(x), *options)
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
        assert_close(ours, theirs)


@each
def test_float64_is_kept_and_exact(name, options):
    with jax.enable_x64(True):
        points = np.linspace(-7, 7, 29)
        value, gradient, their_value, their_gradient = both(name, options, points, "float64")
        assert value.dtype == gradient.dtype == np.float64
        np.testing.assert_allclose(value, their_value, rtol=1e-10, atol=1e-12)
        # torch keeps the 1/6 of this one gradient in single precision, off by 3e-8
        rtol = 3e-8 if name == "hardsigmoid" else 1e-10
        np.testing.assert_allclose(gradient, their_gradient, rtol=rtol, atol=1e-12)


@each
def test_a_number_may_be_traced_and_promotion_strict(name, options):
    x = jnp.linspace(-3, 3, 7)
    with jax.numpy_dtype_promotion("strict"):
        expected = getattr(F, name)(x, *options)
    traced = jax.jit(getattr(F, name))(x, *options)
    np.testing.assert_allclose(traced, expected, rtol=1e-6)
