"""Arrays that are computed where they are read.

A model that keeps its arrays in another form than its parts want them (layers stacked, say) can show each part an array
that costs nothing, not even to trace, unless somebody reads it. What reads arrays one by one takes it as it comes:
`purenn.model.Bound`, and whatever says ``reads_late``. Anything else is given arrays.
"""

from collections.abc import Callable, Mapping
from typing import Any


class Deferred:
    """An array that has not been computed; each reading computes it anew.

    Args:
        compute: gives the array.
    """

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[[], Any]):
        self.compute = compute


def arrived(leaf: Any) -> Any:
    """The array that a leaf stands for.

    Args:
        leaf: an array, or a `Deferred` one.

    Returns:
        The array.
    """
    return leaf.compute() if isinstance(leaf, Deferred) else leaf


def all_arrived(tree: Any) -> Any:
    """The arrays that the leaves of a tree stand for.

    Args:
        tree: nested dict, or a leaf.

    Returns:
        The same tree, of arrays.
    """
    if isinstance(tree, Mapping):
        return {name: all_arrived(child) for name, child in tree.items()}
    return arrived(tree)
