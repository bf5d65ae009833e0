"""Layers that drop at random in training, and do nothing in evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from purenn import functional as F
from purenn.errors import refusal
from purenn.model import Layer


@dataclass(frozen=True)
class _Dropout(Layer):
    p: float = 0.5
    inplace: bool = False

    drop: ClassVar[Callable[..., jax.Array]]

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise refusal(type(self).__name__, "p must be a probability, between 0 and 1", {"p": self.p})

    def children(self) -> Mapping[str, Any]:
        """Has none."""
        return {}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*) -> (*)``, drawn from ``m.rng()`` in training."""
        draws = m.training and 0 < self.p < 1
        return type(self).drop(input, self.p, m.training, rng=m.rng() if draws else None)


@dataclass(frozen=True)
class Dropout(_Dropout):
    """Zeroes each element with probability p, and divides the rest by 1 - p.

    Args:
        p: probability of being zeroed.
        inplace: accepted for torch's sake; arrays do not change in place.

    Source:
        Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012.

    Torch:
        ``torch.nn.Dropout``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.dropout)


@dataclass(frozen=True)
class Dropout1d(_Dropout):
    """Zeroes whole channels of ``(N, C, L)`` or ``(C, L)`` with probability p; see `Dropout`.

    Args:
        p: probability of being zeroed.
        inplace: accepted for torch's sake; arrays do not change in place.

    Torch:
        ``torch.nn.Dropout1d``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.dropout1d)


@dataclass(frozen=True)
class Dropout2d(_Dropout):
    """Zeroes whole channels of ``(N, C, H, W)`` or ``(N, C, L)`` with probability p; see `Dropout`.

    Args:
        p: probability of being zeroed.
        inplace: accepted for torch's sake; arrays do not change in place.

    Torch:
        ``torch.nn.Dropout2d``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.dropout2d)


@dataclass(frozen=True)
class Dropout3d(_Dropout):
    """Zeroes whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` with probability p; see `Dropout`.

    Args:
        p: probability of being zeroed.
        inplace: accepted for torch's sake; arrays do not change in place.

    Torch:
        ``torch.nn.Dropout3d``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.dropout3d)


@dataclass(frozen=True)
class AlphaDropout(_Dropout):
    """Drops to selu's negative saturation, keeping mean 0 and variance 1.

    Args:
        p: probability of being dropped.
        inplace: accepted for torch's sake; arrays do not change in place.

    Source:
        Klambauer et al., "Self-normalizing neural networks", 2017.

    Torch:
        ``torch.nn.AlphaDropout``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.alpha_dropout)


@dataclass(frozen=True)
class FeatureAlphaDropout(_Dropout):
    """Drops whole channels to selu's negative saturation; see `AlphaDropout`.

    Args:
        p: probability of being dropped.
        inplace: accepted for torch's sake; arrays do not change in place.

    Torch:
        ``torch.nn.FeatureAlphaDropout``, the same distribution, from an explicit key.
    """

    drop = staticmethod(F.feature_alpha_dropout)
