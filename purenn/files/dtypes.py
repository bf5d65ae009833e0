"""Dtypes of the safetensors format, and how arrays of other dtypes are stored in it.

An array of a dtype that the format lacks is stored as one that it has, and a note in the metadata says what it was:
two or four elements of int4 or int2 in a byte, the lower bits first; a complex128 as two float64; one-byte floats as
uint8. Everybody else's reader sees those.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np

FORMAT: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn,
        "F8_E5M2": jnp.float8_e5m2, "F8_E4M3FNUZ": jnp.float8_e4m3fnuz, "F8_E5M2FNUZ": jnp.float8_e5m2fnuz,
        "F8_E8M0": jnp.float8_e8m0fnu, "F4": jnp.float4_e2m1fn, "C64": np.complex64, "I64": np.int64, "I32": np.int32,
        "I16": np.int16, "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
        "BOOL": np.bool_,
    }.items()
}  # fmt: skip
NAMES = {dtype: name for name, dtype in FORMAT.items()}
OTHERS = {
    np.dtype(dtype)
    for dtype in (
        jnp.int2, jnp.uint2, jnp.int4, jnp.uint4, jnp.float8_e3m4, jnp.float8_e4m3, jnp.float8_e4m3b11fnuz,
        np.complex128,
    )
}  # fmt: skip
BY_NAME = {str(dtype): dtype for dtype in (*NAMES, *OTHERS)}
_BITS = {np.dtype(dtype): bits for dtype, bits in ((jnp.int2, 2), (jnp.uint2, 2), (jnp.int4, 4), (jnp.uint4, 4))}
_BITS[FORMAT["F4"]] = 4


def bits(dtype: np.dtype) -> int:
    """The bits of one element in a file.

    Args:
        dtype: one of `BY_NAME`.

    Returns:
        2, 4, or a multiple of 8.
    """
    return _BITS.get(dtype, 8 * dtype.itemsize)


def nbytes(dtype: np.dtype, shape: Sequence[int]) -> int:
    """The bytes of an array in a file, the last one padded.

    Args:
        dtype: one of `BY_NAME`.
        shape: of the array.

    Returns:
        Their number.
    """
    return -(-math.prod(shape) * bits(dtype) // 8)


def stored_as(dtype: np.dtype, shape: Sequence[int]) -> tuple[str, list[int], bool]:
    """How the format stores an array.

    Args:
        dtype: one of `BY_NAME`.
        shape: of the array.

    Returns:
        ``(name in the format, shape in the file, whether a note must say what it was)``.
    """
    # torch's reader wants whole bytes in the last axis
    whole = bits(dtype) >= 8 or bool(shape and shape[-1] * bits(dtype) % 8 == 0)
    if dtype in NAMES and whole:
        return NAMES[dtype], list(shape), False
    if dtype == np.complex128:
        return "F64", [*shape, 2], True
    if bits(dtype) == 8:
        return "U8", list(shape), True
    return "U8", [nbytes(dtype, shape)], True


def to_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array as a file holds them: little-endian, in C order, small elements packed.

    Args:
        array: of a dtype in `BY_NAME`, in any layout.

    Returns:
        uint8 of one axis; a view where it can be.
    """
    width = _BITS.get(array.dtype)
    if width is None:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return array.reshape(-1).view(np.uint8)
    per = 8 // width
    small = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & ((1 << width) - 1)
    small = np.pad(small, (0, -small.size % per)).reshape(-1, per)
    return np.bitwise_or.reduce(small << (np.arange(per, dtype=np.uint8) * width), axis=1, dtype=np.uint8)


def from_bytes(raw: np.ndarray, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
    """The inverse of `to_bytes`.

    Args:
        raw: uint8 of one axis, as many as `nbytes` says.
        dtype: one of `BY_NAME`.
        shape: of the array.

    Returns:
        The array; a view where it can be.
    """
    width = _BITS.get(dtype)
    if width is not None:
        shifts = np.arange(8 // width, dtype=np.uint8) * width
        raw = ((raw[:, None] >> shifts) & ((1 << width) - 1)).reshape(-1)[: math.prod(shape)]
    return raw.view(dtype).reshape(tuple(shape))


@functools.cache
def canonical(dtype: Any) -> np.dtype | None:
    """The dtype as files know it.

    Args:
        dtype: any dtype, of either byte order.

    Returns:
        One of `BY_NAME`, or None where there is none.
    """
    if not isinstance(dtype, np.dtype) or dtype == np.dtype(ml_dtypes.int1):
        return None
    dtype = dtype.newbyteorder("=")
    return BY_NAME.get(str(dtype)) if dtype.kind in "biufcV" else None
