"""Convolutions: one kernel over the spatial rank, and the names of torch over it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
from purenn.model import Layer, param


def tuple_of(rank: int, value: Any) -> tuple[int, ...]:
    """Repeats a number over the spatial axes.

    Args:
        rank: number of spatial axes.
        value: a number, or one per axis.

    Returns:
        One number per axis.
    """
    return (int(value),) * rank if isinstance(value, (int, np.integer)) else tuple(value)


@dataclass(frozen=True)
class _ConvNd(Layer):
    in_channels: int
    out_channels: int
    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    dtype: Any = None

    rank: ClassVar[int]
    transposed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_sizes(name, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups)
        if self.groups <= 0:
            raise refusal(name, "groups must be positive", {"groups": self.groups})
        for channels in ("in_channels", "out_channels"):
            if getattr(self, channels) % self.groups:
                got = {channels: getattr(self, channels), "groups": self.groups}
                raise refusal(name, f"{channels} must be divisible by groups", got)
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            rule = "padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular'"
            raise refusal(name, rule, {"padding_mode": self.padding_mode})
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise refusal(name, "padding must be numbers, 'same' or 'valid'", {"padding": self.padding})
        if self.padding == "same" and any(stride != 1 for stride in tuple_of(self.rank, self.stride)):
            raise refusal(name, "stride must be 1 with padding='same'", {"stride": self.stride})
        for field in ("kernel_size", "stride", "dilation", "padding"):
            if not isinstance(getattr(self, field), str):
                # as torch keeps them: one number per spatial axis
                object.__setattr__(self, field, tuple_of(self.rank, getattr(self, field)))

    def children(self) -> Mapping[str, Any]:
        """``weight`` (out, in / groups, *kernel) and ``bias`` (out,), both U(-1/√fan_in, 1/√fan_in)."""
        channels = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        shape = (channels[0], channels[1] // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        return {
            "weight": param(init.kaiming_uniform, shape, self.dtype, a=math.sqrt(5)),
            "bias": param(init.uniform, (self.out_channels,), self.dtype, a=-bound, b=bound) if self.bias else None,
        }

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(N, C_in, *spatial) -> (N, C_out, *spatial)``, or without N."""
        conv = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._pads(), mode=self.padding_mode), 0
        return conv(input, m.weight, m.bias, self.stride, padding, self.dilation, self.groups)

    def _pads(self) -> tuple[int, ...]:
        """The amounts F.pad wants: last axis first, before and after."""
        if self.padding == "valid":
            return (0,) * (2 * self.rank)
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple(amount for total in reversed(totals) for amount in (total // 2, total - total // 2))
        return tuple(amount for amount in reversed(self.padding) for _ in range(2))


@dataclass(frozen=True)
class Conv1d(_ConvNd):
    """Cross-correlates ``(N, C_in, L)`` with a bank of kernels.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or a tuple of one.
        stride: of the output.
        padding: a number on both sides, ``"same"`` or ``"valid"``.
        dilation: distance of the kernel's elements.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.Conv1d``, identical.
    """

    rank: ClassVar[int] = 1


@dataclass(frozen=True)
class Conv2d(_ConvNd):
    """Cross-correlates ``(N, C_in, H, W)`` with a bank of kernels.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or ``(height, width)``.
        stride: of the output.
        padding: numbers on both sides of each axis, ``"same"`` or ``"valid"``.
        dilation: distance of the kernel's elements.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.Conv2d``, identical.
    """

    rank: ClassVar[int] = 2


@dataclass(frozen=True)
class Conv3d(_ConvNd):
    """Cross-correlates ``(N, C_in, D, H, W)`` with a bank of kernels.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or ``(depth, height, width)``.
        stride: of the output.
        padding: numbers on both sides of each axis, ``"same"`` or ``"valid"``.
        dilation: distance of the kernel's elements.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.Conv3d``, identical.
    """

    rank: ClassVar[int] = 3
