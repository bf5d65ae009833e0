"""Activations: those of purenn.functional, by torch's operator names."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import purenn.functional as F
from transforms.torch_ops.promotion import as_dtype, canonical, default_float, floating, integral
from transforms.torch_ops.registry import register_op

_SAME: dict[str, Callable[..., Any]] = {
    "relu": F.relu, "relu6": F.relu6, "hardtanh": F.hardtanh, "selu": F.selu, "celu": F.celu,
    "leaky_relu": F.leaky_relu, "threshold": F.threshold, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "silu": F.silu, "mish": F.mish, "gelu": F.gelu, "glu": F.glu, "softplus": F.softplus, "prelu": F.prelu,
    "hardshrink": F.hardshrink, "softshrink": F.softshrink, "log_sigmoid": F.logsigmoid,
}  # fmt: skip
for _name, _fn in _SAME.items():
    register_op(f"aten.{_name}.default")(_fn)
register_op("aten._prelu_kernel.default")(lambda self, weight: jnp.where(self > 0, self, weight * self))
register_op("aten.log_sigmoid_forward.default")(lambda self: (F.logsigmoid(self), jnp.zeros_like(self)))


@register_op("aten.tanh.default")
def _tanh(self: Any) -> Any:
    return jnp.tanh(*floating(self))


@register_op("aten.sigmoid.default")
def _sigmoid(self: Any) -> Any:
    return jax.nn.sigmoid(*floating(self))


@register_op("aten.elu.default")
def _elu(self: Any, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    if scale == 1 and input_scale == 1:
        return F.elu(self, alpha)
    negative = jnp.expm1(jnp.minimum(self, 0) * as_dtype(input_scale, self.dtype)) * as_dtype(alpha, self.dtype)
    return jnp.where(self > 0, self, negative) * as_dtype(scale, self.dtype)


@register_op("aten.rrelu.default", random=True)
def _rrelu(
    self: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None, *, rng: Any
) -> Any:
    return F.rrelu(self, lower, upper, training, rng=rng)


@register_op("aten.rrelu_with_noise_functional.default", random=True)
def _rrelu_with_noise(
    self: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None,
    *, rng: Any,
) -> Any:  # fmt: skip
    return F.rrelu(self, lower, upper, training, rng=rng), noise


@register_op("aten.softmax.int", "aten.special_softmax.default")
def _softmax(self: Any, dim: int, dtype: Any = None) -> Any:
    return F.softmax(_floats(self, dtype), dim)


@register_op("aten.log_softmax.int", "aten.special_log_softmax.default")
def _log_softmax(self: Any, dim: int, dtype: Any = None) -> Any:
    return F.log_softmax(_floats(self, dtype), dim)


@register_op("aten._softmax.default")
def _inner_softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    return F.softmax(self.astype(default_float()) if half_to_float else self, dim)


@register_op("aten._log_softmax.default")
def _inner_log_softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    return F.log_softmax(self.astype(default_float()) if half_to_float else self, dim)


@register_op("aten._safe_softmax.default")
def _safe_softmax(self: Any, dim: int, dtype: Any = None) -> Any:
    """Rows that are masked whole give 0."""
    x = _floats(self, dtype)
    masked = jnp.all(x == -jnp.inf, dim, keepdims=True)
    return jnp.where(masked, 0, F.softmax(jnp.where(masked, 0, x), dim))


def _floats(self: Any, dtype: Any) -> Any:
    if dtype is not None:
        return self.astype(canonical(dtype))
    return self.astype(default_float()) if integral(self.dtype) else self
