"""Reductions over axes, and sums that run along one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn import ported
from purenn.functional.distance import vector_norm
from transforms.torch_ops.promotion import canonical, default_float, integral, long, promoted
from transforms.torch_ops.registry import register_op


def axes(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """Axes of a reduction; all of them where none is named.

    Args:
        dim: one, several, an empty list or None.
        ndim: rank.

    Returns:
        What jnp's reductions take.
    """
    if ndim == 0 or dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return None
    return tuple(d % ndim for d in ([dim] if isinstance(dim, int) else dim))


def _wide(dtype: Any) -> Any:
    """Of a sum of integers."""
    return long() if integral(dtype) else dtype


@register_op("aten.sum.default", "aten.sum.dim_IntList")
def _sum(self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.sum(self, axes(dim, self.ndim), _wide(self.dtype) if dtype is None else canonical(dtype),
                   keepdims=keepdim)  # fmt: skip


@register_op("aten.nansum.default")
def _nansum(self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return _sum(jnp.where(jnp.isnan(self), 0, self), dim, keepdim, dtype)


@register_op("aten.mean.default")
def _mean_all(self: Any, dtype: Any = None) -> Any:
    return _mean(self, None, False, dtype)


@register_op("aten.mean.dim")
def _mean(self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.mean(self, axes(dim, self.ndim), canonical(dtype or self.dtype), keepdims=keepdim)


@register_op("aten.nanmean.default")
def _nanmean(self: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return jnp.nanmean(self, axes(dim, self.ndim), None if dtype is None else canonical(dtype), keepdims=keepdim)


@register_op("aten.prod.default")
def _prod(self: Any, dtype: Any = None) -> Any:
    return jnp.prod(self, dtype=_wide(self.dtype) if dtype is None else canonical(dtype))


@register_op("aten.prod.dim_int")
def _prod_dim(self: Any, dim: int, keepdim: bool = False, dtype: Any = None) -> Any:
    dtype = _wide(self.dtype) if dtype is None else canonical(dtype)
    return jnp.prod(self, axes(dim, self.ndim), dtype, keepdims=keepdim)


def _variance(self: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    return ported.variance(self, axes(dim, self.ndim), 1 if correction is None else correction, keepdim)


@register_op("aten.var.correction")
def _var(self: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return _variance(self, dim, correction, keepdim)


@register_op("aten.var.dim", "aten.var.default")
def _var_unbiased(self: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _variance(self, dim, int(unbiased), keepdim)


@register_op("aten.std.correction")
def _std(self: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return ported.root(_variance(self, dim, correction, keepdim))


@register_op("aten.std.dim", "aten.std.default")
def _std_unbiased(self: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    return ported.root(_var_unbiased(self, dim, unbiased, keepdim))


@register_op("aten.var_mean.correction")
def _var_mean(self: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    return _variance(self, dim, correction, keepdim), jnp.mean(self, axes(dim, self.ndim), keepdims=keepdim)


@register_op("aten.var_mean.dim", "aten.var_mean.default")
def _var_mean_unbiased(self: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _var_mean(self, dim, int(unbiased), keepdim)


@register_op("aten.std_mean.correction")
def _std_mean(self: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    variance, mean = _var_mean(self, dim, correction, keepdim)
    return ported.root(variance), mean


@register_op("aten.std_mean.dim", "aten.std_mean.default")
def _std_mean_unbiased(self: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    variance, mean = _var_mean_unbiased(self, dim, unbiased, keepdim)
    return ported.root(variance), mean


@register_op("aten.amax.default")
def _amax(self: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return jnp.max(self, axes(dim, self.ndim), keepdims=keepdim)


@register_op("aten.amin.default")
def _amin(self: Any, dim: Any = (), keepdim: bool = False) -> Any:
    return jnp.min(self, axes(dim, self.ndim), keepdims=keepdim)


@register_op("aten.aminmax.default")
def _aminmax(self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return _amin(self, dim, keepdim), _amax(self, dim, keepdim)


@register_op("aten.max.default")
def _max(self: Any) -> Any:
    return jnp.max(self)


@register_op("aten.min.default")
def _min(self: Any) -> Any:
    return jnp.min(self)


def _extremum(arg: Callable[..., Any]) -> Callable[..., Any]:
    def extremum(self: Any, dim: int, keepdim: bool = False) -> Any:
        if self.ndim == 0:
            return self, jnp.zeros((), long())
        values, index = ported.max_along(self, dim, keepdim, arg)
        return values, index.astype(long())

    return extremum


register_op("aten.max.dim")(_extremum(jnp.argmax))
register_op("aten.min.dim")(_extremum(jnp.argmin))


@register_op("aten.argmax.default")
def _argmax(self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return jnp.argmax(self, dim if self.ndim else None, keepdims=keepdim).astype(long())


@register_op("aten.argmin.default")
def _argmin(self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return jnp.argmin(self, dim if self.ndim else None, keepdims=keepdim).astype(long())


@register_op("aten.all.default", "aten.all.dim", "aten.all.dims")
def _all(self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    found = jnp.all(self, axes(dim, self.ndim), keepdims=keepdim)
    return found.astype(jnp.uint8) if self.dtype == jnp.uint8 else found


@register_op("aten.any.default", "aten.any.dim", "aten.any.dims")
def _any(self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    found = jnp.any(self, axes(dim, self.ndim), keepdims=keepdim)
    return found.astype(jnp.uint8) if self.dtype == jnp.uint8 else found


@register_op("aten.count_nonzero.default", "aten.count_nonzero.dim_IntList")
def _count_nonzero(self: Any, dim: Any = None) -> Any:
    return jnp.count_nonzero(self, axes(dim, self.ndim)).astype(long())


@register_op("aten.logsumexp.default", "aten.special_logsumexp.default")
def _logsumexp(self: Any, dim: Any, keepdim: bool = False) -> Any:
    x = self.astype(default_float()) if integral(self.dtype) else self
    return jax.scipy.special.logsumexp(x, axes(dim, self.ndim), keepdims=keepdim)


@register_op("aten.cumsum.default")
def _cumsum(self: Any, dim: int, dtype: Any = None) -> Any:
    dtype = _wide(self.dtype) if dtype is None else canonical(dtype)
    return self.astype(dtype) if self.ndim == 0 else jnp.cumsum(self, dim, dtype)


@register_op("aten.cumprod.default")
def _cumprod(self: Any, dim: int, dtype: Any = None) -> Any:
    dtype = _wide(self.dtype) if dtype is None else canonical(dtype)
    return self.astype(dtype) if self.ndim == 0 else jnp.cumprod(self, dim, dtype)


@register_op("aten.logcumsumexp.default")
def _logcumsumexp(self: Any, dim: int) -> Any:
    return self if self.ndim == 0 else jax.lax.cumlogsumexp(self, dim % self.ndim)


def _running(better: Callable[..., Any]) -> Callable[..., Any]:
    """The running extremum with its last place, as torch gives it."""

    def running(self: Any, dim: int) -> Any:
        if self.ndim == 0:
            return self, jnp.zeros((), long())
        dim %= self.ndim
        places = jax.lax.broadcasted_iota(jnp.int32, self.shape, dim)

        def later(a: Any, b: Any) -> Any:
            take = better(b[0], a[0]) | jnp.isnan(b[0])
            return jnp.where(take, b[0], a[0]), jnp.where(take, b[1], a[1])

        _, index = jax.lax.associative_scan(later, (jax.lax.stop_gradient(self), places), axis=dim)
        return jnp.take_along_axis(self, index, dim), index.astype(long())

    return running


register_op("aten.cummax.default")(_running(jnp.greater_equal))
register_op("aten.cummin.default")(_running(jnp.less_equal))


@register_op("aten.diff.default")
def _diff(self: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if self.dtype == bool and n == 1:
        joined = [x for x in (prepend, self, append) if x is not None]
        whole = jnp.concatenate(joined, dim)
        first, second = (jax.lax.slice_in_dim(whole, i, whole.shape[dim] - 1 + i, axis=dim) for i in (0, 1))
        return first != second
    return jnp.diff(self, n, dim, prepend, append)


@register_op("aten.trapezoid.dx", "aten.trapz.dx")
def _trapezoid(y: Any, dx: Any = 1, dim: int = -1) -> Any:
    return jnp.trapezoid(y, dx=dx, axis=dim)


@register_op("aten.trapezoid.x", "aten.trapz.x")
def _trapezoid_x(y: Any, x: Any, dim: int = -1) -> Any:
    return jnp.trapezoid(y, x, axis=dim)


@register_op("aten.linalg_vector_norm.default")
def _vector_norm(self: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    x = self if dtype is None else self.astype(canonical(dtype))
    chosen = axes(dim, x.ndim)
    return vector_norm(x, float(ord), tuple(range(x.ndim)) if chosen is None else chosen, keepdim)


@register_op("aten.norm.ScalarOpt_dim", "aten.norm.ScalarOpt_dim_dtype")
def _norm(self: Any, p: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return _vector_norm(self, 2 if p is None else p, dim, keepdim, dtype)


@register_op("aten.norm.Scalar", "aten.norm.ScalarOpt_dtype")
def _norm_all(self: Any, p: Any = 2, dtype: Any = None) -> Any:
    return _vector_norm(self, 2 if p is None else p, None, False, dtype)


@register_op("aten.dist.default")
def _dist(self: Any, other: Any, p: Any = 2) -> Any:
    x, y = promoted(self, other)
    return _vector_norm(x - y, p)


@register_op("aten.renorm.default")
def _renorm(self: Any, p: Any, dim: int, maxnorm: Any) -> Any:
    others = tuple(axis for axis in range(self.ndim) if axis != dim % self.ndim)
    norm = vector_norm(self, float(p), others, True)
    return jnp.where(norm > maxnorm, self * (maxnorm / (norm + 1e-7)), self)
