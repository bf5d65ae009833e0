"""Affine modules: adapters of purenn.layers.linear."""

from typing import Any

from purenn import layers as L
from stateful.module import Module


class Identity(Module):
    """Gives back its input, whatever it was built with; see `purenn.layers.Identity`."""

    pure = L.Identity

    def __init__(self, *args: Any, **kwargs: Any):
        del args, kwargs
        super().__init__(L.Identity())


class Linear(Module):
    """``y = x Wᵀ + b``; see `purenn.layers.Linear`."""

    pure = L.Linear

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(L.Linear(in_features, out_features, bias, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``y_o = x1ᵀ W_o x2 + b_o``; see `purenn.layers.Bilinear`."""

    pure = L.Bilinear

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(L.Bilinear(in1_features, in2_features, out_features, bias, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{text}, out_features={self.out_features}, bias={self.bias is not None}"
