"""Convolutions: one kernel over the spatial rank, and the names of torch over it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
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


class _Kernels(Layer):
    """A bank of kernels; what both directions share."""

    in_channels: int
    out_channels: int
    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    groups: int
    bias: bool
    padding_mode: str
    dtype: Any

    rank: ClassVar[int]
    transposed: ClassVar[bool]
    spatial: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "dilation", "padding")

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_sizes(name, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups)
        if self.groups <= 0:
            raise refusal(name, "groups must be positive", {"groups": self.groups})
        for channels in ("in_channels", "out_channels"):
            if getattr(self, channels) % self.groups:
                got = {channels: getattr(self, channels), "groups": self.groups}
                raise refusal(name, f"{channels} must be divisible by groups", got)
        self._check_padding(name)
        for field in self.spatial:
            if not isinstance(getattr(self, field), str):
                # as torch keeps them: one number per spatial axis
                object.__setattr__(self, field, tuple_of(self.rank, getattr(self, field)))

    def _check_padding(self, name: str) -> None:
        raise NotImplementedError

    def children(self) -> Mapping[str, Any]:
        """``weight`` and ``bias`` (out,), both U(-1/√n, 1/√n) with n elements in ``weight[0]``.

        A ``weight`` is (out, in / groups, *kernel), a transposed one (in, out / groups, *kernel).
        """
        channels = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        shape = (channels[0], channels[1] // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        return {
            "weight": param(init.kaiming_uniform, shape, self.dtype, a=math.sqrt(5)),
            "bias": param(init.uniform, (self.out_channels,), self.dtype, a=-bound, b=bound) if self.bias else None,
        }


@dataclass(frozen=True)
class _ConvNd(_Kernels):
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

    transposed: ClassVar[bool] = False

    def _check_padding(self, name: str) -> None:
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            rule = "padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular'"
            raise refusal(name, rule, {"padding_mode": self.padding_mode})
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise refusal(name, "padding must be numbers, 'same' or 'valid'", {"padding": self.padding})
        if self.padding == "same" and any(stride != 1 for stride in tuple_of(self.rank, self.stride)):
            raise refusal(name, "stride must be 1 with padding='same'", {"stride": self.stride})

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
class _ConvTransposeNd(_Kernels):
    in_channels: int
    out_channels: int
    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: int = 1
    bias: bool = True
    dilation: Any = 1
    padding_mode: str = "zeros"
    dtype: Any = None

    transposed: ClassVar[bool] = True
    spatial: ClassVar[tuple[str, ...]] = (*_Kernels.spatial, "output_padding")

    def _check_padding(self, name: str) -> None:
        if self.padding_mode != "zeros":
            raise refusal(name, "padding_mode must be 'zeros'", {"padding_mode": self.padding_mode})
        if isinstance(self.padding, str):
            raise refusal(name, "padding must be numbers", {"padding": self.padding})

    def forward(self, m: Any, input: jax.Array, output_size: Sequence[int] | None = None) -> jax.Array:
        """``(N, C_in, *spatial) -> (N, C_out, *spatial)``, or without N; ``output_size`` chooses the output padding."""
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        extra = self.output_padding if output_size is None else self._extra(jnp.shape(input), tuple(output_size))
        return conv(input, m.weight, m.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives this size: what the stride leaves open."""
        name, rank = type(self).__name__, self.rank
        if len(shape) not in (rank + 1, rank + 2):
            rule = f"input must be {rank + 2}-D, or {rank + 1}-D without a batch"
            raise refusal(name, rule, {"input.shape": shape})
        if len(size) not in (rank, len(shape)):
            rule = f"output_size must have {rank} or {len(shape)} numbers"
            raise refusal(name, rule, {"output_size": size, "input.shape": shape})
        steps = zip(shape[-rank:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in steps]
        extra = tuple(have - want for have, want in zip(size[-rank:], least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise refusal(name, f"output_size must be from {least} to {most}", {"output_size": size[-rank:]})
        return extra


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


@dataclass(frozen=True)
class ConvTranspose1d(_ConvTransposeNd):
    """Adds up a kernel at each element of ``(N, C_in, L)``: the transpose of the linear map that `Conv1d` is.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or a tuple of one.
        stride: distance of the kernels in the output.
        padding: what is cut from both sides of the output.
        output_padding: what is added to the far side again, less than the stride.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        dilation: distance of the kernel's elements.
        padding_mode: ``"zeros"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.ConvTranspose1d``, identical.
    """

    rank: ClassVar[int] = 1


@dataclass(frozen=True)
class ConvTranspose2d(_ConvTransposeNd):
    """Adds up a kernel at each element of ``(N, C_in, H, W)``: the transpose of the linear map that `Conv2d` is.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or ``(height, width)``.
        stride: distance of the kernels in the output.
        padding: what is cut from both sides of each axis of the output.
        output_padding: what is added to the far side again, less than the stride.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        dilation: distance of the kernel's elements.
        padding_mode: ``"zeros"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.ConvTranspose2d``, identical.
    """

    rank: ClassVar[int] = 2


@dataclass(frozen=True)
class ConvTranspose3d(_ConvTransposeNd):
    """Adds up a kernel at each element of ``(N, C_in, D, H, W)``: the transpose of the linear map that `Conv3d` is.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: a number, or ``(depth, height, width)``.
        stride: distance of the kernels in the output.
        padding: what is cut from both sides of each axis of the output.
        output_padding: what is added to the far side again, less than the stride.
        groups: blocks of channels that do not see each other.
        bias: whether one is added.
        dilation: distance of the kernel's elements.
        padding_mode: ``"zeros"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.ConvTranspose3d``, identical.
    """

    rank: ClassVar[int] = 3
