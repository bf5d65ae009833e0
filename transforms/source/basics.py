"""Operators that torch takes apart in one mode and leaves whole in the other, in one form."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from transforms.torch_ops import OPERATORS
from transforms.torch_program import Call, Ref

_VIEWS = {name for name, operator in OPERATORS.items() if operator.fn is OPERATORS["aten.view.default"].fn} | {
    "aten.flatten.using_ints", "aten.unflatten.int", "aten.view_as.default", "aten.reshape_as.default",
    "aten.ravel.default",
}  # fmt: skip
_EXPANSIONS = {"aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default", "aten.expand_copy.default"}
_CASTS = {"aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.to.other", "aten.type_as.default"}


def basic(call: Call, kind: Callable[[Any], tuple[Any, Any]]) -> Call:
    """An operator in the form that both modes have.

    Args:
        call: any.
        kind: gives the shape and dtype of an argument.

    Returns:
        The call, by another operator where that says the same.
    """
    shape = call.shape
    fixed = shape is not None and all(isinstance(n, int) for n in shape)
    if call.op in _VIEWS:
        return (
            replace(call, op="aten.view.default", args=(call.args[0], list(shape or ())), kwargs={}) if fixed else call
        )
    if call.op in _EXPANSIONS and fixed:
        return replace(call, op="aten.expand.default", args=(call.args[0], list(shape or ())), kwargs={})
    if call.op in _CASTS:
        return replace(call, op="aten._to_copy.default", args=call.args[:1], kwargs={"dtype": _wanted(call, kind)})
    if call.op == "aten._to_copy.default":
        return replace(call, kwargs={name: value for name, value in call.kwargs.items() if name == "dtype"})
    if call.op in ("aten.chunk.default", "aten.split_with_sizes.default", "aten.split.sizes"):
        return _split(call, kind)
    return call


def _wanted(call: Call, kind: Callable[[Any], tuple[Any, Any]]) -> Any:
    """The dtype that a cast is to; None for none."""
    if call.op in ("aten.to.other", "aten.type_as.default"):
        return kind(call.args[1])[1]
    given = [arg for arg in (*call.args[1:], *call.kwargs.values()) if isinstance(arg, np.dtype)]
    return given[0] if given else None


def _split(call: Call, kind: Callable[[Any], tuple[Any, Any]]) -> Call:
    """Equal pieces by their length."""
    dim = call.args[2] if len(call.args) > 2 else call.kwargs.get("dim", 0)
    shape = kind(call.args[0])[0]
    n = shape[dim] if shape else None
    if not isinstance(n, int):
        return call
    if call.op == "aten.chunk.default":
        size = max(-(-n // call.args[1]), 1)
        return replace(call, op="aten.split.Tensor", args=(call.args[0], size, dim), kwargs={})
    sizes = call.args[1]
    equal = sizes and not any(isinstance(size, Ref) for size in sizes) and len(set(sizes)) == 1
    return replace(call, op="aten.split.Tensor", args=(call.args[0], sizes[0], dim), kwargs={}) if equal else call
