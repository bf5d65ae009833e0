"""The table of torch operators, by their names in an exported graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from purenn.errors import refusal

Fn = TypeVar("Fn", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operator:
    """A torch operator in JAX: ``fn`` takes what the operator takes, with arrays for tensors.

    One that draws numbers (``random``) also takes keyword ``rng``: a key of its own, or None in a call without one.
    """

    fn: Callable[..., Any]
    random: bool = False


OPERATORS: dict[str, Operator] = {}


def register_op(*names: str, random: bool = False) -> Callable[[Fn], Fn]:
    """Maps torch operators to a JAX function; a later registration replaces an earlier one.

    Args:
        *names: as an exported graph has them, for example ``"aten.add.Tensor"`` or ``"mylib.fused_norm.default"``.
        random: whether the function draws numbers; it is then given ``rng=``, a key or None.

    Returns:
        A decorator that leaves the function as it is. The function takes the operator's arguments by the names and in
        the order of its schema: arrays for tensors, numpy dtypes for dtypes, None for device, layout and memory format.

    Errors:
        TypeError for a name that is no string or a function that cannot be called.

    >>> import jax.numpy as jnp, transforms
    >>> @transforms.register_op("mylib.double.default")
    ... def double(x):
    ...     return 2 * x
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise refusal("register_op", "a name must be a string", {"names": names}, kind=TypeError)

    def register(fn: Fn) -> Fn:
        if not callable(fn):
            raise refusal("register_op", "fn must be a function", {"type(fn)": type(fn).__name__}, kind=TypeError)
        for name in names:
            OPERATORS[name] = Operator(fn, random)
        return fn

    return register
