"""Normalising modules: adapters of purenn.layers.normalization."""

from collections.abc import Sequence
from typing import Any

from purenn import layers as L
from stateful.module import Module


class _BatchNorm(Module):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        layer: Any = type(self).pure
        options = eps, momentum, affine, track_running_stats, bias, dtype
        super().__init__(layer(num_features, *options), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{text}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``(N, C)`` or ``(N, C, L)``; see `purenn.layers.BatchNorm1d`."""

    pure = L.BatchNorm1d


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``(N, C, H, W)``; see `purenn.layers.BatchNorm2d`."""

    pure = L.BatchNorm2d


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``(N, C, D, H, W)``; see `purenn.layers.BatchNorm3d`."""

    pure = L.BatchNorm3d


class LayerNorm(Module):
    """Normalisation over the last axes; see `purenn.layers.LayerNorm`."""

    pure = L.LayerNorm

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(L.LayerNorm(normalized_shape, eps, elementwise_affine, bias, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"
