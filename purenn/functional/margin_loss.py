"""Losses that ask for a margin: between a score and 0, between scores, between distances."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.checks import valid_index
from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional.distance import pairwise_distance
from purenn.functional.loss import check_broadcast, check_real, pair, reduce_loss, resolve_reduction, widen


def hinge_embedding_loss(
    input: jax.Array,
    target: jax.Array,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants a distance small or beyond the margin: ``x`` where ``y = 1``, ``max(0, margin - x)`` where ``y = -1``.

    Args:
        input: distances, any shape.
        target: 1 or -1, a shape that broadcasts with ``input``; another number gets the sum of both terms.
        margin: the distance that is enough.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.
        TypeError: the mean of integers.

    Torch:
        ``torch.nn.functional.hinge_embedding_loss``, identical.
    """
    op = "hinge_embedding_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    input, y = as_array(op, "input", input), as_array(op, "target", target)
    check_broadcast(op, input=input, target=y)
    x = widen(input)
    far = _at_least_0(jnp.asarray(margin).astype(x.dtype) - x)
    loss = jnp.where(y != 1, far, 0) + jnp.where(y != -1, x, 0)
    return reduce_loss(op, loss, reduction, input.dtype)


def soft_margin_loss(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Scores one yes or no by its logit: ``log(1 + exp(-y x))``.

    Args:
        input: logits, any shape.
        target: 1 or -1, a shape that broadcasts with ``input``.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.
        TypeError: the common dtype is not real and floating.

    Torch:
        ``torch.nn.functional.soft_margin_loss``, differs in that it does not overflow: beyond ``-y x = 88`` torch's
        loss is infinite and its gradient NaN.
    """
    op = "soft_margin_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target)
    check_real(op, dtype)
    return reduce_loss(op, jnp.logaddexp(-y * x, 0), reduction, dtype)


def margin_ranking_loss(
    input1: jax.Array,
    input2: jax.Array,
    target: jax.Array,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants one score above the other: ``max(0, -y (x1 - x2) + margin)``.

    Args:
        input1: scores, any shape.
        input2: as many axes, in a shape that broadcasts with it.
        target: 1 where ``input1`` is to be the larger, -1 where it is to be the smaller; as many axes.
        margin: the difference that is enough.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, float32 for integers.

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.

    Torch:
        ``torch.nn.functional.margin_ranking_loss``, identical.
    """
    op = "margin_ranking_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    (x1, x2, y), dtype = _floats(op, input1=input1, input2=input2, target=target)
    if not x1.ndim == x2.ndim == y.ndim:
        got = {"input1.shape": x1.shape, "input2.shape": x2.shape, "target.shape": y.shape}
        raise refusal(op, "input1, input2 and target must have as many axes", got)
    check_broadcast(op, input1=x1, input2=x2, target=y)
    return reduce_loss(op, _at_least_0(-y * (x1 - x2) + margin), reduction, dtype)


def cosine_embedding_loss(
    input1: jax.Array,
    input2: jax.Array,
    target: jax.Array,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants two vectors aligned or not: ``1 - cos`` where ``y = 1``, ``max(0, cos - margin)`` where ``y = -1``.

    The cosine is ``x1 · x2 / √((‖x1‖² + 1e-12) (‖x2‖² + 1e-12))``.

    Args:
        input1: ``(N, D)``, or ``(D)``.
        input2: the same, or broadcasting with it.
        target: ``(N)``, or ``()``: 1 or -1; another number gets the loss 0.
        margin: the cosine that is small enough, in [-1, 1].
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or ``(N)`` with ``"none"``; the common dtype of the vectors, float32 for integers.

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.

    Torch:
        ``torch.nn.functional.cosine_embedding_loss``, identical.
    """
    op = "cosine_embedding_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    (x1, x2), dtype = _floats(op, input1=input1, input2=input2)
    y = as_array(op, "target", target)
    if y.ndim > 1 or not x1.ndim == x2.ndim == y.ndim + 1:
        got = {"input1.shape": x1.shape, "input2.shape": x2.shape, "target.shape": y.shape}
        raise refusal(op, "input1, input2 and target must be (N, D), (N, D) and (N), or (D), (D) and ()", got)
    check_broadcast(op, input1=x1, input2=x2)
    cos = (x1 * x2).sum(-1) / jnp.sqrt((jnp.square(x1).sum(-1) + 1e-12) * (jnp.square(x2).sum(-1) + 1e-12))
    check_broadcast(op, **{"input1 · input2": cos, "target": y})
    loss = jnp.where(y == 1, 1 - cos, 0) + jnp.where(y == -1, _at_least_0(cos - margin), 0)
    return reduce_loss(op, loss, reduction, dtype)


def multi_margin_loss(
    input: jax.Array,
    target: jax.Array,
    p: int = 1,
    margin: float = 1.0,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants the right class above all others: ``Σ_{c ≠ y} w_y max(0, margin - x_y + x_c)^p / C``.

    Args:
        input: scores ``(N, C)`` or ``(C)``, real and floating; ``C > 0``.
        target: the right classes, ``(N)`` or ``()``.
        p: 1 or 2.
        margin: the difference that is enough.
        weight: ``(C)``, a weight for each class.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the shape of ``target`` with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: ``input`` is not floating, or ``target`` not integer, or ``weight`` of another dtype.
        IndexError: a target is no class; inside a trace its loss is NaN.

    Torch:
        ``torch.nn.functional.multi_margin_loss``, identical; the mean of an empty batch is NaN, torch's is arbitrary.
    """
    op = "multi_margin_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    input, target = as_array(op, "input", input), as_array(op, "target", target)
    if p not in (1, 2):
        raise refusal(op, "p must be 1 or 2", {"p": p})
    x = _scores(op, input, target)
    n, c = x.shape
    if target.shape not in ((n,), input.shape[:-1]):
        got = {"target.shape": target.shape, "input.shape": input.shape}
        raise refusal(op, "target must be one class for each row of input", got)
    label = valid_index(op, "target", target.reshape(n), c)
    right = jnp.take_along_axis(x, label[:, None], 1, mode="fill")
    terms = _above_0(margin - right + x) ** p
    loss = jnp.where(jnp.arange(c) == label[:, None], 0, terms).sum(1) / c
    if weight is not None:
        loss = loss * _class_weight(op, weight, input, c).at[label].get(mode="fill", fill_value=jnp.nan)
    return reduce_loss(op, loss.reshape(target.shape), reduction, input.dtype)


def _class_weight(op: str, weight: jax.Array, input: jax.Array, classes: int) -> jax.Array:
    weight = as_array(op, "weight", weight)
    if weight.shape != (classes,):
        raise refusal(op, f"weight must be ({classes},), one for each class", {"weight.shape": weight.shape})
    check_same_dtype(op, input=input, weight=weight)
    return widen(weight)


def multilabel_margin_loss(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants every right class above every wrong one: ``Σ_{y right, c wrong} max(0, 1 - x_y + x_c) / C``.

    Args:
        input: scores ``(N, C)`` or ``(C)``, real and floating; ``C > 0``.
        target: the right classes in the shape of ``input``: each row lists them from its front, up to the first -1.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or ``(N)`` or ``()`` with ``"none"``; the dtype of ``input``, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit.
        TypeError: ``input`` is not floating, or ``target`` not integer.
        IndexError: a target is neither a class nor -1; inside a trace its loss is NaN.

    Torch:
        ``torch.nn.functional.multilabel_margin_loss``, identical; the mean of an empty batch is NaN, torch's is
        arbitrary.
    """
    op = "multilabel_margin_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    input, target = as_array(op, "input", input), as_array(op, "target", target)
    x = _scores(op, input, target)
    if target.shape != input.shape:
        got = {"target.shape": target.shape, "input.shape": input.shape}
        raise refusal(op, "target must have the shape of input", got)
    c, target = x.shape[1], target.reshape(x.shape)
    label = valid_index(op, "target", jnp.where(target == -1, 0, target), c, "-1 ends the list of a row.")
    listed = jnp.cumsum(target == -1, 1) == 0
    right = jnp.take_along_axis(x, label, 1, mode="fill")
    # (N, L, C): the l-th label of a row against its every class
    is_label = (listed[:, :, None] & (label[:, :, None] == jnp.arange(c))).any(1)
    terms = _above_0(1 - right[:, :, None] + x[:, None, :])
    loss = jnp.where(listed[:, :, None] & ~is_label[:, None, :], terms, 0).sum((1, 2)) / c
    loss = jnp.where((label == c).any(1), jnp.nan, loss)
    return reduce_loss(op, loss.reshape(input.shape[:-1]), reduction, input.dtype)


def multilabel_soft_margin_loss(
    input: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Scores many yes or no by their logits: ``-Σ_c w_c (y_c log σ(x_c) + (1 - y_c) log σ(-x_c)) / C``.

    Args:
        input: logits ``(*, C)``, real and floating.
        target: 1 or 0, a shape that broadcasts with ``input``.
        weight: ``(C)``, or a shape that broadcasts with ``input``.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or ``(*)`` with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit.
        TypeError: ``input`` is not real and floating.

    Torch:
        ``torch.nn.functional.multilabel_soft_margin_loss``, identical.
    """
    op = "multilabel_soft_margin_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target)
    check_real(op, input.dtype)
    if not x.ndim:
        raise refusal(op, "input must have an axis of classes", {"input.shape": x.shape})
    loss = -(y * jax.nn.log_sigmoid(x) + (1 - y) * jax.nn.log_sigmoid(-x))
    if weight is not None:
        weight = as_array(op, "weight", weight)
        check_broadcast(op, input=loss, weight=weight)
        loss = loss * widen(weight)
    return reduce_loss(op, loss.sum(x.ndim - 1) / x.shape[-1], reduction, dtype)


def triplet_margin_loss(
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Wants the positive nearer than the negative: ``max(0, d(a, p) - d(a, n) + margin)``.

    The distance is `pairwise_distance`. From Balntas et al., Learning shallow convolutional feature descriptors with
    triplet losses, 2016.

    Args:
        anchor: ``(*, D)``.
        positive: as many axes, in a shape that broadcasts with it.
        negative: as many axes, in a shape that broadcasts with it.
        margin: the difference that is enough, above 0.
        p: exponent of the norm.
        eps: added to every difference of coordinates.
        swap: whether ``d(p, n)`` takes the place of ``d(a, n)`` where it is smaller.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or ``(*)`` with ``"none"``; the common dtype: float32 for integers, real for complex numbers.

    Errors:
        ValueError: a shape or an option does not fit.

    Torch:
        ``torch.nn.functional.triplet_margin_loss``, identical.
    """
    op = "triplet_margin_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    (anchor, positive, negative), dtype = _floats(op, anchor=anchor, positive=positive, negative=negative)
    _check_triplet(op, anchor, positive, negative, margin)
    check_broadcast(op, anchor=anchor, positive=positive, negative=negative)
    loss = _triplet(lambda a, b: pairwise_distance(a, b, p, eps), anchor, positive, negative, margin, swap)
    return reduce_loss(op, loss, reduction, dtype if jnp.issubdtype(dtype, jnp.floating) else loss.dtype)


def triplet_margin_with_distance_loss(
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    *,
    distance_function: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> jax.Array:
    """Wants the positive nearer than the negative: ``max(0, d(a, p) - d(a, n) + margin)``, for any distance.

    Args:
        anchor: what ``distance_function`` takes, by default ``(*, D)``.
        positive: as many axes.
        negative: as many axes.
        distance_function: the distance ``d``; None is `pairwise_distance`.
        margin: the difference that is enough, above 0.
        swap: whether ``d(p, n)`` takes the place of ``d(a, n)`` where it is smaller.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the distances with ``"none"``; their dtype.

    Errors:
        ValueError: a shape or an option does not fit.

    Torch:
        ``torch.nn.functional.triplet_margin_with_distance_loss``, identical.
    """
    op = "triplet_margin_with_distance_loss"
    reduction = resolve_reduction(op, reduction)
    a, p, n = as_array(op, "anchor", anchor), as_array(op, "positive", positive), as_array(op, "negative", negative)
    _check_triplet(op, a, p, n, margin)
    if distance_function is None:
        check_broadcast(op, anchor=a, positive=p, negative=n)
        distance_function = pairwise_distance
    loss = _triplet(distance_function, a, p, n, margin, swap)
    return reduce_loss(op, widen(loss), reduction, loss.dtype)


def _triplet(
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    margin: float,
    swap: bool,
) -> jax.Array:
    far = distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    return _at_least_0(margin + distance(anchor, positive) - far)


def _check_triplet(op: str, anchor: jax.Array, positive: jax.Array, negative: jax.Array, margin: float) -> None:
    if margin <= 0:
        raise refusal(op, "margin must be above 0", {"margin": margin})
    if not anchor.ndim == positive.ndim == negative.ndim:
        got = {"anchor.shape": anchor.shape, "positive.shape": positive.shape, "negative.shape": negative.shape}
        raise refusal(op, "anchor, positive and negative must have as many axes", got)


def _scores(op: str, input: jax.Array, target: jax.Array) -> jax.Array:
    """The scores as (N, C), wide enough to sum."""
    check_real(op, input.dtype)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise refusal(op, "target must hold integers", {"target.dtype": str(target.dtype)}, kind=TypeError)
    if input.ndim > 2 or (input.ndim and input.shape[-1] == 0):
        raise refusal(op, "input must be (N, C) or (C) with C > 0", {"input.shape": input.shape})
    return widen(input).reshape(-1 if input.ndim < 2 else len(input), input.shape[-1] if input.ndim else 1)


def _floats(op: str, **values: Any) -> tuple[list[jax.Array], jnp.dtype]:
    """The arrays in the dtype to compute in, and the dtype to answer in: floating at least."""
    arrays = [as_array(op, name, value) for name, value in values.items()]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.dtype(jnp.float32)
    return [widen(array.astype(dtype)) for array in arrays], dtype


def _at_least_0(x: jax.Array) -> jax.Array:
    # as torch clamps: the gradient passes at 0, and NaN stays
    return jnp.where(x < 0, 0, x)


def _above_0(x: jax.Array) -> jax.Array:
    # as torch's loops over classes have it: no gradient at 0; NaN stays
    return jnp.where(x <= 0, 0, x)
