"""Modules that join and split axes: adapters of purenn.layers.flatten."""

from collections.abc import Sequence

from purenn import layers as L
from stateful.module import Module


class Flatten(Module):
    """Joins a range of axes; see `purenn.layers.Flatten`."""

    pure = L.Flatten

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__(L.Flatten(start_dim, end_dim))

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits an axis; see `purenn.layers.Unflatten`."""

    pure = L.Unflatten

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        super().__init__(L.Unflatten(dim, unflattened_size))

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
