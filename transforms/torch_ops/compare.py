"""Comparisons, logic and bits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from transforms.torch_ops.promotion import as_dtype, integral, long, promoted
from transforms.torch_ops.registry import register_op

COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": jnp.equal, "ne": jnp.not_equal, "lt": jnp.less, "le": jnp.less_equal, "gt": jnp.greater,
    "ge": jnp.greater_equal, "less": jnp.less, "less_equal": jnp.less_equal, "greater": jnp.greater,
    "greater_equal": jnp.greater_equal, "not_equal": jnp.not_equal,
}  # fmt: skip
BITS: dict[str, Callable[..., Any]] = {
    "and": jnp.bitwise_and, "or": jnp.bitwise_or, "xor": jnp.bitwise_xor, "left_shift": jnp.left_shift,
    "right_shift": jnp.right_shift,
}  # fmt: skip


def _on_common(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: fn(*promoted(self, other))


for _name, _fn in COMPARISONS.items():
    register_op(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_on_common(_fn))
for _name, _fn in BITS.items():
    for _overload in ("Tensor", "Tensor_Scalar" if "shift" in _name else "Scalar", "Scalar_Tensor"):
        register_op(f"aten.bitwise_{_name}.{_overload}")(_on_common(_fn))
    _short = _name.replace("left_shift", "lshift").replace("right_shift", "rshift")
    register_op(f"aten.__{_short}__.Tensor", f"aten.__{_short}__.Scalar")(_on_common(_fn))
register_op("aten.logical_and.default")(jnp.logical_and)
register_op("aten.logical_or.default")(jnp.logical_or)
register_op("aten.logical_xor.default")(jnp.logical_xor)


@register_op("aten.logical_not.default")
def _logical_not(self: Any) -> Any:
    return jnp.logical_not(self)


@register_op("aten.bitwise_not.default")
def _bitwise_not(self: Any) -> Any:
    return jnp.bitwise_not(self)


@register_op("aten.isnan.default")
def _isnan(self: Any) -> Any:
    return jnp.isnan(self)


@register_op("aten.isinf.default")
def _isinf(self: Any) -> Any:
    return jnp.isinf(self)


@register_op("aten.isfinite.default")
def _isfinite(self: Any) -> Any:
    return jnp.isfinite(self)


@register_op("aten.isposinf.default")
def _isposinf(self: Any) -> Any:
    return jnp.zeros_like(self, bool) if integral(self.dtype) else jnp.isposinf(self)


@register_op("aten.isneginf.default")
def _isneginf(self: Any) -> Any:
    return jnp.zeros_like(self, bool) if integral(self.dtype) else jnp.isneginf(self)


@register_op("aten.isreal.default")
def _isreal(self: Any) -> Any:
    return jnp.isreal(self)


@register_op("aten.isclose.default")
def _isclose(self: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    x, y = promoted(self, other)
    return jnp.isclose(x, y, rtol, atol, equal_nan)


@register_op("aten.allclose.default")
def _allclose(self: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    return _isclose(self, other, rtol, atol, equal_nan).all()


@register_op("aten.equal.default")
def _equal(self: Any, other: Any) -> Any:
    return jnp.array_equal(self, other)


@register_op("aten.isin.Tensor_Tensor", "aten.isin.Tensor_Scalar", "aten.isin.Scalar_Tensor")
def _isin(elements: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    x, y = promoted(elements, test_elements)
    return jnp.isin(x, y, invert=invert)


@register_op("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def _where(condition: Any, self: Any, other: Any) -> Any:
    x, y = promoted(self, other)
    return jnp.where(condition.astype(bool), x, y)


@register_op("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _masked_fill(self: Any, mask: Any, value: Any) -> Any:
    return jnp.where(mask, as_dtype(value, self.dtype), self)


@register_op("aten._is_all_true.default", "aten.is_nonzero.default")
def _is_all_true(self: Any) -> Any:
    return jnp.all(self)


@register_op("aten._is_any_true.default")
def _is_any_true(self: Any) -> Any:
    return jnp.any(self)


@register_op("aten.bucketize.Tensor")
def _bucketize(self: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(boundaries, self, out_int32, right)


@register_op("aten.bucketize.Scalar")
def _bucketize_number(self: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(boundaries, jnp.asarray(self), out_int32, right)


@register_op("aten.searchsorted.Tensor", "aten.searchsorted.Scalar")
def _searchsorted(
    sorted_sequence: Any, self: Any, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Any = None,
) -> Any:  # fmt: skip
    edges = sorted_sequence if sorter is None else jnp.take_along_axis(sorted_sequence, sorter, -1)
    edges, x = promoted(edges, jnp.asarray(self))
    where = "right" if right or side == "right" else "left"
    dtype = jnp.dtype(jnp.int32) if out_int32 else long()
    if edges.ndim == 1:
        return jnp.searchsorted(edges, x, side=where).astype(dtype)
    rows = edges.reshape(-1, edges.shape[-1]), x.reshape(-1, x.shape[-1])
    found = jax.vmap(lambda row, value: jnp.searchsorted(row, value, side=where))(*rows)
    return found.reshape(x.shape).astype(dtype)
