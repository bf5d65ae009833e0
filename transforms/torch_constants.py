"""Which values of a program are computed when it is traced: masks and sizes that are made of constants alone."""

from collections.abc import Iterator
from typing import Any

from transforms.torch_ops import OPERATORS
from transforms.torch_program import Body, Call, Program, references

# Operators that read values, with the place of the argument they read.
_READERS = {
    "aten.index.Tensor": 1, "aten.masked_select.default": 1, "aten.nonzero.default": 0, "aten.argwhere.default": 0,
    "aten.where.default": 0, "aten.nonzero_numpy.default": 0, "aten.item.default": 0,
    "aten._local_scalar_dense.default": 0, "aten.repeat_interleave.self_Tensor": 1, "aten.repeat_interleave.Tensor": 0,
}  # fmt: skip


def computed_beforehand(program: Program) -> frozenset[str]:
    """Names the values that something reads and that depend on no input.

    Args:
        program: any.

    Returns:
        Names of constants and of calls.
    """
    calls = {call.name: call for call in program.calls}
    constant = {given.name for given in program.inputs if given.kind == "constant"}
    for call in program.calls:
        if constant.issuperset(_references(call)) and not OPERATORS[call.op].random and not _has_body(call):
            constant.add(call.name)
    wanted = [name for call in program.calls for name in (*_read(call, calls), *_itself(call)) if name in constant]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted.extend(_references(calls[name]) if name in calls else ())
    return frozenset(found)


def _references(call: Call) -> Iterator[str]:
    yield from references(call.args)
    yield from references(call.kwargs)


def _read(call: Call, calls: dict[str, Call]) -> list[str]:
    place = _READERS.get(call.op)
    if place is None or len(call.args) <= place:
        return []
    names = list(references(call.args[place]))
    return [name for name in names if _is_mask(calls.get(name))] if call.op == "aten.index.Tensor" else names


def _itself(call: Call) -> list[str]:
    return [call.name] if call.op in _READERS else []


def _is_mask(call: Call | None) -> bool:
    """Of an index only a mask is read; what is no call is a lifted constant, and small."""
    return call is None or call.dtype == "bool"


def _has_body(call: Call) -> bool:
    def inside(value: Any) -> bool:
        return isinstance(value, Body) or (isinstance(value, (list, tuple)) and any(map(inside, value)))

    return any(map(inside, (*call.args, *call.kwargs.values())))
