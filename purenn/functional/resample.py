"""Resampling one axis: a fixed linear map with a few taps for each output, told as a table of indices and weights.

The table is computed once, in numpy, in the precision in which torch computes its coordinates. Both the map and its
transpose are applied as gathers, one for each column of their tables: the gradient of a gather would be a scatter,
many times slower, so the transpose gets a table of its own. Where a table is wide the map is a matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Above this many taps a matrix product is faster than the gathers, unless the matrix itself were too large.
_MOST_TAPS = 16
_LARGEST_MATRIX = 1 << 24


@dataclass(frozen=True)
class Table:
    """``y[o] = Σ_k weight[o, k] x[index[o, k]]`` along an axis of ``size`` elements; ``index`` lies in the axis."""

    index: np.ndarray  # (out, K)
    weight: np.ndarray  # (out, K)
    size: int


def resample(x: jax.Array, axis: int, table: Table) -> jax.Array:
    """Applies a table to an axis; exact in forward and in reverse mode.

    Args:
        x: any shape, floating; any dtype where the table only picks: one tap of weight 1 each.
        axis: the axis of ``table.size`` elements.
        table: the taps of each output.

    Returns:
        ``x`` with ``len(table.index)`` elements on the axis.
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return _gather(x, axis, table)

    @jax.custom_jvp
    def apply(x: jax.Array) -> jax.Array:
        return _gather(x, axis, table)

    apply.defjvp(lambda primals, tangents: (apply(*primals), _scatter(tangents[0], axis, transpose(table))))
    return apply(x)


def resample_uint8(x: jax.Array, axis: int, table: Table) -> jax.Array:
    """Applies a table to bytes in the fixed-point arithmetic of image libraries: 16-bit weights, rounded, clamped.

    Args:
        x: any shape, uint8.
        axis: the axis of ``table.size`` elements.
        table: the taps of each output.

    Returns:
        ``x`` with ``len(table.index)`` elements on the axis, uint8.
    """
    # as many bits as the largest weight leaves in 15
    bits = next((b for b in range(22) if int(0.5 + table.weight.max() * (1 << (b + 1))) >= 1 << 15), 22)
    fixed = table.weight * (1 << bits)
    fixed = np.trunc(fixed + np.copysign(0.5, fixed)).astype(np.int32)
    y = _gather(x.astype(jnp.int32), axis, replace(table, weight=fixed)) + (1 << (bits - 1))
    return jnp.clip(y >> bits, 0, 255).astype(jnp.uint8)


def merged(index: np.ndarray, weight: np.ndarray, size: int) -> Table:
    """Clamps indices to the axis and adds up the weights that then fall on one element.

    Args:
        index: ``(out, K)``, ascending in each row, anything may lie outside the axis.
        weight: ``(out, K)``.
        size: elements of the axis.

    Returns:
        The table.
    """
    out = len(index)
    row = np.broadcast_to(np.arange(out)[:, None], index.shape)
    return _tabulate(row.ravel(), np.clip(index, 0, size - 1).ravel(), weight.ravel(), out, size)


def transpose(table: Table) -> Table:
    """Gives the table of the transposed map.

    Args:
        table: of shape ``(out, K)``.

    Returns:
        A table of shape ``(table.size, K')`` over an axis of ``out`` elements.
    """
    out = len(table.index)
    row = np.broadcast_to(np.arange(out)[:, None], table.index.shape)
    return _tabulate(table.index.ravel(), row.ravel(), table.weight.ravel(), table.size, out)


def _tabulate(row: np.ndarray, column: np.ndarray, weight: np.ndarray, rows: int, columns: int) -> Table:
    # entries (row, column, weight), equal places added up, as one padded line per row
    place, inverse = np.unique(row.astype(np.int64) * columns + column, return_inverse=True)
    total = np.zeros(len(place), weight.dtype)
    np.add.at(total, inverse, weight)
    place, total = place[total != 0], total[total != 0]
    row, column = place // columns, place % columns
    start = np.searchsorted(row, np.arange(rows))
    rank = np.arange(len(row)) - start[row]
    width = int(rank.max(initial=0)) + 1
    # An empty tap has weight 0 and repeats the first of its line, so that a NaN stays where it is.
    index = np.zeros((rows, width), np.int32)
    filled = start < np.searchsorted(row, np.arange(rows), side="right")
    index[filled] = column[start[filled]][:, None]
    values = np.zeros((rows, width), weight.dtype)
    index[row, rank], values[row, rank] = column, total
    return Table(index, values, columns)


