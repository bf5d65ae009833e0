"""Products of what is put in the same place: JAX multiplies there, and here they have a gradient too."""

from typing import Any

import jax
import jax.numpy as jnp


def multiplied(start: Any, where: tuple[Any, ...], values: Any) -> Any:
    """Multiplies values into places: ``out[where] *= values``, those of the same place all.

    Args:
        start: any shape.
        where: an index of it: arrays of integers and whole slices.
        values: the shape that the index gives.

    Returns:
        The products. The gradient of a factor is the product of the others, also where factors are zero.
    """

    def at(x: Any, arrays: Any) -> Any:
        rest = iter(arrays)
        return x.at[tuple(index if isinstance(index, slice) else next(rest) for index in where)]

    @jax.custom_jvp
    def product(start: Any, values: Any, *arrays: Any) -> Any:
        return at(start, arrays).multiply(values)

    @product.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        start, values, *arrays = primals
        zeros = at((start == 0).astype(jnp.int32), arrays).add((values == 0).astype(jnp.int32))
        nonzero = at(_nonzero(start), arrays).multiply(_nonzero(values))
        found = (at(x, arrays).get(mode="fill", fill_value=0) for x in (nonzero, zeros))
        d_start = tangents[0] * _others(start, nonzero, zeros)
        return product(*primals), at(d_start, arrays).add(tangents[1] * _others(values, *found))

    return product(start, values.astype(start.dtype), *[index for index in where if not isinstance(index, slice)])


def _nonzero(x: Any) -> Any:
    return jnp.where(x == 0, 1, x).astype(x.dtype)


def _others(x: Any, nonzero: Any, zeros: Any) -> Any:
    """The product of all factors of a place but this one, from the product of those that are not zero."""
    return jnp.where(zeros - (x == 0) == 0, nonzero / _nonzero(x), 0).astype(x.dtype)
