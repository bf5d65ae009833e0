"""Dtypes of floating arrays: which they may have, and how they are cast."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.tree import Tree, flatten, unflatten


def floating(name: str, dtype: Any) -> Any:
    """Takes a floating dtype by whatever jax knows it, or None.

    Args:
        name: of the option of `precision` that it is.
        dtype: to be checked.

    Returns:
        The dtype, or None.

    Errors:
        TypeError for any other.
    """
    if dtype is None:
        return None
    with suppress(TypeError):  # what is no dtype is refused below
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    if not (isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)):
        rule = f"{name} must be a floating dtype or None"
        raise refusal("precision", rule, {name: str(dtype)}, "For example jnp.bfloat16.", TypeError)
    return dtype


def cast_leaves(tree: Tree, dtypes: Mapping[str, Any]) -> Tree:
    """Casts the floating leaves of a tree.

    Args:
        tree: nested dict.
        dtypes: by path; a leaf without one stays as it is.

    Returns:
        A tree of the same paths.
    """
    return unflatten({path: cast(array, dtypes.get(path)) for path, array in flatten(tree).items()})


def cast(tree: Any, dtype: Any) -> Any:
    """Casts the floating arrays among the leaves of any pytree.

    Args:
        tree: any.
        dtype: floating; None leaves them.

    Returns:
        The same tree; whatever has the dtype already is the same array.
    """
    if dtype is None:
        return tree

    def one(leaf: Any) -> Any:
        floating = isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, dtype) if floating and leaf.dtype != dtype else leaf

    return jax.tree.map(one, tree)