def _is_wide(table: Table) -> bool:
    out, taps = table.index.shape
    return taps > _MOST_TAPS and out * table.size <= _LARGEST_MATRIX


def _columns(x: jax.Array, axis: int, table: Table) -> list[tuple[np.ndarray, np.ndarray]]:
    # each column of the table as (indices, weights that broadcast along the axis)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    weight = table.weight.astype(x.dtype)
    return [(table.index[:, k], weight[:, k].reshape(shape)) for k in range(weight.shape[1])]


def _gather(x: jax.Array, axis: int, table: Table) -> jax.Array:
    if _is_wide(table):
        return _product(x, axis, table, by_row=True)
    terms = []
    for index, weight in _columns(x, axis, table):
        taken = x.at[(slice(None),) * axis + (index,)].get(mode="promise_in_bounds", wrap_negative_indices=False)
        terms.append(taken if (weight == 1).all() else taken * weight)
    return reduce(add, terms)


def _scatter(x: jax.Array, axis: int, table: Table) -> jax.Array:
    # The map whose transpose has this table. Forward mode runs it as it stands; reverse mode transposes it to gathers.
    if _is_wide(table):
        return _product(x, axis, table, by_row=False)
    y = jnp.zeros((*x.shape[:axis], table.size, *x.shape[axis + 1 :]), x.dtype)
    for index, weight in _columns(x, axis, table):
        y = y.at[(slice(None),) * axis + (index,)].add(
            x * weight, mode="promise_in_bounds", wrap_negative_indices=False
        )
    return y


def _product(x: jax.Array, axis: int, table: Table, *, by_row: bool) -> jax.Array:
    matrix = np.zeros((len(table.index), table.size), x.dtype)
    np.add.at(matrix, (np.arange(len(table.index))[:, None], table.index), table.weight.astype(x.dtype))
    # (..., in, ...) x (out, in) -> (..., out); float32 products must not be rounded to the halves of an accelerator
    dimensions = (((axis,), (1 if by_row else 0,)), ((), ()))
    return jnp.moveaxis(lax.dot_general(x, matrix, dimensions, precision=lax.Precision.HIGHEST), -1, axis)


# Tables of the modes. `scale` is the distance between outputs, measured in inputs, in the dtype of the coordinates.


def step(size: int, out: int, factor: float | None, align_corners: bool, dtype: np.dtype) -> np.floating:
    """Says how many inputs lie between two neighbouring outputs.

    Args:
        size: elements of the axis.
        out: elements wanted.
        factor: the scale factor that the caller gave, which enters as it is, or None.
        align_corners: the centres of the first and the last element stay where they are.
        dtype: of the coordinates.

    Returns:
        A scalar of ``dtype``.
    """
    if align_corners:
        return dtype.type(size - 1) / dtype.type(out - 1) if out > 1 else dtype.type(0)
    if factor is not None and factor > 0:
        return dtype.type(1.0 / factor)
    return dtype.type(size) / dtype.type(out)


def nearest_table(size: int, out: int, scale: np.floating, *, exact: bool) -> Table:
    """Takes the element at ``⌊o s⌋``, or at ``⌊(o + 1/2) s⌋`` if ``exact``.

    Args:
        size: elements of the axis.
        out: elements wanted.
        scale: s, as `step` gives it.
        exact: measures from the centres of the outputs.

    Returns:
        A table of one tap each.
    """
    o = np.arange(out, dtype=scale.dtype)
    index = np.floor((o + scale.dtype.type(0.5)) * scale if exact else o * scale).astype(np.int64)
    return Table(np.minimum(index, size - 1).astype(np.int32)[:, None], np.ones((out, 1), scale.dtype), size)


