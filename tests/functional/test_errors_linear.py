"""What the operations of linear.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.linear(jnp.ones((2, 5)), jnp.ones((4, 3))), ValueError,
         r"linear: the last axis of input must equal the last axis of weight, got input.shape=\(2, 5\) and"),
        (lambda: F.linear(jnp.ones(3, "int32"), jnp.ones((4, 3))), TypeError, "must have one dtype"),
        (lambda: F.linear([1.0], jnp.ones((4, 1))), TypeError, "input must be an array"),
        (lambda: F.linear(jnp.ones(3), jnp.ones((2, 4, 3))), ValueError, "weight must be 1-D or 2-D"),
        (lambda: F.linear(jnp.ones(3), jnp.ones((4, 3)), jnp.ones(3)), ValueError, "bias must be"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
