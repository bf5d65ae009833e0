"""The table of spellings: how each torch operator of a program is written as one expression on jnp or F."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from transforms.source.text import Expr, dtype_text, operand, python
from transforms.torch_ops.promotion import _within as within
from transforms.torch_ops.promotion import default_float, integral, result_dtype

Fn = TypeVar("Fn", bound=Callable[..., str | None])


@dataclass(frozen=True)
class Spelling:
    """How an operator is written.

    ``fn`` takes what the operator takes, expressions in place of arrays, and gives the text, or None where these
    arguments have no spelling. With ``out`` it is also given the result's shape and dtype, with ``random`` the text of
    a key. ``arity`` is the number of results where there are several, or a function of the arguments that gives it.
    """

    fn: Callable[..., str | None]
    out: bool = False
    random: bool = False
    arity: int | Callable[..., int] = 0


SPELLINGS: dict[str, Spelling] = {}


def spelled(
    *names: str, out: bool = False, random: bool = False, arity: int | Callable[..., int] = 0
) -> Callable[[Fn], Fn]:
    """Puts a spelling into the table.

    Args:
        *names: of the operators.
        out: whether it is given ``out``, an expression without text that has the result's shape and dtype.
        random: whether it is given ``rng``, an expression or None.
        arity: the number of results.

    Returns:
        A decorator that leaves the function as it is.
    """

    def keep(fn: Fn) -> Fn:
        for name in names:
            SPELLINGS[name] = Spelling(fn, out, random, arity)
        return fn

    return keep


def common(*operands: Any) -> Any:
    """The dtype that torch has for an operation of these operands.

    Args:
        *operands: expressions and numbers.

    Returns:
        The dtype.
    """
    return result_dtype(*[_sample(value) for value in operands])


def _sample(value: Any) -> Any:
    """An array of the operand's dtype and rank, as far as they count; a length is an integer."""
    if isinstance(value, Expr):
        return 1 if value.dtype is None else np.zeros((1,) * min(value.ndim, 1), value.dtype)
    return value


def matched(*operands: Any, dtype: Any = None) -> list[str]:
    """The operands as text, cast where JAX by itself would come to another dtype than torch.

    Args:
        *operands: expressions and numbers.
        dtype: of the operation; None takes torch's.

    Returns:
        The texts, to stand beside operators.
    """
    dtype = common(*operands) if dtype is None else dtype
    numbers = [value for value in operands if not _is_array(value)]
    arrays = [value for value in operands if _is_array(value)]
    ours = jnp.result_type(*[jax.ShapeDtypeStruct((), value.dtype) for value in arrays], *map(_weak, numbers))
    if arrays and ours == dtype and _each_fits(arrays, dtype):
        return [operand(_number(value, dtype)) for value in operands]
    if not arrays:
        return [f"jnp.array({python(operands[0])}, {dtype_text(dtype)})", *map(operand, operands[1:])]
    return [operand(cast(value, dtype)) if _is_array(value) else operand(_number(value, dtype)) for value in operands]


def _each_fits(arrays: list[Any], dtype: Any) -> bool:
    return all(jnp.promote_types(value.dtype, dtype) == dtype for value in arrays)


def _weak(value: Any) -> Any:
    return 1 if isinstance(value, Expr) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, Expr) and value.dtype is not None


def _number(value: Any, dtype: Any) -> Any:
    """A number within the dtype: torch's largest int64 is JAX's largest int32, where x64 is off."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return within(value, dtype) if plain and dtype != jnp.bool_ else value


def cast(value: Expr, dtype: Any) -> Expr:
    """An array in another dtype.

    Args:
        value: the array.
        dtype: wanted.

    Returns:
        The expression; the same one where nothing changes.
    """
    if value.dtype == dtype:
        return value
    text = f"{value}.real" if _is_complex(value.dtype) and not _is_complex(dtype) else str(value)
    return Expr(f"{text}.astype({dtype_text(dtype)})", value.shape, np.dtype(dtype))


def _is_complex(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def floats(value: Any) -> Expr:
    """An array as a floating one.

    Args:
        value: the array.

    Returns:
        The expression; integers are cast to float32.
    """
    return cast(value, default_float()) if integral(value.dtype) else value


def axes(dim: Any, ndim: int) -> Any:
    """The axes of a reduction.

    Args:
        dim: one, several, none or an empty list.
        ndim: rank.

    Returns:
        A number, a tuple or None for all.
    """
    if ndim == 0 or dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return None
    return dim if isinstance(dim, int) else dim[0] if len(dim) == 1 else tuple(dim)
