"""Padding: what a tensor is continued with beyond its edges."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import as_array, refusal


def pad(input: jax.Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> jax.Array:
    """Continues ``input`` beyond its edges, ``y[j] = x[j - left]`` where that exists, else what ``mode`` says.

    Args:
        input: any shape for ``"constant"``; ``(N, C, *)`` or ``(C, *)`` with as many spatial axes as are padded
            for the other modes. Integers and complex numbers are taken too.
        pad: ``(left, right)`` of the *last* axis, then of the axis before it, and so on. Negative amounts crop.
        mode: ``"constant"``; ``"reflect"`` (``3 2 | 1 2 3``), ``"replicate"`` (``1 1 | 1 2 3``) or ``"circular"``
            (``2 3 | 1 2 3``) of one to three axes.
        value: what ``"constant"`` fills in; None is 0.

    Returns:
        The padded array, in the dtype of ``input``.

    Errors:
        TypeError: ``pad`` is no sequence of integers; a boolean ``input`` is reflected or replicated.
        ValueError: the amounts do not fit the shape or the mode; ``value`` does not fit the dtype.

    Torch:
        ``torch.nn.functional.pad``, differs in that circular padding by more than what a crop leaves is refused.
    """
    x = as_array("pad", "input", input)
    amounts = _amounts(pad, x.ndim)
    if mode == "constant":
        return _pad_constant(x, amounts, value)
    if mode not in ("reflect", "replicate", "circular"):
        raise refusal("pad", "mode must be constant, reflect, replicate or circular", {"mode": mode})
    if value is not None and value != 0:
        raise refusal("pad", "value must be left out unless mode='constant'", {"value": value, "mode": mode})
    _check_rank(x, pad, mode)
    _check_amounts(x, amounts, len(pad) // 2, mode)
    for axis, (left, right) in enumerate(amounts):
        if left or right:
            x = _circle(x, axis, left, right) if mode == "circular" else _continue(x, axis, left, right, mode)
    return x


def _amounts(pad: Sequence[int], ndim: int) -> list[tuple[int, int]]:
    # torch's order, last axis first, as (left, right) per axis, first axis first
    if not isinstance(pad, (tuple, list)) or any(
        isinstance(p, bool) or not isinstance(p, (int, np.integer)) for p in pad
    ):
        raise refusal("pad", "pad must be a tuple of integers", {"pad": pad}, kind=TypeError)
    if len(pad) % 2 or len(pad) > 2 * ndim:
        raise refusal("pad", "pad must hold a pair for each padded axis", {"pad": pad, "input.ndim": ndim})
    pairs = [(int(left), int(right)) for left, right in zip(pad[::2], pad[1::2], strict=True)]
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


def _pad_constant(x: jax.Array, amounts: list[tuple[int, int]], value: Any) -> jax.Array:
    for axis, (left, right) in enumerate(amounts):
        if x.shape[axis] + min(left, 0) + min(right, 0) < 0:
            raise _unfit("pad must not crop more than there is", x, axis, left, right)
    return lax.pad(x, _fill(value, x.dtype), [(left, right, 0) for left, right in amounts])


def _fill(value: Any, dtype: jnp.dtype) -> jax.Array:
    if isinstance(value, complex):
        raise refusal("pad", "value must be real", {"value": value}, kind=TypeError)
    if isinstance(value, (int, float)) and jnp.issubdtype(dtype, jnp.integer):
        bounds = jnp.iinfo(dtype)
        if not math.isfinite(value) or not bounds.min <= math.trunc(value) <= bounds.max:
            raise refusal("pad", "value must fit the dtype of input", {"value": value, "input.dtype": str(dtype)})
        value = math.trunc(value)
    # a number as in torch, which does not differentiate it either
    return lax.stop_gradient(jnp.asarray(0 if value is None else value).astype(dtype))


def _check_rank(x: jax.Array, pad: Sequence[int], mode: str) -> None:
    padded = len(pad) // 2
    if padded not in (1, 2, 3) or x.ndim not in (padded + 1, padded + 2):
        raise refusal(
            "pad",
            f"pad of mode={mode!r} must cover the spatial axes of a (C, *) or (N, C, *) input",
            {"pad": tuple(pad), "input.shape": x.shape},
            "Add or drop a leading axis, or give (0, 0) for an axis to be left alone.",
        )
    if mode == "circular":
        return
    if x.dtype == jnp.bool_:
        raise refusal("pad", f"input of mode={mode!r} must be numeric", {"input.dtype": "bool"}, kind=TypeError)
    if 0 in x.shape[x.ndim - padded - 1 :]:
        raise refusal("pad", f"input of mode={mode!r} must have no empty axis but N", {"input.shape": x.shape})


def _check_amounts(x: jax.Array, amounts: list[tuple[int, int]], padded: int, mode: str) -> None:
    sizes = [n + left + right for n, (left, right) in zip(x.shape, amounts, strict=True)]
    # as in torch, an axis may become empty when another one that is padded does not
    least = 0 if max(sizes[-padded:]) > 0 else 1
    for axis, (n, (left, right)) in enumerate(zip(x.shape, amounts, strict=True)):
        if mode == "circular":
            if max(left, right, 0) > n + min(left, 0) + min(right, 0):
                raise _unfit("circular pad must not wrap around more than once", x, axis, left, right)
        elif mode == "reflect" and max(left, right) >= n > 0:
            raise _unfit("reflect pad must be smaller than the axis", x, axis, left, right)
        elif axis >= x.ndim - padded and sizes[axis] < least:
            raise _unfit(f"{mode} pad must leave at least one element", x, axis, left, right)


def _unfit(rule: str, x: jax.Array, axis: int, left: int, right: int) -> Exception:
    return refusal("pad", rule, {"(left, right)": (left, right), "axis": axis, "input.shape": x.shape})


def _circle(x: jax.Array, axis: int, left: int, right: int) -> jax.Array:
    # a crop comes first: what is left is what goes round
    x = lax.slice_in_dim(x, max(-left, 0), x.shape[axis] + min(right, 0), axis=axis)
    n = x.shape[axis]
    parts = [(n - left, n)] if left > 0 else []
    parts += [(0, n)] + ([(0, right)] if right > 0 else [])
    return lax.concatenate([lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in parts], axis)


def _continue(x: jax.Array, axis: int, left: int, right: int, mode: str) -> jax.Array:
    # Output j stands for coordinate c = j - left of the infinite continuation, of which [0, n) is x itself. Slices
    # rather than one gather, so that the gradient is slices too and not a scatter.
    n, first, last = x.shape[axis], -left, x.shape[axis] + right

    def cut(start: int, stop: int) -> jax.Array:
        return lax.slice_in_dim(x, start, stop, axis=axis)

    def before(a: int, b: int) -> jax.Array:  # a <= c < b <= 0
        return lax.rev(cut(1 - b, 1 - a), (axis,)) if mode == "reflect" else jnp.repeat(cut(0, 1), b - a, axis)

    def after(a: int, b: int) -> jax.Array:  # n <= a <= c < b; c is mirrored to 2(n - 1) - c
        m = 2 * n - 1
        return lax.rev(cut(m - b, m - a), (axis,)) if mode == "reflect" else jnp.repeat(cut(n - 1, n), b - a, axis)

    parts = [(before, first, min(last, 0)), (cut, max(first, 0), min(last, n)), (after, max(first, n), last)]
    return lax.concatenate([part(a, b) for part, a, b in parts if a < b] or [cut(0, 0)], axis)
