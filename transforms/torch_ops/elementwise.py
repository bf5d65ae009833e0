"""Arithmetic on elements: torch's promotion of dtypes, then the function of that name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn import ported
from purenn.errors import refusal
from transforms.torch_ops.promotion import as_dtype, canonical, floating, integral, promoted
from transforms.torch_ops.registry import register_op


def _each(fn: Callable[..., Any], convert: Callable[..., Any]) -> Callable[..., Any]:
    """The function on operands of one dtype."""
    return lambda *operands: fn(*convert(*operands))


def _each_in_kind(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function on floating operands, 16-bit ones computed in float32 and rounded, as torch does."""

    def call(*operands: Any) -> Any:
        arrays = floating(*operands)
        dtype = arrays[0].dtype
        wide = [x.astype(jnp.float32) if dtype.itemsize == 2 else x for x in arrays]
        return fn(*wide).astype(dtype)

    return call


SAME: dict[str, Callable[..., Any]] = {  # name: function of operands in their common dtype
    "maximum.default": jnp.maximum, "minimum.default": jnp.minimum, "max.other": jnp.maximum, "min.other": jnp.minimum,
    "fmax.default": jnp.fmax, "fmin.default": jnp.fmin, "fmod.Tensor": jnp.fmod, "fmod.Scalar": jnp.fmod,
    "remainder.Tensor": jnp.remainder, "remainder.Scalar": jnp.remainder, "remainder.Scalar_Tensor": jnp.remainder,
    "gcd.default": jnp.gcd, "lcm.default": jnp.lcm, "hypot.default": jnp.hypot, "nextafter.default": jnp.nextafter,
    "mul.Tensor": jnp.multiply, "mul.Scalar": jnp.multiply, "multiply.Tensor": jnp.multiply,
    "multiply.Scalar": jnp.multiply, "square.default": jnp.square, "neg.default": jnp.negative,
    "negative.default": jnp.negative, "positive.default": lambda x: x, "logaddexp.default": jnp.logaddexp,
    "logaddexp2.default": jnp.logaddexp2, "floor_divide.default": jnp.floor_divide,
    "floor_divide.Scalar": jnp.floor_divide, "heaviside.default": jnp.heaviside, "sign.default": jnp.sign,
    "copysign.Tensor": jnp.copysign,
}  # fmt: skip

FLOATING: dict[str, Callable[..., Any]] = {  # name: function of operands as floating numbers
    "true_divide.Tensor": jnp.divide, "divide.Tensor": jnp.divide, "div.Tensor": jnp.divide, "div.Scalar": jnp.divide,
    "atan2.default": jnp.arctan2, "arctan2.default": jnp.arctan2, "exp.default": jnp.exp, "exp2.default": jnp.exp2,
    "expm1.default": jnp.expm1, "log.default": jnp.log, "log2.default": jnp.log2, "log10.default": jnp.log10,
    "log1p.default": jnp.log1p, "sqrt.default": jnp.sqrt, "rsqrt.default": jax.lax.rsqrt, "sin.default": jnp.sin,
    "cos.default": jnp.cos, "tan.default": jnp.tan, "asin.default": jnp.arcsin, "acos.default": jnp.arccos,
    "atan.default": jnp.arctan, "sinh.default": jnp.sinh, "cosh.default": jnp.cosh, "asinh.default": jnp.arcsinh,
    "acosh.default": jnp.arccosh, "atanh.default": jnp.arctanh, "arcsin.default": jnp.arcsin,
    "arccos.default": jnp.arccos, "arctan.default": jnp.arctan, "arcsinh.default": jnp.arcsinh,
    "arccosh.default": jnp.arccosh, "arctanh.default": jnp.arctanh, "erf.default": jax.lax.erf,
    "erfc.default": jax.lax.erfc, "erfinv.default": jax.lax.erf_inv, "special_erf.default": jax.lax.erf,
    "special_erfc.default": jax.lax.erfc, "special_erfinv.default": jax.lax.erf_inv,
    "special_erfcx.default": lambda x: jnp.exp(x * x) * jax.lax.erfc(x), "lgamma.default": jax.lax.lgamma,
    "special_gammaln.default": jax.lax.lgamma, "digamma.default": jax.lax.digamma,
    "special_digamma.default": jax.lax.digamma, "special_i0e.default": jax.scipy.special.i0e,
    "special_i1e.default": jax.scipy.special.i1e, "i0.default": jax.scipy.special.i0,
    "special_i0.default": jax.scipy.special.i0, "special_i1.default": jax.scipy.special.i1,
    "special_ndtr.default": jax.scipy.special.ndtr, "special_ndtri.default": jax.scipy.special.ndtri,
    "special_log_ndtr.default": jax.scipy.special.log_ndtr, "special_entr.default": jax.scipy.special.entr,
    "special_expm1.default": jnp.expm1, "special_exp2.default": jnp.exp2, "special_log1p.default": jnp.log1p,
    "special_sinc.default": jnp.sinc, "special_expit.default": jax.nn.sigmoid, "sinc.default": jnp.sinc,
    "deg2rad.default": jnp.deg2rad, "rad2deg.default": jnp.rad2deg, "igamma.default": jax.scipy.special.gammainc,
    "igammac.default": jax.scipy.special.gammaincc, "special_gammainc.default": jax.scipy.special.gammainc,
    "special_gammaincc.default": jax.scipy.special.gammaincc, "special_zeta.default": jax.scipy.special.zeta,
}  # fmt: skip

