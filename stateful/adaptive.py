"""The adaptive softmax, as a module: an adapter of purenn.layers.adaptive."""

from collections.abc import Sequence
from typing import Any

from purenn import layers as L
from purenn.layers.adaptive import AdaptiveOutput, Clusters
from stateful.container import ModuleList
from stateful.module import Module

Module._adapters[Clusters] = ModuleList


class AdaptiveLogSoftmaxWithLoss(Module):
    """Scores features against many classes, the rare ones in clusters; see `purenn.layers.AdaptiveLogSoftmaxWithLoss`.

    torch's ``cutoffs``, ``shortlist_size``, ``n_clusters`` and ``head_size`` can be read.
    """

    pure = L.AdaptiveLogSoftmaxWithLoss

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        layer = L.AdaptiveLogSoftmaxWithLoss(in_features, n_classes, cutoffs, div_value, head_bias, dtype)
        super().__init__(layer, device=device)

    @property
    def _layer(self) -> L.AdaptiveLogSoftmaxWithLoss:
        return self.__dict__["_model"]

    @property
    def cutoffs(self) -> list[int]:
        """Where the clusters begin, and the number of classes."""
        return [*self._layer.cutoffs, self._layer.n_classes]

    @property
    def shortlist_size(self) -> int:
        """Number of classes that the head scores by name."""
        return self._layer.cutoffs[0]

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(self._layer.cutoffs)

    @property
    def head_size(self) -> int:
        """Number of classes and clusters that the head scores."""
        return self.shortlist_size + self.n_clusters

    def forward(self, input_: Any, target_: Any) -> AdaptiveOutput:
        """``(N, E), (N) -> (N), ()``, or without N."""
        return self._layer.forward(self, input_, target_)

    def log_prob(self, input: Any) -> Any:
        """``(N, E) -> (N, C)``."""
        return self._layer.log_prob(self, input)

    def predict(self, input: Any) -> Any:
        """``(N, E) -> (N)``, the likeliest classes."""
        return self._layer.predict(self, input)
