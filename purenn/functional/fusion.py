"""Fusion: a normalisation of known statistics, folded into the affine map before it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from purenn.errors import as_array


def fuse_conv_bn_weights(
    conv_w: jax.Array,
    conv_b: jax.Array | None,
    bn_rm: jax.Array,
    bn_rv: jax.Array,
    bn_eps: float,
    bn_w: jax.Array | None,
    bn_b: jax.Array | None,
    transpose: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Folds batch normalisation in evaluation into the convolution before it.

    Args:
        conv_w: ``(O, I, *K)``, of a transposed convolution ``(I, O, *K)``.
        conv_b: ``(O,)``, or None for zeros.
        bn_rm: ``(O,)`` running mean.
        bn_rv: ``(O,)`` running variance.
        bn_eps: added to the variance.
        bn_w: ``(O,)`` scale, or None for ones.
        bn_b: ``(O,)`` shift, or None for zeros.
        transpose: whether the convolution is a transposed one, of one group.

    Returns:
        Weight and bias of one convolution that does both, in the dtypes of the first.

    Errors:
        TypeError: an argument is no array.

    Torch:
        ``torch.nn.utils.fuse_conv_bn_weights``, identical.
    """
    op = "fuse_conv_bn_weights"
    conv_w = as_array(op, "conv_w", conv_w)
    conv_b, bn_w, bn_b = _defaults(op, bn_rm, conv_b, bn_w, bn_b)
    scale = bn_w * lax.rsqrt(bn_rv + bn_eps)
    shape = (1, -1) if transpose else (-1, 1)
    weight = conv_w * scale.reshape(*shape, *(1,) * (conv_w.ndim - 2))
    bias = (conv_b - bn_rm) * scale + bn_b
    return weight.astype(conv_w.dtype), bias.astype(conv_b.dtype)


def fuse_linear_bn_weights(
    linear_w: jax.Array,
    linear_b: jax.Array | None,
    bn_rm: jax.Array,
    bn_rv: jax.Array,
    bn_eps: float,
    bn_w: jax.Array | None,
    bn_b: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Folds batch normalisation in evaluation into the linear map before it.

    Args:
        linear_w: ``(O, I)``.
        linear_b: ``(O,)``, or None for zeros.
        bn_rm: ``(O,)`` or ``(1,)`` running mean.
        bn_rv: ``(O,)`` or ``(1,)`` running variance.
        bn_eps: added to the variance.
        bn_w: scale, or None for ones.
        bn_b: shift, or None for zeros.

    Returns:
        Weight and bias of one linear map that does both, in the dtypes of the first.

    Errors:
        TypeError: an argument is no array.

    Torch:
        ``torch.nn.utils.fuse_linear_bn_weights``, differs in that it takes a normalisation without weights.
    """
    op = "fuse_linear_bn_weights"
    linear_w = as_array(op, "linear_w", linear_w)
    linear_b, bn_w, bn_b = _defaults(op, bn_rm, linear_b, bn_w, bn_b)
    scale = bn_w * lax.rsqrt(bn_rv + bn_eps)
    weight = linear_w * scale[:, None]
    bias = (linear_b - bn_rm) * scale + bn_b
    return weight.astype(linear_w.dtype), bias.astype(linear_b.dtype)


def _defaults(op: str, like: Any, bias: Any, weight: Any, shift: Any) -> tuple[jax.Array, ...]:
    like = as_array(op, "bn_rm", like)
    bias = jnp.zeros_like(like) if bias is None else as_array(op, "bias", bias)
    weight = jnp.ones_like(like) if weight is None else as_array(op, "bn_w", weight)
    shift = jnp.zeros_like(like) if shift is None else as_array(op, "bn_b", shift)
    return bias, weight, shift
