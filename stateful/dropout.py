"""Dropout modules: adapters of purenn.layers.dropout."""

from typing import Any

from purenn import layers as L
from stateful.module import Module


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False):
        layer: Any = type(self).pure
        super().__init__(layer(p, inplace))

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zeroes elements at random in training; see `purenn.layers.Dropout`."""

    pure = L.Dropout


class Dropout1d(_Dropout):
    """Zeroes channels of ``(N, C, L)`` at random; see `purenn.layers.Dropout1d`."""

    pure = L.Dropout1d


class Dropout2d(_Dropout):
    """Zeroes channels of ``(N, C, H, W)`` at random; see `purenn.layers.Dropout2d`."""

    pure = L.Dropout2d


class Dropout3d(_Dropout):
    """Zeroes channels of ``(N, C, D, H, W)`` at random; see `purenn.layers.Dropout3d`."""

    pure = L.Dropout3d


class AlphaDropout(_Dropout):
    """Drops to selu's saturation at random; see `purenn.layers.AlphaDropout`."""

    pure = L.AlphaDropout


class FeatureAlphaDropout(_Dropout):
    """Drops channels to selu's saturation at random; see `purenn.layers.FeatureAlphaDropout`."""

    pure = L.FeatureAlphaDropout