def linear_table(size: int, out: int, scale: np.floating, align_corners: bool) -> Table:
    """Interpolates between the two elements next to each output.

    Args:
        size: elements of the axis.
        out: elements wanted.
        scale: as `step` gives it.
        align_corners: where the outputs lie, see `step`.

    Returns:
        A table of up to two taps.
    """
    source = np.maximum(_source(out, scale, align_corners), 0)
    low = np.minimum(source.astype(np.int64), size - 1)
    t = np.clip(source - low.astype(scale.dtype), 0, 1)
    return merged(np.stack([low, low + 1], 1), np.stack([1 - t, t], 1), size)


def cubic_table(size: int, out: int, scale: np.floating, align_corners: bool) -> Table:
    """Convolves with the cubic kernel of Keys (1981), a = -0.75; elements beyond an edge are those at the edge.

    Args:
        size: elements of the axis.
        out: elements wanted.
        scale: as `step` gives it.
        align_corners: where the outputs lie, see `step`.

    Returns:
        A table of up to four taps.
    """
    source = _source(out, scale, align_corners)
    low = np.minimum(np.floor(source).astype(np.int64), size - 1)
    t = np.clip(source - low.astype(scale.dtype), 0, 1)
    offsets = np.arange(-1, 3)
    return merged(low[:, None] + offsets, cubic(t[:, None] - offsets.astype(scale.dtype), -0.75), size)


def area_table(size: int, out: int, dtype: np.dtype) -> Table:
    """Averages the elements ``⌊o n / m⌋`` to ``⌈(o + 1) n / m⌉ - 1``: adaptive average pooling.

    Args:
        size: elements of the axis, n.
        out: elements wanted, m.
        dtype: of the weights.

    Returns:
        The table.
    """
    o = np.arange(out)
    start, stop = o * size // out, -((-(o + 1) * size) // out)
    index = start[:, None] + np.arange((stop - start).max())
    weight = np.where(index < stop[:, None], 1 / (stop - start)[:, None], 0)
    return merged(index, weight.astype(dtype), size)


def antialias_table(size: int, out: int, scale: np.floating, kernel: Callable, width: int) -> Table:
    """Convolves with a kernel that is stretched where the axis shrinks; the weights in the axis are made to add to 1.

    Args:
        size: elements of the axis.
        out: elements wanted.
        scale: as `step` gives it.
        kernel: function of the distance.
        width: of the kernel's support.

    Returns:
        The table.
    """
    stretch = np.maximum(scale, 1)
    support = width / 2 * stretch
    centre = scale * (np.arange(out, dtype=scale.dtype) + scale.dtype.type(0.5))  # of each output, from the left edge
    start = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + support + 0.5).astype(np.int64), size)
    index = start[:, None] + np.arange((stop - start).max())
    distance = (index - centre[:, None] + 0.5) / stretch
    weight = np.where(index < stop[:, None], kernel(distance.astype(scale.dtype)), 0)
    weight = weight / weight.sum(1, keepdims=True)
    return merged(index, weight.astype(scale.dtype), size)


def triangle(x: np.ndarray) -> np.ndarray:
    """Falls from 1 at 0 to 0 at distance 1.

    Args:
        x: distances.

    Returns:
        The weights.
    """
    return np.maximum(1 - np.abs(x), 0)


def cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Evaluates the cubic convolution kernel of Keys (1981), of support 4.

    Args:
        x: distances.
        a: the slope at distance 1.

    Returns:
        The weights.
    """
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))


def lanczos(x: np.ndarray) -> np.ndarray:
    """Evaluates the windowed sinc of three lobes, ``sinc(x) sinc(x / 3)``, of support 6.

    Args:
        x: distances.

    Returns:
        The weights.
    """
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _source(out: int, scale: np.floating, align_corners: bool) -> np.ndarray:
    o, half = np.arange(out, dtype=scale.dtype), scale.dtype.type(0.5)
    return o * scale if align_corners else scale * (o + half) - half
