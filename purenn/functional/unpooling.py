"""Max unpooling: maxima back at their places, zeros elsewhere."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.checks import valid_index
from purenn.errors import as_array, check_floating, refusal
from purenn.functional._windows import check_input, per_axis
from purenn.functional.pooling import Ints


def max_unpool1d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> jax.Array:
    """Puts each element at its place in a larger array of zeros: ``y[indices] = input``, over the flattened L.

    Where several have the same place, one of them is kept and all get its gradient.

    Args:
        input: ``(N, C, L)``, or without N; floating.
        indices: the positions that ``max_pool1d(..., return_indices=True)`` returns, in the shape of ``input``.
        kernel_size: length of the window that was pooled, an integer or one per axis.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: what was padded.
        output_size: lengths of the result, or its whole shape; ``(n - 1) stride - 2 padding + kernel_size`` by
            default, and less than one ``stride`` away from that.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or ``indices`` or an option are no integers.
        ValueError: the shapes, or ``output_size``.
        IndexError: an index out of range, outside a trace; in a trace the channel it belongs to becomes NaN.

    Torch:
        ``torch.nn.functional.max_unpool1d``, identical.
    """
    return _max_unpool("max_unpool1d", input, indices, 1, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> jax.Array:
    """Puts each element at its place in a larger array of zeros: ``y[indices] = input``, over the flattened H and W.

    Where several have the same place, one of them is kept and all get its gradient.

    Args:
        input: ``(N, C, H, W)``, or without N; floating.
        indices: the positions that ``max_pool2d(..., return_indices=True)`` returns, in the shape of ``input``.
        kernel_size: length of the window that was pooled, an integer or one per axis.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: what was padded.
        output_size: lengths of the result, or its whole shape; ``(n - 1) stride - 2 padding + kernel_size`` by
            default, and less than one ``stride`` away from that.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or ``indices`` or an option are no integers.
        ValueError: the shapes, or ``output_size``.
        IndexError: an index out of range, outside a trace; in a trace the channel it belongs to becomes NaN.

    Torch:
        ``torch.nn.functional.max_unpool2d``, identical.
    """
    return _max_unpool("max_unpool2d", input, indices, 2, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: tuple[int, ...] | None = None,
) -> jax.Array:
    """Puts each element at its place in a larger array of zeros: ``y[indices] = input``, over the flattened D, H and W.

    Where several have the same place, one of them is kept and all get its gradient.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating.
        indices: the positions that ``max_pool3d(..., return_indices=True)`` returns, in the shape of ``input``.
        kernel_size: length of the window that was pooled, an integer or one per axis.
        stride: distance of the windows, ``kernel_size`` by default.
        padding: what was padded.
        output_size: lengths of the result, or its whole shape; ``(n - 1) stride - 2 padding + kernel_size`` by
            default, and less than one ``stride`` away from that.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or ``indices`` or an option are no integers.
        ValueError: the shapes, or ``output_size``.
        IndexError: an index out of range, outside a trace; in a trace the channel it belongs to becomes NaN.

    Torch:
        ``torch.nn.functional.max_unpool3d``, identical.
    """
    return _max_unpool("max_unpool3d", input, indices, 3, kernel_size, stride, padding, output_size)


def _max_unpool(
    op: str,
    input: jax.Array,
    indices: jax.Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: tuple[int, ...] | None,
) -> jax.Array:
    x, index = check_input(op, input, rank), as_array(op, "indices", indices)
    check_floating(op, "input", x)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise refusal(op, "indices must be integers", {"indices.dtype": str(index.dtype)}, kind=TypeError)
    if index.shape != x.shape:
        got = {"indices.shape": index.shape, "input.shape": x.shape}
        raise refusal(op, "indices must have the shape of input", got)
    sizes = _sizes(op, x.shape[-rank:], kernel_size, stride, padding, output_size)
    places = int(np.prod(sizes))
    flat = (*x.shape[:-rank], int(np.prod(x.shape[-rank:])))  # (N, C, H, W) -> (N, C, H W)
    values, index = x.reshape(flat), valid_index(op, "indices", index, places).reshape(flat)
    out = _scatter(values, index, places)
    out = jnp.where((index >= places).any(-1, keepdims=True), jnp.nan, out)
    return out.reshape(*x.shape[:-rank], *sizes)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _scatter(values: jax.Array, index: jax.Array, places: int) -> jax.Array:
    rows = (int(np.prod(values.shape[:-1])), values.shape[-1])
    out = _place(values.reshape(rows), index.reshape(rows), places)
    return out.reshape(*values.shape[:-1], places)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _place(values: jax.Array, index: jax.Array, places: int) -> jax.Array:
    rows = jnp.arange(values.shape[0])[:, None]
    return jnp.zeros((values.shape[0], places), values.dtype).at[rows, index].set(values, mode="drop")


# Every element has the gradient of its place, also where another one was kept: tangents at one place add up.
@_place.defjvp
def _place_jvp(places: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (values, index), (tangent, _) = primals, tangents
    rows = jnp.arange(values.shape[0])[:, None]
    added = jnp.zeros((values.shape[0], places), values.dtype).at[rows, index].add(tangent, mode="drop")
    return _place(values, index, places), added


def _sizes(
    op: str, spatial: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, ...]:
    rank = len(spatial)
    kernel = per_axis(op, "kernel_size", kernel_size, rank, 1)
    strides = kernel if stride is None else per_axis(op, "stride", stride, rank, 1)
    pads = per_axis(op, "padding", padding, rank)
    default = tuple((n - 1) * s + k - 2 * p for n, k, s, p in zip(spatial, kernel, strides, pads, strict=True))
    if output_size is None:
        sizes = default
    else:
        if not isinstance(output_size, Sequence):
            raise refusal(op, "output_size must be a sequence", {"output_size": output_size}, kind=TypeError)
        sizes = tuple(output_size)[2:] if len(output_size) == rank + 2 else tuple(output_size)
        if len(sizes) != rank:
            got = {"output_size": output_size}
            raise refusal(op, f"output_size must have {rank} or {rank + 2} elements", got)
        if any(abs(m - n) >= s for m, n, s in zip(sizes, default, strides, strict=True)):
            got = {"output_size": output_size, "stride": strides}
            raise refusal(op, f"output_size must be less than one stride away from {default}", got)
    if min(sizes) < 0:
        raise refusal(op, "output_size must not be negative", {"output_size": sizes})
    return sizes
