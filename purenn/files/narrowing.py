"""Arrays of files and of other libraries as jax's, in the dtypes that the x64 setting allows."""

import jax
import jax.numpy as jnp
import numpy as np


def to_jax(value: np.ndarray) -> jax.Array:
    """A copy, for a numpy array may be written into and a jax one donated.

    Args:
        value: of any dtype; integers beyond a narrowed one become its largest.

    Returns:
        The array.
    """
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if dtype != value.dtype and jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        value = np.clip(value, info.min, info.max)
    return jnp.array(value, dtype)


def loses(value: np.ndarray) -> bool:
    """Whether `to_jax` gives other numbers, as x64 is off.

    Args:
        value: of any dtype.

    Returns:
        True for 64-bit floating arrays, and for integers that do not fit.
    """
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if dtype == value.dtype:
        return False
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        return bool(((value < info.min) | (value > info.max)).any())
    return True
