"""Batches taken apart: the arrays that have an axis of examples, and the rest that every part is given whole."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from purenn.errors import refusal


class Apart(NamedTuple):
    """A batch, taken apart by `take_apart`."""

    arrays: dict[int, jax.Array]  # what has an axis of examples, by its place among the leaves
    axes: dict[int, int]  # which axis that is, not negative
    size: int  # how many examples there are
    together: Callable[[dict[int, Any]], tuple[Any, ...]]  # the batch again, with other arrays in those places


def take_apart(
    op: str, batch: tuple[Any, ...], in_axes: Any = 0, names: tuple[str, str] = ("batch", "in_axes")
) -> Apart:
    """Finds the axes of the examples in a batch.

    Args:
        op: name of the caller, for errors.
        batch: the positional arguments of a loss; any pytrees.
        in_axes: which axis is that of the examples, as in ``jax.vmap``: one for all, or a tuple with one, or a tree of
            them, for each argument. None is for what all examples share.
        names: of the batch and of the axes, for errors.

    Returns:
        The batch, apart; what is no array (a name, a flag) is shared.

    Errors:
        ValueError where an array lacks the axis, where two arrays have different numbers of examples, or where nothing
        has the axis.
    """
    name, axes_name = names
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(batch)
    if len(axes) != len(batch):
        got = {f"len({axes_name})": len(axes), f"len({name})": len(batch)}
        raise refusal(op, f"{axes_name} must have one entry for each argument", got)
    full = jax.tree.broadcast(axes, batch, is_leaf=lambda axis: axis is None)
    leaves, tree = jax.tree.flatten(batch)
    paths = [f"{name}{jax.tree_util.keystr(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(batch)]
    wanted = jax.tree.leaves(full, is_leaf=lambda axis: axis is None)
    found = {
        i: _axis(op, paths[i], leaf, axis, axes_name)
        for i, (leaf, axis) in enumerate(zip(leaves, wanted, strict=True))
        if axis is not None and isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float, complex))
    }
    sizes = {paths[i]: leaves[i].shape[axis] for i, axis in found.items()}
    if len(set(sizes.values())) != 1:
        remedy = f"Say which axes they have with {axes_name}; None is for what is shared."
        raise refusal(op, f"the arrays of {name} must have one number of examples", {"theirs": sizes}, remedy)

    def together(arrays: dict[int, Any]) -> tuple[Any, ...]:
        return jax.tree.unflatten(tree, [arrays.get(i, leaf) for i, leaf in enumerate(leaves)])

    return Apart({i: leaves[i] for i in found}, found, next(iter(sizes.values())), together)


def _axis(op: str, path: str, leaf: Any, axis: int, axes_name: str) -> int:
    rank = np.ndim(leaf)
    if not -rank <= axis < rank:
        got = {f"{path}.shape": np.shape(leaf), "its axis": axis}
        remedy = f"Say what all examples share with None in {axes_name}."
        raise refusal(op, "an array must have the axis of the examples", got, remedy)
    return axis % rank
