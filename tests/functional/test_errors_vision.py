"""What the operations of interpolate.py, grid.py and shuffle.py refuse, in words."""

import jax.numpy as jnp
import numpy as np
import pytest

import purenn.functional as F

X = jnp.ones((2, 4, 4, 3))
X5 = X[:, :, None]
G = jnp.zeros((2, 1, 5, 2))
THETA = jnp.ones((2, 2, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.interpolate([1.0], 2), TypeError, "interpolate: input must be an array"),
        (lambda: F.interpolate(X, 2, mode="cubic"), ValueError, "mode must be one of nearest, .*, got mode='cubic'"),
        (lambda: F.interpolate(X, 2, mode="linear"), ValueError,
         r"input of mode='linear' must be 3-D, got input.shape=\(2, 4, 4, 3\)"),
        (lambda: F.interpolate(X[0, 0], 2), ValueError, "input of mode='nearest' must be 3-D, 4-D, 5-D"),
        (lambda: F.interpolate(X5, 2, mode="bicubic"), ValueError, "input of mode='bicubic' must be 4-D"),
        (lambda: F.interpolate(X, 2, align_corners=False), ValueError, "align_corners must be None for mode='nearest'"),
        (lambda: F.interpolate(X, 2, antialias=True), ValueError, "antialias must be False unless mode is bilinear"),
        (lambda: F.interpolate(X, 2, mode="lanczos"), ValueError, "mode='lanczos' must have antialias=True"),
        (lambda: F.interpolate(X, 2, None, "lanczos", True, None, True), ValueError, "and align_corners=False"),
        (lambda: F.interpolate(X.astype(int), 2), TypeError, "must be floating or uint8, got input.dtype='int32'"),
        (lambda: F.interpolate(X + 1j, 2), TypeError, "must be floating or uint8"),
        (lambda: F.interpolate(X.astype("uint8"), 2, mode="area"), TypeError, "input of mode='area' must be floating"),
        (lambda: F.interpolate(X), ValueError, "either size or scale_factor must be given, got size=None and"),
        (lambda: F.interpolate(X, 2, 2.0), ValueError, "either size or scale_factor must be given"),
        (lambda: F.interpolate(X, 2, recompute_scale_factor=True), ValueError, "recompute_scale_factor must be left"),
        (lambda: F.interpolate(X, 2.0), TypeError, "size must be an integer, or a tuple of such, got size=2.0"),
        (lambda: F.interpolate(X, (2, True)), TypeError, "size must be an integer"),
        (lambda: F.interpolate(X, np.array([2, 2])), TypeError, "size must be an integer"),
        (lambda: F.interpolate(X, None, (2.0, "1")), TypeError, "scale_factor must be a number"),
        (lambda: F.interpolate(X, (2,)), ValueError, "size must have one value for each spatial axis"),
        (lambda: F.interpolate(X, None, (2.0,)), ValueError, "scale_factor must have one value for each spatial axis"),
        (lambda: F.interpolate(X[:, :, :0], 2), ValueError, "input must have no empty axis but N"),
        (lambda: F.interpolate(X[:, :0], 2), ValueError, "input must have no empty axis but N"),
        (lambda: F.interpolate(X, None, 0.1), ValueError, r"sizes of the output must be positive, got sizes=\(0, 0\)"),
        (lambda: F.interpolate(X, -1, mode="area"), ValueError, "sizes of the output must be positive"),
        (lambda: F.upsample(X), ValueError, "either size or scale_factor must be given"),
        (lambda: F.upsample_nearest(X), ValueError, "either size or scale_factor must be given"),
        (lambda: F.upsample_bilinear(X5, 2), ValueError, "input of mode='bilinear' must be 4-D"),
        (lambda: F.grid_sample(X, G, "linear"), ValueError, "mode must be bilinear, nearest, bicubic, got mode='lin"),
        (lambda: F.grid_sample(X, G, padding_mode="wrap"), ValueError, "padding_mode must be zeros, border or refl"),
        (lambda: F.grid_sample(X.astype(int), G.astype(int)), TypeError, "input must be real and floating"),
        (lambda: F.grid_sample(X, G.astype("float16")), TypeError, "grid_sample: input, grid must have one dtype"),
        (lambda: F.grid_sample(X, G[0]), ValueError, "input and grid must both be 4-D or both 5-D"),
        (lambda: F.grid_sample(X[0], G[0]), ValueError, "input and grid must both be 4-D or both 5-D"),
        (lambda: F.grid_sample(X5, G[:, None]), ValueError, "the last axis of grid must have one coordinate for each"),
        (lambda: F.grid_sample(X[:1], G), ValueError, "input and grid must have the same N"),
        (lambda: F.grid_sample(X[:, :, :0], G), ValueError, "input must have no empty spatial axis"),
        (lambda: F.grid_sample(X5, jnp.zeros((2, 1, 1, 1, 3)), "bicubic"), ValueError, "mode must be bilinear or near"),
        (lambda: F.affine_grid(THETA.astype(int), (2, 1, 3, 3)), TypeError, "theta must be real and floating"),
        (lambda: F.affine_grid(THETA, (2, 1, 3.0, 3)), TypeError, "size must be a tuple of integers"),
        (lambda: F.affine_grid(THETA, (2, 1, 3)), ValueError, r"size must be \(N, C, H, W\) or"),
        (lambda: F.affine_grid(THETA, (1, 1, 3, 3)), ValueError, r"theta must be \(N, 2, 3\) for this size"),
        (lambda: F.affine_grid(THETA, (2, 1, 3, 3, 3)), ValueError, r"theta must be \(N, 3, 4\) for this size"),
        (lambda: F.affine_grid(THETA, (2, 1, 0, 3)), ValueError, "size must be positive"),
        (lambda: F.pixel_shuffle(X, 2.0), TypeError, "pixel_shuffle: upscale_factor must be an integer"),
        (lambda: F.pixel_shuffle(X, 0), ValueError, "upscale_factor must be positive"),
        (lambda: F.pixel_shuffle(X, 3), ValueError, "divisible by the square of upscale_factor"),
        (lambda: F.pixel_shuffle(X[0, 0], 1), ValueError, "pixel_shuffle: input must be at least 3-D"),
        (lambda: F.pixel_unshuffle(X, 0), ValueError, "downscale_factor must be positive"),
        (lambda: F.pixel_unshuffle(X, 2), ValueError, "height and width of input must be divisible by downscale"),
        (lambda: F.channel_shuffle(X, 3), ValueError, "channel_shuffle: the channels of input must be divisible"),
        (lambda: F.channel_shuffle(X, -2), ValueError, "groups must be positive"),
        (lambda: F.channel_shuffle(X[0, 0], 2), ValueError, "input must be at least 3-D"),
        (lambda: F.native_channel_shuffle(X, 3), ValueError, "native_channel_shuffle: the channels of input must"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
