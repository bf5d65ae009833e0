"""Pooling over windows of a given size: averages and maxima.

One kernel serves every spatial rank; the names with 1d, 2d and 3d say how many axes are spatial.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import refusal
from purenn.functional._windows import (
    Window,
    check_input,
    choose_windows,
    max_windows,
    positions,
    sum_windows,
    windows_of,
)

Ints = int | tuple[int, ...]  # one for all spatial axes, or one for each


def avg_pool1d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """Averages windows over L: ``y[o] = (Σ_i x[o·stride - padding + i]) / n``, with i in the window.

    Args:
        input: ``(N, C, L)``, or without N; floating, or int32 and int64, whose averages are truncated.
        kernel_size: length of the window, an integer or one in a tuple.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: zeros on both sides, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether n counts the padding; what lies beyond it is never counted.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.avg_pool1d``, identical.
    """
    return _avg_pool("avg_pool1d", input, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """Averages windows over H and W: ``y[o] = (Σ_i x[o·stride - padding + i]) / n``, with i in the window.

    Args:
        input: ``(N, C, H, W)``, or without N; floating, or int32 and int64, whose averages are truncated.
        kernel_size: length of the window, an integer, or two for H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: zeros on both sides, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether n counts the padding; what lies beyond it is never counted.
        divisor_override: divides every sum instead of the number of elements.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.avg_pool2d``, identical.
    """
    return _avg_pool(
        "avg_pool2d", input, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """Averages windows over D, H and W: ``y[o] = (Σ_i x[o·stride - padding + i]) / n``, with i in the window.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating, or int32 and int64, whose averages are truncated.
        kernel_size: length of the window, an integer, or three for D, H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: zeros on both sides, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether n counts the padding; what lies beyond it is never counted.
        divisor_override: divides every sum instead of the number of elements.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or the window is longer than the unpadded input.

    Torch:
        ``torch.nn.functional.avg_pool3d``, identical.
    """
    return _avg_pool(
        "avg_pool3d", input, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _avg_pool(
    op: str,
    input: jax.Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> jax.Array:
    x = check_input(op, input, rank)
    if x.dtype not in (jnp.int32, jnp.int64) and not jnp.issubdtype(x.dtype, jnp.floating):
        raise refusal(op, "input must be floating, int32 or int64", {"input.dtype": str(x.dtype)}, kind=TypeError)
    windows = windows_of(op, x.shape[-rank:], kernel_size, stride, padding, 1, ceil_mode)
    if rank == 3 and any(window.kernel > size for window, size in zip(windows, x.shape[-rank:], strict=True)):
        got = {"input.shape": x.shape, "kernel_size": kernel_size}
        raise refusal(op, "kernel_size must be at most the length of its axis", got)
    if divisor_override == 0:
        raise refusal(op, "divisor_override must not be 0", {"divisor_override": 0})
    return averages(x, windows, bool(count_include_pad), divisor_override)


@functools.partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def averages(
    x: jax.Array,
    windows: tuple[Window, ...],
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """Divides the sum of each window by the number of its elements.

    Args:
        x: ``(*, *spatial)``.
        windows: one per spatial axis.
        count_include_pad: whether the padding is counted.
        divisor_override: divides every sum instead.

    Returns:
        ``(*, *places)``, in the dtype of ``x``; integers are truncated.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        total, n = sum_windows(x, windows), _divisor(x, windows, count_include_pad, divisor_override)
        return lax.div(total, jnp.broadcast_to(jnp.asarray(n, x.dtype), total.shape))
    total = sum_windows(x.astype(jnp.promote_types(x.dtype, jnp.float32)), windows)
    n = _divisor(x, windows, count_include_pad, divisor_override)
    return (total / jnp.asarray(n, total.dtype)).astype(x.dtype)


def _divisor(
    x: jax.Array, windows: tuple[Window, ...], count_include_pad: bool, divisor_override: int | None
) -> np.ndarray:
    if divisor_override is not None:
        return np.asarray(divisor_override)
    counts = []
    for window, size in zip(windows, x.shape[-len(windows) :], strict=True):
        start = np.arange(window.places) * window.stride - window.low
        stop = start + window.kernel
        first, last = (-window.low, size + window.low) if count_include_pad else (0, size)
        counts.append(np.minimum(stop, last) - np.maximum(start, first))
    n = functools.reduce(np.multiply.outer, counts)
    return n.flat[0] if (n == n.flat[0]).all() else n


