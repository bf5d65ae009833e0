"""Sampling at given places: values of a grid between its points, and grids of places from affine maps."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import as_array, check_same_dtype, refusal

# A tap: the index along one axis, as a float that may lie outside it, and its weight.
Tap = tuple[jax.Array, jax.Array]


def grid_sample(
    input: jax.Array,
    grid: jax.Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> jax.Array:
    """Reads ``input`` at the places of ``grid``: ``y[n, :, o] = input[n, :, grid[n, o]]``, interpolated.

    Args:
        input: ``(N, C, H, W)`` or ``(N, C, D, H, W)``, floating.
        grid: ``(N, H', W', 2)`` or ``(N, D', H', W', 3)``: x, y (and z) in ``[-1, 1]``, x along the *last* axis.
        mode: ``"bilinear"`` (trilinear in 5-D), ``"nearest"`` (halves to even) or ``"bicubic"`` (a = -0.75, 4-D only).
        padding_mode: what lies outside: ``"zeros"``, ``"border"`` (the nearest element) or ``"reflection"``.
        align_corners: -1 and 1 are the centres of the corner elements; otherwise (None is False) their outer edges.

    Returns:
        ``(N, C, H', W')`` or ``(N, C, D', H', W')``, in the dtype of ``input``, computed in float32 at least. A NaN
        in ``grid`` gives NaN.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: shapes, mode or padding_mode do not fit.

    Torch:
        ``torch.nn.functional.grid_sample``, differs in that a NaN in ``grid`` gives NaN in every mode and rank, and
        that ``align_corners=None`` does not warn.
    """
    input, grid = as_array("grid_sample", "input", input), as_array("grid_sample", "grid", grid)
    _check_sample(input, grid, mode, padding_mode)
    acc = jnp.promote_types(input.dtype, jnp.float32)
    x, places = input.astype(acc), grid.astype(acc)
    pad = partial(_pad, padding_mode=padding_mode, align=bool(align_corners))
    sizes = input.shape[2:]
    # grid holds x first, the axes of input end with it
    axes = [_unnormalise(places[..., -1 - i], n, bool(align_corners)) for i, n in enumerate(sizes)]
    if mode != "bicubic":
        axes = [pad(p, n) for p, n in zip(axes, sizes, strict=True)]
    taps = [_TAPS[mode](p) for p in axes]
    if mode == "bicubic":  # it is the taps that reflect or stop at the border here
        taps = [[(pad(k, n), w) for k, w in axis] for axis, n in zip(taps, sizes, strict=True)]
    y = sum(_read(x, combination) for combination in itertools.product(*taps))
    lost = jnp.isnan(jnp.stack(axes)).any(axis=0)[:, None]  # (N, 1, *out)
    return jnp.where(lost, jnp.nan, y).astype(input.dtype)


def affine_grid(theta: jax.Array, size: Sequence[int], align_corners: bool | None = None) -> jax.Array:
    """Maps the places of an output to places of an input: ``grid[n, h, w] = θ[n] (x_w, y_h, 1)ᵀ``.

    Args:
        theta: ``(N, 2, 3)`` or ``(N, 3, 4)``, floating.
        size: ``(N, C, H, W)`` or ``(N, C, D, H, W)`` of the output.
        align_corners: as `grid_sample` takes it.

    Returns:
        ``(N, H, W, 2)`` or ``(N, D, H, W, 3)``, in the dtype of ``theta``, for `grid_sample`.

    Errors:
        TypeError: ``theta`` is not floating, ``size`` is no tuple of integers.
        ValueError: the shapes do not fit; a size is not positive.

    Torch:
        ``torch.nn.functional.affine_grid``, differs in that ``align_corners`` does not warn, that half precisions
        are taken on every device, and that N may be 0.
    """
    theta = as_array("affine_grid", "theta", theta)
    _check_affine(theta, size)
    spatial = [int(n) for n in size[2:]]
    acc = jnp.promote_types(theta.dtype, jnp.float32)
    t, rank = theta.astype(acc), len(spatial)
    # (N, 1, ..., 1, rank) for each column of θ, and (n,) + (1,) * k for the places along each axis, x first
    columns = [t[..., k].reshape(t.shape[0], *[1] * rank, rank) for k in range(rank + 1)]
    places = [_centres(n, bool(align_corners), acc).reshape(-1, *[1] * (k + 1)) for k, n in enumerate(spatial[::-1])]
    y = sum((column * place for column, place in zip(columns, places, strict=False)), columns[-1])
    return jnp.broadcast_to(y, (t.shape[0], *spatial, rank)).astype(theta.dtype)


def _centres(n: int, align_corners: bool, dtype: jnp.dtype) -> jax.Array:
    if n == 1:
        return jnp.zeros(1, dtype)
    line = jnp.linspace(-1, 1, n, dtype=dtype)
    return line if align_corners else line * ((n - 1) / n)


def _check_sample(input: jax.Array, grid: jax.Array, mode: str, padding_mode: str) -> None:
    op, shapes = "grid_sample", {"input.shape": input.shape, "grid.shape": grid.shape}
    if mode not in _TAPS:
        raise refusal(op, f"mode must be {', '.join(_TAPS)}", {"mode": mode})
    if padding_mode not in ("zeros", "border", "reflection"):
        raise refusal(op, "padding_mode must be zeros, border or reflection", {"padding_mode": padding_mode})
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise refusal(op, "input must be real and floating", {"input.dtype": str(input.dtype)}, kind=TypeError)
    check_same_dtype(op, input=input, grid=grid)
    if input.ndim not in (4, 5) or grid.ndim != input.ndim:
        raise refusal(op, "input and grid must both be 4-D or both 5-D", shapes)
    if grid.shape[-1] != input.ndim - 2:
        raise refusal(op, "the last axis of grid must have one coordinate for each spatial axis of input", shapes)
    if grid.shape[0] != input.shape[0]:
        raise refusal(op, "input and grid must have the same N", shapes)
    if 0 in input.shape[2:]:
        raise refusal(op, "input must have no empty spatial axis", shapes)
    if mode == "bicubic" and input.ndim == 5:
        raise refusal(op, "mode must be bilinear or nearest for a 5-D input", {"mode": mode})


def _check_affine(theta: jax.Array, size: Sequence[int]) -> None:
    op = "affine_grid"
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise refusal(op, "theta must be real and floating", {"theta.dtype": str(theta.dtype)}, kind=TypeError)
    if not isinstance(size, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in size):
        raise refusal(op, "size must be a tuple of integers", {"size": size}, kind=TypeError)
    if len(size) not in (4, 5):
        raise refusal(op, "size must be (N, C, H, W) or (N, C, D, H, W)", {"size": size})
    if theta.shape != (size[0], len(size) - 2, len(size) - 1):
        rule = f"theta must be (N, {len(size) - 2}, {len(size) - 1}) for this size"
        raise refusal(op, rule, {"theta.shape": theta.shape, "size": size})
    if min(size[1:]) <= 0:
        raise refusal(op, "size must be positive", {"size": size})


def _unnormalise(place: jax.Array, n: int, align: bool) -> jax.Array:
    # [-1, 1] to [0, n - 1], or to [-1/2, n - 1/2]
    return (place + 1) / 2 * (n - 1) if align else ((place + 1) * n - 1) / 2


def _pad(p: jax.Array, n: int, padding_mode: str, align: bool) -> jax.Array:
    if padding_mode == "zeros":
        return p
    if padding_mode == "reflection":
        p = _reflect(p, 0, n - 1) if align else _reflect(p, -0.5, n - 0.5)
    # the gradient is 0 at both ends already
    return jnp.where(p <= 0, 0, jnp.where(p >= n - 1, n - 1, p))


def _reflect(p: jax.Array, low: float, high: float) -> jax.Array:
    span = high - low
    if span == 0:
        return jnp.where(jnp.isnan(p), p, 0)
    distance = jnp.where(p < low, low - p, p - low)
    rest, flips = jnp.fmod(distance, span), jnp.floor(distance / span)
    return low + jnp.where(flips % 2 == 0, rest, span - rest)


def _linear_taps(p: jax.Array) -> list[Tap]:
    low = jnp.floor(p)
    return [(low, low + 1 - p), (low + 1, p - low)]


def _nearest_taps(p: jax.Array) -> list[Tap]:
    return [(jnp.round(p), jnp.ones_like(p))]


def _cubic_taps(p: jax.Array) -> list[Tap]:
    # cubic convolution of Keys (1981)
    a, low = -0.75, jnp.floor(p)
    t = p - low

    def inner(x: jax.Array) -> jax.Array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def outer(x: jax.Array) -> jax.Array:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [(low - 1, outer(t + 1)), (low, inner(t)), (low + 1, inner(1 - t)), (low + 2, outer(2 - t))]


_TAPS: dict[str, Callable[[jax.Array], list[Tap]]] = {
    "bilinear": _linear_taps,
    "nearest": _nearest_taps,
    "bicubic": _cubic_taps,
}


def _read(x: jax.Array, taps: Sequence[Tap]) -> jax.Array:
    # x (N, C, *in), one tap (N, *out) for each spatial axis -> its term of the sum (N, C, *out)
    inside, weight, index = jnp.array(True), jnp.ones((), x.dtype), jnp.zeros((), jnp.int32)
    for (k, w), n in zip(taps, x.shape[2:], strict=True):
        here = (k >= 0) & (k <= n - 1)
        inside, weight = inside & here, weight * w
        index = index * n + jnp.where(here, k, 0).astype(jnp.int32)  # row-major, into the flattened spatial axes
    values = jax.vmap(_pick)(x.reshape(*x.shape[:2], -1), index)
    # what lies outside is 0 whatever its weight, a NaN or inf in its stead must not enter
    return jnp.where(inside[:, None], values, 0) * jnp.where(inside, weight, 0)[:, None]


def _pick(x: jax.Array, index: jax.Array) -> jax.Array:
    # x (C, S), index (*out) -> (C, *out)
    return x.at[:, index].get(mode="promise_in_bounds", wrap_negative_indices=False)
