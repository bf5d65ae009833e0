"""Windows that slide over the spatial axes: their geometry, their maxima and their sums.

A rectangular window is reduced one axis after the other, the last axis first: the first row that holds the maximum,
and in it the first column, is the first maximum in row-major order. Along one axis a maximum over k neighbours takes
log2(k) comparisons, because windows that overlap have the same maximum as their union.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import as_array, refusal

Leaves = tuple[jax.Array, ...]  # an array to be maximised, and what travels with its maxima


class Window(NamedTuple):
    """Windows along one axis: ``places`` of them, the first at ``-low``, ``stride`` apart."""

    kernel: int
    stride: int
    low: int  # padding before the first element
    high: int  # padding after the last one; less than nothing where the last elements are in no window
    dilation: int
    places: int


def check_input(op: str, input: Any, rank: int, empty_channels: bool = False) -> jax.Array:
    """Takes ``(N, C, *spatial)`` or ``(C, *spatial)``; only the batch may be empty.

    Args:
        op: name of the operation.
        input: its input.
        rank: number of spatial axes.
        empty_channels: whether C may be 0.

    Returns:
        The array.

    Errors:
        TypeError: no array, or booleans or complex numbers.
        ValueError: the number of axes or their lengths.
    """
    x = as_array(op, "input", input)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise refusal(op, "input must be real numbers", {"input.dtype": str(x.dtype)}, "Cast it first.", TypeError)
    if x.ndim not in (rank + 1, rank + 2):
        rule = f"input must be {rank + 1}-D (C, *spatial) or {rank + 2}-D (N, C, *spatial)"
        raise refusal(op, rule, {"input.shape": x.shape})
    if 0 in x.shape[-rank:] or (x.shape[-rank - 1] == 0 and not empty_channels):
        raise refusal(op, "only the batch axis of input may be empty", {"input.shape": x.shape})
    return x


def per_axis(op: str, argument: str, value: Any, rank: int, least: int | None = None) -> tuple[int, ...]:
    """Repeats an integer for every spatial axis, or takes one integer per axis.

    Args:
        op: name of the operation.
        argument: name of the argument.
        value: an integer, a sequence of one, or a sequence of ``rank``.
        rank: number of spatial axes.
        least: the smallest value allowed.

    Returns:
        ``rank`` integers.

    Errors:
        TypeError: not integers.
        ValueError: too many or too few, or below ``least``.
    """
    try:
        given = tuple(map(_integer, value if isinstance(value, Sequence) else (value,)))
    except TypeError:
        rule = f"{argument} must be an integer or {rank} of them"
        raise refusal(op, rule, {argument: value}, kind=TypeError) from None
    if len(given) not in (1, rank):
        raise refusal(op, f"{argument} must be an integer or {rank} of them", {argument: value})
    if least is not None and min(given) < least:
        raise refusal(op, f"{argument} must be at least {least}", {argument: value})
    return given * rank if len(given) == 1 else given


def _integer(value: Any) -> int:
    if isinstance(value, (bool, str)):
        raise TypeError
    return operator.index(value)


def windows_of(
    op: str,
    shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> tuple[Window, ...]:
    """Lays out the windows of a pooling operation.

    Args:
        op: name of the operation.
        shape: lengths of the spatial axes.
        kernel_size: length of the window, one or one per axis.
        stride: distance of the windows; None or empty means ``kernel_size``.
        padding: on both sides, at most half of ``kernel_size``.
        dilation: distance of the elements of one window.
        ceil_mode: whether a last window may reach over the end; it has to start before the padding there.

    Returns:
        One window per axis.

    Errors:
        TypeError: not integers.
        ValueError: an option out of its range, or no window fits.
    """
    rank = len(shape)
    kernel = per_axis(op, "kernel_size", kernel_size, rank, 1)
    if stride is None or (isinstance(stride, Sequence) and not stride):
        stride = kernel
    strides = per_axis(op, "stride", stride, rank, 1)
    pads = per_axis(op, "padding", padding, rank, 0)
    dilations = per_axis(op, "dilation", dilation, rank, 1)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        got = {"padding": padding, "kernel_size": kernel_size}
        raise refusal(op, "padding must be at most half of kernel_size", got)
    windows = tuple(_window(*axis, ceil_mode) for axis in zip(shape, kernel, strides, pads, dilations, strict=True))
    if any(window.places < 1 for window in windows):
        got = {"spatial shape": shape, "kernel_size": kernel_size, "padding": padding, "dilation": dilation}
        raise refusal(op, "the padded input must hold at least one window", got)
    return windows


def _window(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> Window:
    span = dilation * (kernel - 1) + 1
    places = (size + 2 * padding - span + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (places - 1) * stride >= size + padding:
        places -= 1  # it would start in the padding at the end
    return Window(kernel, stride, padding, (places - 1) * stride + span - size - padding, dilation, places)


def lowest(dtype: Any) -> np.ndarray:
    """The identity of max.

    Args:
        dtype: real.

    Returns:
        A scalar: minus infinity, or the smallest integer.
    """
    return np.asarray(-np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min, dtype)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def max_windows(x: jax.Array, windows: tuple[Window, ...]) -> jax.Array:
    """Largest element of each window; NaN if there is one.

    Args:
        x: ``(*, *spatial)``.
        windows: one per spatial axis.

    Returns:
        ``(*, *places)``, in the dtype of ``x``.
    """
    return _max_windows(x, windows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_windows(x: jax.Array, windows: tuple[Window, ...]) -> jax.Array:
    if _one_over_everything(x, windows):
        return x.max(tuple(range(-len(windows), 0)), keepdims=True)
    disjoint = all(window.kernel <= window.stride for window in windows)  # one axis at a time would read more
    return _reduce(x, windows, lowest(x.dtype), lax.max, at_once=disjoint)


# Differentiated as a choice of one element per window: at a tie the gradient goes to the first maximum, and the
# backward pass is a select, where XLA's own rule for reduce_window scatters (2 to 50 times slower on a CPU).
@_max_windows.defjvp
def _max_windows_jvp(windows: tuple[Window, ...], primals: Leaves, tangents: Leaves) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(lambda x: choose_windows((x,), windows)[0], primals, tangents)


def _one_over_everything(x: jax.Array, windows: tuple[Window, ...]) -> bool:
    spatial = x.shape[-len(windows) :]
    return all(w.low == 0 and w.dilation == 1 and w.kernel >= n for w, n in zip(windows, spatial, strict=True))


def _reduce(
    x: jax.Array, windows: tuple[Window, ...], identity: np.ndarray, reducer: Callable, at_once: bool = False
) -> jax.Array:
    rank = len(windows)
    steps = [(x.ndim - rank + i, window) for i, window in enumerate(windows) if window.kernel * window.stride > 1]
    for group in [steps] if at_once else [[step] for step in reversed(steps)]:
        size, stride, dilation, pads = [1] * x.ndim, [1] * x.ndim, [1] * x.ndim, [(0, 0)] * x.ndim
        for axis, window in group:
            size[axis], stride[axis], dilation[axis] = window.kernel, window.stride, window.dilation
            pads[axis] = (window.low, max(window.high, 0))
        x = lax.reduce_window(x, identity, reducer, size, stride, pads, window_dilation=dilation)
    return x


@functools.partial(jax.jit, static_argnums=1, inline=True)
def choose_windows(leaves: Leaves, windows: tuple[Window, ...]) -> Leaves:
    """The element of each window at its first maximum, or at its last NaN.

    Args:
        leaves: ``(*, *spatial)`` each; the first one is compared, the others follow it.
        windows: one per spatial axis.

    Returns:
        ``(*, *places)`` each.
    """
    for i, window in enumerate(reversed(windows)):
        leaves = choose_along(leaves, leaves[0].ndim - 1 - i, window)
    return leaves


def choose_along(leaves: Leaves, axis: int, window: Window) -> Leaves:
    """`choose_windows` along one axis.

    Args:
        leaves: arrays of one shape; the first one is compared.
        axis: not negative.
        window: along that axis.

    Returns:
        The arrays, with ``window.places`` elements on the axis.
    """
    real = np.pad(np.ones(leaves[0].shape[axis], bool), (window.low, max(window.high, 0)))
    leaves, real, width = widen(_pad(leaves, axis, window), axis, window.kernel, window.dilation, real)

    def at(offset: int) -> Callable:
        stop = offset + window.stride * (window.places - 1) + 1
        return lambda leaf: lax.slice_in_dim(leaf, offset, stop, window.stride, axis)

    if window.kernel == 1:
        return tuple(map(at(0), leaves))
    second = at(window.dilation * (window.kernel - width))
    covered = real[: window.stride * (window.places - 1) + 1 : window.stride]
    return better(tuple(map(at(0), leaves)), tuple(map(second, leaves)), axis, covered)


def _pad(leaves: Leaves, axis: int, window: Window) -> Leaves:
    if not window.low and window.high <= 0:
        return leaves
    config = [(0, 0, 0)] * leaves[0].ndim
    config[axis] = (window.low, max(window.high, 0), 0)
    return tuple(lax.pad(leaf, lowest(leaf.dtype), config) for leaf in leaves)


def widen(leaves: Leaves, axis: int, kernel: int, dilation: int, real: np.ndarray) -> tuple[Leaves, np.ndarray, int]:
    """Chooses among the next elements at every position, as many of them as half of a window and no more than it.

    Args:
        leaves: arrays of one shape; the first one is compared.
        axis: the axis along which to look.
        kernel: length of the window that two of the results shall cover.
        dilation: distance of the elements of a window.
        real: which positions along the axis are no padding.

    Returns:
        The choices, which of them saw an element that is no padding, and the width of what they saw.
    """
    width = 1
    while 2 * width < kernel:
        step = width * dilation
        length = leaves[0].shape[axis] - step
        near = tuple(lax.slice_in_dim(leaf, 0, length, axis=axis) for leaf in leaves)
        far = tuple(lax.slice_in_dim(leaf, step, step + length, axis=axis) for leaf in leaves)
        leaves = better(near, far, axis, real[:length])
        real = real[:length] | real[step:]
        width *= 2
    return leaves, real, width


def better(near: Leaves, far: Leaves, axis: int = -1, real: np.ndarray | None = None) -> Leaves:
    """Takes ``far`` where it is larger or NaN, else ``near``.

    Args:
        near: arrays of one shape; the first one is compared.
        far: the same, of elements that come later in the window.
        axis: the axis of ``real``.
        real: positions at which ``near`` is no mere padding; at the others ``far`` is taken, even if it is -inf.

    Returns:
        The better of the two, place by place.
    """
    a, b = near[0], far[0]
    take = (b > a) | (b != b)
    if real is not None and not real.all():
        take |= np.expand_dims(~real, tuple(range(1, a.ndim - axis)))
    return tuple(jnp.where(take, y, x) for x, y in zip(near, far, strict=True))


def positions(shape: tuple[int, ...], rank: int) -> jax.Array:
    """Numbers the elements of the last ``rank`` axes in row-major order.

    Args:
        shape: of the array.
        rank: number of spatial axes.

    Returns:
        Integers of that shape.
    """
    spatial = shape[-rank:]
    return jnp.broadcast_to(jnp.arange(np.prod(spatial)).reshape(spatial), shape)


def sum_windows(x: jax.Array, windows: tuple[Window, ...]) -> jax.Array:
    """Sum of each window.

    Args:
        x: ``(*, *spatial)``.
        windows: one per spatial axis.

    Returns:
        ``(*, *places)``, in the dtype of ``x``.
    """
    if _one_over_everything(x, windows):
        return x.sum(tuple(range(-len(windows), 0)), dtype=x.dtype, keepdims=True)
    if any(w.low > 0 or w.high > 0 or w.kernel > min(w.stride, 8) for w in windows):
        return _reduce(x, windows, np.zeros((), x.dtype), lax.add)
    # Few elements, no overlap, no padding: added slices fuse, and are 2 to 10 times faster on a CPU.
    for axis, window in zip(range(x.ndim - len(windows), x.ndim), windows, strict=True):
        reach = window.stride * (window.places - 1) + 1
        slices = [lax.slice_in_dim(x, i, i + reach, window.stride, axis) for i in range(window.kernel)]
        x = functools.reduce(operator.add, slices)
    return x
