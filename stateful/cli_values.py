"""What can be said of the numbers of an array, a piece at a time."""

import math
from typing import NamedTuple

import numpy as np

_PIECE = 1 << 18  # numbers that are looked at together, as float64


class Range(NamedTuple):
    """Of the finite numbers of an array; None where there are none. Of complex numbers, the magnitudes."""

    low: float | None
    mean: float | None
    high: float | None
    strange: int  # NaN and infinities


class Difference(NamedTuple):
    """Between two arrays of one shape."""

    largest: float  # of the finite numbers
    relative: float  # the same by the largest magnitude of the two
    strange: int  # places where only one is finite, or both are not and differ

    @property
    def none(self) -> bool:
        """Whether the arrays are equal."""
        return self.largest == 0 and not self.strange


def range_of(array: np.ndarray) -> Range:
    """Looks at an array.

    Args:
        array: of any dtype of files.

    Returns:
        Its range.
    """
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    for start in range(0, array.size, _PIECE):
        numbers = _wide(array.reshape(-1)[start : start + _PIECE])
        finite = np.abs(numbers[np.isfinite(numbers)]) if numbers.dtype.kind == "c" else numbers[np.isfinite(numbers)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total, count = total + float(finite.sum()), count + finite.size
    strange = array.size - count
    return Range(low, total / count, high, strange) if count else Range(None, None, None, strange)


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Compares two arrays.

    Args:
        a: an array.
        b: another of its shape, in any dtype.

    Returns:
        The difference; NaN equals NaN.
    """
    largest, scale, strange = 0.0, 0.0, 0
    for start in range(0, a.size, _PIECE):
        x, y = (_wide(array.reshape(-1)[start : start + _PIECE]) for array in (a, b))
        finite = np.isfinite(x) & np.isfinite(y)
        strange += int(np.sum(~finite & ~((x == y) | (np.isnan(x) & np.isnan(y)))))
        if finite.any():
            largest = max(largest, _distance(x[finite], y[finite]))
            scale = max(scale, float(np.abs(x[finite]).max()), float(np.abs(y[finite]).max()))
    return Difference(largest, largest / scale if scale else 0.0, strange)


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    if x.dtype == y.dtype and x.dtype.kind in "iu":
        # exact and without overflow: float64 cannot tell large integers apart
        return float((np.maximum(x, y).view(np.uint64) - np.minimum(x, y).view(np.uint64)).max())
    with np.errstate(over="ignore"):
        return float(np.abs(x - y).max())


def _wide(array: np.ndarray) -> np.ndarray:
    """float64, integers of 64 bits, or complex128."""
    if array.dtype.kind in "c":
        return array.astype(np.complex128)
    if array.dtype.kind in "iu":
        return array.astype(np.uint64 if array.dtype.kind == "u" else np.int64)
    return array.astype(np.float64)
