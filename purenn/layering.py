"""Like layers that are kept stacked, and their names in the state_dict.

A model that runs N like layers in one compiled body keeps each array once, with an axis for the layers: the node of
the layers "0" to "11" is called ``"0:12"``, and ``params["blocks"]["0:12"]["fc"]["weight"]`` holds twelve weights. So a
glob such as ``"blocks.*.weight"`` means what it meant. In a state_dict each layer has its own name,
``blocks.3.fc.weight``, whichever way the model keeps it; this file goes from the one to the other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from purenn.model import Leaf
from purenn.tree import flatten, unflatten

Positions = tuple[int, ...]


def stack_name(names: Sequence[str]) -> str:
    """Names the node that holds like layers stacked.

    Args:
        names: of the layers, in order; at least one.

    Returns:
        ``"first:stop"`` for numbers that follow each other, and the names with ``"|"`` between or after for others.
    """
    if all(re.fullmatch(r"0|[1-9]\d*", name) for name in names):
        first = int(names[0])
        if [int(name) for name in names] == list(range(first, first + len(names))):
            return f"{first}:{first + len(names)}"
    return "|".join(names) + "|" * (len(names) == 1)


def layer_names(name: str) -> list[str]:
    """Lists the layers of a node: the inverse of `stack_name`.

    Args:
        name: of the node.

    Returns:
        The names of its layers.
    """
    if match := re.fullmatch(r"(\d+):(\d+)", name):
        return [str(i) for i in range(int(match[1]), int(match[2]))]
    return name.removesuffix("|").split("|")


def names(leaves: Mapping[str, Leaf]) -> dict[str, tuple[str, Positions]]:
    """Lists the names of a state_dict.

    Args:
        leaves: of a model, by path.

    Returns:
        ``{name: (path, positions)}`` in torch's order: which array, and which layer of each stack it is in.
    """
    if not any(leaf.layer_axes for leaf in leaves.values()):
        return {path: (path, ()) for path in leaves}
    return dict(_walk(unflatten(leaves), "", "", ()))


def _walk(tree: Mapping[str, Any], path: str, name: str, positions: Positions) -> Any:
    for key, child in tree.items():
        if isinstance(child, Leaf):
            yield f"{name}{key}", (f"{path}{key}", positions)
        elif _depth(child) > len(positions) and (":" in key or "|" in key):
            for i, layer in enumerate(layer_names(key)):
                yield from _walk(child, f"{path}{key}.", f"{name}{layer}.", (*positions, i))
        else:
            yield from _walk(child, f"{path}{key}.", f"{name}{key}.", positions)


def _depth(tree: Mapping[str, Any]) -> int:
    return max((len(leaf.layer_axes) for leaf in flatten(tree).values()), default=0)


def take(array: Any, leaf: Leaf, positions: Positions) -> Any:
    """One layer's part of a stacked array.

    Args:
        array: of the shape of the leaf.
        leaf: its declaration.
        positions: from `names`.

    Returns:
        The array without the axes of the layers.
    """
    if not positions:
        return array
    index: list[Any] = [slice(None)] * len(array.shape)
    for axis, position in zip(leaf.layer_axes, positions, strict=True):
        index[axis] = position
    return array[tuple(index)]


def named_leaves(leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """Lists what each name of a state_dict stands for.

    Args:
        leaves: of a model, by path.

    Returns:
        The declarations by name, each without the axes of the layers.
    """
    return {name: _of_one_layer(leaves[path]) for name, (path, _) in names(leaves).items()}


def _of_one_layer(leaf: Leaf) -> Leaf:
    if not leaf.layer_axes:
        return leaf
    shape = tuple(size for axis, size in enumerate(leaf.shape) if axis not in leaf.layer_axes)
    return replace(leaf, shape=shape, layer_axes=())


def named_arrays(arrays: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    """Goes from arrays by path to those by the names of the state_dict.

    Args:
        arrays: by path; may have more or fewer paths than the leaves.
        leaves: of a model, by path.

    Returns:
        The arrays by name, in torch's order.
    """
    items = names(leaves).items()
    return {name: take(arrays[path], leaves[path], at) for name, (path, at) in items if path in arrays}


def assembled(named: Mapping[str, Any], leaves: Mapping[str, Leaf], whole: Callable[[str], Any]) -> dict[str, Any]:
    """Goes from arrays by name to those by path: the inverse of `named_arrays`.

    Args:
        named: by name; paths of which it has no part are left out.
        leaves: of a model, by path.
        whole: gives the array of a path, for the parts that are not among ``named``.

    Returns:
        The arrays by path.
    """
    parts: dict[str, list[tuple[str, Positions]]] = {}
    for name, (path, positions) in names(leaves).items():
        parts.setdefault(path, []).append((name, positions))
    arrays = {}
    for path, entries in parts.items():
        given = [name for name, _ in entries if name in named]
        if given and not leaves[path].layer_axes:
            arrays[path] = named[given[0]]
        elif given:
            rest = None if len(given) == len(entries) else whole(path)
            pieces = [named[name] if name in named else take(rest, leaves[path], at) for name, at in entries]
            arrays[path] = _stacked(pieces, leaves[path])
    return arrays


def _stacked(pieces: list[Any], leaf: Leaf) -> Any:
    """The layers' parts, the last stack's layers running fastest, as the leaf has them."""
    sizes = [leaf.shape[axis] for axis in leaf.layer_axes]
    array = jnp.stack(pieces).reshape(*sizes, *pieces[0].shape)
    return jnp.moveaxis(array, range(len(sizes)), leaf.layer_axes)