ROUNDING: dict[str, Callable[..., Any]] = {  # name: function that leaves integers as they are
    "ceil.default": jnp.ceil, "floor.default": jnp.floor, "round.default": jnp.round, "trunc.default": jnp.trunc,
    "fix.default": jnp.trunc, "frac.default": lambda x: x - jnp.trunc(x),
}  # fmt: skip

for _name, _fn in SAME.items():
    register_op(f"aten.{_name}")(_each(_fn, promoted))
for _name, _fn in FLOATING.items():
    register_op(f"aten.{_name}")(_each_in_kind(_fn))
for _name, _fn in ROUNDING.items():
    register_op(f"aten.{_name}")(lambda self, _fn=_fn: self if integral(self.dtype) else _fn(self))


@register_op("aten.add.Tensor", "aten.add.Scalar")
def _add(self: Any, other: Any, alpha: Any = 1) -> Any:
    x, y = promoted(self, other)
    return x + (y if alpha == 1 else y * as_dtype(alpha, y.dtype))


@register_op("aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor", "aten.subtract.Scalar")
def _sub(self: Any, other: Any, alpha: Any = 1) -> Any:
    x, y = promoted(self, other)
    return x - (y if alpha == 1 else y * as_dtype(alpha, y.dtype))


@register_op("aten.rsub.Scalar", "aten.rsub.Tensor")
def _rsub(self: Any, other: Any, alpha: Any = 1) -> Any:
    return _sub(other, self, alpha)


