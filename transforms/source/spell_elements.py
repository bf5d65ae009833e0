"""Spellings of arithmetic, comparisons and activations."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from transforms.source.spelling import cast, common, floats, matched, spelled
from transforms.source.text import Expr, called, dtype_text, operand, python
from transforms.torch_ops.compare import BITS, COMPARISONS
from transforms.torch_ops.promotion import canonical, default_float, integral

SYMBOLS = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "not_equal": "!=", "and": "&", "or": "|", "xor": "^", "left_shift": "<<",
    "right_shift": ">>",
}  # fmt: skip


def _infix(symbol: str) -> Callable[..., str]:
    return lambda self, other: f" {symbol} ".join(matched(self, other))


for _name in COMPARISONS:
    spelled(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_infix(SYMBOLS[_name]))
for _name in BITS:
    _overload = "Tensor_Scalar" if "shift" in _name else "Scalar"
    _short = _name.replace("left_shift", "lshift").replace("right_shift", "rshift")
    spelled(
        f"aten.bitwise_{_name}.Tensor", f"aten.bitwise_{_name}.{_overload}", f"aten.bitwise_{_name}.Scalar_Tensor",
        f"aten.__{_short}__.Tensor", f"aten.__{_short}__.Scalar",
    )(_infix(SYMBOLS[_name]))  # fmt: skip
for _name in ("mul.Tensor", "mul.Scalar", "multiply.Tensor", "multiply.Scalar"):
    spelled(f"aten.{_name}")(_infix("*"))
for _name in ("floor_divide.default", "floor_divide.Scalar"):
    spelled(f"aten.{_name}")(_infix("//"))
for _name in ("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor"):
    spelled(f"aten.{_name}")(_infix("%"))
for _name, _fn in (
    ("maximum.default", "jnp.maximum"), ("minimum.default", "jnp.minimum"), ("max.other", "jnp.maximum"),
    ("min.other", "jnp.minimum"), ("fmod.Tensor", "jnp.fmod"), ("fmod.Scalar", "jnp.fmod"),
    ("hypot.default", "jnp.hypot"), ("logaddexp.default", "jnp.logaddexp"), ("fmax.default", "jnp.fmax"),
    ("fmin.default", "jnp.fmin"), ("copysign.Tensor", "jnp.copysign"),
):  # fmt: skip
    spelled(f"aten.{_name}")(lambda self, other, fn=_fn: f"{fn}({', '.join(matched(self, other))})")
for _name, _fn in (
    ("square.default", "jnp.square"), ("sign.default", "jnp.sign"), ("abs.default", "jnp.abs"),
    ("isnan.default", "jnp.isnan"), ("isinf.default", "jnp.isinf"), ("isfinite.default", "jnp.isfinite"),
    ("logical_not.default", "jnp.logical_not"), ("real.default", "jnp.real"), ("imag.default", "jnp.imag"),
    ("conj.default", "jnp.conj"), ("_conj.default", "jnp.conj"), ("conj_physical.default", "jnp.conj"),
    ("_conj_physical.default", "jnp.conj"), ("detach.default", "jax.lax.stop_gradient"),
):  # fmt: skip
    spelled(f"aten.{_name}")(lambda self, fn=_fn: called(fn, self))
for _name in ("and", "or", "xor"):
    spelled(f"aten.logical_{_name}.default")(lambda self, other, fn=f"jnp.logical_{_name}": called(fn, self, other))


@spelled("aten.bitwise_not.default")
def _not(self: Expr) -> str:
    return f"~{operand(self)}"


@spelled("aten.neg.default", "aten.negative.default", "aten._neg_view.default")
def _neg(self: Expr) -> str:
    return f"-{operand(self)}"


@spelled("aten.add.Tensor", "aten.add.Scalar")
def _add(self: Any, other: Any, alpha: Any = 1) -> str:
    return _sum(self, other, alpha, "+")


@spelled("aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor", "aten.subtract.Scalar")
def _sub(self: Any, other: Any, alpha: Any = 1) -> str:
    return _sum(self, other, alpha, "-")


@spelled("aten.rsub.Scalar", "aten.rsub.Tensor")
def _rsub(self: Any, other: Any, alpha: Any = 1) -> str:
    return _sum(other, self, alpha, "-")


def _sum(self: Any, other: Any, alpha: Any, symbol: str) -> str:
    x, y = matched(self, other)
    return f"{x} {symbol} {y}" if alpha == 1 else f"{x} {symbol} {y} * {operand(alpha)}"


@spelled("aten.addcmul.default")
def _addcmul(self: Expr, tensor1: Expr, tensor2: Expr, value: Any = 1) -> str:
    x, a, b = matched(self, tensor1, tensor2)
    return f"{x} + {operand(value)} * {a} * {b}"


@spelled("aten.addcdiv.default")
def _addcdiv(self: Expr, tensor1: Expr, tensor2: Expr, value: Any = 1) -> str:
    x, a, b = matched(self, tensor1, tensor2)
    return f"{x} + {operand(value)} * {a} / {b}"


def _in_kind(write: Callable[..., str]) -> Callable[..., str]:
    """Floating operands; 16-bit ones are computed in float32 and rounded, as from_torch does."""

    def text(*operands: Any) -> str:
        dtype = common(*operands)
        dtype = default_float() if not jnp.issubdtype(dtype, jnp.inexact) else dtype
        if dtype.itemsize != 2:
            return write(*matched(*operands, dtype=dtype))
        wide = matched(*operands, dtype=jnp.dtype(jnp.float32))
        return f"({write(*wide)}).astype({dtype_text(dtype)})"

    return text


for _name in ("true_divide.Tensor", "divide.Tensor", "div.Tensor", "div.Scalar"):
    spelled(f"aten.{_name}")(_in_kind(lambda x, y: f"{x} / {y}"))
for _names, _fn in (
    ("exp", "jnp.exp"), ("exp2 special_exp2", "jnp.exp2"), ("expm1 special_expm1", "jnp.expm1"),
    ("log", "jnp.log"), ("log2", "jnp.log2"), ("log10", "jnp.log10"), ("log1p special_log1p", "jnp.log1p"),
    ("sqrt", "jnp.sqrt"), ("rsqrt", "jax.lax.rsqrt"), ("sin", "jnp.sin"), ("cos", "jnp.cos"), ("tan", "jnp.tan"),
    ("asin arcsin", "jnp.arcsin"), ("acos arccos", "jnp.arccos"), ("atan arctan", "jnp.arctan"),
    ("sinh", "jnp.sinh"), ("cosh", "jnp.cosh"), ("asinh arcsinh", "jnp.arcsinh"), ("acosh arccosh", "jnp.arccosh"),
    ("atanh arctanh", "jnp.arctanh"), ("erf special_erf", "jax.lax.erf"), ("erfc special_erfc", "jax.lax.erfc"),
    ("erfinv special_erfinv", "jax.lax.erf_inv"), ("lgamma special_gammaln", "jax.lax.lgamma"),
    ("digamma special_digamma", "jax.lax.digamma"), ("atan2 arctan2", "jnp.arctan2"),
    ("sinc special_sinc", "jnp.sinc"), ("special_expit", "jax.nn.sigmoid"),
):  # fmt: skip
    for _name in _names.split():
        if _name not in ("special_exp",):
            spelled(f"aten.{_name}.default")(_in_kind(lambda *texts, fn=_fn: f"{fn}({', '.join(texts)})"))
for _names, _fn in (("ceil", "jnp.ceil"), ("floor", "jnp.floor"), ("round", "jnp.round"), ("trunc fix", "jnp.trunc")):
    for _name in _names.split():
        spelled(f"aten.{_name}.default")(
            lambda self, fn=_fn: python(self) if integral(self.dtype) else called(fn, self)
        )


@spelled("aten.reciprocal.default")
def _reciprocal(self: Expr) -> str:
    return f"1 / {operand(floats(self))}"


@spelled("aten.tanh.default")
def _tanh(self: Expr) -> str:
    return called("jnp.tanh", floats(self))


@spelled("aten.sigmoid.default")
def _sigmoid(self: Expr) -> str:
    return called("jax.nn.sigmoid", floats(self))


@spelled("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode", "aten.divide.Scalar_mode")
def _div_mode(self: Any, other: Any, rounding_mode: str | None = None) -> str | None:
    dtype = common(self, other)
    if rounding_mode == "floor":
        return " // ".join(matched(self, other))
    if rounding_mode is None:
        dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else default_float()
        return " / ".join(matched(self, other, dtype=dtype))
    return None if integral(dtype) else f"jnp.trunc({' / '.join(matched(self, other))})"


@spelled("aten.pow.Tensor_Scalar")
def _pow_scalar(self: Expr, exponent: Any) -> str | None:
    dtype = common(self, exponent)
    x = cast(self, dtype)
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and abs(exponent) < 64:
        if exponent == 0:
            return called("jnp.ones_like", x)
        return None if exponent < 0 and integral(dtype) else f"{operand(x)} ** {int(exponent)}"
    return called("jnp.sqrt", x) if exponent == 0.5 else f"jnp.power({python(x)}, {python(exponent)})"


@spelled("aten.pow.Scalar", "aten.pow.Tensor_Tensor")
def _pow(self: Any, exponent: Any) -> str:
    return f"jnp.power({', '.join(matched(self, exponent))})"


@spelled("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default", "aten.clip.Tensor")
def _clamp(self: Expr, min: Any = None, max: Any = None) -> str:  # torch's names
    given = [value for value in (self, min, max) if value is not None]
    texts = [Expr(text) for text in matched(*given)]
    if min is None:
        return called("clamp", texts[0], high=texts[1])
    return called("clamp", *texts)


@spelled("aten.clamp_min.default", "aten.clamp_min.Tensor")
def _clamp_min(self: Expr, min: Any) -> str:  # torch's name
    return _clamp(self, min)


@spelled("aten.clamp_max.default", "aten.clamp_max.Tensor")
def _clamp_max(self: Expr, max: Any) -> str:  # torch's name
    return _clamp(self, None, max)


@spelled("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def _where(condition: Expr, self: Any, other: Any) -> str:
    x, y = matched(self, other)
    return f"jnp.where({python(cast(condition, jnp.dtype(bool)))}, {x}, {y})"


@spelled("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _masked_fill(self: Expr, mask: Expr, value: Any) -> str:
    value = Expr(matched(self, value, dtype=self.dtype)[1])
    return f"jnp.where({python(mask)}, {python(value)}, {python(self)})"


@spelled("aten._to_copy.default")
def _to_copy(self: Expr, dtype: Any = None) -> str:
    return python(self if dtype is None else cast(self, canonical(dtype)))


@spelled("aten.lerp.Scalar", "aten.lerp.Tensor")
def _lerp(self: Expr, end: Expr, weight: Any) -> str | None:
    if isinstance(weight, Expr) or common(self, end) != self.dtype:
        return None
    x, y = matched(self, end)
    return f"{x} + {weight} * ({y} - {x})" if abs(weight) < 0.5 else f"{y} - ({y} - {x}) * {1 - weight}"


for _name in (
    "relu", "relu6", "hardtanh", "selu", "celu", "leaky_relu", "threshold", "hardswish", "hardsigmoid", "silu", "mish",
    "gelu", "glu", "softplus", "prelu", "hardshrink", "softshrink",
):  # fmt: skip
    spelled(f"aten.{_name}.default")(lambda *args, fn=f"F.{_name}", **kwargs: called(fn, *args, **kwargs))
spelled("aten.log_sigmoid.default")(lambda self: called("F.logsigmoid", self))


@spelled("aten.elu.default")
def _elu(self: Expr, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> str | None:
    return called("F.elu", self, *([] if alpha == 1 else [alpha])) if scale == 1 and input_scale == 1 else None


def _over_axis(fn: str) -> Callable[..., str]:
    def text(self: Expr, dim: int, dtype: Any = None) -> str:
        x = floats(self) if dtype is None else cast(self, canonical(dtype))
        return called(fn, x, dim)

    return text


spelled("aten.softmax.int", "aten.special_softmax.default")(_over_axis("F.softmax"))
spelled("aten.log_softmax.int", "aten.special_log_softmax.default")(_over_axis("F.log_softmax"))


@spelled("aten._softmax.default")
def _inner_softmax(self: Expr, dim: int, half_to_float: bool = False) -> str | None:
    return None if half_to_float else called("F.softmax", self, dim)


@spelled("aten._log_softmax.default")
def _inner_log_softmax(self: Expr, dim: int, half_to_float: bool = False) -> str | None:
    return None if half_to_float else called("F.log_softmax", self, dim)


for _name, _symbol in {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "truediv": "/", "mod": "%", "pow": "**",
                       "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():  # fmt: skip
    spelled(f"_operator.{_name}")(lambda a, b, s=_symbol: f"{operand(a)} {s} {operand(b)}")
spelled("_operator.neg")(lambda a: f"-{operand(a)}")
for _names, _fn in (
    ("torch.sym_max builtins.max", "max"), ("torch.sym_min builtins.min", "min"), ("torch.sym_int", "int"),
    ("torch.sym_float builtins.float", "float"),
):  # fmt: skip
    for _name in _names.split():
        spelled(_name)(lambda *args, fn=_fn: called(fn, *args))
