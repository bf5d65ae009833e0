"""The order of dicts: JAX sorts their keys, torch keeps them as they were filled, and tutorials zip them."""

from collections.abc import Callable
from typing import Any


class _Place:
    """Where a leaf was."""

    def __repr__(self) -> str:
        return "."


def skeleton(tree: Any) -> Any:
    """Takes the leaves out of a tree.

    Args:
        tree: dicts, lists and tuples, and whatever else in them.

    Returns:
        The same containers, in the same order, without the arrays.
    """
    if type(tree) is dict:
        return {name: skeleton(child) for name, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return _rebuilt(tree, [skeleton(child) for child in tree])
    return _Place()


def ordered(tree: Any, *likes: Any) -> Any:
    """Sorts the dicts in a tree as they are in another one, or in several that are nested in its leaves.

    Args:
        tree: what jax returned.
        *likes: skeletons or trees: the outermost structure of ``tree`` first.

    Returns:
        The same tree, sorted; what has another structure stays as it is.
    """
    if not likes:
        return tree
    like, *rest = likes
    if type(like) is dict and type(tree) is dict and like.keys() == tree.keys():
        return {name: ordered(tree[name], child, *rest) for name, child in like.items()}
    if isinstance(like, (list, tuple)) and type(tree) is type(like) and len(tree) == len(like):
        return _rebuilt(tree, [ordered(child, part, *rest) for child, part in zip(tree, like, strict=True)])
    return ordered(tree, *rest)


def noting(func: Callable[..., Any], notes: list[Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    """Makes a function that also writes down the skeleton of what it returns, and takes arguments in their order.

    Args:
        func: any function.
        notes: where to.
        args: the arguments as its caller gave them, before jax sorted them.

    Returns:
        The function; it returns the same.
    """

    def noted(*sorted_args: Any, **kwargs: Any) -> Any:
        out = func(*ordered(sorted_args, args), **kwargs)
        notes.append(skeleton(out))
        return out

    return noted


def _rebuilt(like: Any, children: list[Any]) -> Any:
    return type(like)(*children) if hasattr(like, "_fields") else type(like)(children)
