"""Picking elements out by their places, and putting them back.

A place out of range is an error in torch; here, where no value can be read inside a trace, what is picked is NaN (for
integers the smallest number) and what is put falls away. Nothing is clamped or wrapped.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn import ported
from purenn.errors import refusal
from purenn.ported import places
from transforms.torch_ops.promotion import as_dtype, length, lengths, long
from transforms.torch_ops.registry import register_op
from transforms.torch_ops.scattered_products import multiplied


def _bounds(n: Any, start: Any, end: Any) -> tuple[Any, Any]:
    """A slice's ends within an axis of length n."""
    ends = []
    for end_of_range, default in ((length(start), 0), (length(end), n)):
        bound = default if end_of_range is None else end_of_range
        if isinstance(bound, int) and bound >= 2**31 - 1:
            bound = n
        if isinstance(bound, int) and isinstance(n, int):
            bound = min(max(bound + n if bound < 0 else bound, 0), n)
        elif isinstance(bound, int) and bound < 0:
            bound = n + bound
        ends.append(bound)
    if all(isinstance(bound, int) for bound in ends):
        ends[1] = max(ends)
    return ends[0], ends[1]


@register_op("aten.slice.Tensor", "aten.slice_copy.Tensor")
def _slice(self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    start, end = _bounds(self.shape[dim], start, end)
    return jax.lax.slice_in_dim(self, start, end, step, dim)


@register_op("aten.narrow.default", "aten.narrow_copy.default")
def _narrow(self: Any, dim: int, start: Any, length: Any) -> Any:
    return _slice(self, dim, start, start + length)


@register_op("aten.select.int", "aten.select_copy.int")
def _select(self: Any, dim: int, index: Any) -> Any:
    if isinstance(index, int):
        return jax.lax.index_in_dim(self, index, dim, keepdims=False)
    return jnp.take(self, index, dim, mode="fill")


@register_op("aten.slice_scatter.default")
def _slice_scatter(self: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    start, end = _bounds(self.shape[dim], start, end)
    where = [slice(None)] * self.ndim
    where[dim] = slice(start, end, step)
    return self.at[tuple(where)].set(src.astype(self.dtype))


@register_op("aten.select_scatter.default")
def _select_scatter(self: Any, src: Any, dim: int, index: Any) -> Any:
    where: list[Any] = [slice(None)] * self.ndim
    where[dim] = index
    return self.at[tuple(where)].set(src.astype(self.dtype))


@register_op("aten.diagonal_scatter.default")
def _diagonal_scatter(self: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    x = jnp.moveaxis(self, (dim1, dim2), (-2, -1))
    n = src.shape[-1]
    rows, columns = jnp.arange(n) + max(-offset, 0), jnp.arange(n) + max(offset, 0)
    return jnp.moveaxis(x.at[..., rows, columns].set(src.astype(x.dtype)), (-2, -1), (dim1, dim2))


@register_op("aten.as_strided_scatter.default")
def _as_strided_scatter(self: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    places = jnp.asarray(storage_offset or 0)
    for n, s in zip(lengths(size), lengths(stride), strict=True):
        places = places[..., None] + jnp.arange(n) * s
    return self.reshape(-1).at[places].set(src.astype(self.dtype)).reshape(self.shape)


def _indices(indices: Any) -> tuple[Any, ...]:
    """Torch's list of indices: None takes a whole axis, uint8 is a mask."""
    return tuple(
        slice(None) if index is None else index.astype(bool) if index.dtype == jnp.uint8 else index
        for index in indices
    )  # fmt: skip


def _is_mask(index: Any) -> bool:
    return not isinstance(index, slice) and index.dtype == jnp.bool_


@register_op("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index(self: Any, indices: Any) -> Any:
    where = _indices(indices)
    if any(_is_mask(index) and isinstance(index, jax.core.Tracer) for index in where):
        rule = "a mask that picks rows must be known when the model is traced"
        raise refusal("index", rule, remedy="Call the model outside jit, or use torch.where.")
    return self.at[where].get(mode="fill", fill_value=None)


@register_op("aten.index_put.default", "aten._unsafe_index_put.default")
def _index_put(self: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    where = _indices(indices)
    values = as_dtype(values, self.dtype)
    masks = [index for index in where if _is_mask(index)]
    if len(masks) == 1 and len([index for index in where if not isinstance(index, slice)]) == 1:
        return _masked_put(self, where, values, accumulate)
    at = self.at[where]
    return at.add(values) if accumulate else at.set(values)


def _masked_put(self: Any, where: tuple[Any, ...], values: Any, accumulate: bool) -> Any:
    """Values put where a mask is True: one for all, or one row for each True in order."""
    first = next(i for i, index in enumerate(where) if not isinstance(index, slice))
    mask = where[first]
    tail = self.ndim - first - mask.ndim
    spread = mask.reshape(*mask.shape, *[1] * tail)
    if 0 in values.shape:
        return self  # the mask is nowhere True
    if values.ndim <= tail or values.shape[: values.ndim - tail] == (1,):
        put = values.reshape(values.shape[max(values.ndim - tail, 0) :])
    else:
        place = jnp.cumsum(mask.reshape(-1)).reshape(mask.shape) - 1
        put = jnp.take(values, place, first, mode="clip")  # what stands where the mask is False is not used
    return jnp.where(spread, self + put if accumulate else put, self)


@register_op("aten.index_select.default")
def _index_select(self: Any, dim: int, index: Any) -> Any:
    if self.ndim == 0:
        return self
    return jnp.take(self, jnp.atleast_1d(index), dim, mode="fill")


@register_op("aten.take.default")
def _take(self: Any, index: Any) -> Any:
    return jnp.take(self.reshape(-1), index, mode="fill")


@register_op("aten.put.default")
def _put(self: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    at = self.reshape(-1).at[index]
    return (at.add(source) if accumulate else at.set(source)).reshape(self.shape)


@register_op("aten.take_along_dim.default")
def _take_along_dim(self: Any, indices: Any, dim: int | None = None) -> Any:
    if dim is None:
        return jnp.take(self.reshape(-1), indices, mode="fill")
    return jnp.take_along_axis(self, indices, dim, mode="fill")


@register_op("aten.gather.default")
def _gather(self: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    if self.ndim == 0:
        return jnp.broadcast_to(self, index.shape)
    return ported.gather(self, dim, index)


def _source(src: Any, index: Any, dtype: Any) -> Any:
    if not hasattr(src, "shape") or src.ndim == 0:
        return as_dtype(src, dtype)
    return src[tuple(slice(0, n) for n in index.shape)].astype(dtype)


@register_op("aten.scatter.src", "aten.scatter.value")
def _scatter(self: Any, dim: int, index: Any, src: Any) -> Any:
    if self.ndim == 0:
        return as_dtype(src, self.dtype).reshape(())
    return self.at[places(index, dim)].set(_source(src, index, self.dtype))


@register_op("aten.scatter_add.default")
def _scatter_add(self: Any, dim: int, index: Any, src: Any) -> Any:
    if self.ndim == 0:
        return self + src.sum()
    return self.at[places(index, dim)].add(_source(src, index, self.dtype))


@register_op("aten.scatter.reduce", "aten.scatter.value_reduce")
def _scatter_reduced(self: Any, dim: int, index: Any, src: Any, *, reduce: str) -> Any:
    where, values = places(index, dim), _source(src, index, self.dtype)
    return self.at[where].add(values) if reduce == "add" else _product(self, where, values)


@register_op("aten.scatter_reduce.two")
def _scatter_reduce(self: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    where, values = places(index, dim), _source(src, index, self.dtype)
    return _reduced(self, where, values, reduce, include_self)


@register_op("aten.index_reduce.default")
def _index_reduce(self: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    return _reduced(self, _along(self, dim, index), source, "amax" if reduce == "max" else reduce, include_self)


def _reduced(self: Any, where: Any, values: Any, reduce: str, include_self: bool) -> Any:
    start = self
    if not include_self:
        start = self.at[where].set(_neutral(reduce, self.dtype))
    at = start.at[where]
    match reduce:
        case "sum":
            return at.add(values)
        case "prod":
            return _product(start, where, values)
        case "amax":
            return at.max(values)
        case "amin":
            return at.min(values)
    ones = jnp.full(self.shape, int(include_self), self.dtype)
    count = jnp.where(include_self, ones, jnp.ones_like(self).at[where].set(0)).at[where].add(1)
    total = at.add(values)
    return total / count if jnp.issubdtype(self.dtype, jnp.inexact) else total // count


def _product(start: Any, where: tuple[Any, ...], values: Any) -> Any:
    if jnp.issubdtype(start.dtype, jnp.inexact) and jnp.ndim(values):
        return multiplied(start, where, values)
    return start.at[where].multiply(values)


def _neutral(reduce: str, dtype: Any) -> Any:
    if reduce in ("sum", "mean", "prod"):
        return jnp.asarray(int(reduce == "prod"), dtype)
    if jnp.issubdtype(dtype, jnp.inexact):
        return jnp.asarray(-jnp.inf if reduce == "amax" else jnp.inf, dtype)
    info = jnp.iinfo(dtype)
    return jnp.asarray(info.min if reduce == "amax" else info.max, dtype)


def _along(self: Any, dim: int, index: Any) -> tuple[Any, ...]:
    where: list[Any] = [slice(None)] * self.ndim
    where[dim] = jnp.atleast_1d(index)
    return tuple(where)


@register_op("aten.index_add.default")
def _index_add(self: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    return self.at[_along(self, dim, index)].add((source * as_dtype(alpha, source.dtype)).astype(self.dtype))


@register_op("aten.index_copy.default")
def _index_copy(self: Any, dim: int, index: Any, source: Any) -> Any:
    return self.at[_along(self, dim, index)].set(source)


@register_op("aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor")
def _index_fill(self: Any, dim: int, index: Any, value: Any) -> Any:
    return self.at[_along(self, dim, index)].set(as_dtype(value, self.dtype))


@register_op("aten.masked_select.default")
def _masked_select(self: Any, mask: Any) -> Any:
    shape = jnp.broadcast_shapes(self.shape, mask.shape)
    # a mask that can be read stays so, inside jit too
    xp: Any = jnp if isinstance(mask, jax.core.Tracer) else np
    return _index(jnp.broadcast_to(self, shape), [xp.broadcast_to(mask, shape)])


@register_op("aten.masked_scatter.default")
def _masked_scatter(self: Any, mask: Any, source: Any) -> Any:
    x, mask = jnp.broadcast_arrays(self, mask)
    return ported.masked_put(x, mask, source)


@register_op("aten.nonzero.default", "aten.argwhere.default")
def _nonzero(self: Any) -> Any:
    _readable("nonzero", self)
    return jnp.argwhere(self).astype(long())


@register_op("aten.where.default", "aten.nonzero_numpy.default")
def _where(condition: Any) -> Any:
    _readable("where", condition)
    return [index.astype(long()) for index in jnp.nonzero(condition)]


@register_op("aten.nonzero_static.default")
def _nonzero_static(self: Any, *, size: Any, fill_value: int = -1) -> Any:
    return jnp.argwhere(self, size=length(size), fill_value=fill_value).astype(long())


def _readable(op: str, x: Any) -> None:
    if isinstance(x, jax.core.Tracer):
        rule = "the places of what is not zero must be known when the model is traced"
        raise refusal(op, rule, remedy="Call the model outside jit, or use torch.where with three arguments.")
