"""Interpolation: a grid of samples at another resolution."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import as_array, refusal
from purenn.functional import resample as rs

# mode -> the ranks of input it takes
_RANKS = {
    "nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "area": (3, 4, 5),
    "linear": (3,), "bilinear": (4,), "bicubic": (4,), "trilinear": (5,), "lanczos": (4,),
}  # fmt: skip
_KERNELS = {"bilinear": (rs.triangle, 2), "bicubic": (rs.cubic, 4), "lanczos": (rs.lanczos, 6)}
_PICKS = ("nearest", "nearest-exact")


def interpolate(
    input: jax.Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> jax.Array:
    """Resamples the spatial axes: output ``o`` is read at ``(o + 1/2) s - 1/2``, ``s = 1 / scale_factor``.

    Args:
        input: ``(N, C, *)`` with one to three spatial axes, floating; uint8 too for all modes but ``"linear"``,
            ``"trilinear"`` and ``"area"``.
        size: elements of the spatial axes, one number for all or one for each.
        scale_factor: instead of ``size``; an axis then has ``⌊n scale_factor⌋`` elements.
        mode: ``"nearest"`` (at ``⌊o s⌋``), ``"nearest-exact"`` (at ``⌊(o + 1/2) s⌋``), ``"area"`` (adaptive
            averages), ``"linear"``, ``"bilinear"``, ``"trilinear"``, ``"bicubic"`` (a = -0.75, and -0.5 if
            ``antialias``) or ``"lanczos"`` (three lobes, ``antialias`` only).
        align_corners: the centres of the corner elements stay where they are: ``o (n - 1) / (m - 1)``.
        recompute_scale_factor: s is computed from the size of the output, not from ``scale_factor``.
        antialias: the kernel is stretched when an axis shrinks; for 4-D ``"bilinear"``, ``"bicubic"``, ``"lanczos"``.

    Returns:
        ``(N, C, *)`` with the new sizes, in the dtype of ``input``; the weights are applied in float32 at least,
        those of bytes in fixed point.

    Errors:
        TypeError: the dtype of ``input`` or the kind of ``size`` or ``scale_factor`` is not taken.
        ValueError: the options contradict each other, the mode or the shape.

    Torch:
        ``torch.nn.functional.interpolate``, differs in that ``antialias`` takes half precisions on every device.
    """
    x = as_array("interpolate", "input", input)
    _check_mode(x, mode, align_corners, antialias)
    _check_dtype(x, mode)
    sizes, factors = _sizes(x, size, scale_factor, bool(recompute_scale_factor))
    _check_sizes(x, sizes, mode)
    if mode == "area":
        factors = [None] * len(sizes)
    if 0 in sizes:
        return jnp.zeros((*x.shape[:2], *sizes), x.dtype)
    acc = x.dtype if x.dtype == jnp.uint8 else jnp.promote_types(x.dtype, jnp.float32)
    y = x if mode in _PICKS else x.astype(acc)
    for i in _order(x, sizes):
        table = _table(x.shape[2 + i], sizes[i], factors[i], mode, bool(align_corners), antialias, x.dtype)
        if table is not None:
            fixed_point = x.dtype == jnp.uint8 and mode not in _PICKS
            y = (rs.resample_uint8 if fixed_point else rs.resample)(y, 2 + i, table)
    return y.astype(x.dtype)


def upsample(
    input: jax.Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> jax.Array:
    """Returns ``interpolate(input, size, scale_factor, mode, align_corners)``, its newer name.

    Args:
        input: ``(N, C, *)``.
        size: elements of the spatial axes.
        scale_factor: instead of ``size``.
        mode: as `interpolate` takes it.
        align_corners: as `interpolate` takes it.

    Returns:
        ``(N, C, *)`` with the new sizes, in the dtype of ``input``.

    Torch:
        ``torch.nn.functional.upsample``, differs in that it does not warn.
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: jax.Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> jax.Array:
    """Returns ``interpolate(input, size, scale_factor, mode="nearest")``.

    Args:
        input: ``(N, C, *)``.
        size: elements of the spatial axes.
        scale_factor: instead of ``size``.

    Returns:
        ``(N, C, *)`` with the new sizes, in the dtype of ``input``.

    Torch:
        ``torch.nn.functional.upsample_nearest``, differs in that it does not warn.
    """
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(
    input: jax.Array,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> jax.Array:
    """Returns ``interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)``: corners are aligned.

    Args:
        input: ``(N, C, H, W)``.
        size: elements of the spatial axes.
        scale_factor: instead of ``size``.

    Returns:
        ``(N, C, H, W)`` with the new sizes, in the dtype of ``input``.

    Torch:
        ``torch.nn.functional.upsample_bilinear``, differs in that it does not warn.
    """
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _check_mode(x: jax.Array, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _RANKS:
        raise refusal("interpolate", f"mode must be one of {', '.join(_RANKS)}", {"mode": mode})
    if x.ndim not in _RANKS[mode]:
        ranks = ", ".join(f"{rank}-D" for rank in _RANKS[mode])
        raise refusal("interpolate", f"input of mode={mode!r} must be {ranks}", {"input.shape": x.shape})
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise refusal("interpolate", f"align_corners must be None for mode={mode!r}", {"align_corners": align_corners})
    if antialias and mode not in _KERNELS:
        raise refusal("interpolate", f"antialias must be False unless mode is {', '.join(_KERNELS)}", {"mode": mode})
    if mode == "lanczos" and (align_corners or not antialias):
        raise refusal(
            "interpolate",
            "mode='lanczos' must have antialias=True and align_corners=False",
            {"antialias": antialias, "align_corners": align_corners},
        )


def _check_dtype(x: jax.Array, mode: str) -> None:
    bytes_taken = mode not in ("linear", "trilinear", "area")
    if not jnp.issubdtype(x.dtype, jnp.floating) and not (bytes_taken and x.dtype == jnp.uint8):
        kinds = "floating or uint8" if bytes_taken else "floating"
        got = {"input.dtype": str(x.dtype)}
        raise refusal("interpolate", f"input of mode={mode!r} must be {kinds}", got, kind=TypeError)


def _sizes(
    x: jax.Array, size: Any, scale_factor: Any, recompute: bool
) -> tuple[tuple[int, ...], list[float | None] | tuple[float | None, ...]]:
    spatial = x.shape[2:]
    if (size is None) == (scale_factor is None):
        raise refusal(
            "interpolate", "either size or scale_factor must be given", {"size": size, "scale_factor": scale_factor}
        )
    if size is not None:
        if recompute:
            raise refusal("interpolate", "recompute_scale_factor must be left out with a size", {"size": size})
        return tuple(int(n) for n in _each(x, "size", size, (int, np.integer))), [None] * len(spatial)
    factors = _each(x, "scale_factor", scale_factor, (int, float, np.integer, np.floating))
    sizes = tuple(int(n * float(f)) for n, f in zip(spatial, factors, strict=True))
    return sizes, [None if recompute else float(f) for f in factors]


def _each(x: jax.Array, argument: str, value: Any, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    # one value for each spatial axis
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * (x.ndim - 2)
    if any(isinstance(v, bool) or not isinstance(v, kinds) for v in values):
        number = "an integer" if argument == "size" else "a number"
        rule = f"{argument} must be {number}, or a tuple of such"
        raise refusal("interpolate", rule, {argument: value}, kind=TypeError)
    if len(values) != x.ndim - 2:
        rule = f"{argument} must have one value for each spatial axis"
        raise refusal("interpolate", rule, {argument: value, "input.shape": x.shape})
    return values


def _check_sizes(x: jax.Array, sizes: tuple[int, ...], mode: str) -> None:
    if 0 in x.shape[2:] or (mode != "area" and x.shape[1] == 0):
        raise refusal("interpolate", "input must have no empty axis but N", {"input.shape": x.shape})
    if min(sizes) < (0 if mode == "area" else 1):
        raise refusal(
            "interpolate", "the sizes of the output must be positive", {"sizes": sizes, "input.shape": x.shape}
        )


def _order(x: jax.Array, sizes: tuple[int, ...]) -> list[int]:
    if x.dtype == jnp.uint8:  # bytes are rounded after each axis, the last one first
        return list(range(len(sizes)))[::-1]
    # the axis that shrinks most comes first, so that the others have less to do
    return sorted(range(len(sizes)), key=lambda i: sizes[i] / x.shape[2 + i])


def _table(
    size: int, out: int, factor: float | None, mode: str, align_corners: bool, antialias: bool, dtype: jnp.dtype
) -> rs.Table | None:
    """The taps of one axis; None where it stays as it is. Coordinates are computed in the dtype torch takes."""
    wide = dtype == jnp.float64 or (dtype == jnp.uint8 and mode not in _PICKS)
    coordinates = np.dtype(np.float64 if wide else np.float32)
    if mode == "area":
        return rs.area_table(size, out, coordinates)
    scale = rs.step(size, out, factor, align_corners, coordinates)
    if size == out and (scale == 1 or antialias):
        return None
    if mode in _PICKS:
        return rs.nearest_table(size, out, scale, exact=mode == "nearest-exact")
    if antialias:
        return rs.antialias_table(size, out, scale, *_KERNELS[mode])
    if mode == "bicubic":
        return rs.cubic_table(size, out, scale, align_corners)
    return rs.linear_table(size, out, scale, align_corners)
