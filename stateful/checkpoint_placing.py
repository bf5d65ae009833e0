"""From arrays on the host to arrays of jax: cast, and put on their device or sharding, a few at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.files.content import Content, Entry
from purenn.files.error import broken

# A device or sharding for all arrays, or one for each by name, shape and dtype; None is jax's default device.
Placement = Any | Callable[[str, tuple[int, ...], Any], Any]

_TOGETHER = 1 << 20  # bytes that go to a device in one call: many small arrays cost as few calls as one large one


class Piece(NamedTuple):
    """An array on its way."""

    name: str
    array: np.ndarray
    key: str | None = None  # the implementation, for the words of PRNG keys
    stays: bool = False  # numpy's


def as_dtype(op: str, dtype: Any) -> np.dtype | None:
    """Checks an argument ``dtype``.

    Args:
        op: name of the caller, for errors.
        dtype: floating, or None.

    Returns:
        The dtype.

    Errors:
        TypeError for one that is not floating.
    """
    if dtype is None:
        return None
    try:
        floating = jnp.issubdtype(dtype, jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise refusal(op, "dtype must be floating", {"dtype": dtype}, "Integers stay as they are.", TypeError)
    return np.dtype(dtype)


def wanted_dtype(entry: Entry, dtype: np.dtype | None) -> np.dtype:
    """The dtype that an array will have: floating ones are cast, and nothing else.

    Args:
        entry: the array.
        dtype: floating, or None.

    Returns:
        The dtype.
    """
    return dtype if dtype is not None and jnp.issubdtype(entry.dtype, jnp.floating) else entry.dtype


def cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Casts where there is something to cast.

    Args:
        array: any.
        dtype: wanted.

    Returns:
        The array, or another.
    """
    return array if array.dtype == dtype else array.astype(dtype)


def arrays_of(content: Content, dtype: np.dtype | None, device: Placement, path: str) -> dict[str, Any]:
    """Reads every array of a content and puts it where it belongs, one after the other.

    Args:
        content: what is read.
        dtype: that floating arrays are cast to.
        device: see `Placement`.
        path: of the file, for errors.

    Returns:
        ``{name: array or scalar}``, in the order of the content. Other names of one array name one object.

    Errors:
        CheckpointError for damage.
    """
    pieces = (
        Piece(name, cast(entry.read(), wanted_dtype(entry, dtype)), content.keys.get(name))
        for name, entry in content.entries.items()
    )
    arrays = dict(placed(pieces, device, path))
    arrays |= {alias: arrays[name] for alias, name in content.aliases.items()}
    return arrays | dict(content.scalars)


def placed(pieces: Iterable[Piece], device: Placement, path: str) -> Iterator[tuple[str, Any]]:
    """Puts arrays on their devices; small ones together, large ones one by one.

    Args:
        pieces: the arrays; each is read when it is wanted.
        device: see `Placement`.
        path: of the file, for errors.

    Yields:
        ``(name, array)``. Arrays of 64-bit dtypes stay numpy's where x64 is off, so that nothing is narrowed.

    Errors:
        CheckpointError for keys that jax does not know.
    """
    waiting: list[Piece] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += piece.array.nbytes
        if size >= _TOGETHER:
            yield from _put(waiting, device, path)
            waiting, size = [], 0
        del piece  # the memory of one array at a time
    yield from _put(waiting, device, path)


def _put(pieces: list[Piece], device: Placement, path: str) -> Iterator[tuple[str, Any]]:
    stay = [_stays(piece) for piece in pieces]
    going = [piece for piece, stays in zip(pieces, stay, strict=True) if not stays]
    places = [device(name, array.shape, array.dtype) for name, array, *_ in going] if callable(device) else device
    arrays = iter(jax.device_put([piece.array for piece in going], places) if going else ())
    for piece, stays in zip(pieces, stay, strict=True):
        yield piece.name, piece.array if stays else _key(path, piece, next(arrays))


def _stays(piece: Piece) -> bool:
    dtype = piece.array.dtype
    return piece.stays or (dtype.itemsize >= 8 and jax.dtypes.canonicalize_dtype(dtype) != dtype)


def _key(path: str, piece: Piece, words: jax.Array) -> jax.Array:
    if piece.key is None:
        return words
    try:
        return jax.random.wrap_key_data(words, impl=piece.key)
    except (ValueError, TypeError, AssertionError) as error:
        rule = "a PRNG key must be of an implementation that jax knows"
        raise broken(path, rule, {piece.name: piece.key, "shape": words.shape}) from error
