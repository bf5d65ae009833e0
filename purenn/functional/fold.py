"""Sliding windows as columns, and columns as overlapping windows; separable, so one axis at a time."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import as_array, refusal
from purenn.functional._convolve import overlap, windows
from purenn.functional.conv import sizes


def unfold(
    input: jax.Array,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> jax.Array:
    """Lays every window out as a column: ``y[n, (c, k), l] = x[n, c, s i(l) + d k - p]``.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``, floating, complex or boolean.
        kernel_size: ``(kH, kW)``, extent of the window; one for both axes or one each, as all options here.
        dilation: distance ``d`` of the elements of the window.
        padding: zeros ``p`` added at both ends.
        stride: step ``s`` of the window.

    Returns:
        ``(N, C kH kW, L)`` or ``(C kH kW, L)``, with ``L = oH oW`` windows, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is integer; an option is no integer.
        ValueError: ``input`` has another rank or is empty but in the batch; the options leave no window.

    Torch:
        ``torch.nn.functional.unfold``, identical.
    """
    input = _array("unfold", input, 2)
    kernel, dilation, padding, stride = _options("unfold", kernel_size, dilation, padding, stride)
    (oH, oW) = _positions("unfold", input.shape[-2:], kernel, dilation, padding, stride)
    x = input if input.ndim == 4 else input[None]
    p, q = padding
    x = windows(x, 2, kernel[0], stride[0], (p, p), dilation[0])  # (N, C, kH, oH, W)
    x = windows(x, 4, kernel[1], stride[1], (q, q), dilation[1])  # (N, C, kH, oH, kW, oW)
    y = x.swapaxes(3, 4).reshape(x.shape[0], x.shape[1] * kernel[0] * kernel[1], oH * oW)
    return y if input.ndim == 4 else y[0]


def fold(
    input: jax.Array,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> jax.Array:
    """Adds columns up as overlapping windows: ``y[n, c, s i(l) + d k - p] += x[n, (c, k), l]``.

    It is the transpose of the linear map that `unfold` with the same options is.

    Args:
        input: ``(N, C kH kW, L)`` or ``(C kH kW, L)``, floating, complex or boolean.
        output_size: ``(H, W)``; one for both axes or one each, as all options here.
        kernel_size: ``(kH, kW)``, extent of the window.
        dilation: distance ``d`` of the elements of the window.
        padding: zeros ``p`` that were added at both ends, and are cut.
        stride: step ``s`` of the window.

    Returns:
        ``(N, C, H, W)`` or ``(C, H, W)``, in the dtype of ``input``; half precisions are added in float32.

    Errors:
        TypeError: ``input`` is integer; an option is no integer.
        ValueError: ``input`` has another rank or is empty but in the batch, or does not have the channels and the
            number of windows that the options ask for.

    Torch:
        ``torch.nn.functional.fold``, identical.
    """
    input = _array("fold", input, 1)
    (H, W) = _pair("fold", "output_size", output_size, 1)
    kernel, dilation, padding, stride = _options("fold", kernel_size, dilation, padding, stride)
    (oH, oW) = _positions("fold", (H, W), kernel, dilation, padding, stride)
    _check_columns(input, (H, W), kernel, (oH, oW))
    x = input if input.ndim == 3 else input[None]
    x = x.reshape(x.shape[0], x.shape[1] // (kernel[0] * kernel[1]), *kernel, oH, oW)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x
    x = x.swapaxes(3, 4)  # (N, C, kH, oH, kW, oW)
    x = overlap(x, 4, W, stride[1], padding[1], dilation[1])  # (N, C, kH, oH, W)
    x = overlap(x, 2, H, stride[0], padding[0], dilation[0])  # (N, C, H, W)
    y = x.astype(input.dtype)
    return y if input.ndim == 3 else y[0]


def _array(op: str, input: Any, spatial: int) -> jax.Array:
    input = as_array(op, "input", input)
    if input.dtype != bool and not jnp.issubdtype(input.dtype, jnp.inexact):
        rule, remedy = "input must be floating, complex or boolean", "Cast it with .astype(jnp.float32)."
        raise refusal(op, rule, {"input.dtype": str(input.dtype)}, remedy, TypeError)
    if input.ndim not in (spatial + 1, spatial + 2):
        rule = f"input must be {spatial + 2}-D, or {spatial + 1}-D without a batch"
        raise refusal(op, rule, {"input.shape": input.shape})
    if 0 in input.shape[-spatial - 1 :]:
        raise refusal(op, "only the batch of input may be empty", {"input.shape": input.shape})
    return input


def _pair(op: str, argument: str, value: Any, least: int) -> tuple[int, ...]:
    if isinstance(value, Sequence) and len(value) != 2:
        raise refusal(op, f"{argument} must be one integer or a pair", {argument: value})
    return sizes(op, argument, value, 2, least)


def _options(op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, ...], ...]:
    return (
        _pair(op, "kernel_size", kernel_size, 1),
        _pair(op, "dilation", dilation, 1),
        _pair(op, "padding", padding, 0),
        _pair(op, "stride", stride, 1),
    )


def _positions(
    op: str,
    extent: tuple[int, ...],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: tuple[int, ...],
    stride: tuple[int, ...],
) -> list[int]:
    free = [n + 2 * p - d * (k - 1) - 1 for n, p, d, k in zip(extent, padding, dilation, kernel, strict=True)]
    if min(free) < 0:
        raise refusal(
            op,
            "the window must fit into the padded extent",
            {"extent": extent, "kernel_size": kernel, "dilation": dilation, "padding": padding},
        )
    return [f // s + 1 for f, s in zip(free, stride, strict=True)]


def _check_columns(
    input: jax.Array, extent: tuple[int, ...], kernel: tuple[int, ...], positions: tuple[int, ...]
) -> None:
    if input.shape[-2] % (kernel[0] * kernel[1]):
        got = {"input.shape": input.shape, "kernel_size": kernel}
        raise refusal("fold", "the second last axis of input must be a multiple of kH kW", got)
    if input.shape[-1] != positions[0] * positions[1]:
        raise refusal(
            "fold",
            f"the last axis of input must have the {positions[0]} * {positions[1]} windows of output_size",
            {"input.shape": input.shape, "output_size": extent},
        )
