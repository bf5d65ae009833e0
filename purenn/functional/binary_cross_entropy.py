"""Cross entropy over bits: each element is a yes or no of its own."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from purenn.checks import require
from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional.loss import check_real, pair, reduce_loss, resolve_reduction, widen


def binary_cross_entropy(
    input: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Scores probabilities of yes: ``-w (y log p + (1 - y) log(1 - p))``, no logarithm below -100.

    Its gradient is ``w (p - y) / max(p (1 - p), 1e-12)``.

    Args:
        input: probabilities, any shape.
        target: probabilities in the shape and dtype of ``input``.
        weight: a shape that broadcasts to that of ``input``.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the shape of ``input`` with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit; outside a trace, also a value outside [0, 1].
        TypeError: the dtypes differ, or are not real and floating.

    Torch:
        ``torch.nn.functional.binary_cross_entropy``, identical.
    """
    op = "binary_cross_entropy"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    p, y, dtype = pair(op, input, target, same_shape=True)
    check_same_dtype(op, input=input, target=target)
    check_real(op, dtype)
    require((p >= 0) & (p <= 1), op, "input must lie in [0, 1]", "Use binary_cross_entropy_with_logits for logits.")
    require((y >= 0) & (y <= 1), op, "target must lie in [0, 1]")
    loss = _binary_cross_entropy(p, y)
    if weight is not None:
        loss = loss * _factor(op, "weight", weight, p.shape)
    return reduce_loss(op, loss, reduction, dtype)


@jax.custom_jvp
def _binary_cross_entropy(p: jax.Array, y: jax.Array) -> jax.Array:
    return (y - 1) * jnp.maximum(jnp.log1p(-p), -100) - y * jnp.maximum(jnp.log(p), -100)


def _binary_cross_entropy_jvp(primals: tuple[jax.Array, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, Any]:
    (p, y), (dp, dy) = primals, tangents
    out = jnp.zeros_like(p)
    if not isinstance(dp, SymbolicZero):
        out = out + dp * (p - y) / jnp.maximum(p * (1 - p), 1e-12)
    # infinite at 0 and 1, so left out when nobody asks: inf times 0 is NaN
    if not isinstance(dy, SymbolicZero):
        out = out + dy * (jnp.log1p(-p) - jnp.log(p))
    return _binary_cross_entropy(p, y), out


_binary_cross_entropy.defjvp(_binary_cross_entropy_jvp, symbolic_zeros=True)


def binary_cross_entropy_with_logits(
    input: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: jax.Array | None = None,
) -> jax.Array:
    """Scores logits of yes: ``-w (c y log σ(x) + (1 - y) log(1 - σ(x)))``, where ``c`` is ``pos_weight``.

    Args:
        input: logits, any shape.
        target: probabilities in the shape of ``input``.
        weight: a shape that broadcasts to that of ``input``.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        pos_weight: a shape that broadcasts to that of ``input``, usually ``(C)``: above 1 it favours recall.

    Returns:
        A scalar, or the shape of ``input`` with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit.
        TypeError: ``input`` or ``target`` is not real and floating.

    Torch:
        ``torch.nn.functional.binary_cross_entropy_with_logits``, identical.
    """
    op = "binary_cross_entropy_with_logits"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target, same_shape=True)
    check_real(op, input.dtype)
    check_real(op, target.dtype)
    yes = -jax.nn.log_sigmoid(x)
    if pos_weight is not None:
        yes = yes * (1 + (_factor(op, "pos_weight", pos_weight, x.shape) - 1) * y)
    loss = (1 - y) * x + yes  # -log(1 - σ(x)) is x - log σ(x)
    if weight is not None:
        loss = loss * _factor(op, "weight", weight, x.shape)
    return reduce_loss(op, loss, reduction, dtype)


def _factor(op: str, argument: str, factor: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    factor = as_array(op, argument, factor)
    try:
        fits = jnp.broadcast_shapes(factor.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        got = {f"{argument}.shape": factor.shape, "input.shape": shape}
        raise refusal(op, f"{argument} must broadcast to the shape of input", got)
    return widen(factor)
