"""Fractional max pooling: windows of one length at random distances, as many of them as asked for.

Graham, Fractional Max-Pooling, https://arxiv.org/abs/1412.6071.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional._windows import Leaves, better, check_input, per_axis, positions, widen
from purenn.functional.pooling import Ints


def fractional_max_pool2d(
    input: jax.Array,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    *,
    rng: jax.Array | None = None,
) -> Any:
    """Takes the largest element of each window over H and W; window i starts at ``⌊(i + u) α⌋ - ⌊u α⌋``.

    ``α = (n - kernel_size) / (output_size - 1)``, with u drawn for each of N, C and the axes. The last window ends
    with the input. A NaN in a window is its maximum.

    Args:
        input: ``(N, C, H, W)``, or without N; floating.
        kernel_size: length of the window, an integer, or two for H and W.
        output_size: number of windows, an integer, or two for H and W, with
            ``output_size + kernel_size - 1`` at most n.
        output_ratio: if there is no ``output_size``, ``output_size = ⌊n · output_ratio⌋``.
        return_indices: whether to return the positions of the maxima too.
        _random_samples: u, ``(N, C, 2)``, for W, then H, uniform in [0, 1); N is 1 for an input without N.
        rng: PRNG key, for u, if it is not given.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened H and W.

    Errors:
        TypeError: ``input`` is not floating, ``_random_samples`` has another dtype, or an option is no integer.
        ValueError: a shape, an option out of its range, too many windows, or there is neither ``_random_samples``
            nor ``rng``.

    Torch:
        ``torch.nn.functional.fractional_max_pool2d``, differs in that it takes ``rng`` and draws no hidden
        numbers, ``kernel_size`` must be positive and a number is taken for ``output_ratio``.
    """
    op, given = "fractional_max_pool2d", (kernel_size, output_size, output_ratio)
    return _fractional_max_pool(op, input, 2, *given, _random_samples, rng, return_indices)


def fractional_max_pool2d_with_indices(
    input: jax.Array,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    *,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns ``fractional_max_pool2d(..., return_indices=True)``.

    Args:
        input: ``(N, C, H, W)``, or without N.
        kernel_size: see ``fractional_max_pool2d``.
        output_size: see ``fractional_max_pool2d``.
        output_ratio: see ``fractional_max_pool2d``.
        return_indices: accepted for torch's sake; they are always returned.
        _random_samples: see ``fractional_max_pool2d``.
        rng: see ``fractional_max_pool2d``.

    Returns:
        The maxima and their positions in the flattened H and W.

    Errors:
        As ``fractional_max_pool2d``.

    Torch:
        ``torch.nn.functional.fractional_max_pool2d_with_indices``, differs as ``fractional_max_pool2d`` does.
    """
    del return_indices
    op, given = "fractional_max_pool2d_with_indices", (kernel_size, output_size, output_ratio)
    return _fractional_max_pool(op, input, 2, *given, _random_samples, rng, True)


def fractional_max_pool3d(
    input: jax.Array,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    *,
    rng: jax.Array | None = None,
) -> Any:
    """Takes the largest element of each window over D, H and W; window i starts at ``⌊(i + u) α⌋ - ⌊u α⌋``.

    ``α = (n - kernel_size) / (output_size - 1)``, with u drawn for each of N, C and the axes. The last window ends
    with the input. A NaN in a window is its maximum.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating.
        kernel_size: length of the window, an integer, or three for D, H and W.
        output_size: number of windows, an integer, or three for D, H and W, with
            ``output_size + kernel_size - 1`` below n.
        output_ratio: if there is no ``output_size``, ``output_size = ⌊n · output_ratio⌋``.
        return_indices: whether to return the positions of the maxima too.
        _random_samples: u, ``(N, C, 3)``, for D, H and W, uniform in [0, 1); N is 1 for an input without N.
        rng: PRNG key, for u, if it is not given.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened D, H and W.

    Errors:
        TypeError: ``input`` is not floating, ``_random_samples`` has another dtype, or an option is no integer.
        ValueError: a shape, an option out of its range, too many windows, or there is neither ``_random_samples``
            nor ``rng``.

    Torch:
        ``torch.nn.functional.fractional_max_pool3d``, differs in that it takes ``rng`` and draws no hidden
        numbers, ``kernel_size`` must be positive and a longer ``output_ratio`` is refused.
    """
    op, given = "fractional_max_pool3d", (kernel_size, output_size, output_ratio)
    return _fractional_max_pool(op, input, 3, *given, _random_samples, rng, return_indices)


