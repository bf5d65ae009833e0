"""torch's rules for the dtype of a result.

An operand counts by its kind first (bool, integer, floating, complex) and by its rank: a tensor with axes decides, one
without only where its kind is higher, a Python number likewise with the default dtype of its kind.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal


def canonical(dtype: Any) -> Any:
    """A dtype as the x64 setting allows it.

    Args:
        dtype: numpy's.

    Returns:
        The dtype that arrays can have.
    """
    return jax.dtypes.canonicalize_dtype(dtype)


def default_float() -> Any:
    """The dtype that integers become in floating operations."""
    return jnp.dtype(jnp.float32)


def is_number(value: Any) -> bool:
    """Whether an operand is no tensor: a Python number, or a length known by its symbol."""
    return not isinstance(value, (jax.Array, np.ndarray, np.generic))


def result_dtype(*operands: Any) -> Any:
    """The dtype of an elementwise operation.

    Args:
        *operands: arrays of any dtype, or numbers.

    Returns:
        torch.result_type of them.
    """
    levels: list[Any] = [None, None, None]
    for operand in operands:
        level = 2 if is_number(operand) else int(jnp.ndim(operand) == 0)
        dtype = _of_number(operand) if level == 2 else jnp.dtype(operand.dtype)
        levels[level] = dtype if levels[level] is None else jnp.promote_types(levels[level], dtype)
    dtype = levels[0]
    for lower in levels[1:]:
        dtype = _combine(dtype, lower)
    return canonical(dtype)


def _combine(higher: Any, lower: Any) -> Any:
    if higher is None or lower is None:
        return lower if higher is None else higher
    if jnp.issubdtype(higher, jnp.complexfloating):
        return higher
    if jnp.issubdtype(higher, jnp.floating):
        if jnp.issubdtype(lower, jnp.complexfloating):
            return jnp.dtype(jnp.complex128 if higher == jnp.float64 else jnp.complex64)
        return higher
    if higher == jnp.bool_ or jnp.issubdtype(lower, jnp.inexact):
        return lower if higher == jnp.bool_ else jnp.promote_types(higher, lower)
    return higher


def _of_number(value: Any) -> Any:
    for kind, dtype in ((bool, jnp.bool_), (float, default_float()), (complex, jnp.complex64)):
        if isinstance(value, kind):
            return jnp.dtype(dtype)
    return jnp.dtype(canonical(np.int64))


def as_dtype(value: Any, dtype: Any) -> Any:
    """An operand in the dtype of the operation.

    Args:
        value: an array or a number; a number beyond a narrowed dtype becomes its largest.
        dtype: canonical.

    Returns:
        An array.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = _within(value, dtype)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return value if value.dtype == dtype else jnp.asarray(value).astype(dtype)
    return jnp.asarray(value, dtype)


def _within(value: Any, dtype: Any) -> Any:
    """torch.iinfo(int64).max and its like mean the largest there is."""
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        if isinstance(value, float) and not np.isfinite(value):
            return int(info.min)  # what a conversion of inf and NaN gives on the CPU
        unsigned = info.min == 0 and value < 0
        return int(value) % (int(info.max) + 1) if unsigned else min(max(int(value), int(info.min)), int(info.max))
    if jnp.issubdtype(dtype, jnp.floating) and np.isfinite(value):
        least, most = float(jnp.finfo(dtype).min), float(jnp.finfo(dtype).max)
        return min(max(value, least), most)
    return value


def promoted(*operands: Any) -> list[Any]:
    """The operands in their common dtype.

    Args:
        *operands: arrays or numbers.

    Returns:
        Arrays of one dtype, with their own shapes.
    """
    dtype = result_dtype(*operands)
    return [as_dtype(operand, dtype) for operand in operands]


def floating(*operands: Any) -> list[Any]:
    """The operands in their common dtype, integers as floating ones.

    Args:
        *operands: arrays or numbers.

    Returns:
        Arrays of one floating or complex dtype.
    """
    dtype = result_dtype(*operands)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = default_float()
    return [as_dtype(operand, dtype) for operand in operands]


def integral(dtype: Any) -> bool:
    """Whether a dtype is bool or an integer."""
    return jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_


def long() -> Any:
    """The dtype of torch's indices and counts."""
    return canonical(np.int64)


def length(value: Any) -> Any:
    """A length that an operator is given: a number, a symbol's, or an array without axes that can be read.

    Args:
        value: the length.

    Returns:
        What a shape may hold.

    Errors:
        ValueError inside jit, where the array's value is not known.
    """
    if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return value
    try:
        return int(value)
    except jax.errors.ConcretizationTypeError as error:
        remedy = "Call the model outside jit, or give that line of the torch model a fixed size."
        raise refusal("from_torch", "a size must not depend on values inside jit", remedy=remedy) from error


def lengths(values: Any) -> tuple[Any, ...]:
    """Lengths that an operator is given, as a shape.

    Args:
        values: one or several.

    Returns:
        The shape.
    """
    return tuple(map(length, values)) if isinstance(values, Sequence) else (length(values),)
