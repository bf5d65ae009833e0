"""What every loss shares (how it is reduced), and the losses of regression."""

import math
import warnings

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import xlogy

from purenn.checks import require
from purenn.errors import as_array, check_floating, refusal


def resolve_reduction(
    op: str, reduction: str, size_average: bool | None = None, reduce: bool | None = None, stacklevel: int = 3
) -> str:
    """Takes torch's two spellings of a reduction to the one in use.

    Args:
        op: name of the loss.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``"elementwise_mean"`` is an old name of the mean.
        size_average: the older spelling; with ``reduce`` it overrides ``reduction`` and warns.
        reduce: the older spelling; ``False`` means ``"none"``.
        stacklevel: of the warning; 3 is the caller of the loss.

    Returns:
        ``"none"``, ``"mean"`` or ``"sum"``.

    Errors:
        ValueError: ``reduction`` is none of these.
    """
    if size_average is not None or reduce is not None:
        average, reduces = size_average is None or size_average, reduce is None or reduce
        reduction = ("mean" if average else "sum") if reduces else "none"
        warnings.warn(
            f"{op}: size_average and reduce are deprecated. Pass reduction={reduction!r} instead.",
            UserWarning,
            stacklevel=stacklevel,
        )
    elif reduction == "elementwise_mean":
        reduction = "mean"
        warnings.warn(
            f"{op}: reduction='elementwise_mean' is deprecated. Pass reduction='mean' instead.",
            UserWarning,
            stacklevel=stacklevel,
        )
    if reduction not in ("none", "mean", "sum"):
        raise refusal(op, "reduction must be 'none', 'mean' or 'sum'", {"reduction": reduction})
    return reduction


def widen(array: jax.Array) -> jax.Array:
    """Takes float16 and bfloat16 to float32, in which losses are computed and summed; leaves the rest as it is.

    Args:
        array: any shape and dtype.

    Returns:
        The same numbers.
    """
    narrow = jnp.issubdtype(array.dtype, jnp.floating) and jnp.finfo(array.dtype).bits < 32
    return array.astype(jnp.float32) if narrow else array


def reduce_loss(op: str, loss: jax.Array, reduction: str, dtype: jnp.dtype) -> jax.Array:
    """Applies a resolved reduction over every axis.

    Args:
        op: name of the loss.
        loss: any shape.
        reduction: ``"none"``, ``"mean"`` (NaN for an empty loss) or ``"sum"``.
        dtype: what the result is rounded to, after the sum.

    Returns:
        The shape of ``loss``, or a scalar.

    Errors:
        TypeError: the mean of integers.
    """
    if reduction == "mean":
        check_floating(op, "the loss, to have a mean,", loss)
        loss = loss.mean()
    elif reduction == "sum":
        loss = loss.sum()
    return loss.astype(dtype)