def fractional_max_pool3d_with_indices(
    input: jax.Array,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    *,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns ``fractional_max_pool3d(..., return_indices=True)``.

    Args:
        input: ``(N, C, D, H, W)``, or without N.
        kernel_size: see ``fractional_max_pool3d``.
        output_size: see ``fractional_max_pool3d``.
        output_ratio: see ``fractional_max_pool3d``.
        return_indices: accepted for torch's sake; they are always returned.
        _random_samples: see ``fractional_max_pool3d``.
        rng: see ``fractional_max_pool3d``.

    Returns:
        The maxima and their positions in the flattened D, H and W.

    Errors:
        As ``fractional_max_pool3d``.

    Torch:
        ``torch.nn.functional.fractional_max_pool3d_with_indices``, differs as ``fractional_max_pool3d`` does.
    """
    del return_indices
    op, given = "fractional_max_pool3d_with_indices", (kernel_size, output_size, output_ratio)
    return _fractional_max_pool(op, input, 3, *given, _random_samples, rng, True)


def _fractional_max_pool(
    op: str,
    input: jax.Array,
    rank: int,
    kernel_size: Ints,
    output_size: Ints | None,
    output_ratio: float | tuple[float, ...] | None,
    samples: jax.Array | None,
    rng: jax.Array | None,
    return_indices: bool,
) -> Any:
    x = check_input(op, input, rank)
    check_floating(op, "input", x)
    kernel = per_axis(op, "kernel_size", kernel_size, rank, 1)
    sizes = _sizes(op, x.shape[-rank:], output_size, output_ratio)
    slack = 0 if rank == 2 else 1  # torch wants one element more in three dimensions
    if any(m + k - 1 + slack > n for n, k, m in zip(x.shape[-rank:], kernel, sizes, strict=True)):
        rule = f"output_size + kernel_size - 1 must be {'below' if slack else 'at most'} the length of its axis"
        raise refusal(op, rule, {"input.shape": x.shape, "kernel_size": kernel, "output_size": sizes})
    u = _samples(op, x, rank, samples, rng)
    leaves = (x, positions(x.shape, rank)) if return_indices else (x,)
    out = _choose(leaves, u, kernel, sizes)
    return out if return_indices else out[0]


def _sizes(op: str, spatial: tuple[int, ...], output_size: Any, output_ratio: Any) -> tuple[int, ...]:
    rank = len(spatial)
    if output_size is not None:
        return per_axis(op, "output_size", output_size, rank, 0)
    if output_ratio is None:
        raise refusal(op, "output_size or output_ratio must be given")
    ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * rank
    if len(ratios) != rank or min(ratios) < 0:
        raise refusal(op, f"output_ratio must be a number in (0, 1) or {rank} of them", {"output_ratio": output_ratio})
    return tuple(int(n * ratio) for n, ratio in zip(spatial, ratios, strict=True))


def _samples(op: str, x: jax.Array, rank: int, samples: jax.Array | None, rng: jax.Array | None) -> jax.Array:
    batch = x.shape[0] if x.ndim == rank + 2 else 1
    shape = (batch, x.shape[-rank - 1], rank)
    if samples is None:
        if rng is None:
            remedy = "Pass rng=jax.random.key(0), a fresh one for each call."
            raise refusal(op, "rng or _random_samples must be given", {"rng": None}, remedy)
        return jax.random.uniform(rng, shape, x.dtype)
    u = as_array(op, "_random_samples", samples)
    check_same_dtype(op, input=x, _random_samples=u)
    if u.ndim != 3 or u.shape[0] < batch or u.shape[1:] != shape[1:]:
        got = {"_random_samples.shape": u.shape, "input.shape": x.shape}
        raise refusal(op, f"_random_samples must be (N, C, {rank})", got)
    return u[:batch]


@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _choose(leaves: Leaves, u: jax.Array, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> Leaves:
    rank, ndim = len(sizes), leaves[0].ndim
    for i in reversed(range(rank)):
        axis = ndim - rank + i
        n = leaves[0].shape[axis]
        # torch keeps the samples of two axes in the order W, H
        start = _starts(u[..., rank - 1 - i if rank == 2 else i], n - kernel[i], sizes[i])
        # (N, C, m) -> (N, C, 1, m, 1), or without N
        start = jnp.expand_dims(start.reshape(*leaves[0].shape[:-rank], -1), tuple(range(ndim - rank, axis)))
        start = jnp.expand_dims(start, tuple(range(axis + 1, ndim)))
        leaves, _, width = widen(leaves, axis, kernel[i], 1, np.ones(n, bool))
        near = tuple(jnp.take_along_axis(leaf, start, axis) for leaf in leaves)
        far = tuple(jnp.take_along_axis(leaf, start + (kernel[i] - width), axis) for leaf in leaves)
        leaves = better(near, far)
    return leaves


def _starts(u: jax.Array, last: int, m: int) -> jax.Array:
    if m <= 1:
        return jnp.full((*u.shape, m), last)
    info = jnp.finfo(u.dtype)

    def rounded(y: jax.Array) -> jax.Array:
        # A start is exact only if every step is rounded as torch rounds it.
        return lax.reduce_precision(y, info.nexp, info.nmant)

    i = jnp.arange(m - 1).astype(u.dtype)
    alpha = np.asarray(last, u.dtype) / np.asarray(m - 1, u.dtype)
    steps = rounded(rounded(i + u[..., None]) * alpha).astype(int) - rounded(u * alpha).astype(int)[..., None]
    return jnp.concatenate([steps, jnp.full((*u.shape, 1), last, steps.dtype)], -1)
