"""What is done to an array when it is drawn: functions ``(rng, old) -> new``, with their options first.

`stateful` hangs them on arrays that are not there yet, where torch writes into its parameters. Each can be pickled, as
a `functools.partial` of it can.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# ``change(rng, old) -> new``
Change = Callable[[Any, jax.Array], jax.Array]


def redrawn(initializer: Callable[..., jax.Array], rng: Any, old: jax.Array) -> jax.Array:
    """Another draw in its place.

    Args:
        initializer: ``(rng, shape, dtype) -> array``.
        rng: PRNG key.
        old: any shape.

    Returns:
        The shape and dtype of ``old``.
    """
    return initializer(rng, old.shape, old.dtype)


def replaced(value: Any, rng: Any, old: jax.Array) -> jax.Array:
    """These numbers in its place.

    Args:
        value: what broadcasts to the shape of ``old``.
        rng: not used.
        old: any shape.

    Returns:
        The shape and dtype of ``old``.
    """
    del rng
    return jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)


def combined(operation: Callable[[Any, Any], Any], other: Any, rng: Any, old: jax.Array) -> jax.Array:
    """An operation with other numbers.

    Args:
        operation: of two arrays, ``operator.mul`` for example.
        other: its second operand.
        rng: not used.
        old: any shape.

    Returns:
        What it gives.
    """
    del rng
    return operation(old, jnp.asarray(other))


def clipped(low: Any, high: Any, rng: Any, old: jax.Array) -> jax.Array:
    """Numbers within bounds.

    Args:
        low: the lower bound, or None.
        high: the upper bound, or None.
        rng: not used.
        old: any shape.

    Returns:
        The shape and dtype of ``old``.
    """
    del rng
    return jnp.clip(old, low, high)


def within(index: Any, change: Change, rng: Any, old: jax.Array) -> jax.Array:
    """A change of some of the numbers.

    Args:
        index: which.
        change: what is done to them.
        rng: PRNG key for it.
        old: any shape.

    Returns:
        The shape and dtype of ``old``; the rest stays.
    """
    return old.at[index].set(change(rng, old[index]))