def check_real(op: str, dtype: jnp.dtype) -> None:
    """Refuses what is not real and floating, with a TypeError.

    Args:
        op: name of the loss.
        dtype: the dtype of its terms.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        rule = "input and target must be real and floating"
        raise refusal(op, rule, {"dtype": str(dtype)}, "Cast them with .astype(jnp.float32).", TypeError)


def check_broadcast(op: str, **arrays: jax.Array) -> tuple[int, ...]:
    """Refuses shapes that do not broadcast together, with a ValueError.

    Args:
        op: name of the loss.
        **arrays: the arrays by argument name.

    Returns:
        The shape they broadcast to.
    """
    try:
        return jnp.broadcast_shapes(*[array.shape for array in arrays.values()])
    except ValueError:
        got = {f"{name}.shape": array.shape for name, array in arrays.items()}
        raise refusal(op, f"the shapes of {' and '.join(arrays)} must broadcast", got) from None


def l1_loss(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: jax.Array | None = None,
) -> jax.Array:
    """Takes the absolute difference: ``w |x - y|``; its gradient at 0 is 0.

    Args:
        input: any shape; complex is taken, integers too when nothing is averaged.
        target: the shape of ``input``; another one that broadcasts with it is taken with a warning.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        weight: the shape of ``input``; the mean then divides by ``Σ w``.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; real, in the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit.
        TypeError: booleans, or the mean of integers.

    Torch:
        ``torch.nn.functional.l1_loss``, identical.
    """
    op = "l1_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target, warn=True)
    if dtype == jnp.bool_:
        raise refusal(op, "input and target must be numbers", {"dtype": "bool"}, kind=TypeError)
    loss = _absolute(x - y)
    dtype = loss.dtype if jnp.iscomplexobj(x) else dtype
    return _reduce_weighted(op, loss, weight, x.shape, reduction, dtype)


def mse_loss(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: jax.Array | None = None,
) -> jax.Array:
    """Takes the squared difference: ``w (x - y)²``.

    Args:
        input: any shape.
        target: the shape of ``input``; another one that broadcasts with it is taken with a warning.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        weight: the shape of ``input``; the mean then divides by ``Σ w``.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or ``reduction`` does not fit.
        TypeError: the common dtype is not real and floating.

    Torch:
        ``torch.nn.functional.mse_loss``, identical.
    """
    op = "mse_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target, warn=True)
    check_real(op, dtype)
    return _reduce_weighted(op, jnp.square(x - y), weight, x.shape, reduction, dtype)


def smooth_l1_loss(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> jax.Array:
    """Squares small differences only: ``d² / (2 beta)`` where ``|d| < beta``, else ``|d| - beta / 2``.

    From Girshick, Fast R-CNN, 2015 (https://arxiv.org/abs/1504.08083). ``beta = 0`` is `l1_loss`.

    Args:
        input: any shape.
        target: the shape of ``input``; another one that broadcasts with it is taken with a warning.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        beta: where the square ends, at least 0.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: the common dtype is not real and floating.

    Torch:
        ``torch.nn.functional.smooth_l1_loss``, identical.
    """
    op = "smooth_l1_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target, warn=True)
    check_real(op, dtype)
    if beta < 0:
        raise refusal(op, "beta must be at least 0", {"beta": beta})
    d = x - y
    if beta == 0:
        return reduce_loss(op, _absolute(d), reduction, dtype)
    return reduce_loss(op, _huber(d, beta) / beta, reduction, dtype)


def huber_loss(
    input: jax.Array,
    target: jax.Array,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: jax.Array | None = None,
) -> jax.Array:
    """Squares small differences only: ``w d² / 2`` where ``|d| <= delta``, else ``w delta (|d| - delta / 2)``.

    From Huber, Robust Estimation of a Location Parameter, 1964.

    Args:
        input: any shape.
        target: the shape of ``input``; another one that broadcasts with it is taken with a warning.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        delta: where the square ends, above 0.
        weight: the shape of ``input``; the mean divides by the number of terms all the same.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit.
        TypeError: the common dtype is not real and floating.

    Torch:
        ``torch.nn.functional.huber_loss``, identical.
    """
    op = "huber_loss"
    reduction = resolve_reduction(op, reduction)
    x, y, dtype = pair(op, input, target, warn=True)
    check_real(op, dtype)
    if delta <= 0:
        raise refusal(op, "delta must be above 0", {"delta": delta})
    loss = _huber(x - y, delta)
    if weight is not None:
        loss = loss * _weight(op, weight, x.shape)
    return reduce_loss(op, loss, reduction, dtype)


def _absolute(d: jax.Array) -> jax.Array:
    # jnp.abs has slope 1 at the real 0
    return jnp.abs(d) if jnp.iscomplexobj(d) else d * jnp.sign(d)


def _huber(d: jax.Array, delta: float) -> jax.Array:
    small = jnp.abs(d) <= delta
    # the unused branch sees 0, so that its gradient stays finite
    return jnp.where(small, 0.5 * jnp.square(jnp.where(small, d, 0)), delta * (jnp.abs(d) - 0.5 * delta))


def gaussian_nll_loss(
    input: jax.Array,
    target: jax.Array,
    var: jax.Array | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> jax.Array:
    """Scores a normal distribution: ``(log v + (x - y)² / v) / 2``, where ``v = max(var, eps)``.

    From Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994. The clamp
    lets the gradient of ``var`` pass.

    Args:
        input: the means, any shape.
        target: a shape that broadcasts with ``input``.
        var: the variances: a float, or an array in the shape of ``input``, or without its last axis, or with one axis
            of length 1 in its place.
        full: whether to add the constant ``log(2 π) / 2``.
        eps: the least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: a shape or an option does not fit; outside a trace, also a negative variance.

    Torch:
        ``torch.nn.functional.gaussian_nll_loss``, identical.
    """
    op = "gaussian_nll_loss"
    reduction = resolve_reduction(op, reduction)
    x, y, dtype = pair(op, input, target)
    if isinstance(var, float):
        var = jnp.full(x.shape, var, dtype)
    v = as_array(op, "var", var)
    dtype = jnp.promote_types(dtype, v.dtype)
    check_real(op, dtype)
    v = _as_variance_of(op, widen(v), x.shape)
    require(~(v < 0), op, "var must not be negative")
    v = jnp.where(v < eps, eps + v - lax.stop_gradient(v), v)
    loss = 0.5 * (jnp.log(v) + jnp.square(x - y) / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(op, loss, reduction, dtype)


def _as_variance_of(op: str, var: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if var.shape == shape:
        return var
    if var.shape == shape[:-1]:
        return var[..., None]
    # as torch has it: the lengths of the axes that differ add up to 1, so there is one, and it is 1
    if len(shape) == var.ndim and sum(v for s, v in zip(shape, var.shape, strict=True) if s != v) == 1:
        return var
    rule = "var must have the shape of input, at most one axis of it dropped at the end or of length 1"
    raise refusal(op, rule, {"var.shape": var.shape, "input.shape": shape})


def poisson_nll_loss(
    input: jax.Array,
    target: jax.Array,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> jax.Array:
    """Scores a Poisson distribution: ``exp(x) - y x``, or ``x - y log(x + eps)``.

    Args:
        input: the rates or their logarithms, any shape.
        target: counts, a shape that broadcasts with ``input``.
        log_input: whether ``input`` holds logarithms.
        full: whether to add Stirling's ``y log y - y + log(2 π y) / 2`` where ``y > 1``.
        size_average: see ``reduction``.
        eps: keeps the logarithm of a rate finite.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype (float32 for integers).

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.

    Torch:
        ``torch.nn.functional.poisson_nll_loss``, differs in that Stirling's term has gradient 0, not NaN, at 0.
    """
    op = "poisson_nll_loss"
    reduction = resolve_reduction(op, reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target)
    loss = jnp.exp(x) - y * x if log_input else x - y * jnp.log(x + eps)
    if full:
        many = y > 1
        n = jnp.where(many, y, 2)  # the unused branch sees 2, so that its gradient stays finite
        loss = loss + jnp.where(many, n * jnp.log(n) - n + 0.5 * jnp.log(2 * math.pi * n), 0)
    return reduce_loss(op, loss, reduction, dtype if jnp.issubdtype(dtype, jnp.inexact) else loss.dtype)


def kl_div(
    input: jax.Array,
    target: jax.Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> jax.Array:
    """Takes the terms of the Kullback-Leibler divergence: ``y (log y - x)``, which is 0 where ``y`` is 0.

    Args:
        input: log-probabilities, any shape.
        target: probabilities, or their logarithms, a shape that broadcasts with ``input``.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"``, ``"sum"``, or ``"batchmean"``, the sum over the length of the first axis
            of ``input``; ``size_average`` and ``reduce`` are older spellings.
        log_target: whether ``target`` holds logarithms.

    Returns:
        A scalar, or the broadcast shape with ``"none"``; the common dtype, sums are taken in float32.

    Errors:
        ValueError: the shapes or ``reduction`` do not fit.
        TypeError: ``input`` or ``target`` is not real and floating.

    Torch:
        ``torch.nn.functional.kl_div``, differs in that ``reduction="mean"`` does not warn.
    """
    op = "kl_div"
    batchmean = reduction == "batchmean"
    reduction = resolve_reduction(op, "sum" if batchmean else reduction, size_average, reduce)
    x, y, dtype = pair(op, input, target)
    check_real(op, input.dtype)
    check_real(op, target.dtype)
    loss = jnp.exp(y) * (y - x) if log_target else xlogy(y, y) - y * x
    loss = reduce_loss(op, loss, reduction, loss.dtype)
    if batchmean and input.ndim:
        loss = loss / input.shape[0]
    return loss.astype(dtype)


def pair(
    op: str, input: jax.Array, target: jax.Array, warn: bool = False, same_shape: bool = False
) -> tuple[jax.Array, jax.Array, jnp.dtype]:
    """Takes the two arguments of a loss to one dtype.

    Args:
        op: name of the loss.
        input: what is scored.
        target: what it is scored against.
        warn: whether to warn when the shapes differ, as torch does.
        same_shape: whether to refuse it.

    Returns:
        Both arrays in the dtype to compute in, and the dtype to answer in.

    Errors:
        ValueError: the shapes do not fit.
        TypeError: an argument is no array.
    """
    input, target = as_array(op, "input", input), as_array(op, "target", target)
    shapes = {"input.shape": input.shape, "target.shape": target.shape}
    if same_shape and input.shape != target.shape:
        raise refusal(op, "target must have the shape of input", shapes)
    check_broadcast(op, input=input, target=target)
    if warn and input.shape != target.shape:
        warnings.warn(
            f"{op}: input and target differ in shape, {input.shape} and {target.shape}, and are broadcast; "
            "this is seldom what is meant.",
            UserWarning,
            stacklevel=3,
        )
    dtype = jnp.result_type(input, target)
    return widen(input.astype(dtype)), widen(target.astype(dtype)), dtype


def _weight(op: str, weight: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    weight = as_array(op, "weight", weight)
    if weight.shape != shape:
        got = {"weight.shape": weight.shape, "input.shape": shape}
        raise refusal(op, "weight must have the shape of input", got)
    return widen(weight)


def _reduce_weighted(
    op: str, loss: jax.Array, weight: jax.Array | None, shape: tuple[int, ...], reduction: str, dtype: jnp.dtype
) -> jax.Array:
    if weight is None:
        return reduce_loss(op, loss, reduction, dtype)
    w = _weight(op, weight, shape)
    if reduction == "mean":
        return ((loss * w).sum() / w.sum()).astype(dtype)
    return reduce_loss(op, loss * w, reduction, dtype)
