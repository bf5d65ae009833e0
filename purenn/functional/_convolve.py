"""The kernels below every convolution: `correlate` and its transpose `scatter`, `windows` and its transpose `overlap`.

The first two are one XLA convolution each, and on accelerators nothing else. Some of them XLA compiles badly for the
CPU: weight gradients of grouped, pointwise and strided transposed convolutions, and whatever is depthwise or
three-dimensional, take 3 to 500 times as long as the same sum spelled as products, or as convolutions that it compiles
well (benchmarks/conv.py measures them). There, for floating dtypes, the sum is spelled so, accumulated in float32.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

_MOST_TERMS = 32  # a sum is spelled out only to so many terms: each has to be compiled
# One program when called outside a trace; inlined, and traced once for equal shapes, inside one.
_one_program = functools.partial(jax.jit, inline=True)


@functools.partial(_one_program, static_argnames=("stride", "pads", "dilation", "groups"))
def correlate(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    """Slides the weights over the input: ``y[n, o, i] = Σ_{c, k} w[o, c, k] x[n, c, s i + d k - p]``.

    Args:
        x: ``(N, C, *spatial)``.
        w: ``(O, C / groups, *kernel)``, of the same dtype.
        stride: step ``s``; for each axis, as all options here.
        pads: zeros before and after; negative ones cut.
        dilation: distance ``d`` of the elements of the window.
        groups: number of groups of channels.

    Returns:
        ``(N, O, *spatial_out)``, in the same dtype.
    """
    kernel = w.shape[2:]
    if not _is_spelled_out(x):
        return _as_convolution(x, w, stride, pads, dilation, groups)
    if groups == 1 and max(kernel) == 1:
        return _as_product(x, w, stride, pads)
    if groups == x.shape[1] > 1 and math.prod(kernel) <= _MOST_TERMS:
        return _as_taps(x, w, stride, pads, dilation)
    if 1 < groups <= _MOST_TERMS:
        return _as_groups(x, w, stride, pads, dilation, groups)
    if len(kernel) == 3 and kernel[0] <= _MOST_TERMS:
        return _as_planes(x, w, stride, pads, dilation, groups)
    return _as_convolution(x, w, stride, pads, dilation, groups)


@functools.partial(_one_program, static_argnames=("stride", "pads", "dilation", "groups"))
def scatter(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    """Adds up one window for each element: ``y[n, o, s i + d k - p] += w[c, o, k] x[n, c, i]``.

    Args:
        x: ``(N, C, *spatial)``.
        w: ``(C, O / groups, *kernel)``, of the same dtype.
        stride: step ``s``; for each axis, as all options here.
        pads: elements cut before and after; negative ones are added.
        dilation: distance ``d`` of the elements of the window.
        groups: number of groups of channels.

    Returns:
        ``(N, O, *spatial_out)``, in the same dtype.
    """
    if max(stride) > 1 and _is_spelled_out(x):
        return _as_overlap(x, w, stride, pads, dilation, groups)
    # (g·I, O, *k) -> (g, I, O, *k) -> (g, O, I, *k) -> (g·O, I, *k), every k reversed
    grouped = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
    back = lax.rev(grouped.reshape(-1, *grouped.shape[2:]), range(2, w.ndim))
    reach = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
    around = tuple((r - low, r - high) for r, (low, high) in zip(reach, pads, strict=True))
    if max(stride) == 1:
        return correlate(x, back, stride, around, dilation, groups)
    # The elements of x, set apart by the stride, meet the kernel backwards: summing over windows is the scatter.
    ones = (1,) * len(stride)
    return lax.conv_general_dilated(x, back, ones, around, stride, dilation, feature_group_count=groups)


@functools.partial(_one_program, static_argnames=("axis", "k", "stride", "pads", "dilation"))
def windows(x: jax.Array, axis: int, k: int, stride: int, pads: tuple[int, int], dilation: int) -> jax.Array:
    """Gives an axis a neighbour: ``y[..., k, i, ...] = x[..., s i + d k - p, ...]``.

    Args:
        x: any shape.
        axis: the axis to look through.
        k: elements of the window.
        stride: step ``s`` of the window.
        pads: zeros before and after.
        dilation: distance ``d`` of the elements of the window.

    Returns:
        ``(..., k, out, ...)``, the window in front of its position.
    """
    x = _pad(x, axis, (pads,))
    last = x.shape[axis] - dilation * (k - 1)
    return jnp.stack([lax.slice_in_dim(x, i * dilation, i * dilation + last, stride, axis) for i in range(k)], axis)


@functools.partial(_one_program, static_argnames=("axis", "size", "stride", "low", "dilation"))
def overlap(x: jax.Array, axis: int, size: int, stride: int, low: int, dilation: int) -> jax.Array:
    """Transposes `windows`: ``y[..., s i + d k - p, ...] += x[..., k, i, ...]``.

    Args:
        x: ``(..., k, out, ...)``.
        axis: the axis of the windows; the next one is that of their positions.
        size: length of the axis that they give together.
        stride: step ``s`` of the window.
        low: elements ``p`` cut before; what lies beyond ``size`` is cut as well.
        dilation: distance ``d`` of the elements of the window.

    Returns:
        ``(..., size, ...)``, in the same dtype, which the sum is in, too.
    """
    k, out = x.shape[axis : axis + 2]

    def place(i: int) -> jax.Array:
        before = i * dilation - low
        after = size - before - (out - 1) * stride - 1
        return _pad(lax.index_in_dim(x, i, axis, keepdims=False), axis, ((before, after),), stride - 1)

    return sum(map(place, range(1, k)), place(0))


def _as_convolution(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    return lax.conv_general_dilated(x, w, stride, pads, rhs_dilation=dilation, feature_group_count=groups)


def _as_product(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads) -> jax.Array:
    x = _pad(x, 2, pads)
    x = lax.slice(x, (0,) * x.ndim, x.shape, (1, 1, *stride))
    y = jnp.einsum("oc,nc...->no...", _wide(w.reshape(w.shape[:2])), _wide(x))
    return y.astype(x.dtype)


def _as_taps(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints) -> jax.Array:
    # depthwise: (N, C, 1, *out) times (C, m, *1), for every element of the window
    kernel, ones = w.shape[2:], (1,) * len(stride)
    padded = _wide(_pad(x, 2, pads))[:, :, None]
    weights = _wide(w).reshape(x.shape[1], -1, *kernel)
    span = [n - d * (k - 1) for n, d, k in zip(padded.shape[3:], dilation, kernel, strict=True)]

    def tap(at: tuple[int, ...]) -> jax.Array:
        start = [i * d for i, d in zip(at, dilation, strict=True)]
        stop = [a + n for a, n in zip(start, span, strict=True)]
        seen = lax.slice(padded, (0, 0, 0, *start), (*padded.shape[:3], *stop), (1, 1, 1, *stride))
        return seen * weights[(..., *at)].reshape(*weights.shape[:2], *ones)

    y = functools.reduce(jnp.add, map(tap, itertools.product(*map(range, kernel))))
    return y.reshape(x.shape[0], w.shape[0], *y.shape[3:]).astype(x.dtype)


def _as_groups(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    pairs = zip(jnp.split(x, groups, 1), jnp.split(w, groups), strict=True)
    return jnp.concatenate([correlate(a, b, stride, pads, dilation, 1) for a, b in pairs], 1)


def _as_planes(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    # (N, C, D, H, W) -> (N, D, C, H, W) -> (N, kD, D', C, H, W) -> (kD, N, D', C, H, W), a sum over kD
    depth = windows(_wide(x).swapaxes(1, 2), 1, w.shape[2], stride[0], pads[0], dilation[0]).swapaxes(0, 1)
    planes = [
        correlate(a.reshape(math.prod(a.shape[:2]), *a.shape[2:]), b, stride[1:], pads[1:], dilation[1:], groups)
        for a, b in zip(depth, jnp.moveaxis(_wide(w), 2, 0), strict=True)
    ]
    y = functools.reduce(jnp.add, planes)
    return y.reshape(*depth.shape[1:3], *y.shape[1:]).swapaxes(1, 2).astype(x.dtype)


def _as_overlap(x: jax.Array, w: jax.Array, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> jax.Array:
    kernel, extent, rank = w.shape[2:], x.shape[2:], len(stride)
    left = _wide(w).reshape(groups, -1, w.shape[1], math.prod(kernel))
    right = _wide(x).reshape(x.shape[0], groups, -1, math.prod(extent))
    y = jnp.einsum("gcok,ngcl->ngokl", left, right).reshape(x.shape[0], -1, *kernel, *extent)
    # (N, O, kH, kW, H, W) -> (N, O, kH, H, kW, W) -> (N, O, kH, H, W_out) -> (N, O, H_out, W_out)
    y = y.transpose(0, 1, *(a for i in range(rank) for a in (2 + i, 2 + rank + i)))
    for i in reversed(range(rank)):
        size = stride[i] * (extent[i] - 1) + dilation[i] * (kernel[i] - 1) + 1 - sum(pads[i])
        y = overlap(y, 2 + 2 * i, size, stride[i], pads[i][0], dilation[i])
    return y.astype(x.dtype)


def _is_spelled_out(x: jax.Array) -> bool:
    return jax.default_backend() == "cpu" and x.size > 0 and jnp.issubdtype(x.dtype, jnp.floating)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pad(x: jax.Array, axis: int, pads: Pads, between: int = 0) -> jax.Array:
    # lax.pad rather than jnp.pad: it cuts as well, and sets apart
    config = [(0, 0, 0)] * axis + [(low, high, between) for low, high in pads]
    config += [(0, 0, 0)] * (x.ndim - len(config))
    return lax.pad(x, jnp.zeros((), x.dtype), config)
