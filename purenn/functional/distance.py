"""Norms and distances between vectors."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import as_array, refusal


def cosine_similarity(x1: jax.Array, x2: jax.Array, dim: int = 1, eps: float = 1e-8) -> jax.Array:
    """Cosine of the angle between vectors: ``x1 · x2 / (max(‖x1‖₂, eps) max(‖x2‖₂, eps))``.

    Args:
        x1: any shape.
        x2: any shape that broadcasts with ``x1``'s.
        dim: the axis of the vectors, in the common shape.
        eps: least norm; the gradient passes it unchanged.

    Returns:
        The common shape without ``dim``, in the common dtype.

    Errors:
        IndexError: ``dim`` is out of range.
        ValueError: the shapes do not broadcast.
        TypeError: the common dtype is not floating.

    Torch:
        ``torch.nn.functional.cosine_similarity``, identical.
    """
    op = "cosine_similarity"
    x1, x2, dtype = _common(op, x1, x2)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise refusal(op, "x1 and x2 must have a floating dtype in common", {"dtype": str(dtype)}, kind=TypeError)
    axes = canonical_axes(op, dim, x1.ndim)

    def unit(x: jax.Array) -> jax.Array:
        norm = vector_norm(x, 2, axes, keepdims=True)
        # raised to eps as a constant, so that the gradient is that of the norm itself
        return x / (norm + lax.stop_gradient(jnp.where(norm < eps, eps - norm, 0)))

    return (unit(x1) * unit(x2)).sum(axes).astype(dtype)


def pairwise_distance(
    x1: jax.Array, x2: jax.Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> jax.Array:
    """Distance between vectors along the last axis: ``‖x1 - x2 + eps‖_p``.

    Args:
        x1: ``(*, D)``.
        x2: ``(*, D)``, broadcast with ``x1``.
        p: exponent of the norm; 0, infinities and negative ones are taken too.
        eps: added to every difference.
        keepdim: keep the last axis, with length 1.

    Returns:
        ``(*)`` or ``(*, 1)``, in the common floating dtype; the real one if that is complex.

    Errors:
        ValueError: the shapes do not broadcast, or the norm of nothing does not exist.
        TypeError: both are boolean.

    Torch:
        ``torch.nn.functional.pairwise_distance``, identical.
    """
    op = "pairwise_distance"
    x1, x2, dtype = _common(op, x1, x2)
    if dtype == jnp.bool_:
        raise refusal(op, "x1 and x2 must not both be boolean", {"dtype": str(dtype)}, kind=TypeError)
    difference = x1 - x2 + eps
    axes = canonical_axes(op, -1, difference.ndim)
    check_norm(op, difference, p, axes)
    norm = vector_norm(difference, p, axes, keepdims=keepdim)
    return norm.astype(jnp.finfo(dtype).dtype) if jnp.issubdtype(dtype, jnp.inexact) else norm


def pdist(input: jax.Array, p: float = 2) -> jax.Array:
    """Distances between all pairs of rows: ``‖x_i - x_j‖_p`` for ``i < j``, row by row.

    Args:
        input: ``(N, M)``, floating.
        p: exponent of the norm, at least 0, infinity included.

    Returns:
        ``(N (N - 1) / 2,)``, in the dtype of ``input``.

    Errors:
        ValueError: ``input`` is not 2-D, or ``p`` is negative.
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.pdist``, identical; 16-bit dtypes are taken too.
    """
    op = "pdist"
    x = as_array(op, "input", input)
    if x.ndim != 2:
        raise refusal(op, "input must be 2-D", {"input.shape": x.shape})
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise refusal(op, "input must be floating", {"input.dtype": str(x.dtype)}, kind=TypeError)
    if p < 0:
        raise refusal(op, "p must not be negative", {"p": p})
    (i, j), dtype = np.triu_indices(x.shape[0], 1), x.dtype
    x = x.astype(wide_dtype(x.dtype))
    difference = x[i] - x[j]
    distance = _largest(difference) if p == math.inf else vector_norm(difference, p, (1,))
    return distance.astype(dtype)


def vector_norm(x: jax.Array, p: float, axes: tuple[int, ...], keepdims: bool = False) -> jax.Array:
    """The p-norm over some axes, ``(Σ |x|^p)^(1/p)``, with slope 0 where it has none.

    Args:
        x: floating or complex.
        p: exponent; 0 counts what is not 0, an infinity is the largest (or smallest) magnitude.
        axes: the axes to reduce, not negative.
        keepdims: keep them, with length 1.

    Returns:
        The norm, in the real dtype of ``x``. Tied extremes share their gradient.
    """
    if p == 2:
        return _root(_square(x).sum(axes, keepdims=keepdims))
    magnitude = _magnitude(x)
    if p == 0:
        return (x != 0).astype(magnitude.dtype).sum(axes, keepdims=keepdims)
    if p == math.inf:
        return magnitude.max(axes, keepdims=keepdims)
    if p == -math.inf:
        return magnitude.min(axes, keepdims=keepdims)
    if p == 1:
        return magnitude.sum(axes, keepdims=keepdims)
    return _power(_power(magnitude, p).sum(axes, keepdims=keepdims), 1 / p)


def wide_dtype(dtype: Any) -> Any:
    """The dtype to compute in: float32 for integers and for 16 bits and fewer, else the dtype itself.

    Args:
        dtype: any dtype.

    Returns:
        A floating or complex dtype.
    """
    return dtype if jnp.issubdtype(dtype, jnp.inexact) and dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def canonical_axes(op: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, each once.

    Args:
        op: name of the operation.
        dim: axis or axes; None and none are all of them.
        ndim: number of axes there are; a scalar has the axis 0 to name, and none to reduce.

    Returns:
        The axes, in the order given.

    Errors:
        IndexError: an axis is out of range.
        ValueError: an axis is named twice.
    """
    given = () if dim is None else tuple(dim) if isinstance(dim, Sequence) else (operator.index(dim),)
    if not given:
        return tuple(range(ndim))
    limit = max(ndim, 1)
    if not all(-limit <= axis < limit for axis in given):
        raise refusal(op, f"dim must lie in [-{limit}, {limit})", {"dim": dim}, kind=IndexError)
    axes = tuple(axis % limit for axis in given)
    if len(set(axes)) < len(axes):
        raise refusal(op, "dim must name each axis once", {"dim": dim})
    return axes if ndim else ()