def max_pool1d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Takes the largest element of each window over L: ``y[o] = max_i x[o·stride - padding + dilation·i]``.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, L)``, or without N; floating or integer.
        kernel_size: length of the window, an integer or one in a tuple.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: elements never taken, on both sides, at most half of ``kernel_size``.
        dilation: distance of the elements of a window.
        ceil_mode: whether a last window may reach over the end.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened L.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.max_pool1d``, differs in that it takes integers with and without ``return_indices``.
    """
    return _max_pool("max_pool1d", input, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Returns ``max_pool1d(..., return_indices=True)``.

    Args:
        input: ``(N, C, L)``, or without N.
        kernel_size: see ``max_pool1d``.
        stride: see ``max_pool1d``.
        padding: see ``max_pool1d``.
        dilation: see ``max_pool1d``.
        ceil_mode: see ``max_pool1d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened L.

    Errors:
        As ``max_pool1d``.

    Torch:
        ``torch.nn.functional.max_pool1d_with_indices``, identical.
    """
    del return_indices
    op = "max_pool1d_with_indices"
    return _max_pool(op, input, 1, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Takes the largest element of each window over H and W: ``y[o] = max_i x[o·stride - padding + dilation·i]``.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, H, W)``, or without N; floating or integer.
        kernel_size: length of the window, an integer, or two for H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: elements never taken, on both sides, at most half of ``kernel_size``.
        dilation: distance of the elements of a window.
        ceil_mode: whether a last window may reach over the end.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened H and W.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.max_pool2d``, identical.
    """
    return _max_pool("max_pool2d", input, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d_with_indices(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Returns ``max_pool2d(..., return_indices=True)``.

    Args:
        input: ``(N, C, H, W)``, or without N.
        kernel_size: see ``max_pool2d``.
        stride: see ``max_pool2d``.
        padding: see ``max_pool2d``.
        dilation: see ``max_pool2d``.
        ceil_mode: see ``max_pool2d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened H and W.

    Errors:
        As ``max_pool2d``.

    Torch:
        ``torch.nn.functional.max_pool2d_with_indices``, identical.
    """
    del return_indices
    op = "max_pool2d_with_indices"
    return _max_pool(op, input, 2, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Takes the largest element of each window over D, H and W: ``y[o] = max_i x[o·stride - padding + dilation·i]``.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating or integer.
        kernel_size: length of the window, an integer, or three for D, H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: elements never taken, on both sides, at most half of ``kernel_size``.
        dilation: distance of the elements of a window.
        ceil_mode: whether a last window may reach over the end.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened D, H and W.

    Errors:
        TypeError: ``input`` is no such array, or an option is no integer.
        ValueError: the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.max_pool3d``, identical.
    """
    return _max_pool("max_pool3d", input, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d_with_indices(
    input: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Returns ``max_pool3d(..., return_indices=True)``.

    Args:
        input: ``(N, C, D, H, W)``, or without N.
        kernel_size: see ``max_pool3d``.
        stride: see ``max_pool3d``.
        padding: see ``max_pool3d``.
        dilation: see ``max_pool3d``.
        ceil_mode: see ``max_pool3d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened D, H and W.

    Errors:
        As ``max_pool3d``.

    Torch:
        ``torch.nn.functional.max_pool3d_with_indices``, identical.
    """
    del return_indices
    op = "max_pool3d_with_indices"
    return _max_pool(op, input, 3, kernel_size, stride, padding, dilation, ceil_mode, True)


def _max_pool(
    op: str,
    input: jax.Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = check_input(op, input, rank)
    windows = windows_of(op, x.shape[-rank:], kernel_size, stride, padding, dilation, ceil_mode)
    if not return_indices:
        return max_windows(x, windows)
    return choose_windows((x, positions(x.shape, rank)), windows)
