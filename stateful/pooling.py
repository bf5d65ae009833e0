"""Pooling, as modules: functions of purenn.functional, and adapters of purenn.layers.pooling."""

from collections.abc import Sequence
from typing import Any, ClassVar

from purenn import layers as L
from purenn.layers.conv import tuple_of
from stateful.functional_module import Functional
from stateful.module import Module

Sizes = int | Sequence[int]

_WINDOW = "kernel_size={kernel_size}, stride={stride}, padding={padding}"
_MAX = f"{_WINDOW}, dilation={{dilation}}, ceil_mode={{ceil_mode}}"
_NORM = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"


class _Windows(Functional):
    """Windows that lie side by side unless a stride is given."""

    kernel_size: Sizes
    stride: Sizes | None

    def __post_init__(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class _Tuples(_Windows):
    """Windows whose options torch keeps as tuples."""

    rank: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kernel_size", "stride", "padding"):
            setattr(self, name, tuple_of(self.rank, getattr(self, name)))


class MaxPool1d(_Windows, function="max_pool1d", prints=_MAX):
    """Largest element of each window of ``(N, C, L)``; see `purenn.functional.max_pool1d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False


class MaxPool2d(_Windows, function="max_pool2d", prints=_MAX):
    """Largest element of each window of ``(N, C, H, W)``; see `purenn.functional.max_pool2d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False


class MaxPool3d(_Windows, function="max_pool3d", prints=_MAX):
    """Largest element of each window of ``(N, C, D, H, W)``; see `purenn.functional.max_pool3d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False


class _Unpool(_Tuples):
    def forward(self, input: Any, indices: Any, output_size: Sequence[int] | None = None) -> Any:
        """Puts elements back where they were found.

        Args:
            input: the maxima.
            indices: their positions, in the same shape.
            output_size: shape of the result, where the options leave a choice.

        Returns:
            Zeros around them.
        """
        return super().forward(input, indices, output_size=output_size)


class MaxUnpool1d(_Unpool, function="max_unpool1d", prints=_WINDOW):
    """Undoes `MaxPool1d`; see `purenn.functional.max_unpool1d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0

    rank = 1


class MaxUnpool2d(_Unpool, function="max_unpool2d", prints=_WINDOW):
    """Undoes `MaxPool2d`; see `purenn.functional.max_unpool2d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0

    rank = 2


class MaxUnpool3d(_Unpool, function="max_unpool3d", prints=_WINDOW):
    """Undoes `MaxPool3d`; see `purenn.functional.max_unpool3d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0

    rank = 3


class AvgPool1d(_Tuples, function="avg_pool1d", prints=_WINDOW):
    """Mean of each window of ``(N, C, L)``; see `purenn.functional.avg_pool1d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    rank = 1


class AvgPool2d(_Windows, function="avg_pool2d", prints=_WINDOW):
    """Mean of each window of ``(N, C, H, W)``; see `purenn.functional.avg_pool2d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class AvgPool3d(_Windows, function="avg_pool3d", prints=_WINDOW):
    """Mean of each window of ``(N, C, D, H, W)``; see `purenn.functional.avg_pool3d`."""

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class LPPool1d(Functional, function="lp_pool1d", prints=_NORM):
    """p-norm of each window of ``(N, C, L)``; see `purenn.functional.lp_pool1d`."""

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False


class LPPool2d(Functional, function="lp_pool2d", prints=_NORM):
    """p-norm of each window of ``(N, C, H, W)``; see `purenn.functional.lp_pool2d`."""

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False


class LPPool3d(Functional, function="lp_pool3d", prints=_NORM):
    """p-norm of each window of ``(N, C, D, H, W)``; see `purenn.functional.lp_pool3d`."""

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False


class AdaptiveAvgPool1d(Functional, function="adaptive_avg_pool1d", prints="output_size={output_size}"):
    """Mean of as many windows as asked for; see `purenn.functional.adaptive_avg_pool1d`."""

    output_size: Any


class AdaptiveAvgPool2d(Functional, function="adaptive_avg_pool2d", prints="output_size={output_size}"):
    """Mean of as many windows as asked for; see `purenn.functional.adaptive_avg_pool2d`."""

    output_size: Any


class AdaptiveAvgPool3d(Functional, function="adaptive_avg_pool3d", prints="output_size={output_size}"):
    """Mean of as many windows as asked for; see `purenn.functional.adaptive_avg_pool3d`."""

    output_size: Any


class AdaptiveMaxPool1d(Functional, function="adaptive_max_pool1d", prints="output_size={output_size}"):
    """Maxima of as many windows as asked for; see `purenn.functional.adaptive_max_pool1d`."""

    output_size: Any
    return_indices: bool = False


class AdaptiveMaxPool2d(Functional, function="adaptive_max_pool2d", prints="output_size={output_size}"):
    """Maxima of as many windows as asked for; see `purenn.functional.adaptive_max_pool2d`."""

    output_size: Any
    return_indices: bool = False


class AdaptiveMaxPool3d(Functional, function="adaptive_max_pool3d", prints="output_size={output_size}"):
    """Maxima of as many windows as asked for; see `purenn.functional.adaptive_max_pool3d`."""

    output_size: Any
    return_indices: bool = False


class _Fractional(Module):
    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ):
        layer: Any = type(self).pure
        super().__init__(layer(kernel_size, output_size, output_ratio, return_indices, _random_samples))


class FractionalMaxPool2d(_Fractional):
    """Maxima of windows at random distances; see `purenn.layers.FractionalMaxPool2d`."""

    pure = L.FractionalMaxPool2d


class FractionalMaxPool3d(_Fractional):
    """Maxima of windows at random distances; see `purenn.layers.FractionalMaxPool3d`."""

    pure = L.FractionalMaxPool3d
