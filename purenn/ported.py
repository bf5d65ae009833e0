"""What ported models need besides purenn.functional: converted ones call it, and the files of `transforms.to_source`.

Each does what the torch operator of that name does, its gradient where there is more than one to choose from included.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import purenn.functional as F
from purenn.model import Buffers, Params
from purenn.random import Keys

__all__ = [
    "Keys", "batch_norm", "clamp", "gather", "histc", "masked_put", "max_along", "places", "root", "sort", "topk",
    "variance", "weights",
]  # fmt: skip


def batch_norm(
    params: Params, buffers: Buffers, x: jax.Array, train: bool, momentum: float = 0.1, eps: float = 1e-5
) -> jax.Array:
    """Batch norm with the arrays of one of torch.nn's layers.

    Args:
        params: with ``weight`` and ``bias``, or empty.
        buffers: with the running statistics; in training the new ones are written into it.
        x: ``(N, C, ...)``.
        train: whether the statistics are those of the batch.
        momentum: part of the new statistics.
        eps: added to the variance.

    Returns:
        The shape and dtype of ``x``.
    """
    weight, bias = params.get("weight"), params.get("bias")
    mean, var = buffers["running_mean"], buffers["running_var"]
    if not train:
        return F.batch_norm(x, mean, var, weight, bias, False, momentum, eps)
    out, (mean, var) = F.batch_norm_update(x, mean, var, weight, bias, momentum, eps)
    buffers |= {"running_mean": mean, "running_var": var, "num_batches_tracked": buffers["num_batches_tracked"] + 1}
    return out


def weights(params: Mapping[str, jax.Array]) -> list[jax.Array]:
    """The arrays of an LSTM, GRU or RNN in the order that purenn.functional takes them.

    Args:
        params: by torch's names: ``weight_ih_l0``, ``bias_hh_l1_reverse`` and so on.

    Returns:
        The arrays, layer by layer, the forward direction before the other.
    """
    order = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    parts = {name: name.removesuffix("_reverse").rpartition("_l") for name in params}
    ranks = {name: (int(k), name.endswith("_reverse"), order.index(kind)) for name, (kind, _, k) in parts.items()}
    return [params[name] for name in sorted(params, key=ranks.__getitem__)]


def clamp(x: jax.Array, low: Any = None, high: Any = None) -> jax.Array:
    """Keeps numbers within bounds.

    Args:
        x: any shape.
        low: the lower bound, or None.
        high: the upper bound, or None.

    Returns:
        The numbers; the gradient at a bound is that of ``x``, as in torch, where jnp.clip would halve it.
    """
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def max_along(
    x: jax.Array, axis: int, keepdims: bool = False, arg: Callable[..., jax.Array] = jnp.argmax
) -> tuple[jax.Array, jax.Array]:
    """The largest numbers along an axis, with their places.

    Args:
        x: any shape.
        axis: along which.
        keepdims: whether the axis is kept, with length 1.
        arg: what finds the places; ``jnp.argmin`` gives the smallest.

    Returns:
        ``(values, places)``; the gradient goes to those values alone.
    """
    index = arg(jax.lax.stop_gradient(x), axis, keepdims=True)
    values = jnp.take_along_axis(x, index, axis)
    return (values, index) if keepdims else (jnp.squeeze(values, axis), jnp.squeeze(index, axis))


def order(x: jax.Array, axis: int = -1, descending: bool = False) -> jax.Array:
    """The places of numbers in order; equal numbers keep theirs, NaN counts as the largest.

    Args:
        x: any shape.
        axis: along which.
        descending: whether the largest comes first.

    Returns:
        Integers of the shape of ``x``.
    """
    numbers = jax.lax.stop_gradient(x)
    if not descending:
        return jnp.argsort(numbers, axis, stable=True)
    return x.shape[axis] - 1 - jnp.flip(jnp.argsort(jnp.flip(numbers, axis), axis, stable=True), axis)


def sort(x: jax.Array, axis: int = -1, descending: bool = False) -> tuple[jax.Array, jax.Array]:
    """Numbers in order, with their places.

    Args:
        x: any shape.
        axis: along which.
        descending: whether the largest comes first.

    Returns:
        ``(values, places)``; equal numbers keep their order, NaN counts as the largest.
    """
    index = order(x, axis, descending)
    return jnp.take_along_axis(x, index, axis), index


def topk(x: jax.Array, k: int, axis: int = -1, largest: bool = True) -> tuple[jax.Array, jax.Array]:
    """The first numbers in order, with their places.

    Args:
        x: any shape.
        k: how many.
        axis: along which.
        largest: whether the largest come first, else the smallest.

    Returns:
        ``(values, places)``.
    """
    index = jax.lax.slice_in_dim(order(x, axis, largest), 0, k, axis=axis)
    return jnp.take_along_axis(x, index, axis), index


def gather(x: jax.Array, axis: int, index: jax.Array) -> jax.Array:
    """The numbers along an axis at the places that ``index`` names.

    Args:
        x: any shape.
        axis: along which.
        index: of the rank of ``x``, along the other axes no longer than it.

    Returns:
        The shape of ``index``.
    """
    for other, n in enumerate(index.shape):
        if other != axis % x.ndim and x.shape[other] != n:
            x = jax.lax.slice_in_dim(x, 0, n, axis=other)
    return jnp.take_along_axis(x, index, axis, mode="fill")


def places(index: jax.Array, axis: int) -> tuple[jax.Array, ...]:
    """Where numbers go that are put along an axis: for each its own place, with ``axis`` replaced by ``index``.

    Args:
        index: integers.
        axis: that they speak of.

    Returns:
        One array for each axis, for ``x.at[...]``.
    """
    grid = [jax.lax.broadcasted_iota(jnp.int32, index.shape, a) for a in range(index.ndim)]
    grid[axis % index.ndim] = index
    return tuple(grid)


def variance(x: jax.Array, axis: Any = None, correction: float = 1, keepdims: bool = False) -> jax.Array:
    """The variance over axes.

    Args:
        x: floating or complex.
        axis: one, several, or None for all.
        correction: taken off the number of elements.
        keepdims: whether the axes are kept, with length 1.

    Returns:
        The variance.
    """
    chosen = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    count = math.prod(x.shape[a] for a in chosen)
    total = jnp.sum(jnp.abs(x - jnp.mean(x, axis, keepdims=True)) ** 2, axis, keepdims=keepdims)
    return total / jnp.maximum(jnp.asarray(count - correction, total.dtype), 0)


def root(x: jax.Array) -> jax.Array:
    """The square root, whose gradient at 0 is 0.

    Args:
        x: not negative.

    Returns:
        The root.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), x * 0)


