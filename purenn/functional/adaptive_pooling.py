"""Adaptive pooling: the number of windows is given, and their lengths follow.

Window o of m over n elements reaches from ⌊o n / m⌋ to ⌈(o + 1) n / m⌉. Neighbours overlap where m does not divide n,
and their lengths differ by one at most.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import check_floating, refusal
from purenn.functional._windows import (
    Leaves,
    Window,
    better,
    check_input,
    choose_along,
    max_windows,
    per_axis,
    positions,
    sum_windows,
    widen,
)
from purenn.functional.pooling import averages

Sizes = int | None | tuple[int | None, ...]  # lengths of the result; None keeps the input's


def adaptive_avg_pool1d(input: jax.Array, output_size: int | tuple[int]) -> jax.Array:
    """Averages ``output_size`` windows over L, which cover the input evenly.

    Args:
        input: ``(N, C, L)``, or without N; floating.
        output_size: an integer or one in a tuple.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_avg_pool1d``, identical.
    """
    x, sizes = _check("adaptive_avg_pool1d", input, output_size, 1, empty_channels=True)
    return _averages(x, sizes)


def adaptive_avg_pool2d(input: jax.Array, output_size: Sizes) -> jax.Array:
    """Averages ``output_size`` windows over H and W, which cover the input evenly.

    Args:
        input: ``(N, C, H, W)``, or without N; floating.
        output_size: an integer, or two for H and W; None keeps the length of the input.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_avg_pool2d``, identical.
    """
    x, sizes = _check("adaptive_avg_pool2d", input, output_size, 2, empty_channels=True)
    return _averages(x, sizes)


def adaptive_avg_pool3d(input: jax.Array, output_size: Sizes) -> jax.Array:
    """Averages ``output_size`` windows over D, H and W, which cover the input evenly.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating.
        output_size: an integer, or three for D, H and W; None keeps the length of the input.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``; half precisions are summed in float32.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_avg_pool3d``, identical.
    """
    x, sizes = _check("adaptive_avg_pool3d", input, output_size, 3, empty_channels=False)
    return _averages(x, sizes)


def _check(
    op: str, input: Any, output_size: Any, rank: int, empty_channels: bool = False
) -> tuple[jax.Array, tuple[int, ...]]:
    x = check_input(op, input, rank, empty_channels)
    check_floating(op, "input", x)
    sizes = output_size
    if isinstance(sizes, (tuple, list)):
        if len(sizes) != rank:
            raise refusal(op, f"output_size must be an integer or {rank} of them", {"output_size": output_size})
        if rank > 1:
            sizes = [n if size is None else size for n, size in zip(x.shape[-rank:], sizes, strict=True)]
    return x, per_axis(op, "output_size", sizes, rank, 0)


def _bounds(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    o = np.arange(m)
    return o * n // m, -(-(o + 1) * n // m)


def _even(spatial: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[Window, ...] | None:
    if any(m == 0 or n % m for n, m in zip(spatial, sizes, strict=True)):
        return None
    return tuple(Window(n // m, n // m, 0, 0, 1, m) for n, m in zip(spatial, sizes, strict=True))


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _averages(x: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    rank = len(sizes)
    windows = _even(x.shape[-rank:], sizes)
    if windows:
        return averages(x, windows)
    total, count = x.astype(jnp.promote_types(x.dtype, jnp.float32)), np.ones(())
    for i, m in enumerate(sizes):
        axis = x.ndim - rank + i
        start, stop = _bounds(x.shape[axis], m)
        total = _sums_along(total, axis, start, stop)
        count = np.multiply.outer(count, stop - start)
    return (total / jnp.asarray(count, total.dtype)).astype(x.dtype)


def _sums_along(x: jax.Array, axis: int, start: np.ndarray, stop: np.ndarray) -> jax.Array:
    n, width = x.shape[axis], int(min(stop - start, default=1))
    windows = [Window(1, 1, 0, 0, 1, size) for size in x.shape[axis:]]
    windows[0] = Window(width, 1, 0, 0, 1, n - width + 1)
    narrow = jnp.take(sum_windows(x, tuple(windows)), start, axis, mode="clip")
    last = jnp.take(x, stop - 1, axis, mode="clip")  # in the windows that are one longer
    wide = np.expand_dims(stop - start > width, tuple(range(1, x.ndim - axis)))
    return narrow + jnp.where(wide, last, 0)


def adaptive_max_pool1d(input: jax.Array, output_size: int | tuple[int], return_indices: bool = False) -> Any:
    """Takes the largest elements of ``output_size`` windows over L, which cover the input evenly.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, L)``, or without N; floating.
        output_size: an integer or one in a tuple.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened L.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_max_pool1d``, identical.
    """
    x, sizes = _check("adaptive_max_pool1d", input, output_size, 1)
    return _maxima(x, sizes, return_indices)


def adaptive_max_pool1d_with_indices(
    input: jax.Array, output_size: int | tuple[int], return_indices: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Returns ``adaptive_max_pool1d(input, output_size, return_indices=True)``.

    Args:
        input: ``(N, C, L)``, or without N.
        output_size: see ``adaptive_max_pool1d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened L.

    Errors:
        As ``adaptive_max_pool1d``.

    Torch:
        ``torch.nn.functional.adaptive_max_pool1d_with_indices``, identical.
    """
    del return_indices
    x, sizes = _check("adaptive_max_pool1d_with_indices", input, output_size, 1)
    return _maxima(x, sizes, True)


