"""Convolution modules: adapters of purenn.layers.conv."""

from typing import Any

from purenn import layers as L
from stateful.module import Module


class _Kernels(Module):
    transposed = False

    def extra_repr(self) -> str:
        """As torch prints it."""
        ones, zeros = (1,) * len(self.kernel_size), (0,) * len(self.kernel_size)
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != zeros else ""
        text += f", dilation={self.dilation}" if self.dilation != ones else ""
        text += f", output_padding={self.output_padding}" if self.transposed and self.output_padding != zeros else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += ", bias=False" if self.bias is None else ""
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class _ConvNd(_Kernels):
    @property
    def output_padding(self) -> tuple[int, ...]:
        """Zeros; it means something where the convolution is transposed."""
        return (0,) * len(self.kernel_size)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        options = stride, padding, dilation, groups, bias, padding_mode, dtype
        layer: Any = type(self).pure
        super().__init__(layer(in_channels, out_channels, kernel_size, *options), device=device)


class Conv1d(_ConvNd):
    """Cross-correlation over ``(N, C, L)``; see `purenn.layers.Conv1d`."""

    pure = L.Conv1d


class Conv2d(_ConvNd):
    """Cross-correlation over ``(N, C, H, W)``; see `purenn.layers.Conv2d`."""

    pure = L.Conv2d


class Conv3d(_ConvNd):
    """Cross-correlation over ``(N, C, D, H, W)``; see `purenn.layers.Conv3d`."""

    pure = L.Conv3d


class _ConvTransposeNd(_Kernels):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        options = stride, padding, output_padding, groups, bias, dilation, padding_mode, dtype
        layer: Any = type(self).pure
        super().__init__(layer(in_channels, out_channels, kernel_size, *options), device=device)


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution over ``(N, C, L)``; see `purenn.layers.ConvTranspose1d`."""

    pure = L.ConvTranspose1d


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution over ``(N, C, H, W)``; see `purenn.layers.ConvTranspose2d`."""

    pure = L.ConvTranspose2d


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution over ``(N, C, D, H, W)``; see `purenn.layers.ConvTranspose3d`."""

    pure = L.ConvTranspose3d
