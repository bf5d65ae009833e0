"""What the operations of fold.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F

X, Y = jnp.ones((2, 4, 5, 5)), jnp.ones((2, 12, 12))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.unfold(X.astype("int32"), 3), TypeError, "unfold: input must be floating, complex or boolean"),
        (lambda: F.unfold(X[0, 0], 3), ValueError, "unfold: input must be 4-D, or 3-D without a batch"),
        (lambda: F.unfold(X[:, :0], 3), ValueError, "unfold: only the batch of input may be empty"),
        (lambda: F.unfold(X, (3,)), ValueError, r"kernel_size must be one integer or a pair, got kernel_size=\(3,\)"),
        (lambda: F.unfold(X, 3.0), TypeError, "kernel_size must be an integer or 2 integers"),
        (lambda: F.unfold(X, 0), ValueError, "kernel_size must be at least 1"),
        (lambda: F.unfold(X, 3, stride=0), ValueError, "stride must be at least 1"),
        (lambda: F.unfold(X, 3, dilation=(1, 0)), ValueError, "dilation must be at least 1"),
        (lambda: F.unfold(X, 3, padding=-1), ValueError, "padding must be at least 0"),
        (lambda: F.unfold(X, 7), ValueError, r"the window must fit into the padded extent, got extent=\(5, 5\) and"),
        (lambda: F.fold(Y.astype("int32"), (4, 5), 2), TypeError, "fold: input must be floating, complex or boolean"),
        (lambda: F.fold(Y[0, 0], (4, 5), 2), ValueError, "fold: input must be 3-D, or 2-D without a batch"),
        (lambda: F.fold(Y[..., :0], (4, 5), 2), ValueError, "fold: only the batch of input may be empty"),
        (lambda: F.fold(Y, (4, 5, 5), 2), ValueError, "output_size must be one integer or a pair"),
        (lambda: F.fold(Y, (0, 5), 2, padding=1), ValueError, "output_size must be at least 1"),
        (lambda: F.fold(Y, (4, 5), 6), ValueError, "fold: the window must fit into the padded extent"),
        (lambda: F.fold(Y[:, :11], (4, 5), 2), ValueError, "the second last axis of input must be a multiple of kH kW"),
        (lambda: F.fold(Y, 5, 2), ValueError, r"the last axis of input must have the 4 \* 4 windows of output_size"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
