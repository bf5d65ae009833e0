"""Products of matrices and vectors."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

import purenn.functional as F
from purenn.functional.distance import vector_norm
from transforms.torch_ops.promotion import as_dtype
from transforms.torch_ops.registry import register_op

register_op("aten.linear.default")(F.linear)
register_op("aten.bilinear.default")(F.bilinear)


@register_op(
    "aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.linalg_matmul.default"
)
def _matmul(self: Any, mat2: Any) -> Any:
    return jnp.matmul(self, mat2)


@register_op("aten.dot.default", "aten.inner.default")
def _inner(self: Any, other: Any) -> Any:
    return jnp.inner(self, other)


@register_op("aten.vdot.default")
def _vdot(self: Any, other: Any) -> Any:
    return jnp.vdot(self, other)


@register_op("aten.linalg_vecdot.default")
def _vecdot(x: Any, y: Any, dim: int = -1) -> Any:
    return jnp.vecdot(x, y, axis=dim)


@register_op("aten.outer.default", "aten.ger.default")
def _outer(self: Any, vec2: Any) -> Any:
    return self[:, None] * vec2[None, :]


def _sum_of(self: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """Beta self + alpha product; what is multiplied by 0 does not count, NaN included."""
    y = product if alpha == 1 else product * as_dtype(alpha, product.dtype)
    return y if beta == 0 else (self if beta == 1 else self * as_dtype(beta, self.dtype)) + y


@register_op("aten.addmm.default", "aten.addmv.default", "aten.baddbmm.default")
def _addmm(self: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(self, jnp.matmul(mat1, mat2), beta, alpha)


@register_op("aten.addbmm.default")
def _addbmm(self: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(self, jnp.einsum("bij,bjk->ik", batch1, batch2), beta, alpha)


@register_op("aten.addr.default")
def _addr(self: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return _sum_of(self, _outer(vec1, vec2), beta, alpha)


@register_op("aten.einsum.default")
def _einsum(equation: str, tensors: Any, *, path: Any = None) -> Any:
    return jnp.einsum(equation, *tensors)


@register_op("aten.tensordot.default")
def _tensordot(self: Any, other: Any, dims_self: Sequence[int], dims_other: Sequence[int]) -> Any:
    return jnp.tensordot(self, other, (tuple(dims_self), tuple(dims_other)))


@register_op("aten.kron.default")
def _kron(self: Any, other: Any) -> Any:
    return jnp.kron(self, other)


@register_op("aten.chain_matmul.default", "aten.linalg_multi_dot.default")
def _multi_dot(matrices: Any) -> Any:
    return jnp.linalg.multi_dot(matrices)


@register_op("aten.linalg_cross.default", "aten.cross.default")
def _cross(self: Any, other: Any, dim: int | None = -1) -> Any:
    x, y = jnp.broadcast_arrays(self, other)
    axis = next(i for i, n in enumerate(x.shape) if n == 3) if dim is None else dim
    return jnp.cross(x, y, axis=axis)


@register_op("aten._grouped_mm.default", "transformers.grouped_mm_fallback.default")
def _grouped_mm(input: Any, weight: Any, offs: Any, bias: Any = None, out_dtype: Any = None) -> Any:
    return F.grouped_mm(input, weight, offs=offs, bias=bias, out_dtype=out_dtype)


@register_op("aten.trace.default")
def _trace(self: Any) -> Any:
    return jnp.trace(self)


@register_op("aten.cdist.default", "aten._cdist_forward.default", "aten._euclidean_dist.default")
def _cdist(x1: Any, x2: Any, p: Any = 2.0, compute_mode: Any = None) -> Any:
    return vector_norm(x1[..., :, None, :] - x2[..., None, :, :], float(p), (-1,))


register_op("aten.pdist.default", "aten._pdist_forward.default")(F.pdist)
