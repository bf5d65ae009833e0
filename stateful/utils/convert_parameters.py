"""torch.nn.utils.parameters_to_vector and its inverse, which writes into the modules that keep the arrays."""

from collections.abc import Iterator
from typing import Any

import jax

from purenn import functional as F
from purenn.checks import is_traced
from stateful.parameter import owner


def parameters_to_vector(parameters: Any) -> jax.Array:
    """Lays all numbers of some arrays into one vector.

    Args:
        parameters: ``module.parameters()``, a list, or any tree of arrays.

    Returns:
        ``(count,)``.

    Errors:
        TypeError: a leaf is no array. ValueError: there is none.

    Torch:
        ``torch.nn.utils.parameters_to_vector``, identical.
    """
    return F.parameters_to_vector(list(parameters) if isinstance(parameters, Iterator) else parameters)


def vector_to_parameters(vec: jax.Array, parameters: Any) -> Any:
    """Cuts a vector into arrays like some others.

    Args:
        vec: ``(count,)``.
        parameters: ``module.parameters()``, a list, or any tree of arrays. Those that a module keeps are replaced in
            it, unless the vector is traced.

    Returns:
        The new arrays, in the structure of ``parameters``.

    Errors:
        ValueError: the vector has another length. TypeError: it is no array.

    Torch:
        ``torch.nn.utils.vector_to_parameters``, differs in that it returns the arrays, and refuses a vector that is too
        long.
    """
    like = list(parameters) if isinstance(parameters, Iterator) else parameters
    new = F.vector_to_parameters(vec, like)
    if not is_traced(vec):
        for old, value in zip(jax.tree.leaves(like), jax.tree.leaves(new), strict=True):
            if (cell := owner(old)) is not None:
                cell.put(value)
    return new
