"""Affine layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
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


@dataclass(frozen=True)
class Bilinear(Layer):
    """Applies a form to the last axes of two inputs: ``y_o = x1ᵀ W_o x2 + b_o``.

    Args:
        in1_features: length of the last axis of the first input.
        in2_features: length of the last axis of the second.
        out_features: length of the last axis of the output.
        bias: whether there is a ``b``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.Bilinear``, identical.
    """

    in1_features: int
    in2_features: int
    out_features: int
    bias: bool = True
    dtype: Any = None

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("in1_features", "in2_features", "out_features")}
        check_sizes("Bilinear", **sizes)
        if self.in1_features == 0:
            raise refusal("Bilinear", "in1_features must be positive", {"in1_features": 0})

    def children(self) -> Mapping[str, Any]:
        """``weight`` (out_features, in1_features, in2_features) and ``bias``, both U(-1/√in1, 1/√in1)."""
        shape = (self.out_features, self.in1_features, self.in2_features)
        bound = 1 / math.sqrt(self.in1_features)
        return {
            "weight": param(init.uniform, shape, self.dtype, a=-bound, b=bound),
            "bias": param(init.uniform, shape[:1], self.dtype, a=-bound, b=bound) if self.bias else None,
        }

    def forward(self, m: Any, input1: jax.Array, input2: jax.Array) -> jax.Array:
        """``(*, in1_features), (*, in2_features) -> (*, out_features)``."""
        return F.bilinear(input1, input2, m.weight, m.bias)
