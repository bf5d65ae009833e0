"""Padding by any amounts, positive or negative, in every mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import assert_close

import purenn.functional as F


@st.composite
def calls(draw):
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    padded = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 4)] * (padded + draw(st.integers(1, 2)))))
    amounts = draw(st.tuples(*[st.integers(-3, 4)] * (2 * padded)))
    return shape, amounts, mode


def both(f, x, weight):
    """The value of ``f`` and the gradient of its weighted sum, compiled as one."""

    def call(x, weight):
        value, pullback = jax.vjp(f, x)
        return value, pullback(weight)[0]

    return jax.jit(call)(x, weight)


@given(calls())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_amounts_equal_torch(call):
    shape, amounts, mode = call
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    tensor = torch.from_numpy(x).requires_grad_()
    try:
        expected = torch.nn.functional.pad(tensor, amounts, mode)
    except (RuntimeError, NotImplementedError):
        with pytest.raises(ValueError, match="pad: "):
            F.pad(jnp.asarray(x), amounts, mode)
        return
    if mode == "circular":  # torch reads memory it never wrote where a crop leaves less than is wrapped
        pairs = zip(amounts[::2], amounts[1::2], shape[::-1], strict=False)
        assume(all(max(a, b, 0) <= n + min(a, 0) + min(b, 0) for a, b, n in pairs))
    weight = np.cos(np.arange(expected.numel(), dtype=np.float32)).reshape(expected.shape)
    expected.backward(torch.from_numpy(weight))
    y, gradient = both(lambda x: F.pad(x, amounts, mode), x, weight)
    assert_close(y, expected, what="value")
    assert_close(gradient, tensor.grad, what="gradient")


def test_the_fill_value_can_be_an_array():
    y = jax.jit(lambda value: F.pad(jnp.ones(3), (2, 1), value=value))(2.0)
    np.testing.assert_array_equal(y, [2, 2, 1, 1, 1, 2])


def test_the_gradient_scatters_nothing():
    for mode in ("constant", "reflect", "replicate", "circular"):
        gradient = jax.grad(lambda x, mode=mode: (F.pad(x, (2, 2), mode) ** 2).sum())
        assert "scatter" not in str(jax.make_jaxpr(gradient)(jnp.ones((2, 3, 4))))
