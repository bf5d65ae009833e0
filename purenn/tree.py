"""Nested dicts of arrays, and the dotted paths of their leaves.

``{"layer1": {"0": {"weight": w}}}`` and ``{"layer1.0.weight": w}`` are the same tree, nested and flat. Every function
keeps the order in which a dict was filled; JAX's own tree functions sort the keys.

A ``where`` chooses leaves: a glob on the dotted path (``"encoder.*.weight"``; ``*`` crosses dots), several of them, or
a predicate ``(path, leaf) -> bool``. One that chooses nothing is an error.
"""

import difflib
import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal

Tree = dict[str, Any]
Where = str | Sequence[str] | Callable[[str, Any], bool]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested dict to dotted paths, in the order it was filled.

    Args:
        tree: nested dict; what is no dict is a leaf.
        prefix: put before every path.

    Returns:
        ``{dotted path: leaf}``.

    Errors:
        TypeError for what is no dict, or a key that is no string; ValueError for one with a dot.
    """
    if not isinstance(tree, Mapping):
        raise refusal("flatten", "tree must be a nested dict", {"type(tree)": type(tree).__name__}, kind=TypeError)
    flat: dict[str, Any] = {}
    for name, child in tree.items():
        check_name("flatten", name)
        if isinstance(child, Mapping):
            flat.update(flatten(child, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = child
    return flat


def unflatten(flat: Mapping[str, Any]) -> Tree:
    """Nests a flat dict of dotted paths.

    Args:
        flat: ``{dotted path: leaf}``.

    Returns:
        The nested dict, in the same order.

    Errors:
        ValueError where one path is the beginning of another, or has an empty component.
    """
    tree: Tree = {}
    for path, leaf in flat.items():
        *parents, last = path.split(".")
        if not all([*parents, last]):
            raise refusal("unflatten", "a path must not have an empty component", {"path": path})
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise refusal("unflatten", "a path must not go through a leaf", {"path": path, "leaf": name})
        if last in node:
            raise refusal("unflatten", "a path must not end where another goes on", {"path": path})
        node[last] = leaf
    return tree


def check_name(op: str, name: Any) -> None:
    """Refuses what cannot be one component of a dotted path.

    Args:
        op: name of the caller.
        name: to be checked.
    """
    if not isinstance(name, str):
        raise refusal(op, "a name must be a string", {"name": name}, "List indices are written '0', '1'.", TypeError)
    if not name or "." in name:
        raise refusal(op, "a name must be non-empty and without a dot", {"name": name}, "Nest the parts instead.")


def selected(tree: Mapping[str, Any], where: Where, op: str = "where") -> list[str]:
    """Lists the dotted paths that ``where`` chooses.

    Args:
        tree: nested dict.
        where: see the module.
        op: name of the caller, for the error.

    Returns:
        The paths, in the order of the tree.

    Errors:
        ValueError where a glob, or the predicate, chooses nothing.
    """
    return choose(flatten(tree), where, op)


def choose(flat: Mapping[str, Any], where: Where, op: str = "where") -> list[str]:
    """Lists the names that ``where`` chooses, among names of any kind.

    Args:
        flat: ``{name: leaf}``.
        where: see the module.
        op: name of the caller, for the error.

    Returns:
        The names, in the order of the dict.

    Errors:
        ValueError where a glob, or the predicate, chooses nothing.
    """
    if callable(where):
        chosen = {path for path, leaf in flat.items() if where(path, leaf)}
        if not chosen:
            raise refusal(op, "where must match something", {"where": getattr(where, "__name__", where)})
    else:
        chosen = set()
        for glob in [where] if isinstance(where, str) else where:
            matched = {path for path in flat if fnmatch.fnmatchcase(path, glob)}
            if not matched:
                raise refusal(op, "where must match something", {"where": glob}, _nearest(glob, flat))
            chosen |= matched
        if not chosen:
            raise refusal(op, "where must match something", {"where": where})
    return [path for path in flat if path in chosen]


def matches(where: Where, path: str, leaf: Any) -> bool:
    """Says whether ``where`` chooses one leaf.

    Args:
        where: see the module.
        path: of the leaf.
        leaf: itself, for a predicate.

    Returns:
        Whether it does.
    """
    if callable(where):
        return bool(where(path, leaf))
    return any(fnmatch.fnmatchcase(path, glob) for glob in ([where] if isinstance(where, str) else where))


def _nearest(glob: str, paths: Iterable[str]) -> str:
    paths = list(paths)
    if not paths:
        return "The tree has no leaves."
    if any(path.startswith(f"{glob}.") for path in paths):
        return f"Did you mean '{glob}.*'?"
    near = difflib.get_close_matches(glob, paths, n=3, cutoff=0.3) or paths[:3]
    return f"Its paths are like {', '.join(map(repr, near))}."


def partition(tree: Mapping[str, Any], where: Where, op: str = "partition") -> tuple[Tree, Tree]:
    """Splits a tree in two: the leaves that ``where`` chooses, and the rest. `combine` puts them together.

    Args:
        tree: nested dict.
        where: see the module.
        op: name of the caller, for the error.

    Returns:
        ``(chosen, rest)``, nested dicts without empty branches.

    Errors:
        ValueError where ``where`` chooses nothing.
    """
    chosen = set(selected(tree, where, op))
    flat = flatten(tree)
    return (
        unflatten({path: leaf for path, leaf in flat.items() if path in chosen}),
        unflatten({path: leaf for path, leaf in flat.items() if path not in chosen}),
    )


def combine(*trees: Mapping[str, Any]) -> Tree:
    """Merges trees without common leaves; the order is that of the arguments.

    Args:
        *trees: nested dicts.

    Returns:
        One nested dict with all leaves.

    Errors:
        ValueError where two trees hold the same path.
    """
    flat: dict[str, Any] = {}
    for tree in trees:
        for path, leaf in flatten(tree).items():
            if path in flat:
                raise refusal("combine", "no two trees may hold one path", {"path": path})
            flat[path] = leaf
    return unflatten(flat)


def reorder(tree: Mapping[str, Any], like: Mapping[str, Any]) -> Tree:
    """Sorts the keys of a tree as another has them; those that the other lacks come last, as they were.

    Args:
        tree: nested dict, for example one that went through jit, which sorts keys.
        like: nested dict with the order wanted.

    Returns:
        The tree with its keys in that order.
    """
    names = [name for name in like if name in tree] + [name for name in tree if name not in like]

    def child(name: str) -> Any:
        if isinstance(tree[name], Mapping):
            return reorder(tree[name], like[name] if isinstance(like.get(name), Mapping) else {})
        return tree[name]

    return {name: child(name) for name in names}


def stack(trees: Sequence[Mapping[str, Any]]) -> Any:
    """Stacks equal trees along a new first axis.

    Args:
        trees: n trees with the same paths, shapes and dtypes; at least one.

    Returns:
        One tree; each leaf is ``(n, *shape)``. Its keys are in the order of the first tree.

    Errors:
        ValueError where the trees differ.
    """
    if not trees:
        raise refusal("stack", "trees must not be empty", {"len(trees)": 0})
    flats = [flatten(tree) for tree in trees]
    for n, flat in enumerate(flats):
        if set(flat) != set(flats[0]):
            raise refusal("stack", "trees must have the same paths", {f"paths only in one of 0 and {n}":
                          sorted(set(flat) ^ set(flats[0]))})  # fmt: skip
    for path in flats[0]:
        kinds = {(jnp.shape(flat[path]), jnp.result_type(flat[path])) for flat in flats}
        if len(kinds) > 1:
            raise refusal("stack", "leaves of one path must have one shape and dtype", {path: sorted(map(str, kinds))})
    return unflatten({path: jnp.stack([flat[path] for flat in flats]) for path in flats[0]})


def unstack(tree: Mapping[str, Any]) -> list[Tree]:
    """Takes a stacked tree apart: the inverse of `stack`.

    Args:
        tree: every leaf is ``(n, *shape)``.

    Returns:
        n trees.

    Errors:
        ValueError where the leaves have no common first axis.
    """
    flat = flatten(tree)
    sizes = {jnp.shape(leaf)[:1] for leaf in flat.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise refusal("unstack", "all leaves must have one first axis", {"its sizes": sorted(sizes)})
    (n,) = sizes.pop()
    return [unflatten({path: leaf[i] for path, leaf in flat.items()}) for i in range(n)]


def count(tree: Any) -> int:
    """Counts the numbers in a tree.

    Args:
        tree: any pytree of arrays, or of their shapes (``jax.ShapeDtypeStruct``).

    Returns:
        The sum of the sizes of its leaves.
    """
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))


def nbytes(tree: Any) -> int:
    """Counts the bytes in a tree.

    Args:
        tree: any pytree of arrays, or of their shapes (``jax.ShapeDtypeStruct``).

    Returns:
        The sum of the bytes of its leaves.
    """
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def cast(tree: Any, dtype: Any, where: Where | None = None) -> Any:
    """Casts the floating leaves of a tree; integers, booleans and keys stay as they are.

    Args:
        tree: nested dict.
        dtype: floating.
        where: see the module; None casts all.

    Returns:
        A tree of the same structure.

    Errors:
        TypeError for a dtype that is not floating; ValueError where ``where`` chooses nothing.
    """
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise refusal("cast", "dtype must be floating or complex", {"dtype": str(jnp.dtype(dtype))}, kind=TypeError)
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    flat = flatten(tree)
    chosen = set(flat) if where is None else set(selected(tree, where, "cast"))

    def convert(path: str, leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if path in chosen and floating else leaf

    return unflatten({path: convert(path, leaf) for path, leaf in flat.items()})
