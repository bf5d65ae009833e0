"""Order: sorting, ranks, quantiles, counts by value."""

from typing import Any

import jax
import jax.numpy as jnp

from purenn import ported
from transforms.torch_ops.promotion import integral, length, long
from transforms.torch_ops.registry import register_op


@register_op("aten.sort.default")
def _sort(self: Any, dim: int = -1, descending: bool = False) -> Any:
    if self.ndim == 0:
        return self, jnp.zeros((), long())
    values, index = ported.sort(self, dim, descending)
    return values, index.astype(long())


@register_op("aten.sort.stable")
def _sort_stable(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    return _sort(self, dim, descending)


@register_op("aten.argsort.default")
def _argsort(self: Any, dim: int = -1, descending: bool = False) -> Any:
    return _sort(self, dim, descending)[1]


@register_op("aten.argsort.stable")
def _argsort_stable(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    return _sort(self, dim, descending)[1]


@register_op("aten.msort.default")
def _msort(self: Any) -> Any:
    return _sort(self, 0)[0]


@register_op("aten.topk.default")
def _topk(self: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if self.ndim == 0:
        return self, jnp.zeros((), long())
    values, index = ported.topk(self, length(k), dim, largest)
    return values, index.astype(long())


@register_op("aten.kthvalue.default")
def _kthvalue(self: Any, k: Any, dim: int = -1, keepdim: bool = False) -> Any:
    if self.ndim == 0:
        return self, jnp.zeros((), long())
    return _at(self, ported.order(self, dim), length(k) - 1, dim, keepdim)


def _at(self: Any, order: Any, k: Any, dim: int, keepdim: bool) -> Any:
    index = jax.lax.slice_in_dim(order, k, k + 1, axis=dim)
    values = jnp.take_along_axis(self, index, dim)
    if not keepdim:
        values, index = jnp.squeeze(values, dim), jnp.squeeze(index, dim)
    return values, index.astype(long())


@register_op("aten.median.default")
def _median_all(self: Any) -> Any:
    return _median(self.reshape(-1), 0)[0]


@register_op("aten.median.dim")
def _median(self: Any, dim: int, keepdim: bool = False) -> Any:
    """The lower of the two in the middle; a NaN is the median of its row."""
    if self.ndim == 0:
        return self, jnp.zeros((), long())
    order = ported.order(self, dim)
    n = self.shape[dim]
    if integral(self.dtype):
        return _at(self, order, (n - 1) // 2, dim, keepdim)
    nans = jnp.isnan(jnp.take_along_axis(self, jax.lax.slice_in_dim(order, n - 1, n, axis=dim), dim))
    first_nan = jnp.argmax(jnp.isnan(self), dim, keepdims=True)
    middle = jax.lax.slice_in_dim(order, (n - 1) // 2, (n - 1) // 2 + 1, axis=dim)
    return _at(self, jnp.where(nans, first_nan, middle), 0, dim, keepdim)


@register_op("aten.nanmedian.default")
def _nanmedian_all(self: Any) -> Any:
    return _nanmedian(self.reshape(-1), 0)[0]


@register_op("aten.nanmedian.dim")
def _nanmedian(self: Any, dim: int, keepdim: bool = False) -> Any:
    order = ported.order(self, dim)
    count = jnp.sum(~jnp.isnan(self), dim, keepdims=True)
    index = jnp.take_along_axis(order, jnp.maximum(count - 1, 0) // 2, dim)
    return _at(self, index, 0, dim, keepdim)


@register_op("aten.mode.default")
def _mode(self: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the most frequent values, with its last place."""
    if self.ndim == 0:
        return self, jnp.zeros((), long())
    x = jnp.moveaxis(jax.lax.stop_gradient(self), dim, -1)
    counts = (x[..., :, None] == x[..., None, :]).sum(-1)
    most = jnp.where(
        counts == counts.max(-1, keepdims=True), x, jnp.inf if not integral(x.dtype) else jnp.iinfo(x.dtype).max
    )
    value = most.min(-1, keepdims=True)
    index = x.shape[-1] - 1 - jnp.argmax(jnp.flip(x == value, -1), -1, keepdims=True)
    return _at(self, jnp.moveaxis(index, -1, dim), 0, dim, keepdim)


@register_op("aten.quantile.default", "aten.quantile.scalar")
def _quantile(self: Any, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear") -> Any:
    return jnp.quantile(self, jnp.asarray(q, self.dtype), dim, keepdims=keepdim, method=interpolation)


@register_op("aten.nanquantile.default", "aten.nanquantile.scalar")
def _nanquantile(
    self: Any, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear"
) -> Any:
    return jnp.nanquantile(self, jnp.asarray(q, self.dtype), dim, keepdims=keepdim, method=interpolation)


@register_op("aten.histc.default")
def _histc(self: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Any:  # torch's names
    return ported.histc(self, bins, min, max)


@register_op("aten.bincount.default")
def _bincount(self: Any, weights: Any = None, minlength: Any = 0) -> Any:
    """Inside a trace the values are taken to be below ``minlength``, for the result needs a length."""
    if isinstance(self, jax.core.Tracer) and length(minlength):
        return _counts(self, weights, length(minlength))
    return _counts(self, weights, max(int(self.max()) + 1 if self.size else 0, length(minlength)))


def _counts(self: Any, weights: Any, bins: int) -> Any:
    dtype = long() if weights is None else (weights.dtype if weights.dtype == jnp.float32 else jnp.float64)
    counts = jnp.zeros(bins, jax.dtypes.canonicalize_dtype(dtype))
    return counts.at[self].add(1 if weights is None else weights, mode="drop")


@register_op("aten.unique_consecutive.default")
def _unique_consecutive(self: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None) -> Any:
    x = self.reshape(-1) if dim is None else jnp.moveaxis(self, dim, 0)
    same = (x[1:] == x[:-1]).reshape(max(x.shape[0] - 1, 0), -1).all(-1)
    new = jnp.concatenate([jnp.ones(min(x.shape[0], 1), bool), ~same])
    inverse = jnp.cumsum(new) - 1
    values = x[jnp.flatnonzero(new)]
    counts = jnp.bincount(inverse, length=values.shape[0])
    values = values if dim is None else jnp.moveaxis(values, 0, dim)
    shape = self.shape if dim is None else inverse.shape
    return values, inverse.reshape(shape).astype(long()), counts.astype(long())


@register_op("aten._unique2.default")
def _unique(self: Any, *options: Any, **kwargs: Any) -> Any:
    """Its length depends on the values, so it runs outside a trace alone."""
    values, inverse, counts = jnp.unique(self, return_inverse=True, return_counts=True)
    return values, inverse.astype(long()), counts.astype(long())
