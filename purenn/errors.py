"""The one form of an error text, and the checks that every operation shares.

A message reads ``"{op}: {rule}, got {name}={value} and .... {remedy}"``: what was called, what must hold, what was
given, and one thing to do about it. Only static facts (shapes, dtypes, options) appear in it, never traced values.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def refusal(
    op: str, rule: str, got: Mapping[str, Any] | None = None, remedy: str = "", kind: type[Exception] = ValueError
) -> Exception:
    """Builds the error for ``op``; the caller raises it.

    Args:
        op: name of the operation, layer or transform that refuses, as its user spells it.
        rule: what must hold, e.g. ``"input must be 3-D or 4-D"``.
        got: name and value of what broke the rule.
        remedy: one sentence that says what to do instead.
        kind: TypeError for kinds and dtypes, IndexError for indices, ValueError for the rest.

    Returns:
        The exception, not yet raised.
    """
    text = f"{op}: {rule}"
    if got:
        text += ", got " + " and ".join(f"{name}={value!r}" for name, value in got.items())
    text += "."
    return kind(f"{text} {remedy}" if remedy else text)


def as_array(op: str, argument: str, value: Any) -> jax.Array:
    """Takes ``value`` as a JAX array; lists, numbers and tensors of other libraries are refused.

    Args:
        op: name of the operation that takes the argument.
        argument: name of the argument.
        value: a jax.Array, a tracer, a numpy array or scalar, or an object with ``__jax_array__``.

    Returns:
        The array, unchanged in shape; its dtype as JAX stores it.

    Errors:
        TypeError: ``value`` is no array.
    """
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__jax_array__"):
        return jnp.asarray(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise refusal(
        op, f"{argument} must be an array", {f"type({argument})": kind}, "Wrap it in jnp.asarray(...).", TypeError
    )


def check_same_dtype(op: str, **arrays: jax.Array | None) -> None:
    """Refuses mixed dtypes with a TypeError, as torch's matrix products and convolutions do.

    Args:
        op: name of the operation.
        **arrays: the arrays by argument name; None is passed over.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    if len({array.dtype for array in given.values()}) > 1:
        names = ", ".join(given)
        raise refusal(
            op,
            f"{names} must have one dtype",
            {f"{name}.dtype": str(array.dtype) for name, array in given.items()},
            "Cast them with .astype(...).",
            TypeError,
        )


def check_floating(op: str, argument: str, array: jax.Array) -> None:
    """Refuses integers and booleans, with a TypeError, where torch has no kernel for them.

    Args:
        op: name of the operation.
        argument: name of the argument.
        array: its value.
    """
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise refusal(
            op,
            f"{argument} must be floating",
            {f"{argument}.dtype": str(array.dtype)},
            "Cast it with .astype(jnp.float32).",
            TypeError,
        )


def dtype_of(op: str, dtype: Any) -> np.dtype:
    """Takes a dtype by whatever jax and numpy know it; torch's are refused with a TypeError.

    Args:
        op: name of the operation.
        dtype: a dtype, a scalar type or a name.

    Returns:
        The dtype as JAX stores it: float64 is float32 unless x64 is enabled.
    """
    try:
        return jax.dtypes.canonicalize_dtype(dtype)
    except TypeError:
        pass
    remedy = "Pass jnp.float32 or 'float32', say."
    raise refusal(op, "dtype must be one that jax or numpy knows", {"dtype": dtype}, remedy, TypeError)


def check_sizes(op: str, /, **sizes: Any) -> None:
    """Refuses lengths of axes that are no integers, with a TypeError, or negative, with a ValueError.

    Args:
        op: name of the layer.
        **sizes: the lengths by argument name.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise refusal(op, f"{name} must be an integer", {name: size}, kind=TypeError)
        if size < 0:
            raise refusal(op, f"{name} must not be negative", {name: size})
