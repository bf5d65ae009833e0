"""Cross entropy over classes: from logits, from log-probabilities, and from the features before the last layer."""

import functools
import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from purenn.checks import valid_index
from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional.linear import linear
from purenn.functional.loss import reduce_loss, resolve_reduction, widen

# Chunks of fewer rows save little more memory and cost time: 1.7 times that of 128 rows with 16, on a CPU.
_LEAST_ROWS = 128


class _Classes(NamedTuple):
    """What each position counts for."""

    label: jax.Array  # its class; 0 where ignored
    kept: jax.Array  # whether it counts
    share: jax.Array  # the weight of its class; 0 where ignored


def cross_entropy(
    input: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Scores logits against classes: ``-Σ_c w_c q_c log softmax(x)_c`` at each position, then reduced.

    A class index ``y`` stands for ``q = onehot(y)``; smoothing mixes ``q`` with the uniform distribution,
    ``(1 - ε) q + ε / C`` (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567). With indices the mean divides by
    ``Σ w_y`` over what is not ignored, and is NaN, with gradient 0, when everything is; with probabilities it divides
    by the number of positions.

    Args:
        input: ``(C)``, ``(N, C)`` or ``(N, C, d1, ..., dK)``, floating.
        target: class indices ``()``, ``(N)`` or ``(N, d1, ..., dK)``, or probabilities in the shape of ``input``.
        weight: ``(C)``, a weight for each class.
        size_average: see ``reduction``.
        ignore_index: positions with this class count for nothing; not with probabilities.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        label_smoothing: ``ε`` in [0, 1].

    Returns:
        A scalar, or one number a position with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: ``input`` is not floating, or ``target`` is of the wrong kind.
        IndexError: a target is no class and not ``ignore_index``; inside a trace its loss is NaN.

    Torch:
        ``torch.nn.functional.cross_entropy``, identical; indices may be of any integer dtype.
    """
    op = "cross_entropy"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    input, target = as_array(op, "input", input), as_array(op, "target", target)
    weight = None if weight is None else as_array(op, "weight", weight)
    _check_logits(op, input, weight, label_smoothing)
    axis = min(input.ndim - 1, 1)
    if target.shape == input.shape:
        _check_probabilities(op, target, ignore_index)
        loss = _probability_rows(input, target, weight, label_smoothing, axis)
        positions = input.size // max(1, input.shape[axis])
        return _reduce_probabilities(op, loss, positions, reduction, _result_dtype(input, target, weight))
    _check_classes(op, input, target, weight)
    classes = _classes(op, input, target, weight, ignore_index)
    loss = _class_rows(jax.nn.log_softmax(widen(input), axis), classes, weight, label_smoothing, axis)
    return _reduce_classes(op, loss, classes, reduction, input.dtype)


def nll_loss(
    input: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Takes the log-probability of the right class, negated: ``-w_y x_y`` at each position, then reduced.

    Args:
        input: log-probabilities ``(C)``, ``(N, C)`` or ``(N, C, d1, ..., dK)``, floating.
        target: class indices ``()``, ``(N)`` or ``(N, d1, ..., dK)``.
        weight: ``(C)``, a weight for each class; the mean divides by ``Σ w_y``.
        size_average: see ``reduction``.
        ignore_index: positions with this class count for nothing; the mean of nothing is NaN, with gradient 0.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the shape of ``target`` with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: ``input`` is not floating, or ``target`` is not integer.
        IndexError: a target is no class and not ``ignore_index``; inside a trace its loss is NaN.

    Torch:
        ``torch.nn.functional.nll_loss``, identical; indices may be of any integer dtype.
    """
    op = "nll_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    input, target = as_array(op, "input", input), as_array(op, "target", target)
    weight = None if weight is None else as_array(op, "weight", weight)
    _check_logits(op, input, weight)
    _check_classes(op, input, target, weight)
    classes = _classes(op, input, target, weight, ignore_index)
    loss = _class_rows(widen(input), classes, None, 0.0, axis=min(input.ndim - 1, 1))
    return _reduce_classes(op, loss, classes, reduction, input.dtype)


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts its batch into chunks: never are the logits of more than one there at once.

    Args:
        allow_retain_graph: accepted for torch's sake; gradients here may always be taken again.
        batch_chunk_size: rows in a chunk; None leaves it to ``chunking_method``.
        chunking_method: ``"aspect_ratio:n"`` gives a chunk's logits about ``1 / n`` of the memory of ``input``,
            rounded up to a power of two of rows; ``"aspect_ratio"`` is ``n = 1``; ``"auto"`` is that too, but at
            least 128 rows, or nothing when ``batch_chunk_size`` is given; None is one chunk.
        acc_policy: accepted for torch's sake; sums over classes and over chunks are always taken in float32.
        acc_dtype: accepted for torch's sake.

    Torch:
        ``torch.nn.LinearCrossEntropyOptions``, differs in that ``"auto"`` is its own rule, and that the fields on
        precision and graphs change nothing.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def __post_init__(self) -> None:
        op, size, method = "LinearCrossEntropyOptions", self.batch_chunk_size, self.chunking_method
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise refusal(op, "acc_policy must be one of torch's", {"acc_policy": self.acc_policy})
        if size is not None and not (isinstance(size, int) and size > 0):
            raise refusal(op, "batch_chunk_size must be a positive int or None", {"batch_chunk_size": size})
        if method not in (None, "auto") and not re.fullmatch(r"aspect_ratio(:0*[1-9]\d*)?", method):
            rule = "chunking_method must be 'auto', 'aspect_ratio', 'aspect_ratio:n' or None"
            raise refusal(op, rule, {"chunking_method": method})


def linear_cross_entropy(
    input: jax.Array,
    linear_weight: jax.Array,
    target: jax.Array,
    *,
    linear_bias: jax.Array | None = None,
    weight: jax.Array | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> jax.Array:
    """Scores features against classes: ``cross_entropy(x Wᵀ + b, y)``, chunk by chunk.

    With a vocabulary of classes the logits dwarf everything else. They are made, scored and dropped a few rows at a
    time, their gradient with them; with ``"none"`` they are made again in the backward pass. Numbers and gradients
    are those of the whole, which ``chunking_method=None`` scores at once.

    Args:
        input: ``(E)`` or ``(N, E)``.
        linear_weight: ``(C, E)``, or ``(C, d1, ..., dK, E)`` for a loss at each of ``d1, ..., dK``.
        target: class indices ``()``, ``(N)`` or ``(N, d1, ..., dK)``, or probabilities ``(C)`` or
            ``(N, C, d1, ..., dK)``.
        linear_bias: ``(C)`` or ``(C, d1, ..., dK)``.
        weight: ``(C)``, a weight for each class.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        ignore_index: positions with this class count for nothing; None is -100, and must be with probabilities.
        label_smoothing: ``ε`` in [0, 1], see `cross_entropy`.
        options: a `LinearCrossEntropyOptions`, or torch's; None is the former's defaults.

    Returns:
        A scalar, or one number a position with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: the dtypes differ, or ``target`` is of the wrong kind.
        IndexError: a target is no class and not ``ignore_index``; inside a trace its loss is NaN.

    Torch:
        ``torch.nn.functional.linear_cross_entropy``, differs in that chunks serve every kind of target, smoothing,
        ``K`` axes, and every derivative.
    """
    op = "linear_cross_entropy"
    reduction = resolve_reduction(op, reduction)
    input, linear_weight = as_array(op, "input", input), as_array(op, "linear_weight", linear_weight)
    target = as_array(op, "target", target)
    linear_bias = None if linear_bias is None else as_array(op, "linear_bias", linear_bias)
    weight = None if weight is None else as_array(op, "weight", weight)
    _check_linear(op, input, linear_weight, linear_bias)
    logits = jax.ShapeDtypeStruct((*input.shape[:-1], *linear_weight.shape[:-1]), input.dtype)
    _check_logits(op, logits, weight, label_smoothing)
    rows = math.prod(input.shape[:-1])
    chunk: int | None = _chunk_size(op, options or LinearCrossEntropyOptions(), rows, linear_weight.shape)
    if options is None and chunk == max(1, rows):
        chunk = None  # the whole batch is one chunk
    weights = linear_weight, linear_bias, weight
    if target.shape == logits.shape:
        _check_probabilities(op, target, -100 if ignore_index is None else 0)
        loss = _linear_losses(input, target, weights, label_smoothing, reduction, chunk)
        positions = math.prod(logits.shape) // max(1, linear_weight.shape[0])
        return _reduce_probabilities(op, loss, positions, reduction, _result_dtype(logits, target, weight))
    _check_classes(op, logits, target, weight)
    classes = _classes(op, logits, target, weight, -100 if ignore_index is None else ignore_index)
    loss = _linear_losses(input, classes, weights, label_smoothing, reduction, chunk)
    return _reduce_classes(op, loss, classes, reduction, input.dtype)


def _linear_losses(
    input: jax.Array, target: Any, weights: Any, smoothing: float, reduction: str, chunk: int | None
) -> jax.Array:
    """The loss at each position; the sum of them, where chunks are used and the reduction wants no more."""
    if input.ndim == 1:
        return _linear_row(smoothing, weights, input, target)
    if chunk is None:
        return _linear_rows(smoothing, weights, (input, target))
    if reduction != "none":
        return _sum_over_chunks(smoothing, chunk, weights, (input, target))
    # Each position has a gradient of its own, so the logits are made again in the backward pass. The gradients of the
    # weights are summed over chunks in the dtype that these have here.
    wide = jax.tree.map(widen, weights)

    def row(xt: Any) -> jax.Array:
        return _linear_row(smoothing, jax.tree.map(lambda a, b: a.astype(b.dtype), wide, weights), *xt)

    return lax.map(jax.checkpoint(row, prevent_cse=False), (input, target), batch_size=chunk)


def _linear_row(smoothing: float, weights: Any, x: jax.Array, target: Any) -> jax.Array:
    w, b, class_weight = weights
    n = math.prod(w.shape[:-1])
    logits = linear(x, w.reshape(n, w.shape[-1]), None if b is None else b.reshape(n)).reshape(w.shape[:-1])
    if isinstance(target, _Classes):
        return _class_rows(jax.nn.log_softmax(widen(logits), 0), target, class_weight, smoothing, axis=0)
    return _probability_rows(logits, target, class_weight, smoothing, axis=0)


def _linear_rows(smoothing: float, weights: Any, rows: Any) -> jax.Array:
    return jax.vmap(lambda x, t: _linear_row(smoothing, weights, x, t))(*rows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _sum_over_chunks(smoothing: float, chunk: int, weights: Any, rows: Any) -> jax.Array:
    return lax.map(lambda row: _linear_row(smoothing, weights, *row), rows, batch_size=chunk).sum()


def _sum_over_chunks_jvp(smoothing: float, chunk: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """Takes the gradient of a chunk while its logits are there: three products, where making them again takes four.

    Trees are split in what moves and what stands still, None in the place of the other.
    """
    moves = jax.tree.map(lambda d: not isinstance(d, SymbolicZero), tangents)
    moving = jax.tree.map(lambda m, x: x if m else None, moves, primals)
    still = jax.tree.map(lambda m, x: None if m else x, moves, primals)

    def total(moving: Any, still: Any) -> jax.Array:
        either = jax.tree.map(lambda a, b: b if a is None else a, moving, still, is_leaf=lambda a: a is None)
        return _linear_rows(smoothing, *either).sum()

    def step(carry: Any, rows: Any) -> tuple[Any, Any]:
        loss, (of_weights, of_rows) = jax.value_and_grad(jax.checkpoint(total, prevent_cse=False))(
            (moving[0], rows[0]), (still[0], rows[1])
        )
        return jax.tree.map(jnp.add, carry, (loss, jax.tree.map(widen, of_weights))), of_rows

    n = len(primals[1][0]) // chunk
    whole = jax.tree.map(lambda r: r[: n * chunk].reshape(n, chunk, *r.shape[1:]), (moving[1], still[1]))
    rest = jax.tree.map(lambda r: r[n * chunk :], (moving[1], still[1]))
    zero = jnp.zeros((), jax.eval_shape(total, (moving[0], rest[0]), (still[0], rest[1])).dtype)
    carry = zero, jax.tree.map(lambda w: jnp.zeros_like(widen(w)), moving[0])
    carry, of_whole = lax.scan(step, carry, whole)
    (loss, of_weights), of_rest = step(carry, rest)
    of_rows = jax.tree.map(lambda a, b: jnp.concatenate([a.reshape(-1, *b.shape[1:]), b]), of_whole, of_rest)
    gradients = jax.tree.leaves((of_weights, of_rows))
    slopes = jax.tree.leaves(jax.tree.map(lambda m, d: d if m else None, moves, tangents))
    slope = sum(((widen(g) * widen(d)).sum() for g, d in zip(gradients, slopes, strict=True)), zero)
    return loss, slope.astype(loss.dtype)


_sum_over_chunks.defjvp(_sum_over_chunks_jvp, symbolic_zeros=True)


def _chunk_size(op: str, options: Any, rows: int, weight_shape: tuple[int, ...]) -> int:
    """How many rows of logits to hold at once."""
    if not hasattr(options, "batch_chunk_size") or not hasattr(options, "chunking_method"):
        kind = type(options).__qualname__
        raise refusal(op, "options must be a LinearCrossEntropyOptions or None", {"type(options)": kind}, "", TypeError)
    size, method = options.batch_chunk_size, options.chunking_method
    if method is None or (method == "auto" and size is not None):
        return max(1, min(rows, size or rows))
    classes, features = math.prod(weight_shape[:-1]), max(1, weight_shape[-1])
    alike = -(-rows // max(1, -(-classes // features)))  # rows whose logits take the memory of input
    chunk = 1 << max(0, alike - 1).bit_length()
    if method == "auto":
        return max(1, min(max(chunk, _LEAST_ROWS), rows))
    chunk = max(1, min(chunk // int(method.partition(":")[2] or 1), rows))
    if size is not None and min(size, rows) != chunk:
        rule = "batch_chunk_size and chunking_method must agree"
        raise refusal(op, rule, {"batch_chunk_size": size, "chunking_method": method}, "Pass one of them.")
    return chunk


def _classes(
    op: str, logits: jax.Array | jax.ShapeDtypeStruct, target: jax.Array, weight: jax.Array | None, ignore_index: int
) -> _Classes:
    axis = min(len(logits.shape) - 1, 1)
    target = target.reshape(logits.shape[:axis] + logits.shape[axis + 1 :])
    kept = target != ignore_index
    remedy = f"Only ignore_index={ignore_index} may lie outside."
    label = valid_index(op, "target", jnp.where(kept, target, 0), logits.shape[axis], remedy)
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    share = jnp.ones(label.shape, dtype)
    if weight is not None:
        share = weight.astype(dtype).at[label].get(mode="fill", fill_value=jnp.nan)
    return _Classes(label, kept, jnp.where(kept, share, 0))


def _class_rows(
    log_p: jax.Array, classes: _Classes, weight: jax.Array | None, smoothing: float, axis: int
) -> jax.Array:
    """The loss at each position, classes on ``axis``; 0 where ignored."""
    index = jnp.expand_dims(classes.label, axis)
    # a class out of range, which only a trace lets through, reads NaN
    loss = -classes.share * jnp.take_along_axis(log_p, index, axis, mode="fill").squeeze(axis)
    if smoothing:
        uniform = -_weigh(log_p, weight, axis).mean(axis)
        loss = (1 - smoothing) * loss + smoothing * uniform
    return jnp.where(classes.kept, loss, 0)


def _probability_rows(
    logits: jax.Array, target: jax.Array, weight: jax.Array | None, smoothing: float, axis: int
) -> jax.Array:
    q = widen(target)
    if smoothing:
        q = (1 - smoothing) * q + smoothing / max(1, logits.shape[axis])
    return -_weigh(jax.nn.log_softmax(widen(logits), axis) * q, weight, axis).sum(axis)


def _weigh(terms: jax.Array, weight: jax.Array | None, axis: int) -> jax.Array:
    if weight is None:
        return terms
    return terms * widen(weight).reshape(-1, *[1] * (terms.ndim - axis - 1))


def _reduce_classes(op: str, loss: jax.Array, classes: _Classes, reduction: str, dtype: jnp.dtype) -> jax.Array:
    if reduction != "mean":
        return reduce_loss(op, loss, reduction, dtype)
    # NaN over nothing, but by choice, so that no gradient passes the division by 0.
    some = classes.kept.any()
    mean = loss.sum() / jnp.where(some, classes.share.sum(), 1)
    return jnp.where(some, mean, jnp.nan).astype(dtype)


def _reduce_probabilities(op: str, loss: jax.Array, positions: int, reduction: str, dtype: jnp.dtype) -> jax.Array:
    if reduction != "mean":
        return reduce_loss(op, loss, reduction, dtype)
    return (loss.sum() / positions).astype(dtype)


def _result_dtype(*arrays: Any) -> jnp.dtype:
    return jnp.result_type(*[array.dtype for array in arrays if array is not None])


def _check_logits(
    op: str, logits: jax.Array | jax.ShapeDtypeStruct, weight: jax.Array | None, smoothing: float = 0.0
) -> None:
    if not logits.shape:
        raise refusal(op, "input must have an axis of classes", {"input.shape": logits.shape})
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        kind = str(logits.dtype)
        raise refusal(op, "input must be real and floating", {"input.dtype": kind}, kind=TypeError)
    if not 0 <= smoothing <= 1:
        raise refusal(op, "label_smoothing must lie in [0, 1]", {"label_smoothing": smoothing})
    classes = logits.shape[min(len(logits.shape) - 1, 1)]
    if weight is not None and weight.shape != (classes,):
        raise refusal(op, f"weight must be ({classes},), one for each class", {"weight.shape": weight.shape})


def _check_classes(
    op: str, logits: jax.Array | jax.ShapeDtypeStruct, target: jax.Array, weight: jax.Array | None
) -> None:
    if not jnp.issubdtype(target.dtype, jnp.integer):
        rule = "target must hold integers, or probabilities in the shape of the logits"
        got = {"target.dtype": str(target.dtype), "target.shape": target.shape, "logits.shape": logits.shape}
        raise refusal(op, rule, got, kind=TypeError)
    axis = min(len(logits.shape) - 1, 1)
    positions = logits.shape[:axis] + logits.shape[axis + 1 :]
    if target.shape != positions and not (axis == 0 and target.shape == (1,)):
        rule = f"target must be {positions}, the logits without their classes"
        raise refusal(op, rule, {"target.shape": target.shape, "logits.shape": logits.shape})
    if weight is not None and weight.dtype != logits.dtype:
        got = {"weight.dtype": str(weight.dtype), "input.dtype": str(logits.dtype)}
        raise refusal(op, "weight must have the dtype of input", got, "Cast it with .astype(...).", TypeError)


def _check_probabilities(op: str, target: jax.Array, ignore_index: int) -> None:
    if not jnp.issubdtype(target.dtype, jnp.floating):
        rule = "target must be floating when it has the shape of the logits, as probabilities have"
        raise refusal(op, rule, {"target.dtype": str(target.dtype), "target.shape": target.shape}, kind=TypeError)
    if ignore_index >= 0:
        raise refusal(op, "ignore_index must stay unset when target holds probabilities")


def _check_linear(op: str, input: jax.Array, weight: jax.Array, bias: jax.Array | None) -> None:
    if input.ndim not in (1, 2):
        raise refusal(op, "input must be 1-D or 2-D", {"input.shape": input.shape})
    if weight.ndim < 2:
        raise refusal(op, "linear_weight must be at least 2-D", {"linear_weight.shape": weight.shape})
    shapes = {"input.shape": input.shape, "linear_weight.shape": weight.shape}
    if input.shape[-1] != weight.shape[-1]:
        raise refusal(op, "the last axes of input and linear_weight must be equal", shapes)
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise refusal(op, f"linear_bias must be {weight.shape[:-1]}", {"linear_bias.shape": bias.shape})
    if weight.ndim > 2 and input.ndim == 1:
        raise refusal(op, "input must be 2-D when linear_weight has more than two axes", shapes)
    check_same_dtype(op, input=input, linear_weight=weight, linear_bias=bias)