@register_op("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode", "aten.divide.Scalar_mode")
def _div_mode(self: Any, other: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return jnp.divide(*floating(self, other))
    x, y = promoted(self, other)
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    # lax.div of integers truncates
    return jax.lax.div(*jnp.broadcast_arrays(x, y)) if integral(x.dtype) else jnp.trunc(x / y)


@register_op("aten.reciprocal.default")
def _reciprocal(self: Any) -> Any:
    (x,) = floating(self)
    return 1 / x


@register_op("aten.pow.Tensor_Scalar")
def _pow_scalar(self: Any, exponent: Any) -> Any:
    x, _ = promoted(self, exponent)
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and abs(exponent) < 64:
        return _integer_power(x, int(exponent))
    if exponent == 0.5:
        return jnp.sqrt(x)
    return jnp.power(x, as_dtype(exponent, x.dtype))


def _integer_power(x: Any, exponent: int) -> Any:
    if exponent == 0:
        return jnp.ones_like(x)  # with gradient 0 at 0 too
    if exponent < 0 and integral(x.dtype):
        op, remedy = "pow", "Cast it to a floating dtype."
        raise refusal(op, "integers must not have a negative exponent", {"exponent": exponent}, remedy)
    return jax.lax.integer_pow(x, exponent)


@register_op("aten.pow.Scalar", "aten.pow.Tensor_Tensor", "aten.float_power.Tensor_Tensor")
def _pow(self: Any, exponent: Any) -> Any:
    return jnp.power(*promoted(self, exponent))


@register_op("aten.ldexp.Tensor")
def _ldexp(self: Any, other: Any) -> Any:
    x, y = floating(self, other)
    return x * jnp.exp2(y)


@register_op("aten.xlogy.Tensor", "aten.xlogy.Scalar_Other", "aten.xlogy.Scalar_Self", "aten.special_xlogy.default")
def _xlogy(self: Any, other: Any) -> Any:
    return jax.scipy.special.xlogy(*floating(self, other))


@register_op("aten.special_xlog1py.default")
def _xlog1py(self: Any, other: Any) -> Any:
    return jax.scipy.special.xlog1py(*floating(self, other))


@register_op("aten.abs.default", "aten.absolute.default")
def _abs(self: Any) -> Any:
    return jnp.abs(self)


@register_op("aten.round.decimals")
def _round_decimals(self: Any, decimals: int) -> Any:
    return jnp.round(self, decimals)


@register_op("aten.logit.default", "aten.special_logit.default")
def _logit(self: Any, eps: float | None = None) -> Any:
    (x,) = floating(self)
    if eps is not None:
        x = _clamp(x, eps, 1 - eps)
    return jnp.log(x / (1 - x))


@register_op("aten.polygamma.default", "aten.special_polygamma.default")
def _polygamma(n: int, self: Any) -> Any:
    (x,) = floating(self)
    return jax.scipy.special.polygamma(jnp.asarray(n), x.astype(jnp.promote_types(x.dtype, jnp.float32))).astype(
        x.dtype
    )


@register_op("aten.mvlgamma.default", "aten.special_multigammaln.default")
def _mvlgamma(self: Any, p: int) -> Any:
    (x,) = floating(self)
    return jax.scipy.special.multigammaln(x, p)


@register_op("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default", "aten.clip.Tensor")
def _clamp(self: Any, min: Any = None, max: Any = None) -> Any:  # torch's names
    operands = promoted(*[value for value in (self, min, max) if value is not None])
    x = operands.pop(0)
    low = None if min is None else operands.pop(0)
    high = None if max is None else operands.pop(0)
    return ported.clamp(x, low, high)


@register_op("aten.clamp_min.default", "aten.clamp_min.Tensor")
def _clamp_min(self: Any, min: Any) -> Any:  # torch's name
    return _clamp(self, min)


@register_op("aten.clamp_max.default", "aten.clamp_max.Tensor")
def _clamp_max(self: Any, max: Any) -> Any:  # torch's name
    return _clamp(self, None, max)


@register_op("aten.addcmul.default")
def _addcmul(self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    x, a, b = promoted(self, tensor1, tensor2)
    return x + as_dtype(value, x.dtype) * a * b


@register_op("aten.addcdiv.default")
def _addcdiv(self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    x, a, b = promoted(self, tensor1, tensor2)
    return x + as_dtype(value, x.dtype) * a / b


@register_op("aten.lerp.Scalar", "aten.lerp.Tensor")
def _lerp(self: Any, end: Any, weight: Any) -> Any:
    x, y = promoted(self, end)
    w = as_dtype(weight, x.dtype)
    # torch takes the nearer end, so that both ends are exact
    return jnp.where(jnp.abs(w) < 0.5, x + w * (y - x), y - (y - x) * (1 - w))


@register_op("aten.nan_to_num.default")
def _nan_to_num(self: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    return self if integral(self.dtype) else jnp.nan_to_num(self, nan=nan or 0.0, posinf=posinf, neginf=neginf)


@register_op("aten.frexp.Tensor")
def _frexp(self: Any) -> Any:
    mantissa, exponent = jnp.frexp(self)
    return mantissa, exponent.astype(jnp.int32)


@register_op("aten.signbit.default")
def _signbit(self: Any) -> Any:
    return self < 0 if integral(self.dtype) else jnp.signbit(self)


@register_op("aten.copysign.Scalar")
def _copysign(self: Any, other: Any) -> Any:
    return jnp.copysign(*floating(self, other))


@register_op("aten._to_copy.default")
def _to_copy(
    self: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None,
    non_blocking: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    return self if dtype is None else cast(self, canonical(dtype))


@register_op("aten.to.dtype", "aten.type_as.default", "aten.to.other")
def _to_dtype(self: Any, dtype: Any, non_blocking: bool = False, copy: bool = False, memory_format: Any = None) -> Any:
    return cast(self, canonical(getattr(dtype, "dtype", dtype)))


@register_op("aten.to.dtype_layout")
def _to_layout(self: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
    chosen = [arg for arg in args if isinstance(arg, jnp.dtype)] + ([] if dtype is None else [dtype])
    return cast(self, canonical(chosen[0])) if chosen else self


@register_op("aten.to.device")
def _to_device(self: Any, device: Any, dtype: Any, *options: Any, **kwargs: Any) -> Any:
    return cast(self, canonical(dtype))


@register_op("prims.convert_element_type.default")
def _convert_element_type(a: Any, dtype: Any) -> Any:
    return cast(a, canonical(dtype))


def cast(x: Any, dtype: Any) -> Any:
    """An array in another dtype, as torch converts.

    Args:
        x: array.
        dtype: canonical.

    Returns:
        The array; complex numbers lose their imaginary part, as in torch.
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = x.real if dtype != jnp.bool_ else x != 0
    return x.astype(dtype)


@register_op("aten.sgn.default")
def _sgn(self: Any) -> Any:
    if not jnp.issubdtype(self.dtype, jnp.complexfloating):
        return jnp.sign(self)
    size = jnp.abs(self)
    return jnp.where(size == 0, 0, self / jnp.where(size == 0, 1, size))
