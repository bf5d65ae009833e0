"""A dict of arrays as a safetensors file, and back: all that a library of pure functions needs to keep its weights."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.files.atomic import replacing
from purenn.files.content import Content, Entry, is_text
from purenn.files.dtypes import canonical
from purenn.files.notes import RESERVED
from purenn.files.safetensors import open_safetensors, write_safetensors
from purenn.state import as_numpy_or_jax

_REMEDY = "Pass arrays under dotted names, or a nested dict of them; stateful.save takes keys, scalars and any pytree."


def load_safetensors(path: str | os.PathLike[str], *, verify: bool = True) -> dict[str, np.ndarray]:
    """Reads a safetensors file, whoever wrote it.

    Args:
        path: of the file.
        verify: whether the checksums are checked before a value is used; files of others have none.

    Returns:
        ``{dotted name: array}`` on the host, in the order of the file, every name of a tied array with the one array;
        for `purenn.load_state_dict`, or ``purenn.tree.unflatten``.

    Errors:
        CheckpointError for a file that is damaged, or made to deceive.

    >>> import os, tempfile, numpy as np, purenn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> purenn.save_safetensors(path, {"weight": np.ones((2, 3), np.float32)})
    >>> purenn.load_safetensors(path)["weight"].shape
    (2, 3)
    """
    with open_safetensors(path, verify) as content:
        arrays = {name: entry.read() for name, entry in content.entries.items()}
    return arrays | {name: arrays[first] for name, first in content.aliases.items()}


def save_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], *, fsync: bool = True) -> None:
    """Writes arrays to a safetensors file, with a checksum of each; what was there is replaced whole, or stays.

    Args:
        path: of the file.
        arrays: a state_dict, as `purenn.state_dict` gives it, or a nested dict like params. One array under two names
            is stored once.
        fsync: whether a power cut after the return cannot undo it; False is quicker.

    Errors:
        TypeError for what is no array, or has a dtype that files lack; OSError where the file cannot be written.
    """
    content = content_of("save_safetensors", arrays)
    with replacing(path, fsync) as file:
        write_safetensors(file, content)


def content_of(op: str, arrays: Mapping[str, Any], scalars: Mapping[str, Any] | None = None) -> Content:
    """Lists arrays for a file, without copying one.

    Args:
        op: name of the caller, for errors.
        arrays: nested dicts, whose names may be dotted already.
        scalars: Python scalars that go into the file, too.

    Returns:
        The content; arrays that are one object are stored once.

    Errors:
        TypeError for what is no array, or has a dtype that files lack; ValueError for two arrays of one name.
    """
    first: dict[int, str] = {}
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    for name, array in _named(op, arrays, ""):
        if name in entries or name in aliases or name == "__metadata__" or not is_text(name):
            raise refusal(op, "every array must have a name of its own, a text", {"name": name})
        if id(array) in first and name not in RESERVED:
            aliases[name] = first[id(array)]
        else:
            first[id(array)] = name
            entries[name] = _entry(op, name, array)
    return Content(entries, aliases, scalars or {})


def _named(op: str, tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        got = {"type": type(tree).__name__}
        raise refusal(op, "arrays must be a dict of arrays, flat or nested", got, _REMEDY, TypeError)
    for name, child in tree.items():
        if not isinstance(name, str):
            raise refusal(op, "a name must be a string", {"name": name}, _REMEDY, TypeError)
        if isinstance(child, Mapping):
            yield from _named(op, child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _entry(op: str, name: str, array: Any) -> Entry:
    array = as_numpy_or_jax(array) if hasattr(array, "detach") else array
    if not isinstance(array, (jax.Array, np.ndarray, np.generic)) or isinstance(array, jax.core.Tracer):
        raise refusal(op, f"{name} must be an array", {"type": type(array).__name__}, _REMEDY, TypeError)
    typed = not isinstance(array.dtype, np.dtype) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    dtype = None if typed else canonical(np.dtype(array.dtype))
    if dtype is None:
        got = {"dtype": str(array.dtype)}
        raise refusal(op, f"{name} must have a dtype that files have", got, _REMEDY, TypeError)
    return Entry(tuple(array.shape), dtype, lambda: np.asarray(array))
