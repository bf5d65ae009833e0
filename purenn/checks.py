"""Checks of values: an error outside a trace, a NaN inside one, a named error under `checked`.

Shapes and dtypes are known when a function is traced, values are not. An index out of range is therefore refused at
once when it can be read, and poisons the result with NaN when it cannot; it is never clamped or wrapped.
`checked(fn)` traces `fn` once more with the checks compiled in. Without it they cost nothing: what is left of a
condition is dead code, which XLA removes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from purenn.errors import refusal

# Part of jit's cache key, so that a function traced without the checks is traced again under `checked`.
_checking = jax.make_user_context(False)


def is_traced(*arrays: Any) -> bool:
    """Whether any of the arrays has no value yet.

    Args:
        *arrays: anything.

    Returns:
        True inside jit, grad, vmap and the like, where a value cannot be read.
    """
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def is_checking() -> bool:
    """Whether checks are being compiled in, for `checked`.

    Returns:
        The answer; outside a trace values are looked at anyway.
    """
    return bool(_checking.value)


def require(holds: jax.Array, op: str, rule: str, remedy: str = "", kind: type[Exception] = ValueError) -> None:
    """Refuses values for which ``holds`` is false, wherever values can be looked at.

    Args:
        holds: boolean array of any shape.
        op: name of the operation.
        rule: what must hold.
        remedy: one sentence that says what to do instead.
        kind: the error outside a trace.

    Errors:
        ``kind`` outside a trace; a ``checkify.JaxRuntimeError`` under `checked`; nothing in another trace.
    """
    if not is_traced(holds):
        if not bool(holds.all()):
            raise refusal(op, rule, remedy=remedy, kind=kind)
    elif _checking.value:
        checkify.check(holds.all(), str(refusal(op, rule, remedy=remedy)).replace("{", "{{").replace("}", "}}"))


def valid_index(op: str, argument: str, index: jax.Array, size: int, remedy: str = "") -> jax.Array:
    """Checks that ``0 <= index < size``; what is outside becomes ``size``, which ``mode="fill"`` turns into NaN.

    Args:
        op: name of the operation.
        argument: name of the index argument.
        index: integers of any shape.
        size: length of the axis that is indexed.
        remedy: one sentence that says what to do instead.

    Returns:
        ``index``, with every value out of range replaced by ``size``.

    Errors:
        IndexError outside a trace, naming the first offending value.
    """
    if not is_traced(index):
        with jax.ensure_compile_time_eval():  # a constant is read inside a trace as well
            inside = (index >= 0) & (index < size)
            if not bool(inside.all()):
                rule = f"{argument} must lie in [0, {size})"
                raise refusal(op, rule, {argument: index[~inside].ravel()[0].item()}, remedy, IndexError)
        return index
    inside = (index >= 0) & (index < size)
    require(inside, op, f"{argument} must lie in [0, {size})", remedy)
    return jnp.where(inside, index, size)


def checked(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Makes ``fn`` name every wrong value it meets: indices out of range, and what else only values can tell.

    Args:
        fn: a function of arrays; jit, grad and vmap may be inside it, not around the result.

    Returns:
        A function of the same arguments that raises when a check failed, else returns what ``fn`` returns.

    Errors:
        ``checkify.JaxRuntimeError`` with the operation, the argument and the rule.
    """
    # under jit, so that no check is decided eagerly, before the error can be collected
    inner = jax.jit(fn)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _checking(True):
            error, out = checkify.checkify(inner)(*args, **kwargs)
        error.throw()
        return out

    return call
