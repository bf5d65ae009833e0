"""Spellings of shapes, pieces, joins, and of picking and putting elements."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from transforms.source.spelling import cast, common, matched, spelled
from transforms.source.text import Expr, called, operand, python


@spelled("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def _view(self: Expr, size: Any) -> str:
    if _is_flattening(self, size):
        lead = [f"{self.text}.shape[{axis}]" for axis in range(len(size) - 1)]
        return f"{self.text}.reshape({', '.join([*lead, '-1'])})"
    return f"{operand(self)}.reshape({', '.join(map(python, size))})" if size else f"{operand(self)}.reshape(())"


def _is_flattening(self: Expr, size: Any) -> bool:
    """Whether the last axes become one: of a batch of any length."""
    assert self.shape is not None
    lead = len(size) - 1
    return 0 < lead < self.ndim - 1 and self.text.isidentifier() and tuple(size[:lead]) == self.shape[:lead]


@spelled("aten.flatten.using_ints", out=True)
def _flatten(self: Expr, start_dim: int = 0, end_dim: int = -1, *, out: Expr) -> str | None:
    """Of lengths that are not fixed; others are views."""
    first, last = (dim % max(self.ndim, 1) for dim in (start_dim, end_dim))
    assert out.shape is not None
    if sum(isinstance(n, str) for n in out.shape) == 1:
        return f"{operand(self)}.reshape({', '.join('-1' if isinstance(n, str) else str(n) for n in out.shape)})"
    if not self.text.isidentifier():
        return None
    lead, rest = range(first), range(last + 1, self.ndim)
    lengths = [*(f"{self.text}.shape[{axis}]" for axis in lead), "-1", *(f"{self.text}.shape[{axis}]" for axis in rest)]
    return f"{self.text}.reshape({', '.join(lengths)})"


@spelled("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default")
def _transpose(self: Expr, dim0: int, dim1: int) -> str:
    return f"{operand(self)}.swapaxes({dim0}, {dim1})" if self.ndim else python(self)


@spelled("aten.t.default", "aten.numpy_T.default")
def _t(self: Expr) -> str:
    return f"{operand(self)}.T"


@spelled("aten.mT.default")
def _m_transposed(self: Expr) -> str:
    return f"{operand(self)}.swapaxes(-2, -1)"


@spelled("aten.permute.default")
def _permute(self: Expr, dims: Any) -> str:
    return f"{operand(self)}.transpose({', '.join(str(dim % self.ndim) for dim in dims)})"


@spelled("aten.movedim.intlist", "aten.movedim.int", "aten.moveaxis.intlist", "aten.moveaxis.int")
def _movedim(self: Expr, source: Any, destination: Any) -> str:
    return called("jnp.moveaxis", self, source, destination)


@spelled("aten.unsqueeze.default")
def _unsqueeze(self: Expr, dim: int) -> str:
    dim = dim + self.ndim + 1 if dim < 0 else dim
    if dim < 2:
        return f"{operand(self)}[{':, ' * dim}None]"
    return f"{operand(self)}[..., None]" if dim == self.ndim else called("jnp.expand_dims", self, dim)


@spelled("aten.squeeze.default", out=True)
def _squeeze(self: Expr, *, out: Expr) -> str:
    return called("jnp.squeeze", self)


@spelled("aten.squeeze.dim", "aten.squeeze.dims")
def _squeeze_dims(self: Expr, dim: Any) -> str | None:
    assert self.shape is not None
    dims = [d % max(self.ndim, 1) for d in ([dim] if isinstance(dim, int) else dim)]
    ones = tuple(d for d in dims if self.shape and self.shape[d] == 1)
    return called("jnp.squeeze", self, ones[0] if len(ones) == 1 else ones) if ones else python(self)


@spelled("aten.expand.default")
def _expand(self: Expr, size: Any, implicit: bool = False) -> str | None:
    assert self.shape is not None
    added = len(size) - self.ndim
    whole = [*[1] * added, *self.shape]
    own = [Expr(f"{operand(self)}.shape[{axis - added}]") if isinstance(n, str) else n for axis, n in enumerate(whole)]
    lengths = [n if isinstance(want, int) and want == -1 else want for want, n in zip(size, own, strict=True)]
    return called("jnp.broadcast_to", self, tuple(lengths))


@spelled("aten.cat.default", "aten.concat.default", "aten.concatenate.default")
def _cat(tensors: Any, dim: int = 0) -> str:
    kept = [x for x in tensors if x.shape != (0,)] or tensors[:1]
    return _joined("jnp.concatenate", kept, dim)


@spelled("aten.stack.default")
def _stack(tensors: Any, dim: int = 0) -> str:
    return _joined("jnp.stack", tensors, dim)


def _joined(fn: str, tensors: Any, dim: int) -> str:
    dtype = common(*tensors)
    inner = ", ".join(python(cast(x, dtype)) for x in tensors)
    return f"{fn}([{inner}]{f', {dim}' if dim else ''})"


def _pieces(self: Expr, split_size: Any, dim: int = 0) -> int:
    assert self.shape is not None
    n = self.shape[dim]
    return -(-n // split_size) if isinstance(n, int) and isinstance(split_size, int) else 0


@spelled("aten.split.Tensor", arity=_pieces)
def _split(self: Expr, split_size: Any, dim: int = 0) -> str | None:
    count = _pieces(self, split_size, dim)
    if not count:
        return None
    assert self.shape is not None
    if self.shape[dim] % split_size == 0:
        return called("jnp.split", self, count, *([dim] if dim else []))
    ends = tuple(split_size * i for i in range(1, count))
    return called("jnp.split", self, ends, *([dim] if dim else []))


@spelled(
    "aten.split_with_sizes.default", "aten.split.sizes", "aten.split_with_sizes_copy.default",
    arity=lambda self, split_sizes, dim=0: len(split_sizes),
)  # fmt: skip
def _split_with_sizes(self: Expr, split_sizes: Any, dim: int = 0) -> str | None:
    if not all(isinstance(size, int) for size in split_sizes):
        return None
    ends = tuple(int(end) for end in np.cumsum(split_sizes)[:-1])
    return called("jnp.split", self, ends, *([dim] if dim else []))


def _length(self: Expr, dim: int = 0) -> int:
    assert self.shape is not None
    return self.shape[dim] if isinstance(self.shape[dim], int) else 0


@spelled("aten.unbind.int", arity=_length)
def _unbind(self: Expr, dim: int = 0) -> str:
    return called("jnp.unstack", self, **({"axis": dim} if dim else {}))


@spelled("aten.repeat.default", "aten.tile.default")
def _repeat(self: Expr, repeats: Any) -> str:
    return called("jnp.tile", self, tuple(repeats))


@spelled("aten.repeat_interleave.self_int")
def _repeat_interleave(self: Expr, repeats: Any, dim: int | None = None, output_size: Any = None) -> str:
    return called("jnp.repeat", self, repeats, **({} if dim is None else {"axis": dim}))


@spelled("aten.flip.default")
def _flip(self: Expr, dims: Any) -> str:
    return called("jnp.flip", self, tuple(dims))


@spelled("aten.roll.default")
def _roll(self: Expr, shifts: Any, dims: Any = ()) -> str:
    return called("jnp.roll", self, tuple(shifts), tuple(dims)) if dims else called("jnp.roll", self, shifts[0])


@spelled("aten.meshgrid.indexing", arity=lambda tensors, indexing="ij": len(tensors))
def _meshgrid(tensors: Any, indexing: str = "ij") -> str:
    return called("jnp.meshgrid", *tensors, indexing=indexing)


@spelled("aten.tril.default")
def _tril(self: Expr, diagonal: int = 0) -> str:
    return called("jnp.tril", self, *([diagonal] if diagonal else []))


@spelled("aten.triu.default")
def _triu(self: Expr, diagonal: int = 0) -> str:
    return called("jnp.triu", self, *([diagonal] if diagonal else []))


@spelled("aten.diagonal.default")
def _diagonal(self: Expr, offset: int = 0, dim1: int = 0, dim2: int = 1) -> str:
    return called("jnp.diagonal", self, offset, dim1, dim2)


@spelled("aten.pad.default")
def _pad(self: Expr, pad: Any, mode: str = "constant", value: Any = None) -> str:
    more = {} if mode == "constant" else {"mode": mode}
    return called("F.pad", self, tuple(pad), **more, **({} if value is None else {"value": value}))


@spelled("aten.constant_pad_nd.default")
def _constant_pad(self: Expr, pad: Any, value: Any = 0) -> str:
    return called("F.pad", self, tuple(pad), **({"value": value} if value else {}))


@spelled("aten.sym_size.int", "aten.size.int")
def _size(self: Expr, dim: int) -> str:
    return f"{operand(self)}.shape[{dim}]"


@spelled("aten.sym_numel.default", "aten.numel.default")
def _numel(self: Expr) -> str:
    return f"{operand(self)}.size"


@spelled("_operator.getitem")
def _getitem(a: Expr, index: int) -> str:
    return f"{operand(a)}[{index}]"


@spelled("aten.slice.Tensor")
def _slice(self: Expr, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    piece = _range(self, dim, start, end, step)
    return python(self) if piece == ":" else f"{operand(self)}[{_at(self, dim, piece)}]"


@spelled("aten.narrow.default")
def _narrow(self: Expr, dim: int, start: Any, length: Any) -> str | None:
    if not isinstance(start, int) or not isinstance(length, int):
        return None
    return _slice(self, dim, start, start + length)


def _range(self: Expr, dim: int, start: Any, end: Any, step: int) -> str:
    assert self.shape is not None
    n = self.shape[dim]
    whole = isinstance(end, int) and (end >= 2**31 - 1 or (isinstance(n, int) and end >= n))
    ends = "" if start in (None, 0) else python(start), "" if end is None or whole else python(end)
    return f"{ends[0]}:{ends[1]}" + (f":{step}" if step != 1 else "")


def _at(self: Expr, dim: int, piece: str) -> str:
    """An index that takes one axis by ``piece`` and the others whole."""
    dim %= self.ndim
    if dim and dim == self.ndim - 1 and dim > 1:
        return f"..., {piece}"
    return ":, " * dim + piece


@spelled("aten.select.int")
def _select(self: Expr, dim: int, index: Any) -> str | None:
    return f"{operand(self)}[{_at(self, dim, python(index))}]" if isinstance(index, int) else None


@spelled("aten.slice_scatter.default")
def _slice_scatter(self: Expr, src: Expr, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    at = _at(self, dim, _range(self, dim, start, end, step))
    return f"{operand(self)}.at[{at}].set({python(cast(src, self.dtype))})"


@spelled("aten.select_scatter.default")
def _select_scatter(self: Expr, src: Expr, dim: int, index: Any) -> str:
    return f"{operand(self)}.at[{_at(self, dim, python(index))}].set({python(cast(src, self.dtype))})"


def _indices(indices: Any) -> str | None:
    if any(isinstance(index, Expr) and index.dtype == jnp.uint8 for index in indices):
        return None
    texts = [":" if index is None else python(index) for index in indices]
    return f"({texts[0]},)" if len(texts) == 1 and texts[0].startswith("[") else ", ".join(texts)


@spelled("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index(self: Expr, indices: Any) -> str | None:
    where = _indices(indices)
    masks = any(isinstance(index, Expr) and index.dtype == jnp.bool_ for index in indices)
    return None if where is None or masks else f'{operand(self)}.at[{where}].get(mode="fill")'


@spelled("aten.index_put.default", "aten._unsafe_index_put.default")
def _index_put(self: Expr, indices: Any, values: Any, accumulate: bool = False) -> str | None:
    where = _indices(indices)
    if where is None or any(isinstance(index, Expr) and index.dtype == jnp.bool_ for index in indices):
        return None
    value = python(cast(values, self.dtype))
    return f"{operand(self)}.at[{where}].{'add' if accumulate else 'set'}({value})"


@spelled("aten.index_select.default")
def _index_select(self: Expr, dim: int, index: Expr) -> str | None:
    if self.ndim == 0:
        return None
    index = index if index.ndim else Expr(called("jnp.atleast_1d", index), (1,), index.dtype)
    return called("jnp.take", self, index, dim, mode="fill")


@spelled("aten.gather.default")
def _gather(self: Expr, dim: int, index: Expr, sparse_grad: bool = False) -> str | None:
    assert self.shape is not None
    assert index.shape is not None
    if self.ndim == 0:
        return None
    whole = all(a == dim % self.ndim or n == m for a, (n, m) in enumerate(zip(self.shape, index.shape, strict=True)))
    if whole:
        return called("jnp.take_along_axis", self, index, dim, mode="fill")
    return called("gather", self, dim, index)


@spelled("aten.scatter.src", "aten.scatter.value")
def _scatter(self: Expr, dim: int, index: Expr, src: Any) -> str | None:
    return _scattered(self, dim, index, src, "set")


@spelled("aten.scatter_add.default")
def _scatter_add(self: Expr, dim: int, index: Expr, src: Any) -> str | None:
    return _scattered(self, dim, index, src, "add")


def _scattered(self: Expr, dim: int, index: Expr, src: Any, method: str) -> str | None:
    if self.ndim == 0 or (isinstance(src, Expr) and src.shape != index.shape and src.ndim):
        return None
    value = matched(self, src, dtype=self.dtype)[1]
    return f"{operand(self)}.at[places({python(index)}, {dim})].{method}({value})"


@spelled("aten.index_add.default")
def _index_add(self: Expr, dim: int, index: Expr, source: Expr, *, alpha: Any = 1) -> str | None:
    if alpha != 1 or not index.ndim:
        return None
    return f"{operand(self)}.at[{_at(self, dim, python(index))}].add({python(cast(source, self.dtype))})"


@spelled("aten.index_copy.default")
def _index_copy(self: Expr, dim: int, index: Expr, source: Expr) -> str | None:
    return f"{operand(self)}.at[{_at(self, dim, python(index))}].set({python(source)})" if index.ndim else None


@spelled("aten.masked_scatter.default")
def _masked_scatter(self: Expr, mask: Expr, source: Expr) -> str | None:
    return called("masked_put", self, mask, source) if mask.shape == self.shape else None


@spelled("aten.complex.default")
def _complex(real: Expr, imag: Expr) -> str | None:
    same = real.shape == imag.shape and real.dtype == imag.dtype
    return called("jax.lax.complex", real, imag) if same else None


@spelled("aten.polar.default")
def _polar(abs: Expr, angle: Expr) -> str | None:  # torch's name
    if abs.shape != angle.shape or abs.dtype != angle.dtype:
        return None
    r, phi = operand(abs), python(angle)
    return f"jax.lax.complex({r} * jnp.cos({phi}), {r} * jnp.sin({phi}))"


@spelled("aten.view_as_real.default")
def _view_as_real(self: Expr) -> str:
    return f"jnp.stack([{operand(self)}.real, {operand(self)}.imag], -1)"


@spelled("aten.view_as_complex.default")
def _view_as_complex(self: Expr) -> str:
    return f"jax.lax.complex({operand(self)}[..., 0], {operand(self)}[..., 1])"
