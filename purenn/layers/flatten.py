"""Layers that join axes, and split them again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from purenn.errors import as_array, check_sizes, refusal
from purenn.model import Layer


@dataclass(frozen=True)
class Flatten(Layer):
    """Joins a range of axes into one.

    Args:
        start_dim: its first axis.
        end_dim: its last axis.

    Torch:
        ``torch.nn.Flatten``, identical.
    """

    start_dim: int = 1
    end_dim: int = -1

    def children(self) -> Mapping[str, Any]:
        """Has none."""
        return {}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*, S_start, ..., S_end, *) -> (*, S_start · ... · S_end, *)``."""
        del m
        x = as_array("Flatten", "input", input)
        rank = max(x.ndim, 1)  # a scalar becomes an axis
        start, end = (_axis("Flatten", x, rank, name, getattr(self, name)) for name in ("start_dim", "end_dim"))
        if start > end:
            got = {"start_dim": self.start_dim, "end_dim": self.end_dim, "input.shape": x.shape}
            raise refusal("Flatten", "start_dim must not come after end_dim", got)
        return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


@dataclass(frozen=True)
class Unflatten(Layer):
    """Splits an axis into several.

    Args:
        dim: the axis.
        unflattened_size: lengths of the axes it becomes; one may be -1, for what is left.

    Torch:
        ``torch.nn.Unflatten``, identical; a list is kept as a tuple.
    """

    dim: int
    unflattened_size: Sequence[int]

    def __post_init__(self) -> None:
        sizes = self.unflattened_size
        if not isinstance(sizes, (tuple, list)):
            got = {"type(unflattened_size)": type(sizes).__name__}
            raise refusal("Unflatten", "unflattened_size must be a tuple of integers", got, kind=TypeError)
        check_sizes("Unflatten", **{f"unflattened_size[{i}]": size for i, size in enumerate(sizes) if size != -1})
        object.__setattr__(self, "unflattened_size", tuple(sizes))

    def children(self) -> Mapping[str, Any]:
        """Has none."""
        return {}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*, S_dim, *) -> (*, U_1, ..., U_n, *)``."""
        del m
        x = as_array("Unflatten", "input", input)
        axis = _axis("Unflatten", x, x.ndim, "dim", self.dim)
        return x.reshape(*x.shape[:axis], *self._lengths(x.shape[axis]), *x.shape[axis + 1 :])

    def _lengths(self, length: int) -> tuple[int, ...]:
        sizes = tuple(self.unflattened_size)
        known = math.prod(size for size in sizes if size != -1)
        if sizes.count(-1) == 1 and known and length % known == 0:
            return tuple(length // known if size == -1 else size for size in sizes)
        if -1 in sizes or known != length or not sizes:
            got = {"unflattened_size": sizes, "its length": length}
            raise refusal("Unflatten", "unflattened_size must multiply to the length of the axis", got)
        return sizes


def _axis(op: str, x: jax.Array, rank: int, name: str, dim: int) -> int:
    if not -rank <= dim < rank:
        raise refusal(op, f"{name} must be an axis of input", {name: dim, "input.shape": x.shape}, kind=IndexError)
    return dim % rank
