"""Pooling by p-norms of windows."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.errors import check_floating, refusal
from purenn.functional._windows import check_input, max_windows, windows_of
from purenn.functional.pooling import Ints, averages


def lp_pool1d(
    input: jax.Array,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """Takes windows' p-norms over L, absolute values not taken: ``y[o] = (Σ_i x[o·stride + i]ᵖ)^(1/p)``.

    A negative sum gives NaN (odd p). A sum of 0 passes no gradient. A window that reaches over the end counts as if
    the missing elements had the mean of the others.

    Args:
        input: ``(N, C, L)``, or without N; floating.
        norm_type: p, not 0; ``inf`` takes the largest and ``-inf`` the smallest absolute value.
        kernel_size: length of the window, an integer or one in a tuple.
        stride: distance of the windows, ``kernel_size`` by default.
        ceil_mode: whether a last window may reach over the end.

    Returns:
        ``(N, C, L_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or an option is no integer.
        ValueError: ``norm_type`` is 0, the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.lp_pool1d``, differs in that integers are refused and ``kernel_size=(k,)`` is taken.
    """
    return _lp_pool("lp_pool1d", input, 1, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: jax.Array,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """Takes windows' p-norms over H and W, absolute values not taken: ``y[o] = (Σ_i x[o·stride + i]ᵖ)^(1/p)``.

    A negative sum gives NaN (odd p). A sum of 0 passes no gradient. A window that reaches over the end counts as if
    the missing elements had the mean of the others.

    Args:
        input: ``(N, C, H, W)``, or without N; floating.
        norm_type: p, not 0; ``inf`` takes the largest and ``-inf`` the smallest absolute value.
        kernel_size: length of the window, an integer, or two for H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        ceil_mode: whether a last window may reach over the end.

    Returns:
        ``(N, C, H_out, W_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or an option is no integer.
        ValueError: ``norm_type`` is 0, the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.lp_pool2d``, differs in that integers are refused.
    """
    return _lp_pool("lp_pool2d", input, 2, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: jax.Array,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """Takes windows' p-norms over D, H and W, absolute values not taken: ``y[o] = (Σ_i x[o·stride + i]ᵖ)^(1/p)``.

    A negative sum gives NaN (odd p). A sum of 0 passes no gradient. A window that reaches over the end counts as if
    the missing elements had the mean of the others.

    Args:
        input: ``(N, C, D, H, W)``, or without N; floating.
        norm_type: p, not 0; ``inf`` takes the largest and ``-inf`` the smallest absolute value.
        kernel_size: length of the window, an integer, or three for D, H and W.
        stride: distance of the windows, ``kernel_size`` by default.
        ceil_mode: whether a last window may reach over the end.

    Returns:
        ``(N, C, D_out, H_out, W_out)``, in the dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or an option is no integer.
        ValueError: ``norm_type`` is 0, the shape of ``input``, an option out of its range, or no window fits.

    Torch:
        ``torch.nn.functional.lp_pool3d``, differs in that integers are refused.
    """
    return _lp_pool("lp_pool3d", input, 3, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    op: str,
    input: jax.Array,
    rank: int,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None,
    ceil_mode: bool,
) -> jax.Array:
    x = check_input(op, input, rank)
    check_floating(op, "input", x)
    if norm_type == 0:
        raise refusal(op, "norm_type must not be 0", {"norm_type": norm_type})
    windows = windows_of(op, x.shape[-rank:], kernel_size, stride, 0, 1, ceil_mode)
    if abs(norm_type) == float("inf"):
        sign = 1 if norm_type > 0 else -1
        return sign * max_windows(sign * (x * jnp.sign(x)), windows)  # |x|, with slope 0 at 0
    power = _power(x.astype(jnp.promote_types(x.dtype, jnp.float32)), norm_type)
    total = averages(power, windows) * float(np.prod([window.kernel for window in windows]))
    # The root of 0 has an infinite slope; a constant in its place has none.
    zero = total == 0
    root = jnp.where(zero, 1, total) ** (1 / norm_type)
    return jnp.where(zero, 0.0 if norm_type > 0 else jnp.inf, root).astype(x.dtype)


def _power(x: jax.Array, p: float) -> jax.Array:
    return lax.integer_pow(x, int(p)) if p == int(p) else x**p
