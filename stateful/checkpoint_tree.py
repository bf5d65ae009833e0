"""Trees and names: every leaf of a pytree has a dotted name, by which it is saved and found again.

Names are made of the keys of dicts, the fields of NamedTuples and dataclasses, and the numbers of list elements: the
first moment of a weight is ``opt_state.0.mu.layer1.weight``, whatever else changes around it.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.files.content import SCALARS, Content, Entry, is_text
from purenn.files.dtypes import canonical
from purenn.files.notes import RESERVED
from purenn.state import as_numpy_or_jax
from stateful.checkpoint_torch_writing import Name
from stateful.module import Module

_REMEDY = "Arrays, PRNG keys, numbers, strings and None can be saved."


def content_of(source: Any) -> Content:
    """Lists what is in a module or a tree, without copying an array.

    Args:
        source: a Module (its state_dict), or any pytree.

    Returns:
        The content; arrays that are one object are stored once.

    Errors:
        TypeError for leaves that cannot be saved, ValueError for two leaves of one name.
    """
    first: dict[int, str] = {}
    entries, aliases, scalars, keys = {}, {}, {}, {}
    for name, leaf in named_leaves(source).items():
        if type(leaf) in SCALARS:
            scalars[name] = leaf
        elif id(leaf) in first and name not in RESERVED:
            aliases[name] = first[id(leaf)]
        else:
            first[id(leaf)] = name
            if is_key(leaf):
                keys[name] = str(jax.random.key_impl(leaf))
            entries[name] = _entry(name, leaf)
    return Content(entries, aliases, scalars, keys)


def named_leaves(source: Any, op: str = "save") -> dict[str, Any]:
    """Names the leaves of a tree, in the order in which dicts were filled.

    Args:
        source: a Module, or any pytree; None is a leaf.
        op: name of the caller, for errors.

    Returns:
        ``{dotted name: leaf}``.

    Errors:
        ValueError for two leaves of one name, or for a tree that is a leaf itself.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in _walk(source, ()):
        name = ".".join(path)
        if not path:
            got = {"type": type(leaf).__name__}
            raise refusal(op, "what is saved must be a Module or a tree of arrays", got, _REMEDY, TypeError)
        if name in leaves:
            raise refusal(op, "two leaves must not have one name", {"name": name})
        if name == "__metadata__":
            raise refusal(op, "a name must not be __metadata__", {"name": name})
        if not is_text(name):
            raise refusal(op, "a name must be text", {"name": name})
        leaves[name] = leaf
    return leaves


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, Module):
        yield from (((*path, name), leaf) for name, leaf in node.state_dict().items())
    elif isinstance(node, Mapping):
        for key, child in node.items():
            yield from _walk(child, (*path, _text(key)))
    elif hasattr(node, "dtype") or type(node) in SCALARS:
        yield path, node
    else:
        children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda child: child is not node)[0]
        for keys, child in children:
            if keys:
                yield from _walk(child, (*path, *map(entry_text, keys)))
            else:
                yield path, child  # an object that is no pytree


def structure_of(source: Any) -> Any:
    """A tree of dicts, lists and tuples with the names of its arrays, for files that keep the structure.

    Args:
        source: as for `content_of`; fields become items of a dict.

    Returns:
        The structure, whose leaves are `Name` or scalars.
    """
    return _structure(source, ())


def _structure(node: Any, path: tuple[str, ...]) -> Any:
    if isinstance(node, Module):
        return {name: Name(".".join((*path, name))) for name in node.state_dict()}
    if isinstance(node, Mapping):
        return {key: _structure(child, (*path, _text(key))) for key, child in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_structure(child, (*path, str(place))) for place, child in enumerate(node))
    if type(node) in SCALARS:
        return node
    if hasattr(node, "dtype"):
        return Name(".".join(path))
    children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda child: child is not node)[0]
    parts = [(tuple(map(entry_text, keys)), child) for keys, child in children]
    return {".".join(keys): _structure(child, (*path, *keys)) for keys, child in parts}


def _text(key: Any) -> str:
    if not isinstance(key, (str, int)):
        remedy = "The keys of a tree are strings or integers."
        raise refusal("save", "a name must be a string", {"name": key}, remedy, TypeError)
    return str(key)


def entry_text(key: Any) -> str:
    """The part of a name that one key of a jax path gives.

    Args:
        key: of ``jax.tree_util``.

    Returns:
        Its text.
    """
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return _text(getattr(key, attribute))
    return str(key)


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys.

    Args:
        leaf: anything.

    Returns:
        True for those of ``jax.random.key``.
    """
    typed = isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)) and not isinstance(leaf.dtype, np.dtype)
    return typed and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _entry(name: str, leaf: Any) -> Entry:
    if hasattr(leaf, "detach"):
        leaf = as_numpy_or_jax(leaf)
    if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        raise refusal("save", f"{name} must be an array", {name: type(leaf).__name__}, _REMEDY, TypeError)
    if isinstance(leaf, jax.core.Tracer):
        raise refusal("save", f"{name} must have values", {name: "a tracer"}, "Save outside of jit.", TypeError)
    words: Any = jax.random.key_data(leaf) if is_key(leaf) else leaf  # type: ignore[arg-type]
    dtype = canonical(np.dtype(words.dtype))
    if dtype is None:
        raise refusal("save", f"{name} must have a dtype that files have", {"dtype": str(words.dtype)}, kind=TypeError)
    if isinstance(words, jax.Array) and not words.is_fully_addressable:
        remedy = "Save with a Checkpointer, from all of them."
        raise refusal("save", f"{name} must be whole on this host", {"sharding": str(words.sharding)}, remedy)
    return Entry(tuple(words.shape), dtype, _reader(words))


def _reader(array: Any) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        return host(array)

    return read


def host(array: Any) -> np.ndarray:
    """An array on the host; a copy that jax would keep with an array of another device is not left behind.

    Args:
        array: numpy's or jax's.

    Returns:
        numpy's; a view of a jax array on the CPU.
    """
    if isinstance(array, jax.Array) and not _on_host(array.sharding):
        with contextlib.suppress(RuntimeError):  # jax was told to know of no CPU
            array = jax.device_put(array, jax.local_devices(backend="cpu")[0])
    return np.asarray(array)


@functools.lru_cache(64)
def _on_host(sharding: jax.sharding.Sharding) -> bool:
    devices: set[Any] = sharding.device_set
    return {device.platform for device in devices} == {"cpu"}
