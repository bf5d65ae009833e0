"""What the operations of padding.py refuse, in words."""

import jax.numpy as jnp
import numpy as np
import pytest

import purenn.functional as F

X = jnp.ones((2, 3, 5))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.pad([1.0], (1, 1)), TypeError, "pad: input must be an array"),
        (lambda: F.pad(X, 1), TypeError, "pad: pad must be a tuple of integers, got pad=1"),
        (lambda: F.pad(X, (1.0, 1)), TypeError, "pad must be a tuple of integers"),
        (lambda: F.pad(X, (True, 1)), TypeError, "pad must be a tuple of integers"),
        (lambda: F.pad(X, np.array([1, 1])), TypeError, "pad must be a tuple of integers"),
        (lambda: F.pad(X, (1,)), ValueError, "pad must hold a pair for each padded axis"),
        (lambda: F.pad(X, (1,) * 8), ValueError, r"pad must hold a pair .* and input.ndim=3"),
        (lambda: F.pad(X, (-6, 2)), ValueError,
         r"pad: pad must not crop more than there is, got \(left, right\)=\(-6, 2\) and axis=2 and input.shape="),
        (lambda: F.pad(X, (1, 1), "constant", 1j), TypeError, "value must be real"),
        (lambda: F.pad(X.astype("uint8"), (1, 1), "constant", -1), ValueError, "value must fit the dtype of input"),
        (lambda: F.pad(X.astype("int32"), (1, 1), "constant", np.inf), ValueError, "value must fit the dtype of"),
        (lambda: F.pad(X, (1, 1), "mirror"), ValueError, "mode must be constant, reflect, replicate or circular"),
        (lambda: F.pad(X, (1, 1), "reflect", 1.0), ValueError, "value must be left out unless mode='constant'"),
        (lambda: F.pad(X[0, 0], (1, 1), "reflect"), ValueError, "pad of mode='reflect' must cover the spatial axes"),
        (lambda: F.pad(X[None], (1, 1), "circular"), ValueError, "must cover the spatial axes"),
        (lambda: F.pad(X, (), "replicate"), ValueError, "must cover the spatial axes"),
        (lambda: F.pad(X[None, None], (1,) * 8, "replicate"), ValueError, "must cover the spatial axes"),
        (lambda: F.pad(X > 0, (1, 1), "replicate"), TypeError, "input of mode='replicate' must be numeric"),
        (lambda: F.pad(X[:, :0], (1, 1), "reflect"), ValueError, "must have no empty axis but N"),
        (lambda: F.pad(X, (5, 0), "reflect"), ValueError, "reflect pad must be smaller than the axis"),
        (lambda: F.pad(X, (-3, -2), "reflect"), ValueError, "reflect pad must leave at least one element"),
        (lambda: F.pad(X, (-3, -3), "replicate"), ValueError, "replicate pad must leave at least one element"),
        (lambda: F.pad(X, (6, 0), "circular"), ValueError, "circular pad must not wrap around more than once"),
        (lambda: F.pad(X, (4, -3), "circular"), ValueError, "circular pad must not wrap around more than once"),
        (lambda: F.pad(X, (-3, -3), "circular"), ValueError, "circular pad must not wrap around more than once"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
