"""Activations, as modules."""

import warnings
from dataclasses import InitVar
from typing import Any

from purenn import layers as L
from purenn.errors import refusal
from stateful.functional_module import Functional
from stateful.module import Module


class _InPlace(Functional):
    """An activation whose torch twin can overwrite its input, and prints that."""

    def extra_repr(self) -> str:
        """As torch prints it."""
        return ", ".join(filter(None, [super().extra_repr(), "inplace=True" if self.inplace else ""]))


class ReLU(_InPlace, function="relu"):
    """``max(x, 0)``; see `purenn.functional.relu`."""

    inplace: bool = False


class ELU(_InPlace, function="elu", prints="alpha={alpha}"):
    """``x`` above zero, ``α (eˣ - 1)`` below; see `purenn.functional.elu`."""

    alpha: float = 1.0
    inplace: bool = False


class SELU(_InPlace, function="selu"):
    """elu, scaled to keep mean 0 and variance 1; see `purenn.functional.selu`."""

    inplace: bool = False


class CELU(_InPlace, function="celu", prints="alpha={alpha}"):
    """elu with a continuous slope; see `purenn.functional.celu`."""

    alpha: float = 1.0
    inplace: bool = False


class LeakyReLU(_InPlace, function="leaky_relu", prints="negative_slope={negative_slope}"):
    """``x`` above zero, ``a x`` below; see `purenn.functional.leaky_relu`."""

    negative_slope: float = 1e-2
    inplace: bool = False


class Threshold(_InPlace, function="threshold", prints="threshold={threshold}, value={value}"):
    """``x`` above the threshold, the value below; see `purenn.functional.threshold`."""

    threshold: float
    value: float
    inplace: bool = False


class Hardtanh(_InPlace, function="hardtanh", prints="min_val={min_val}, max_val={max_val}"):
    """``x`` clipped; see `purenn.functional.hardtanh`."""

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False
    min_value: InitVar[float | None] = None
    max_value: InitVar[float | None] = None

    def __post_init__(self, min_value: float | None, max_value: float | None) -> None:
        for new, old, value in (("min_val", "min_value", min_value), ("max_val", "max_value", max_value)):
            if value is not None:
                warnings.warn(f"Hardtanh: {old} is now called {new}.", FutureWarning, stacklevel=4)
                setattr(self, new, value)
        if self.max_val <= self.min_val:
            got = {"min_val": self.min_val, "max_val": self.max_val}
            raise refusal("Hardtanh", "max_val must be greater than min_val", got)


class ReLU6(Hardtanh):
    """``x`` clipped to [0, 6]; see `purenn.functional.relu6`."""

    def __init__(self, inplace: bool = False):
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return "inplace=True" if self.inplace else ""


class SiLU(_InPlace, function="silu"):
    """``x σ(x)``; see `purenn.functional.silu`."""

    inplace: bool = False


class Mish(_InPlace, function="mish"):
    """``x tanh(softplus(x))``; see `purenn.functional.mish`."""

    inplace: bool = False


class Hardsigmoid(Functional, function="hardsigmoid"):
    """sigmoid in three straight pieces; see `purenn.functional.hardsigmoid`."""

    inplace: bool = False


class Hardswish(Functional, function="hardswish"):
    """``x`` times hardsigmoid; see `purenn.functional.hardswish`."""

    inplace: bool = False


class GELU(Functional, function="gelu", prints="approximate={approximate!r}"):
    """``x Φ(x)``; see `purenn.functional.gelu`."""

    approximate: str = "none"


class GLU(Functional, function="glu", prints="dim={dim}"):
    """One half of an axis gated by the other; see `purenn.functional.glu`."""

    dim: int = -1


class Hardshrink(Functional, function="hardshrink", prints="{lambd}"):
    """``x`` outside [-λ, λ], 0 inside; see `purenn.functional.hardshrink`."""

    lambd: float = 0.5


class Softshrink(Functional, function="softshrink", prints="{lambd}"):
    """``x`` moved towards 0 by λ; see `purenn.functional.softshrink`."""

    lambd: float = 0.5


class Tanhshrink(Functional, function="tanhshrink"):
    """``x - tanh(x)``; see `purenn.functional.tanhshrink`."""


class Softplus(Functional, function="softplus", prints="beta={beta}, threshold={threshold}"):
    """``log(1 + exp(β x)) / β``; see `purenn.functional.softplus`."""

    beta: float = 1.0
    threshold: float = 20.0


class Softsign(Functional, function="softsign"):
    """``x / (1 + |x|)``; see `purenn.functional.softsign`."""


class Sigmoid(Functional, function="sigmoid"):
    """``1 / (1 + e⁻ˣ)``; see `purenn.functional.sigmoid`."""


class LogSigmoid(Functional, function="logsigmoid"):
    """``log σ(x)``; see `purenn.functional.logsigmoid`."""


class Tanh(Functional, function="tanh"):
    """``tanh(x)``; see `purenn.functional.tanh`."""


class Softmax(Functional, function="softmax", prints="dim={dim}"):
    """A distribution along an axis; see `purenn.functional.softmax`."""

    dim: int | None = None


class LogSoftmax(Functional, function="log_softmax", prints="dim={dim}"):
    """The logarithm of a distribution along an axis; see `purenn.functional.log_softmax`."""

    dim: int | None = None


class Softmin(Functional, function="softmin", prints="dim={dim}"):
    """A distribution along an axis that favours the small; see `purenn.functional.softmin`."""

    dim: int | None = None


class Softmax2d(Functional, function="softmax", dim=-3):
    """A distribution over the channels of each pixel; see `purenn.functional.softmax`."""

    def forward(self, input: Any) -> Any:
        """``(N, C, H, W)`` or ``(C, H, W)``, to the same."""
        if len(input.shape) not in (3, 4):
            raise refusal("Softmax2d", "input must be 3-D or 4-D", {"input.shape": tuple(input.shape)})
        return super().forward(input)


class PReLU(Module):
    """``x`` above zero, ``w x`` below, with a learned slope; see `purenn.layers.PReLU`."""

    pure = L.PReLU

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        super().__init__(L.PReLU(num_parameters, init, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """``x`` above zero, ``a x`` below, with a random slope in training; see `purenn.layers.RReLU`."""

    pure = L.RReLU

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False):
        super().__init__(L.RReLU(lower, upper, inplace))

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")
