"""Affine maps: the products of an input with weights."""

import jax
from jax import lax

from purenn.errors import as_array, check_same_dtype, refusal


def linear(input: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Applies an affine map to the last axis: ``y = x Wᵀ + b``.

    Args:
        input: ``(*, in_features)``, any number of leading axes, none included.
        weight: ``(out_features, in_features)`` or ``(in_features,)``.
        bias: ``(out_features,)`` or ``()``.

    Returns:
        ``(*, out_features)`` or ``(*)``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.nn.functional.linear``, identical.
    """
    input, weight = as_array("linear", "input", input), as_array("linear", "weight", weight)
    bias = None if bias is None else as_array("linear", "bias", bias)
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    _check_linear_shapes(input, weight, bias)
    # (*, in) x (out, in) -> (*, out), contracted in place: no transpose is made.
    y = lax.dot_general(input, weight, (((input.ndim - 1,), (weight.ndim - 1,)), ((), ())))
    return y if bias is None else y + bias


def _check_linear_shapes(input: jax.Array, weight: jax.Array, bias: jax.Array | None) -> None:
    if weight.ndim not in (1, 2):
        raise refusal("linear", "weight must be 1-D or 2-D", {"weight.shape": weight.shape})
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise refusal(
            "linear",
            "the last axis of input must equal the last axis of weight",
            {"input.shape": input.shape, "weight.shape": weight.shape},
            "A weight is (out_features, in_features).",
        )
    if bias is not None and bias.shape not in (weight.shape[:-1], ()):
        raise refusal(
            "linear", "bias must be (out_features,)", {"bias.shape": bias.shape, "weight.shape": weight.shape}
        )
