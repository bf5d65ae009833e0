"""What the pooling operations refuse, in words."""

import jax
import jax.numpy as jnp
import pytest

import purenn.functional as F

X1, X2, X3 = (jnp.ones((2, 3) + (8,) * rank) for rank in (1, 2, 3))
U = jnp.full((2, 3, 2), 0.5)
Y, INDEX = F.max_pool2d(X2, 2, return_indices=True)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        # every operation that slides a window
        (lambda: F.max_pool2d([1.0], 2), TypeError, "max_pool2d: input must be an array"),
        (lambda: F.max_pool2d(X2 > 0, 2), TypeError, r"input must be real numbers, got input.dtype='bool'"),
        (lambda: F.max_pool2d(X2 + 1j, 2), TypeError, "input must be real numbers"),
        (lambda: F.max_pool2d(X2[0, 0], 2), ValueError,
         r"max_pool2d: input must be 3-D \(C, \*spatial\) or 4-D \(N, C, \*spatial\), got input.shape=\(8, 8\)"),
        (lambda: F.avg_pool3d(X3[None], 2), ValueError, "avg_pool3d: input must be 4-D"),
        (lambda: F.max_pool1d(X1[:, :0], 2), ValueError, "only the batch axis of input may be empty"),
        (lambda: F.max_pool1d(X1[..., :0], 2), ValueError, "only the batch axis of input may be empty"),
        (lambda: F.max_pool2d(X2, 2.0), TypeError, "kernel_size must be an integer or 2 of them, got kernel_size=2.0"),
        (lambda: F.max_pool2d(X2, True), TypeError, "kernel_size must be an integer"),
        (lambda: F.max_pool2d(X2, "2"), TypeError, "kernel_size must be an integer"),
        (lambda: F.max_pool2d(X2, (2, 2, 2)), ValueError, "kernel_size must be an integer or 2 of them"),
        (lambda: F.max_pool2d(X2, ()), ValueError, "kernel_size must be an integer or 2 of them"),
        (lambda: F.max_pool2d(X2, 0), ValueError, "kernel_size must be at least 1, got kernel_size=0"),
        (lambda: F.max_pool2d(X2, 2, 0), ValueError, "stride must be at least 1"),
        (lambda: F.max_pool2d(X2, 2, 2, -1), ValueError, "padding must be at least 0"),
        (lambda: F.max_pool2d(X2, 2, 2, 0, 0), ValueError, "dilation must be at least 1"),
        (lambda: F.max_pool2d(X2, 3, 2, (2, 1)), ValueError,
         r"max_pool2d: padding must be at most half of kernel_size, got padding=\(2, 1\) and kernel_size=3"),
        (lambda: F.max_pool1d_with_indices(X1, 3, 1, 2, 3), ValueError, "max_pool1d_with_indices: padding must be"),
        (lambda: F.avg_pool1d(X1, 9), ValueError, "avg_pool1d: the padded input must hold at least one window"),
        (lambda: F.max_pool3d(X3[:0], 9), ValueError, "the padded input must hold at least one window"),
        # averages
        (lambda: F.avg_pool1d(X1.astype("uint8"), 2), TypeError, "input must be floating, int32 or int64"),
        (lambda: F.avg_pool2d(X2, 2, divisor_override=0), ValueError, "divisor_override must not be 0"),
        (lambda: F.avg_pool3d(X3, 9, 1, 1, ceil_mode=True), ValueError,
         "avg_pool3d: kernel_size must be at most the length of its axis"),
        # p-norms
        (lambda: F.lp_pool1d(X1.astype("int32"), 2, 2), TypeError, "lp_pool1d: input must be floating"),
        (lambda: F.lp_pool2d(X2, 0, 2), ValueError, "lp_pool2d: norm_type must not be 0"),
        (lambda: F.lp_pool3d(X3, 2, 9), ValueError, "lp_pool3d: the padded input must hold"),
        # adaptive
        (lambda: F.adaptive_avg_pool1d(X1.astype("int32"), 2), TypeError, "input must be floating"),
        (lambda: F.adaptive_max_pool1d(X1, None), TypeError, "output_size must be an integer or 1 of them"),
        (lambda: F.adaptive_max_pool1d(X1, (None,)), TypeError, "output_size must be an integer or 1 of them"),
        (lambda: F.adaptive_max_pool2d(X2, (3,)), ValueError,
         r"output_size must be an integer or 2 of them, got output_size=\(3,\)"),
        (lambda: F.adaptive_max_pool2d_with_indices(X2, -1), ValueError, "output_size must be at least 0"),
        (lambda: F.adaptive_avg_pool2d(X2, 1.5), TypeError, "output_size must be an integer"),
        (lambda: F.adaptive_avg_pool3d(X3[:, :0], 2), ValueError, "only the batch axis of input may be empty"),
        # fractional
        (lambda: F.fractional_max_pool2d(X2, 2, 3), ValueError,
         r"fractional_max_pool2d: rng or _random_samples must be given, got rng=None. Pass rng=jax.random.key\(0\)"),
        (lambda: F.fractional_max_pool2d(X2, 2, rng=jax.random.key(0)), ValueError,
         "output_size or output_ratio must be given"),
        (lambda: F.fractional_max_pool2d(X2, 2, None, (0.5,), _random_samples=U), ValueError,
         r"output_ratio must be a number in \(0, 1\) or 2 of them"),
        (lambda: F.fractional_max_pool2d(X2, 2, 8, _random_samples=U), ValueError,
         r"output_size \+ kernel_size - 1 must be at most the length of its axis"),
        (lambda: F.fractional_max_pool3d(X3, 2, 7, rng=jax.random.key(0)), ValueError, "must be below the length"),
        (lambda: F.fractional_max_pool2d(X2.astype("int32"), 2, 3, _random_samples=U), TypeError, "must be floating"),
        (lambda: F.fractional_max_pool2d(X2, 2, 3, _random_samples=U.astype("float16")), TypeError, "one dtype"),
        (lambda: F.fractional_max_pool2d(X2, 2, 3, _random_samples=U[:1]), ValueError,
         r"_random_samples must be \(N, C, 2\), got _random_samples.shape=\(1, 3, 2\)"),
        (lambda: F.fractional_max_pool2d(X2, 2, 3, _random_samples=U[0]), ValueError, "_random_samples must be"),
        # unpooling
        (lambda: F.max_unpool2d(Y.astype("int32"), INDEX, 2), TypeError, "input must be floating"),
        (lambda: F.max_unpool2d(Y, Y, 2), TypeError, "indices must be integers, got indices.dtype='float32'"),
        (lambda: F.max_unpool2d(Y, INDEX[:1], 2), ValueError, "indices must have the shape of input"),
        (lambda: F.max_unpool2d(Y, INDEX, 2, 0), ValueError, "stride must be at least 1"),
        (lambda: F.max_unpool2d(Y, INDEX, -2), ValueError, "kernel_size must be at least 1"),
        (lambda: F.max_unpool2d(Y, INDEX, 2, 2, 9), ValueError,
         r"output_size must not be negative, got output_size=\(-10"),
        (lambda: F.max_unpool2d(Y, INDEX, 2, output_size=9), TypeError, "output_size must be a sequence"),
        (lambda: F.max_unpool2d(Y, INDEX, 2, output_size=(9, 9, 9)), ValueError,
         "output_size must have 2 or 4 elements"),
        (lambda: F.max_unpool2d(Y, INDEX, 2, output_size=(10, 8)), ValueError,
         r"output_size must be less than one stride away from \(8, 8\), got output_size=\(10, 8\) and stride=\(2, 2\)"),
        (lambda: F.max_unpool2d(Y, INDEX + 64, 2), IndexError,
         r"max_unpool2d: indices must lie in \[0, 64\), got indices=64"),
        (lambda: F.max_unpool2d(Y, INDEX - 1, 2), IndexError, "got indices=-1"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
