"""torch's dtypes as numpy's, by name."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal

DTYPES = {
    name: np.dtype(getattr(jnp, name if name != "bool" else "bool_"))
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
        "uint64", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
    )
}  # fmt: skip


def numpy_dtype(dtype: Any) -> np.dtype:
    """The dtype of the same name.

    Args:
        dtype: torch's.

    Returns:
        numpy's.

    Errors:
        TypeError for one that JAX lacks (quantised ones, complex32).
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise refusal("from_torch", "a dtype must be one that JAX has", {"dtype": name}, "Cast in torch.", TypeError)
    return DTYPES[name]
