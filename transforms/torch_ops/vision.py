"""Pooling, interpolation, grids and patches: whole, as purenn.functional has them."""

from collections.abc import Callable
from typing import Any

import purenn.functional as F
from transforms.torch_ops.promotion import lengths
from transforms.torch_ops.registry import register_op


def _pooled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Torch's operators say an empty stride where its functions say none."""

    def pooled(self: Any, kernel_size: Any, stride: Any = (), *options: Any, **kwargs: Any) -> Any:
        return fn(self, kernel_size, stride or None, *options, **kwargs)

    return pooled


for _n, _average, _maximum, _indexed in (
    (1, F.avg_pool1d, F.max_pool1d, F.max_pool1d_with_indices),
    (2, F.avg_pool2d, F.max_pool2d, F.max_pool2d_with_indices),
    (3, F.avg_pool3d, F.max_pool3d, F.max_pool3d_with_indices),
):
    register_op(f"aten.avg_pool{_n}d.default")(_pooled(_average))
    register_op(f"aten.max_pool{_n}d.default")(_pooled(_maximum))
    register_op(f"aten.max_pool{_n}d_with_indices.default")(_pooled(_indexed))


def _adaptive(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, output_size: fn(self, lengths(output_size))


register_op("aten.adaptive_avg_pool1d.default")(_adaptive(F.adaptive_avg_pool1d))
register_op("aten.adaptive_avg_pool2d.default", "aten._adaptive_avg_pool2d.default")(_adaptive(F.adaptive_avg_pool2d))
register_op("aten.adaptive_avg_pool3d.default", "aten._adaptive_avg_pool3d.default")(_adaptive(F.adaptive_avg_pool3d))
register_op("aten.adaptive_max_pool1d.default")(_adaptive(F.adaptive_max_pool1d_with_indices))
register_op("aten.adaptive_max_pool2d.default")(_adaptive(F.adaptive_max_pool2d_with_indices))
register_op("aten.adaptive_max_pool3d.default")(_adaptive(F.adaptive_max_pool3d_with_indices))


@register_op("aten.max_unpool2d.default")
def _max_unpool2d(self: Any, indices: Any, output_size: Any) -> Any:
    # the output's size is given, so kernel and stride say nothing
    return F.max_unpool2d(self, indices, *_unpooling(self, output_size, 2), output_size=lengths(output_size))


@register_op("aten.max_unpool3d.default")
def _max_unpool3d(self: Any, indices: Any, output_size: Any, stride: Any, padding: Any) -> Any:
    return F.max_unpool3d(self, indices, stride, stride, padding, output_size=lengths(output_size))


def _unpooling(self: Any, output_size: Any, rank: int) -> tuple[Any, Any]:
    """A kernel and a stride that would give this size."""
    sizes = [max(want - (have - 1), 1) for want, have in zip(output_size, self.shape[-rank:], strict=True)]
    return sizes, [1] * rank


@register_op("aten.fractional_max_pool2d.default")
def _fractional_max_pool2d(self: Any, kernel_size: Any, output_size: Any, random_samples: Any) -> Any:
    return F.fractional_max_pool2d_with_indices(self, kernel_size, output_size, _random_samples=random_samples)


@register_op("aten.fractional_max_pool3d.default")
def _fractional_max_pool3d(self: Any, kernel_size: Any, output_size: Any, random_samples: Any) -> Any:
    return F.fractional_max_pool3d_with_indices(self, kernel_size, output_size, _random_samples=random_samples)


def _sized(mode: str) -> Callable[..., Any]:
    """Interpolation that has no corners to align."""

    def resize(input: Any, output_size: Any = None, scale_factors: Any = None) -> Any:  # torch's name
        size = None if output_size is None else list(lengths(output_size))
        return F.interpolate(input, size, None if size is not None else scale_factors, mode)

    return resize


def _aligned(mode: str, antialias: bool = False) -> Callable[..., Any]:
    def resize(input: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
        size = None if output_size is None else list(lengths(output_size))
        factors = None if size is not None else scale_factors
        return F.interpolate(input, size, factors, mode, align_corners, antialias=antialias)

    return resize


def _scaled(resize: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The overloads that are given a size, and the factors it came from, which then place the samples."""

    def sized(input: Any, output_size: Any, *options: Any, **named: Any) -> Any:  # torch's name
        named = dict(named)
        factors = [*options[at:], *(named.pop(name) for name in [*named] if name.startswith("scales"))]
        if factors and all(factor is not None for factor in factors):
            spatial = input.shape[-len(factors) :]
            if [int(n * f) for n, f in zip(spatial, factors, strict=True)] == list(output_size):
                return resize(input, None, *options[:at], **named, scale_factors=factors)
        return resize(input, output_size, *options[:at], **named)

    return sized


for _n in (1, 2, 3):
    register_op(f"aten.upsample_nearest{_n}d.vec")(_sized("nearest"))
    register_op(f"aten.upsample_nearest{_n}d.default")(_scaled(_sized("nearest"), 0))
    register_op(f"aten._upsample_nearest_exact{_n}d.vec")(_sized("nearest-exact"))
    register_op(f"aten._upsample_nearest_exact{_n}d.default")(_scaled(_sized("nearest-exact"), 0))
for _name, _mode, _smooth in (
    ("upsample_linear1d", "linear", False), ("upsample_bilinear2d", "bilinear", False),
    ("upsample_trilinear3d", "trilinear", False), ("upsample_bicubic2d", "bicubic", False),
    ("_upsample_bilinear2d_aa", "bilinear", True), ("_upsample_bicubic2d_aa", "bicubic", True),
):  # fmt: skip
    register_op(f"aten.{_name}.vec")(_aligned(_mode, _smooth))
    register_op(f"aten.{_name}.default")(_scaled(_aligned(_mode, _smooth), 1))


@register_op("aten.grid_sampler.default", "aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def _grid_sampler(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return F.grid_sample(input, grid, mode, ("zeros", "border", "reflection")[padding_mode], align_corners)


@register_op("aten.affine_grid_generator.default")
def _affine_grid(theta: Any, size: Any, align_corners: bool) -> Any:
    return F.affine_grid(theta, list(lengths(size)), align_corners)


@register_op("aten.im2col.default")
def _im2col(self: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return F.unfold(self, kernel_size, dilation, padding, stride)


@register_op("aten.col2im.default")
def _col2im(self: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return F.fold(self, lengths(output_size), kernel_size, dilation, padding, stride)


register_op("aten.pixel_shuffle.default")(F.pixel_shuffle)
register_op("aten.pixel_unshuffle.default")(F.pixel_unshuffle)
register_op("aten.channel_shuffle.default")(F.channel_shuffle)
register_op("aten.native_channel_shuffle.default")(F.native_channel_shuffle)


def _padded(mode: str) -> Callable[..., Any]:
    return lambda self, padding: F.pad(self, lengths(padding), mode)


for _n in (1, 2, 3):
    register_op(f"aten.reflection_pad{_n}d.default")(_padded("reflect"))
    register_op(f"aten.replication_pad{_n}d.default")(_padded("replicate"))
