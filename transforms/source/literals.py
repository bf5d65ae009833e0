"""The numbers in a text: where they stand, what they are called, and texts that differ in nothing else."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp

import purenn.functional as F

_METHODS = {"reshape": "size", "swapaxes": "axis", "transpose": "axis", "sum": "axis", "mean": "axis"}


@dataclass(frozen=True)
class Literal:
    """A number in a text: its place, itself, and what it is for."""

    line: int
    start: int
    end: int
    text: str
    hint: str


def literals(lines: list[str]) -> tuple[str, list[Literal]]:
    """Takes the numbers out of a text.

    Args:
        lines: of Python.

    Returns:
        ``(skeleton, numbers)``: the text with its numbers blank, and the numbers in its order.
    """
    tree = ast.parse("\n".join(lines))
    found = sorted(_in(tree, "n"), key=lambda literal: (literal.line, literal.start))
    blank = replaced(lines, [(literal, "#") for literal in found])
    return "\n".join(blank), found


def replaced(lines: list[str], changes: list[tuple[Literal, str]]) -> list[str]:
    """Writes other texts in the place of numbers.

    Args:
        lines: of Python.
        changes: numbers and what is to stand for them.

    Returns:
        The lines.
    """
    changed = list(lines)
    for literal, text in sorted(changes, key=lambda change: (change[0].line, change[0].start), reverse=True):
        line = changed[literal.line - 1]
        changed[literal.line - 1] = line[: literal.start] + text + line[literal.end :]
    return changed


def _in(node: ast.AST, hint: str) -> Iterator[Literal]:
    if isinstance(node, ast.JoinedStr):
        return  # a number in the name of a key
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        assert node.end_col_offset is not None
        text = ast.unparse(node)
        yield Literal(node.lineno, node.col_offset, node.end_col_offset, text, hint)
    elif isinstance(node, ast.Call):
        yield from _in(node.func, hint)
        for argument, name in zip(node.args, _argument_names(node), strict=True):
            yield from _in(argument, name or hint)
        for keyword in node.keywords:
            yield from _in(keyword.value, keyword.arg or hint)
    elif isinstance(node, ast.Subscript):
        yield from _in(node.value, hint)
        yield from _in(node.slice, "index")
    else:
        for child in ast.iter_child_nodes(node):
            yield from _in(child, hint)


def _argument_names(call: ast.Call) -> list[str]:
    """What the positional arguments of a call are for."""
    count = len(call.args)
    if isinstance(call.func, ast.Attribute):
        if isinstance(call.func.value, ast.Name) and call.func.value.id in ("F", "jnp"):
            names = _signature(call.func.value.id, call.func.attr)
            return [*names[:count], *[""] * (count - len(names))]
        return [_METHODS.get(call.func.attr, "")] * count
    return ["n" if isinstance(call.func, ast.Name) and call.func.id == "range" else ""] * count


@cache
def _signature(module: str, name: str) -> tuple[str, ...]:
    fn: Any = getattr({"F": F, "jnp": jnp}[module], name, None)
    try:
        return tuple(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return ()
