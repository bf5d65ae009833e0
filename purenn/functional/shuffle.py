"""Rearrangements: channels into pixels and back, and channels among themselves."""

import jax
import numpy as np

from purenn.errors import as_array, refusal


def pixel_shuffle(input: jax.Array, upscale_factor: int) -> jax.Array:
    """Moves groups of channels into pixels: ``y[c, h r + i, w r + j] = x[c r² + i r + j, h, w]``.

    Args:
        input: ``(*, C r², H, W)``, any dtype.
        upscale_factor: r.

    Returns:
        ``(*, C, H r, W r)``, in the dtype of ``input``.

    Errors:
        TypeError: ``upscale_factor`` is no integer.
        ValueError: it is not positive, or its square does not divide the channels.

    Torch:
        ``torch.nn.functional.pixel_shuffle``, identical.
    """
    x, r = _check_pixels("pixel_shuffle", input, "upscale_factor", upscale_factor)
    *lead, c, h, w = x.shape
    if c % (r * r):
        raise refusal(
            "pixel_shuffle",
            "the channels of input must be divisible by the square of upscale_factor",
            {"input.shape": x.shape, "upscale_factor": r},
        )
    n = len(lead)
    x = x.reshape(*lead, c // (r * r), r, r, h, w)
    x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)  # (*, C, H, r, W, r)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: jax.Array, downscale_factor: int) -> jax.Array:
    """Moves blocks of pixels into channels: ``y[c r² + i r + j, h, w] = x[c, h r + i, w r + j]``.

    Args:
        input: ``(*, C, H r, W r)``, any dtype.
        downscale_factor: r.

    Returns:
        ``(*, C r², H, W)``, in the dtype of ``input``.

    Errors:
        TypeError: ``downscale_factor`` is no integer.
        ValueError: it is not positive, or does not divide height and width.

    Torch:
        ``torch.nn.functional.pixel_unshuffle``, identical.
    """
    x, r = _check_pixels("pixel_unshuffle", input, "downscale_factor", downscale_factor)
    *lead, c, h, w = x.shape
    if h % r or w % r:
        raise refusal(
            "pixel_unshuffle",
            "height and width of input must be divisible by downscale_factor",
            {"input.shape": x.shape, "downscale_factor": r},
        )
    n = len(lead)
    x = x.reshape(*lead, c, h // r, r, w // r, r)
    x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)  # (*, C, r, r, H, W)
    return x.reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: jax.Array, groups: int) -> jax.Array:
    """Deals the channels of g groups out in turn: ``y[:, k g + i] = x[:, i C/g + k]``.

    Args:
        input: ``(N, C, *)`` with at least one further axis, any dtype.
        groups: g.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``groups`` is no integer.
        ValueError: it is not positive, or does not divide the channels; ``input`` is not at least 3-D.

    Torch:
        ``torch.nn.functional.channel_shuffle``, identical.
    """
    return _channel_shuffle("channel_shuffle", input, groups)


def native_channel_shuffle(input: jax.Array, groups: int) -> jax.Array:
    """Returns ``channel_shuffle(input, groups)``, another name for it.

    Args:
        input: ``(N, C, *)`` with at least one further axis, any dtype.
        groups: how many groups the channels are in.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.native_channel_shuffle``, identical.
    """
    return _channel_shuffle("native_channel_shuffle", input, groups)


def _channel_shuffle(op: str, input: jax.Array, groups: int) -> jax.Array:
    x, g = as_array(op, "input", input), _positive(op, "groups", groups)
    if x.ndim < 3:
        raise refusal(op, "input must be at least 3-D", {"input.shape": x.shape})
    n, c, *rest = x.shape
    if c % g:
        raise refusal(op, "the channels of input must be divisible by groups", {"input.shape": x.shape, "groups": g})
    return x.reshape(n, g, c // g, *rest).swapaxes(1, 2).reshape(x.shape)


def _check_pixels(op: str, input: jax.Array, argument: str, factor: int) -> tuple[jax.Array, int]:
    x, r = as_array(op, "input", input), _positive(op, argument, factor)
    if x.ndim < 3:
        raise refusal(op, "input must be at least 3-D", {"input.shape": x.shape})
    return x, r


def _positive(op: str, argument: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise refusal(op, f"{argument} must be an integer", {argument: value}, kind=TypeError)
    if value <= 0:
        raise refusal(op, f"{argument} must be positive", {argument: value})
    return int(value)