def adaptive_max_pool2d(input: jax.Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """Takes the largest elements of ``output_size`` windows over H and W, which cover the input evenly.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, H, W)``, or without N; floating.
        output_size: an integer, or two for H and W; None keeps the length of the input.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened H and W.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_max_pool2d``, identical.
    """
    x, sizes = _check("adaptive_max_pool2d", input, output_size, 2)
    return _maxima(x, sizes, return_indices)


def adaptive_max_pool2d_with_indices(
    input: jax.Array, output_size: Sizes, return_indices: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Returns ``adaptive_max_pool2d(input, output_size, return_indices=True)``.

    Args:
        input: ``(N, C, H, W)``, or without N.
        output_size: see ``adaptive_max_pool2d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened H and W.

    Errors:
        As ``adaptive_max_pool2d``.

    Torch:
        ``torch.nn.functional.adaptive_max_pool2d_with_indices``, identical.
    """
    del return_indices
    x, sizes = _check("adaptive_max_pool2d_with_indices", input, output_size, 2)
    return _maxima(x, sizes, True)


def adaptive_max_pool3d(input: jax.Array, output_size: Sizes, return_indices: bool = False) -> Any:
    """Takes the largest elements of ``output_size`` windows over D, H and W, which cover the input evenly.

    A NaN in a window is its maximum. The gradient goes to the first maximum of each window alone.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating.
        output_size: an integer, or three for D, H and W; None keeps the length of the input.
        return_indices: whether to return the positions of the maxima too.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``; with ``return_indices`` a tuple: the maxima,
        and in the same shape the position of each in the flattened D, H and W.

    Errors:
        TypeError: ``input`` is not floating, or ``output_size`` is no integer.
        ValueError: the shape of ``input``, or ``output_size`` has the wrong length or is negative.

    Torch:
        ``torch.nn.functional.adaptive_max_pool3d``, identical.
    """
    x, sizes = _check("adaptive_max_pool3d", input, output_size, 3)
    return _maxima(x, sizes, return_indices)


def adaptive_max_pool3d_with_indices(
    input: jax.Array, output_size: Sizes, return_indices: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Returns ``adaptive_max_pool3d(input, output_size, return_indices=True)``.

    Args:
        input: ``(N, C, D, H, W)``, or without N.
        output_size: see ``adaptive_max_pool3d``.
        return_indices: accepted for torch's sake; they are always returned.

    Returns:
        The maxima and their positions in the flattened D, H and W.

    Errors:
        As ``adaptive_max_pool3d``.

    Torch:
        ``torch.nn.functional.adaptive_max_pool3d_with_indices``, identical.
    """
    del return_indices
    x, sizes = _check("adaptive_max_pool3d_with_indices", input, output_size, 3)
    return _maxima(x, sizes, True)


def _maxima(x: jax.Array, sizes: tuple[int, ...], return_indices: bool) -> Any:
    if return_indices:
        return _choose((x, positions(x.shape, len(sizes))), sizes)
    windows = _even(x.shape[-len(sizes) :], sizes)
    return max_windows(x, windows) if windows else _choose((x,), sizes)[0]


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _choose(leaves: Leaves, sizes: tuple[int, ...]) -> Leaves:
    ndim = leaves[0].ndim
    for axis, m in zip(range(ndim - 1, ndim - 1 - len(sizes), -1), reversed(sizes), strict=True):
        windows = _even(leaves[0].shape[axis : axis + 1], (m,))
        leaves = choose_along(leaves, axis, windows[0]) if windows else _choose_uneven(leaves, axis, m)
    return leaves


def _choose_uneven(leaves: Leaves, axis: int, m: int) -> Leaves:
    n = leaves[0].shape[axis]
    start, stop = _bounds(n, m)
    # Two windows of half the length and more, one from the start and one to the stop, make each of ours.
    leaves, _, width = widen(leaves, axis, int(max(stop - start, default=1)), 1, np.ones(n, bool))
    near, far = (tuple(jnp.take(leaf, at, axis, mode="clip") for leaf in leaves) for at in (start, stop - width))
    return better(near, far)