def check_norm(op: str, x: jax.Array, p: float, axes: tuple[int, ...]) -> None:
    """Refuses the norms that nothing has: a largest or smallest of no elements.

    Args:
        op: name of the operation.
        x: the vectors.
        p: exponent of the norm.
        axes: the axes to reduce.
    """
    if (p < 0 or p == math.inf) and not math.prod(x.shape[a] for a in axes):
        raise refusal(op, "an axis without elements has no such norm", {"p": p, "shape": x.shape})


def _magnitude(x: jax.Array) -> jax.Array:
    # |x| with slope 0 at 0, where jnp.abs has slope 1
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return _root(_square(x))
    return x * jnp.sign(x)


def _square(x: jax.Array) -> jax.Array:
    # |x|² without |x|, which has no slope at 0
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.real(x) ** 2 + jnp.imag(x) ** 2
    return x * x


def _root(x: jax.Array) -> jax.Array:
    # as _power(x, 0.5), in fewer instructions
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def _power(x: jax.Array, p: float) -> jax.Array:
    # x ** p for x >= 0, whose slope at 0 is 0: the branch not taken sees 1, so that nothing infinite meets a 0.
    zero = x == 0
    return jnp.where(zero, 0.0 if p > 0 else math.inf, jnp.where(zero, 1, x) ** p)


def _largest(x: jax.Array) -> jax.Array:
    # (P, M) -> (P,): the largest magnitude. torch's pdist gives each tied coordinate the whole gradient, where
    # max would share it.
    magnitude = _magnitude(x)
    largest = magnitude.max(1, initial=0)
    tied = jnp.where(magnitude == largest[:, None], magnitude, 0).sum(1)
    return tied + lax.stop_gradient(jnp.where(tied == largest, 0, largest - tied))


def _common(op: str, x1: Any, x2: Any) -> tuple[jax.Array, jax.Array, Any]:
    # broadcast, and wide enough to compute in; with the dtype that both promote to
    x1, x2 = as_array(op, "x1", x1), as_array(op, "x2", x2)
    try:
        shape = jnp.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        got = {"x1.shape": x1.shape, "x2.shape": x2.shape}
        raise refusal(op, "the shapes of x1 and x2 must broadcast", got) from None
    dtype = jnp.promote_types(x1.dtype, x2.dtype)
    wide = wide_dtype(dtype)
    return jnp.broadcast_to(x1, shape).astype(wide), jnp.broadcast_to(x2, shape).astype(wide), dtype
