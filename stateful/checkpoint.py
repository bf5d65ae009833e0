"""Checkpoints: a state_dict in one safetensors file, written whole or not at all.

The file is ``u64 length, JSON header, raw little-endian arrays``. A new one is written beside the old, synced, and
renamed over it; then the folder is synced. A tied array is stored once; the metadata maps its other names to that one.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from purenn.errors import refusal
from purenn.state import as_numpy_or_jax
from purenn.tree import flatten
from stateful.module import Module

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2, "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U64": np.uint64,
    "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_, "C64": np.complex64,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def save(path: str | os.PathLike[str], module_or_tree: Any) -> None:
    """Writes the arrays of a module, or of a tree, as a safetensors file.

    Args:
        path: of the file; what is there is replaced, whole, or stays.
        module_or_tree: a Module (its state_dict is saved), or a dict of arrays, nested or with dotted names.

    Errors:
        TypeError for what holds no arrays, or a dtype the format lacks; OSError where the file cannot be written.

    >>> import os, tempfile, stateful as nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> nn.save(path, nn.Linear(3, 2))
    >>> sorted(nn.load(path))
    ['bias', 'weight']
    """
    arrays, aliases = _distinct(_state_of(module_or_tree))
    with _replacing(Path(path)) as file:
        _write(file, arrays, aliases)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a safetensors file.

    Args:
        path: of the file.

    Returns:
        ``{dotted name: array}``, for ``module.load_state_dict`` or ``purenn.load_state_dict``. Arrays of 64-bit dtypes
        stay numpy's where x64 is off, so that nothing is narrowed.

    Errors:
        ValueError for a file that is damaged, truncated or of another format.
    """
    content = Path(path).read_bytes()
    try:
        # the format's own reader checks the header: names, offsets, sizes
        found = safetensors.deserialize(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (safetensors.SafetensorError, ValueError) as error:
        got = {"path": str(path), "size": len(content)}
        remedy = f"It is damaged, cut short or of another format: {error}"
        raise refusal("load", "the file must be a whole safetensors file", got, remedy) from error
    parts = dict(found)
    names = [name for name in header if name != "__metadata__"]
    state = {name: _array(str(path), name, parts[name]) for name in names}
    for alias, name in (header.get("__metadata__") or {}).items():
        if name in state and alias not in state:
            state[alias] = state[name]
    return state


def _state_of(source: Any) -> dict[str, Any]:
    if isinstance(source, Module):
        return source.state_dict()
    if not isinstance(source, Mapping):
        got = {"type": type(source).__name__}
        raise refusal("save", "what is saved must be a Module or a dict of arrays", got, kind=TypeError)
    if any(isinstance(value, Mapping) for value in source.values()):
        return flatten(source)
    return dict(source)


def _distinct(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Each array once, and the other names of those that have several."""
    first: dict[int, str] = {}
    arrays, aliases = {}, {}
    for name, value in state.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise refusal("save", "a name must be a string, and not __metadata__", {"name": name})
        if id(value) in first:
            aliases[name] = first[id(value)]
            continue
        first[id(value)] = name
        arrays[name] = _contiguous(name, value)
    return arrays, aliases


def _contiguous(name: str, value: Any) -> np.ndarray:
    value = value if isinstance(value, jax.Array) or not hasattr(value, "dtype") else as_numpy_or_jax(value)
    if not hasattr(value, "dtype") or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        got = {name: str(getattr(value, "dtype", type(value).__name__))}
        remedy = "A PRNG key is saved as jax.random.key_data(key)."
        raise refusal("save", f"{name} must be an array of numbers", got, remedy, TypeError)
    array = np.asarray(value)
    if array.dtype.newbyteorder("<") not in _NAMES:
        raise refusal("save", f"{name} must have a dtype of the format", {"dtype": str(array.dtype)}, kind=TypeError)
    # C order and little-endian: the file holds raw bytes
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _write(file: Any, arrays: Mapping[str, np.ndarray], aliases: Mapping[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": dict(sorted(aliases.items()))} if aliases else {}
    header |= dict.fromkeys(arrays)
    # wide items first, so that every array is aligned to its own
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    offset = 0
    for name, array in ordered:
        header[name] = {
            "dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes],
        }  # fmt: skip
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        file.write(array.reshape(-1).view(np.uint8))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """A file beside ``path`` that takes its place, durably, once it is written."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _array(path: str, name: str, part: Mapping[str, Any]) -> Any:
    if part["dtype"] not in _DTYPES:
        raise refusal("load", f"{name} must have a known dtype", {"dtype": part["dtype"], "path": path})
    array = np.frombuffer(part["data"], _DTYPES[part["dtype"]]).reshape(part["shape"])
    narrowed = jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype
    return array if narrowed else jnp.array(array)
