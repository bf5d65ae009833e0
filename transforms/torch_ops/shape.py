"""Shapes: views, orders of axes, pieces and their joins. There are no strides, so a view is a new array."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenn.functional as F
from transforms.torch_ops.promotion import length, lengths, promoted
from transforms.torch_ops.registry import register_op


@register_op(
    "aten.clone.default", "aten.alias.default", "aten.lift_fresh_copy.default", "aten.lift_fresh.default",
    "aten.contiguous.default", "aten.resolve_conj.default", "aten.resolve_neg.default",
    "aten.detach_copy.default", "aten.alias_copy.default", "prims.view_of.default", "aten.lift.default",
)  # fmt: skip
def _same(self: Any, memory_format: Any = None) -> Any:
    return self


@register_op("aten.detach.default")
def _detach(self: Any) -> Any:
    return jax.lax.stop_gradient(self)


@register_op(
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.view_copy.default",
    "aten._reshape_copy.default",
)  # fmt: skip
def _view(self: Any, size: Any) -> Any:
    return jnp.reshape(self, lengths(size))


@register_op("aten.view_as.default", "aten.reshape_as.default")
def _view_as(self: Any, other: Any) -> Any:
    return jnp.reshape(self, other.shape)


@register_op("aten.view.dtype")
def _view_dtype(self: Any, dtype: Any) -> Any:
    old, new = self.dtype.itemsize, np.dtype(dtype).itemsize
    if old == new or self.dtype == dtype:
        return jax.lax.bitcast_convert_type(self, dtype)
    if old > new:
        return jax.lax.bitcast_convert_type(self, dtype).reshape(*self.shape[:-1], self.shape[-1] * (old // new))
    ratio = new // old
    return jax.lax.bitcast_convert_type(self.reshape(*self.shape[:-1], self.shape[-1] // ratio, ratio), dtype)


@register_op("aten.flatten.using_ints")
def _flatten(self: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if self.ndim == 0:
        return self.reshape(1)
    first, last = start_dim % self.ndim, end_dim % self.ndim
    return self.reshape(*self.shape[:first], math.prod(self.shape[first : last + 1]), *self.shape[last + 1 :])


@register_op("aten.unflatten.int")
def _unflatten(self: Any, dim: int, sizes: Any) -> Any:
    dim %= self.ndim
    return self.reshape(*self.shape[:dim], *lengths(sizes), *self.shape[dim + 1 :])


@register_op("aten.ravel.default")
def _ravel(self: Any) -> Any:
    return self.reshape(-1)


@register_op("aten.expand.default", "aten.expand_copy.default", "aten.broadcast_to.default")
def _expand(self: Any, size: Any, implicit: bool = False) -> Any:
    size = lengths(size)
    added = len(size) - self.ndim
    shape = [have if isinstance(want, int) and want == -1 else want
             for want, have in zip(size, (*[1] * added, *self.shape), strict=True)]  # fmt: skip
    return jnp.broadcast_to(self, shape)


@register_op("aten.expand_as.default")
def _expand_as(self: Any, other: Any) -> Any:
    return jnp.broadcast_to(self, other.shape)


@register_op("aten.broadcast_tensors.default")
def _broadcast_tensors(tensors: Any) -> Any:
    return list(jnp.broadcast_arrays(*tensors))


@register_op("aten.unsqueeze.default", "aten.unsqueeze_copy.default")
def _unsqueeze(self: Any, dim: int) -> Any:
    return jnp.expand_dims(self, dim)


@register_op("aten.squeeze.default", "aten.squeeze_copy.default")
def _squeeze(self: Any) -> Any:
    return self.reshape([n for n in self.shape if not (isinstance(n, int) and n == 1)])


@register_op("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze_copy.dim", "aten.squeeze_copy.dims")
def _squeeze_dims(self: Any, dim: Any) -> Any:
    axes = {axis % max(self.ndim, 1) for axis in ([dim] if isinstance(dim, int) else dim)}
    shape = [n for axis, n in enumerate(self.shape) if axis not in axes or not (isinstance(n, int) and n == 1)]
    return self.reshape(shape)


@register_op("aten.permute.default", "aten.permute_copy.default")
def _permute(self: Any, dims: Sequence[int]) -> Any:
    return jnp.transpose(self, [dim % self.ndim for dim in dims])


@register_op("aten.transpose.int", "aten.transpose_copy.int", "aten.swapaxes.default", "aten.swapdims.default")
def _transpose(self: Any, dim0: int, dim1: int) -> Any:
    return self if self.ndim == 0 else jnp.swapaxes(self, dim0, dim1)


@register_op("aten.t.default", "aten.numpy_T.default", "aten.t_copy.default")
def _t(self: Any) -> Any:
    return jnp.transpose(self)


@register_op("aten.matrix_H.default", "aten.adjoint.default", "aten.mH.default")
def _m_adjoint(self: Any) -> Any:
    return jnp.swapaxes(self, -2, -1).conj()


@register_op("aten.mT.default")
def _m_transposed(self: Any) -> Any:
    return jnp.swapaxes(self, -2, -1)


@register_op("aten.movedim.intlist", "aten.movedim.int", "aten.moveaxis.intlist", "aten.moveaxis.int")
def _movedim(self: Any, source: Any, destination: Any) -> Any:
    return jnp.moveaxis(self, source, destination)


@register_op("aten.cat.default", "aten.concat.default", "aten.concatenate.default")
def _cat(tensors: Any, dim: int = 0) -> Any:
    # torch passes over empty tensors of one axis, whatever the others' rank
    kept = [x for x in tensors if not (x.ndim == 1 and x.shape[0] == 0)] or tensors[:1]
    arrays = promoted(*kept) if len({x.dtype for x in kept}) > 1 else kept
    return jnp.concatenate(arrays, dim)


@register_op("aten.stack.default")
def _stack(tensors: Any, dim: int = 0) -> Any:
    arrays = promoted(*tensors) if len({x.dtype for x in tensors}) > 1 else tensors
    return jnp.stack(arrays, dim)


@register_op("aten.hstack.default")
def _hstack(tensors: Any) -> Any:
    return jnp.hstack(promoted(*tensors))


@register_op("aten.vstack.default")
def _vstack(tensors: Any) -> Any:
    return jnp.vstack(promoted(*tensors))


@register_op("aten.dstack.default")
def _dstack(tensors: Any) -> Any:
    return jnp.dstack(promoted(*tensors))


@register_op("aten.split.Tensor", "aten.split_copy.Tensor")
def _split(self: Any, split_size: Any, dim: int = 0) -> Any:
    size, n = length(split_size), self.shape[dim]
    if not isinstance(n, int) or not isinstance(size, int):
        # a symbol's length: the number of pieces is what the division gives
        count = n // size
        return [jax.lax.slice_in_dim(self, i * size, (i + 1) * size, axis=dim) for i in range(int(count))]
    starts = range(0, max(n, 1), max(size, 1))
    return [jax.lax.slice_in_dim(self, i, min(i + size, n), axis=dim) for i in starts]


@register_op("aten.split_with_sizes.default", "aten.split.sizes", "aten.split_with_sizes_copy.default")
def _split_with_sizes(self: Any, split_sizes: Any, dim: int = 0) -> Any:
    pieces, start = [], 0
    for size in lengths(split_sizes):
        pieces.append(jax.lax.slice_in_dim(self, start, start + size, axis=dim))
        start = start + size
    return pieces


@register_op("aten.chunk.default")
def _chunk(self: Any, chunks: int, dim: int = 0) -> Any:
    return _split(self, max(-(-self.shape[dim] // chunks), 1), dim)


@register_op("aten.tensor_split.sections")
def _tensor_split(self: Any, sections: int, dim: int = 0) -> Any:
    return jnp.array_split(self, sections, dim)


@register_op("aten.tensor_split.indices")
def _tensor_split_indices(self: Any, indices: Any, dim: int = 0) -> Any:
    return jnp.split(self, lengths(indices), dim)


@register_op("aten.unbind.int", "aten.unbind_copy.int")
def _unbind(self: Any, dim: int = 0) -> Any:
    return [jax.lax.index_in_dim(self, i, dim, keepdims=False) for i in range(self.shape[dim])]


@register_op("aten.repeat.default")
def _repeat(self: Any, repeats: Any) -> Any:
    return jnp.tile(self, lengths(repeats))


@register_op("aten.tile.default")
def _tile(self: Any, dims: Any) -> Any:
    return jnp.tile(self, lengths(dims))


@register_op("aten.repeat_interleave.self_int")
def _repeat_interleave(self: Any, repeats: Any, dim: int | None = None, output_size: Any = None) -> Any:
    return jnp.repeat(self, length(repeats), axis=dim)


@register_op("aten.repeat_interleave.self_Tensor")
def _repeat_interleave_each(self: Any, repeats: Any, dim: int | None = None, output_size: Any = None) -> Any:
    x, axis = (self.reshape(-1), 0) if dim is None else (self, dim)
    return jnp.take(x, _repeated(x.shape[axis], repeats, output_size), axis)


@register_op("aten.repeat_interleave.Tensor")
def _repeat_interleave_indices(repeats: Any, output_size: Any = None) -> Any:
    return _repeated(repeats.shape[0], repeats, output_size).astype(repeats.dtype)


def _repeated(n: int, repeats: Any, output_size: Any) -> Any:
    """The places of n elements, each as often as it is told; numbers that can be read need no length."""
    if not isinstance(repeats, jax.core.Tracer):
        return jnp.asarray(np.repeat(np.arange(n), np.asarray(repeats)))
    total = None if output_size is None else length(output_size)
    return jnp.repeat(jnp.arange(n), repeats, total_repeat_length=total)


@register_op("aten.flip.default")
def _flip(self: Any, dims: Sequence[int]) -> Any:
    return jnp.flip(self, tuple(dims))


@register_op("aten.fliplr.default")
def _fliplr(self: Any) -> Any:
    return jnp.flip(self, 1)


@register_op("aten.flipud.default")
def _flipud(self: Any) -> Any:
    return jnp.flip(self, 0)


@register_op("aten.rot90.default")
def _rot90(self: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    return jnp.rot90(self, k, (dims[0], dims[1]))


@register_op("aten.roll.default")
def _roll(self: Any, shifts: Any, dims: Sequence[int] = ()) -> Any:
    shifts = lengths(shifts)
    return jnp.roll(self, shifts, tuple(dims)) if dims else jnp.roll(self, shifts[0])


@register_op("aten.meshgrid.indexing", "aten.meshgrid.default")
def _meshgrid(tensors: Any, indexing: str = "ij") -> Any:
    return list(jnp.meshgrid(*[jnp.atleast_1d(x) for x in tensors], indexing=indexing))


@register_op("aten.diagonal.default", "aten.diagonal_copy.default")
def _diagonal(self: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return jnp.diagonal(self, offset, dim1, dim2)


@register_op("aten.linalg_diagonal.default")
def _linalg_diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return jnp.diagonal(A, offset, dim1, dim2)


@register_op("aten.diag.default")
def _diag(self: Any, diagonal: int = 0) -> Any:
    return jnp.diag(self, diagonal)


@register_op("aten.diag_embed.default")
def _diag_embed(self: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    n = self.shape[-1] + abs(offset)
    rows = jnp.arange(self.shape[-1]) + max(-offset, 0)
    columns = jnp.arange(self.shape[-1]) + max(offset, 0)
    full = jnp.zeros((*self.shape[:-1], n, n), self.dtype).at[..., rows, columns].set(self)
    return jnp.moveaxis(full, (-2, -1), (dim1, dim2))


@register_op("aten.diagflat.default")
def _diagflat(self: Any, offset: int = 0) -> Any:
    return jnp.diagflat(self, offset)


@register_op("aten.tril.default")
def _tril(self: Any, diagonal: int = 0) -> Any:
    return jnp.tril(self, diagonal)


@register_op("aten.triu.default")
def _triu(self: Any, diagonal: int = 0) -> Any:
    return jnp.triu(self, diagonal)


@register_op("aten.unfold.default", "aten.unfold_copy.default")
def _unfold(self: Any, dimension: int, size: int, step: int) -> Any:
    if self.ndim == 0:
        return self.reshape(1)[:size]
    dimension %= self.ndim
    count = (self.shape[dimension] - size) // step + 1
    places = jnp.arange(count)[:, None] * step + jnp.arange(size)
    windows = jnp.take(self, places, dimension)  # (..., count, size, ...)
    return jnp.moveaxis(windows, dimension + 1, -1)


@register_op("aten.as_strided.default", "aten.as_strided_copy.default")
def _as_strided(self: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """Of a tensor whose elements lie in order of its axes; `purenn.as_strided` has another order."""
    size, stride = lengths(size), lengths(stride)
    places = jnp.asarray(0 if storage_offset is None else length(storage_offset))
    for n, s in zip(size, stride, strict=True):
        places = places[..., None] + jnp.arange(n) * s
    return self.reshape(-1)[places]


@register_op("purenn.as_strided")
def _as_strided_view(self: Any, size: Any, stride: Any, storage_offset: Any, order: Any) -> Any:
    """Of a view whose elements lie in another order of its axes: the slowest first."""
    return _as_strided(jnp.transpose(self, order), size, stride, storage_offset)


@register_op("aten.pad.default")
def _pad(self: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    return F.pad(self, lengths(pad), mode, value)


@register_op("aten.constant_pad_nd.default")
def _constant_pad(self: Any, pad: Any, value: Any = 0) -> Any:
    return _pad(self, pad, "constant", value)


@register_op("aten.cartesian_prod.default")
def _cartesian_prod(tensors: Any) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    return jnp.stack([grid.reshape(-1) for grid in jnp.meshgrid(*tensors, indexing="ij")], -1)


@register_op("aten.block_diag.default")
def _block_diag(tensors: Any) -> Any:
    return jax.scipy.linalg.block_diag(*promoted(*tensors))


@register_op("aten.atleast_1d.default", "aten.atleast_1d.Sequence")
def _atleast_1d(self: Any) -> Any:
    return [jnp.atleast_1d(x) for x in self] if isinstance(self, list) else jnp.atleast_1d(self)


@register_op("aten.atleast_2d.default", "aten.atleast_2d.Sequence")
def _atleast_2d(self: Any) -> Any:
    return [jnp.atleast_2d(x) for x in self] if isinstance(self, list) else jnp.atleast_2d(self)


@register_op("aten.size.int", "aten.sym_size.int")
def _size(self: Any, dim: int) -> Any:
    return self.shape[dim]


@register_op("aten.sym_numel.default", "aten.numel.default")
def _numel(self: Any) -> Any:
    return math.prod(self.shape)


@register_op("aten.sym_stride.int")
def _stride(self: Any, dim: int) -> Any:
    return math.prod(self.shape[dim % self.ndim + 1 :])


@register_op("aten.sym_storage_offset.default")
def _storage_offset(self: Any) -> Any:
    return 0


@register_op("aten.item.default", "aten._local_scalar_dense.default")
def _item(self: Any) -> Any:
    """The number where it can be read; inside a trace the array, which serves as a number in arithmetic."""
    return self.reshape(()) if isinstance(self, jax.core.Tracer) else np.asarray(self).item()
