"""Arithmetic on lengths: Python numbers, or the symbols of jax.export, which know the same operators."""

import math
import operator
from typing import Any

from transforms.torch_ops.registry import register_op

for _name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "eq", "ne", "lt", "le", "gt", "ge",
              "and_", "or_", "xor", "not_", "getitem", "pos", "abs"):  # fmt: skip
    register_op(f"_operator.{_name}")(getattr(operator, _name))


@register_op("torch.sym_max", "builtins.max")
def _sym_max(a: Any, b: Any) -> Any:
    return a if _at_least(a, b) else b


@register_op("torch.sym_min", "builtins.min")
def _sym_min(a: Any, b: Any) -> Any:
    return b if _at_least(a, b) else a


def _at_least(a: Any, b: Any) -> bool:
    return bool(a >= b)


@register_op("torch.sym_ite")
def _sym_ite(b: Any, t: Any, f: Any) -> Any:
    return t if b else f


@register_op("torch.sym_not")
def _sym_not(a: Any) -> Any:
    return not a


@register_op("torch.sym_float", "builtins.float")
def _sym_float(a: Any) -> Any:
    return float(a)


@register_op("torch.sym_int", "builtins.int", "math.trunc")
def _sym_int(a: Any) -> Any:
    return int(a)


@register_op("torch._sym_sqrt", "math.sqrt")
def _sym_sqrt(a: Any) -> Any:
    return math.sqrt(a)


@register_op("math.ceil")
def _ceil(a: Any) -> Any:
    return math.ceil(a)


@register_op("math.floor")
def _floor(a: Any) -> Any:
    return math.floor(a)


@register_op("builtins.round")
def _round(a: Any) -> Any:
    return round(a)


@register_op("torch.sym_sum")
def _sym_sum(args: Any) -> Any:
    total = 0
    for value in args:
        total = total + value
    return total
