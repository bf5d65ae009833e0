"""What the operations of conv.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F

X, W = jnp.ones((2, 4, 5, 5)), jnp.ones((6, 4, 3, 3))
T, Z = jnp.ones((4, 6, 3, 3)), jnp.ones((7, 2, 4))
V, B = jnp.ones((3, 4, 6)), jnp.ones(6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.conv2d([1.0], W), TypeError, "conv2d: input must be an array"),
        (lambda: F.conv2d(X, [1.0]), TypeError, "conv2d: weight must be an array"),
        (lambda: F.conv2d(X, W, [1.0]), TypeError, "conv2d: bias must be an array"),
        (lambda: F.conv2d(X, W.astype("bfloat16")), TypeError, "conv2d: input, weight must have one dtype"),
        (lambda: F.conv2d(X, W, B.astype("int32")), TypeError, "input, weight, bias must have one dtype"),
        (lambda: F.conv2d(X > 0, W > 0), TypeError, "conv2d: input must be numbers, got input.dtype='bool'"),
        (lambda: F.conv2d(X, W[0]), ValueError, r"conv2d: weight must be 4-D, got weight.shape=\(4, 3, 3\)"),
        (lambda: F.conv2d(X[0, 0], W), ValueError, "conv2d: input must be 4-D, or 3-D without a batch"),
        (lambda: F.conv3d(X[:, 0], W[None]), ValueError, "conv3d: input must be 5-D, or 4-D without a batch"),
        (lambda: F.conv2d(X, W, stride=1.0), TypeError, "conv2d: stride must be an integer or 2 integers, got"),
        (lambda: F.conv2d(X, W, stride=True), TypeError, "stride must be an integer or 2 integers, got stride=True"),
        (lambda: F.conv2d(X, W, stride=()), ValueError, r"stride must be one integer or 2, got stride=\(\)"),
        (lambda: F.conv2d(X, W, dilation=(1, 1, 1)), ValueError, "dilation must be one integer or 2, got"),
        (lambda: F.conv2d(X, W, stride=0), ValueError, "conv2d: stride must be at least 1, got stride=0"),
        (lambda: F.conv2d(X, W, dilation=(1, -1)), ValueError, r"dilation must be at least 1, got dilation=\(1, -1\)"),
        (lambda: F.conv2d(X, W, padding=-1), ValueError, "padding must be at least 0, got padding=-1"),
        (lambda: F.conv2d(X, W, padding=None), TypeError, "padding must be an integer or 2 integers"),
        (lambda: F.conv2d(X, W, padding="SAME"), ValueError, "padding must be 'same', 'valid' or integers"),
        (lambda: F.conv2d(X, W, stride=(1, 2), padding="same"), ValueError, "stride must be 1 where padding is 'same'"),
        (lambda: F.conv2d(X, W, groups=0), ValueError, "groups must be at least 1, got groups=0"),
        (lambda: F.conv2d(X, W, groups=(1, 1)), ValueError, "groups must be one integer"),
        (lambda: F.conv2d(X, W, groups=1.0), TypeError, "groups must be an integer, got groups=1.0"),
        (lambda: F.conv2d(X, W[:3, :2], groups=2), ValueError,
         r"weight.shape\[0\] must be a positive multiple of groups, got weight.shape=\(3, 2, 3, 3\) and groups=2"),
        (lambda: F.conv2d(X, W[:0]), ValueError, "must be a positive multiple of groups"),
        (lambda: F.conv2d(X, W[:, :3]), ValueError,
         r"the channels of input must equal weight.shape\[1\] \* groups, got input.shape=\(2, 4, 5, 5\) and"),
        (lambda: F.conv2d(X, W, B[:5]), ValueError, r"bias must be \(out_channels,\), got bias.shape=\(5,\) and out"),
        (lambda: F.conv2d(X, W[..., :0]), ValueError, "weight must not have an empty kernel"),
        (lambda: F.conv2d(X[:, :, :0], W, padding=2), ValueError, "only the batch or the channels of input may be"),
        (lambda: F.conv2d(X, W, dilation=3), ValueError, "the padded input must not be smaller than the dilated"),
        (lambda: F.conv_transpose2d(X, T, padding="same"), TypeError, "conv_transpose2d: padding must be an integer"),
        (lambda: F.conv_transpose2d(X, T, output_padding=1), ValueError,
         "output_padding must be less than stride or dilation, on each axis, got output_padding="),
        (lambda: F.conv_transpose2d(X, T, output_padding=-1, stride=2), ValueError, "output_padding must be at least"),
        (lambda: F.conv_transpose2d(X, T, padding=4), ValueError, "padding must not exceed the output, got padding="),
        (lambda: F.conv_transpose2d(X, T, groups=3), ValueError, "must be a positive multiple of groups, weight"),
        (lambda: F.conv_transpose2d(X, T[:, :0]), ValueError, r"weight.shape\[1\] positive"),
        (lambda: F.conv_transpose2d(X, T[:3]), ValueError, r"the channels of input must equal weight.shape\[0\]"),
        (lambda: F.conv_transpose2d(X, T, B[:5]), ValueError, r"conv_transpose2d: bias must be \(out_channels,\)"),
        (lambda: F.conv_transpose2d(X, T[..., :0]), ValueError, "weight must not have an empty kernel"),
        (lambda: F.conv_transpose2d(X[..., :0], T), ValueError, "may be empty"),
        (lambda: F.conv_transpose1d(X[0], T[0], dilation=0), ValueError, "conv_transpose1d: dilation must be at"),
        (lambda: F.conv_tbc(Z[0], V, B), ValueError, r"conv_tbc: input must be \(T, N, C_in\) and weight"),
        (lambda: F.conv_tbc(Z, V[:, :3], B), ValueError, r"last axis of input must equal weight.shape\[1\]"),
        (lambda: F.conv_tbc(Z[:1], V, B), ValueError, "the padded input must not be shorter than the kernel"),
        (lambda: F.conv_tbc(Z, V, B[:5]), ValueError, r"conv_tbc: bias must be \(out_channels,\)"),
        (lambda: F.conv_tbc(Z, V, B, (1, 1)), ValueError, "pad must be one integer"),
        (lambda: F.conv_tbc(Z, V, None), TypeError, "conv_tbc: bias must be an array"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
