"""Pieces of Python text: expressions with what is known of their values, and literals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

_PYTHON = {"int64": "int", "float64": "float", "complex128": "complex", "bool": "bool"}  # as the x64 setting allows


@dataclass(frozen=True)
class Expr:
    """The text of an expression, with the shape and dtype of its value; a length or a tuple has neither."""

    text: str
    shape: tuple[Any, ...] | None = None
    dtype: Any = None

    def __str__(self) -> str:
        """As an operand: in brackets, where it is more than a name, a call or an attribute of one."""
        return self.text if _is_simple(self.text) else f"({self.text})"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        assert self.shape is not None
        return len(self.shape)


def _is_simple(text: str) -> bool:
    """Whether nothing but brackets, and what stands in them, comes between the names of an expression."""
    depth, quoted = 0, ""
    for letter in text:
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'":
            quoted = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif depth == 0 and not (letter.isalnum() or letter in "._"):
            return False
    return not text[:1].isdigit()


def python(value: Any) -> str:
    """An argument as Python text.

    Args:
        value: an expression, a dtype, a number, a string, None, or a list, tuple or dict of them.

    Returns:
        The text.
    """
    if isinstance(value, Expr):
        return value.text
    if isinstance(value, (list, tuple)):
        inner = ", ".join(python(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, np.dtype):
        return dtype_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "jnp.nan" if math.isnan(value) else "jnp.inf" if value > 0 else "-jnp.inf"
    return repr(value)


def operand(value: Any) -> str:
    """An argument as an operand of an operator or a method.

    Args:
        value: an expression or a number.

    Returns:
        The text, in brackets where it needs them.
    """
    if isinstance(value, Expr):
        return str(value)
    text = python(value)
    return f"({text})" if text.startswith("-") or (not _is_simple(text) and not text[:1].isdigit()) else text


def dtype_text(dtype: Any) -> str:
    """A dtype: 64-bit ones by Python's names, which the x64 setting narrows without a warning.

    Args:
        dtype: numpy's.

    Returns:
        The text.
    """
    name = np.dtype(dtype).name
    return _PYTHON.get(name, f"jnp.{name}")


def called(fn: str, *args: Any, **kwargs: Any) -> str:
    """A call.

    Args:
        fn: the function.
        *args: its arguments.
        **kwargs: those by name.

    Returns:
        The text.
    """
    return f"{fn}({', '.join([*map(python, args), *(f'{name}={python(value)}' for name, value in kwargs.items())])})"


def shortened(value: Any) -> Any:
    """A tuple of equal numbers as one of them, as torch's functions and ours take it.

    Args:
        value: a number, or several.

    Returns:
        The number, or what was given.
    """
    equal = isinstance(value, (list, tuple)) and value and len({python(item) for item in value}) == 1
    return value[0] if equal else value


def array_text(array: np.ndarray) -> str | None:
    """A constant array as an expression of the same value and dtype.

    Args:
        array: of any dtype.

    Returns:
        The text, or None for one with too many numbers to be written down.
    """
    dtype, flat = dtype_text(array.dtype), array.reshape(-1)
    if array.ndim == 0:
        return f"jnp.array({python(array.item())}, {dtype})"
    if array.size and all(value == flat[0] for value in flat):
        return f"jnp.full({python(array.shape)}, {python(flat[0].item())}, {dtype})"
    if array.size > 1 and jnp.issubdtype(array.dtype, jnp.number):
        counted = np.arange(array.size) + flat[0].item() if np.isfinite(flat[0]) else flat[:0]
        if np.array_equal(flat.astype(counted.dtype), counted):
            text = called("jnp.arange", *([flat[0].item()] if flat[0] else []), flat[-1].item() + 1)
            text = text if dtype == "int" else f"{text[:-1]}, dtype={dtype})"
            return text if array.ndim == 1 else f"{text}.reshape{python(array.shape)}"
    if array.ndim == 2 and (triangle := _triangle(array, dtype)):
        return triangle
    return f"jnp.array({_nested(array.tolist())}, {dtype})" if array.size <= _MOST else None


_MOST = 64  # numbers of a constant that are written down


def _triangle(array: np.ndarray, dtype: str) -> str | None:
    ones = np.ones(array.shape, array.dtype)
    for name, fn in (("tril", np.tril), ("triu", np.triu)):
        for diagonal in (-1, 0, 1):
            if np.array_equal(array, fn(ones, diagonal)):
                return f"jnp.{name}(jnp.ones({array.shape}, {dtype}){f', {diagonal}' if diagonal else ''})"
    return None


def _nested(value: Any) -> str:
    return f"[{', '.join(map(_nested, value))}]" if isinstance(value, list) else python(value)
