"""Activations that have weights, or draw numbers; the others are plain functions of `purenn.functional`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes
from purenn.model import Layer, param


@dataclass(frozen=True)
class PReLU(Layer):
    """Learns the slope below zero, one or one per channel: ``y = x`` where ``x > 0``, else ``w x``.

    Args:
        num_parameters: 1, or C.
        slope: what ``w`` starts from.
        dtype: of ``w``; float32 by default.

    Source:
        He et al., "Delving deep into rectifiers", 2015.

    Torch:
        ``torch.nn.PReLU``, whose ``init`` is called ``slope``: ``init`` is the function that draws the arrays.
    """

    num_parameters: int = 1
    slope: float = 0.25
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("PReLU", num_parameters=self.num_parameters)

    def children(self) -> Mapping[str, Any]:
        """``weight`` (num_parameters,), all ``slope``."""
        return {"weight": param(init.constant, (self.num_parameters,), self.dtype, val=self.slope)}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(N, C, *) -> (N, C, *)``; any shape with a single weight."""
        return F.prelu(input, m.weight)


@dataclass(frozen=True)
class RReLU(Layer):
    """Draws the slope below zero for each element in training, U(lower, upper); takes the mean in evaluation.

    Args:
        lower: least slope.
        upper: largest slope.
        inplace: accepted for torch's sake; arrays do not change in place.

    Source:
        Xu et al., "Empirical evaluation of rectified activations in convolutional network", 2015.

    Torch:
        ``torch.nn.RReLU``, the same distribution, from an explicit key.
    """

    lower: float = 1.0 / 8
    upper: float = 1.0 / 3
    inplace: bool = False

    def children(self) -> Mapping[str, Any]:
        """Has none."""
        return {}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*) -> (*)``, drawn from ``m.rng()`` in training."""
        return F.rrelu(input, self.lower, self.upper, m.training, rng=m.rng() if m.training else None)
