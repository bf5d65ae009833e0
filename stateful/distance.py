"""Distances between vectors, as modules."""

from dataclasses import InitVar
from typing import Any

from stateful.functional_module import Functional


class CosineSimilarity(Functional, function="cosine_similarity"):
    """Cosine of the angle along an axis; see `purenn.functional.cosine_similarity`."""

    dim: int = 1
    eps: float = 1e-8


class PairwiseDistance(Functional, function="pairwise_distance"):
    """Distance ``(*, D), (*, D) -> (*)``; see `purenn.functional.pairwise_distance`."""

    p: InitVar[float] = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    def __post_init__(self, p: float) -> None:
        self.norm = p  # torch's name for it

    def forward(self, x1: Any, x2: Any) -> Any:
        """``(*, D), (*, D) -> (*)``, or ``(*, 1)`` with ``keepdim``."""
        return super().forward(x1, x2, p=self.norm)
