"""Affine layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes
from purenn.model import Layer, param


@dataclass(frozen=True)
class Identity(Layer):
    """Gives back its input.

    Torch:
        ``torch.nn.Identity``, which takes and ignores any argument; this takes none.
    """

    def children(self) -> Mapping[str, Any]:
        """Has none."""
        return {}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*) -> (*)``."""
        del m
        return input


@dataclass(frozen=True)
class Linear(Layer):
    """Applies an affine map to the last axis: ``y = x Wᵀ + b``.

    Args:
        in_features: length of the last axis of the input.
        out_features: length of the last axis of the output.
        bias: whether there is a ``b``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.Linear``, identical.
    """

    in_features: int
    out_features: int
    bias: bool = True
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("Linear", in_features=self.in_features, out_features=self.out_features)

    def children(self) -> Mapping[str, Any]:
        """``weight`` (out_features, in_features) and ``bias`` (out_features,), both U(-1/√in, 1/√in)."""
        shape = (self.out_features, self.in_features)
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        return {
            "weight": param(init.kaiming_uniform, shape, self.dtype, a=math.sqrt(5)),
            "bias": param(init.uniform, shape[:1], self.dtype, a=-bound, b=bound) if self.bias else None,
        }

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*, in_features) -> (*, out_features)``."""
        return F.linear(input, m.weight, m.bias)