def masked_put(x: jax.Array, mask: jax.Array, values: jax.Array) -> jax.Array:
    """Puts numbers, in order, where a mask is True.

    Args:
        x: any shape.
        mask: bool, of the shape of ``x``.
        values: as many numbers as there are True, or more.

    Returns:
        The shape and dtype of ``x``.
    """
    place = jnp.cumsum(mask.reshape(-1)).reshape(mask.shape) - 1
    return jnp.where(mask, jnp.take(values.reshape(-1), place, mode="clip").astype(x.dtype), x)


def histc(x: jax.Array, bins: int = 100, low: Any = 0, high: Any = 0) -> jax.Array:
    """Counts numbers by where they lie.

    Args:
        x: any shape.
        bins: number of parts of equal width.
        low: where the first begins; equal to ``high`` for the range of the numbers.
        high: where the last ends.

    Returns:
        The counts, ``(bins,)``, in the dtype of ``x``.
    """
    x = x.reshape(-1)
    low, high = (x.min(), x.max()) if low == high else (low, high)
    low, high = (jnp.asarray(b, x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32) for b in (low, high))
    low, high = jnp.where(low == high, low - 1, low), jnp.where(low == high, high + 1, high)
    place = jnp.where(x == high, bins - 1, jnp.floor((x - low) * bins / (high - low)).astype(jnp.int32))
    inside = (x >= low) & (x <= high)
    return jnp.zeros(bins, x.dtype).at[jnp.where(inside, place, bins)].add(1, mode="drop")
