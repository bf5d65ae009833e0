"""Normalisation: an input brought to mean 0 and variance 1 over some of its axes, then scaled and shifted.

Batch, instance, group and layer norm differ in the axes alone, so one kernel, `_standardize`, serves them all.
Statistics are taken in float32 at least. Running statistics are arguments and results, never written in place:
`batch_norm` and `instance_norm` read them, `batch_norm_update` and `instance_norm_update` return the new ones.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from purenn.errors import as_array, check_floating, refusal
from purenn.functional.distance import canonical_axes, check_norm, vector_norm, wide_dtype

Statistics = tuple[jax.Array, jax.Array]


def batch_norm(
    input: jax.Array,
    running_mean: jax.Array | None,
    running_var: jax.Array | None,
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    axis_name: Any = None,
) -> jax.Array:
    """Normalises each channel over the batch: ``y = (x - E[x]) / sqrt(Var[x] + eps) * weight + bias``.

    Args:
        input: ``(N, C, *)``, floating.
        running_mean: ``(C,)``; the mean to use, unless training.
        running_var: ``(C,)``; the variance to use, unless training.
        weight: ``(C,)``.
        bias: ``(C,)``.
        training: take mean and (biased) variance from ``input``; both running statistics must then be None.
        momentum: used by `batch_norm_update` alone; accepted here for torch's sake.
        eps: added to the variance.
        axis_name: an axis of ``shard_map`` or ``vmap``, or several: in training, the batch is what is along it.

    Returns:
        The shape and dtype of ``input``; statistics and weights may be float32 beside a 16-bit input.

    Errors:
        ValueError: shapes do not fit, a channel has one value in training, ``eps`` is not positive, statistics are
            missing, or they are given in training: torch would update them in place, `batch_norm_update` returns them.
        TypeError: dtypes do not fit.

    Source:
        Ioffe and Szegedy, "Batch Normalization" (2015).

    Torch:
        ``torch.nn.functional.batch_norm``, differs in that training with running statistics is `batch_norm_update`.
    """
    op = "batch_norm"
    x, mean, var = _check_batch(op, input, running_mean, running_var, training, eps, axis_name)
    if training and mean is not None:
        raise _twin(op, "training=True", "(out, (running_mean, running_var))")
    weight, bias = _check_channels(op, x, weight, bias)
    if training:
        y = _standardize(_wide(x), _batch_axes(x), eps, True, axis_name)
    else:
        y = _by_statistics(op, x, mean, var, eps)
    return _affine(y, weight, bias, _per_channel(x), x.dtype)


def batch_norm_update(
    input: jax.Array,
    running_mean: jax.Array,
    running_var: jax.Array,
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    momentum: float | jax.Array = 0.1,
    eps: float = 1e-5,
    *,
    axis_name: Any = None,
) -> tuple[jax.Array, Statistics]:
    """Normalises by the batch, and moves the running statistics: ``r' = (1 - momentum) r + momentum s``.

    Args:
        input: ``(N, C, *)``, floating.
        running_mean: ``(C,)``.
        running_var: ``(C,)``; moves towards the unbiased variance of the batch.
        weight: ``(C,)``.
        bias: ``(C,)``.
        momentum: weight of the *new* value; may be traced (a cumulative average is ``1 / (batches + 1)``).
        eps: added to the variance.
        axis_name: an axis of ``shard_map`` or ``vmap``, or several: the batch is what is along it.

    Returns:
        ``(out, (running_mean, running_var))``: what ``batch_norm(training=True)`` gives, in the dtype of ``input``,
        and the new statistics, in their own dtype and without gradient. An empty batch leaves them as they are.

    Errors:
        ValueError: shapes do not fit, a channel has one value, or ``eps`` is not positive.
        TypeError: dtypes do not fit, or ``momentum`` is None.

    Torch:
        ``torch.nn.functional.batch_norm`` with ``training=True``, differs in that the statistics are returned.
    """
    op = "batch_norm_update"
    x, mean, var = _check_batch(op, input, running_mean, running_var, True, eps, axis_name)
    weight, bias = _check_channels(op, x, weight, bias)
    y = _standardize(_wide(x), _batch_axes(x), eps, True, axis_name)
    out = _affine(y, weight, bias, _per_channel(x), x.dtype)
    return out, _updated(op, x, _batch_axes(x), mean, var, momentum, axis_name)


def instance_norm(
    input: jax.Array,
    running_mean: jax.Array | None = None,
    running_var: jax.Array | None = None,
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> jax.Array:
    """Normalises each channel of each example: ``y = (x - E[x]) / sqrt(Var[x] + eps) * weight + bias``.

    Args:
        input: ``(N, C, *)``, floating.
        running_mean: ``(C,)``; the mean to use, unless ``use_input_stats``.
        running_var: ``(C,)``; the variance to use, unless ``use_input_stats``.
        weight: ``(C,)``.
        bias: ``(C,)``.
        use_input_stats: take mean and (biased) variance from ``input``; both running statistics must then be None.
        momentum: used by `instance_norm_update` alone; accepted here for torch's sake.
        eps: added to the variance.

    Returns:
        The shape and dtype of ``input``; statistics and weights may be float32 beside a 16-bit input.

    Errors:
        ValueError: shapes do not fit, there is one spatial element, statistics are missing, or they are given with
            ``use_input_stats``: torch would update them in place, `instance_norm_update` returns them.
        TypeError: dtypes do not fit.

    Source:
        Ulyanov et al., "Instance Normalization" (2016).

    Torch:
        ``torch.nn.functional.instance_norm``, differs in that ``use_input_stats`` with running statistics is
        `instance_norm_update`.
    """
    op = "instance_norm"
    x, mean, var = _check_instance(op, input, running_mean, running_var, use_input_stats)
    if use_input_stats and mean is not None:
        raise _twin(op, "use_input_stats=True", "(out, (running_mean, running_var))")
    weight, bias = _check_channels(op, x, weight, bias)
    y = _standardize(_wide(x), _spatial(x), eps, True) if use_input_stats else _by_statistics(op, x, mean, var, eps)
    return _affine(y, weight, bias, _per_channel(x), x.dtype)


def instance_norm_update(
    input: jax.Array,
    running_mean: jax.Array,
    running_var: jax.Array,
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    momentum: float | jax.Array = 0.1,
    eps: float = 1e-5,
) -> tuple[jax.Array, Statistics]:
    """Normalises by each example, and moves the running statistics towards the average over the examples.

    Args:
        input: ``(N, C, *)``, floating.
        running_mean: ``(C,)``.
        running_var: ``(C,)``; moves towards the unbiased variance.
        weight: ``(C,)``.
        bias: ``(C,)``.
        momentum: weight of the *new* value; may be traced.
        eps: added to the variance.

    Returns:
        ``(out, (running_mean, running_var))``: what ``instance_norm`` gives without statistics, in the dtype of
        ``input``, and the new statistics, in their own dtype and without gradient. An empty batch leaves them.

    Errors:
        ValueError: shapes do not fit, or there is one spatial element.
        TypeError: dtypes do not fit, or ``momentum`` is None.

    Torch:
        ``torch.nn.functional.instance_norm`` with running statistics, differs in that they are returned, and in that
        an empty batch leaves them, where torch makes them NaN.
    """
    op = "instance_norm_update"
    x, mean, var = _check_instance(op, input, running_mean, running_var, True)
    weight, bias = _check_channels(op, x, weight, bias)
    out = _affine(_standardize(_wide(x), _spatial(x), eps, True), weight, bias, _per_channel(x), x.dtype)
    return out, _updated(op, x, _spatial(x), mean, var, momentum)


def group_norm(
    input: jax.Array,
    num_groups: int,
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    eps: float = 1e-5,
) -> jax.Array:
    """Normalises each group of channels of each example: ``y = (x - E[x]) / sqrt(Var[x] + eps) * weight + bias``.

    Args:
        input: ``(N, C, *)``, floating.
        num_groups: number of groups that the C channels fall into; divides C.
        weight: ``(C,)``.
        bias: ``(C,)``.
        eps: added to the variance.

    Returns:
        The shape and dtype of ``input``; weight and bias may be float32 beside a 16-bit input.

    Errors:
        ValueError: shapes do not fit, ``num_groups`` does not divide C, or the whole input is one value a group.
        TypeError: dtypes do not fit.

    Source:
        Wu and He, "Group Normalization" (2018).

    Torch:
        ``torch.nn.functional.group_norm``, identical.
    """
    op = "group_norm"
    x = _real(op, input)
    if x.ndim < 2:
        raise refusal(op, "input must be at least 2-D", {"input.shape": x.shape})
    if num_groups <= 0 or x.shape[1] % num_groups:
        rule = "num_groups must be positive and divide input.shape[1]"
        raise refusal(op, rule, {"num_groups": num_groups, "input.shape": x.shape})
    if x.size == num_groups:
        raise refusal(op, "each group must have more than 1 value", {"input.shape": x.shape, "num_groups": num_groups})
    weight, bias = _check_channels(op, x, weight, bias)
    if any(p is not None and p.ndim != 1 for p in (weight, bias)):
        raise refusal(op, "weight and bias must be 1-D", {"input.shape": x.shape})
    # (N, C, *) -> (N, G, C / G * ...), one row a group
    groups = _wide(x).reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    return _affine(_standardize(groups, (2,), eps, True).reshape(x.shape), weight, bias, _per_channel(x), x.dtype)


def layer_norm(
    input: jax.Array,
    normalized_shape: Sequence[int],
    weight: jax.Array | None = None,
    bias: jax.Array | None = None,
    eps: float = 1e-5,
) -> jax.Array:
    """Normalises over the last axes: ``y = (x - E[x]) / sqrt(Var[x] + eps) * weight + bias``.

    Args:
        input: ``(*, *normalized_shape)``, floating.
        normalized_shape: shape of the axes to normalise over, at least one.
        weight: of shape ``normalized_shape``.
        bias: of shape ``normalized_shape``.
        eps: added to the variance.

    Returns:
        The shape and dtype of ``input``; weight and bias may be float32 beside a 16-bit input.

    Errors:
        ValueError: shapes do not fit.
        TypeError: dtypes do not fit, or ``normalized_shape`` is no tuple or list.

    Source:
        Ba et al., "Layer Normalization" (2016).

    Torch:
        ``torch.nn.functional.layer_norm``, identical.
    """
    op = "layer_norm"
    x = _real(op, input)
    shape = _check_normalized_shape(op, x, normalized_shape, weight=weight, bias=bias)
    weight, bias = _check_pair(op, x, weight=weight, bias=bias)
    y = _standardize(_wide(x), tuple(range(x.ndim - len(shape), x.ndim)), eps, True)
    return _affine(y, weight, bias, shape, x.dtype)


def rms_norm(
    input: jax.Array,
    normalized_shape: Sequence[int],
    weight: jax.Array | None = None,
    eps: float | None = None,
) -> jax.Array:
    """Divides by the root mean square over the last axes: ``y = x / sqrt(E[x²] + eps) * weight``.

    Args:
        input: ``(*, *normalized_shape)``, floating or complex.
        normalized_shape: shape of the axes to normalise over, at least one.
        weight: of shape ``normalized_shape``, any real dtype.
        eps: added to the mean square; None is the machine epsilon of the dtype computed in, float32 for a 16-bit input.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        ValueError: shapes do not fit.
        TypeError: ``input`` is no floating array, or ``normalized_shape`` is no tuple or list.

    Source:
        Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).

    Torch:
        ``torch.nn.functional.rms_norm``, identical.
    """
    op = "rms_norm"
    x = as_array(op, "input", input)
    check_floating(op, "input", x)
    weight = None if weight is None else as_array(op, "weight", weight)
    shape = _check_normalized_shape(op, x, normalized_shape, weight=weight)
    if weight is not None and jnp.iscomplexobj(weight) and not jnp.iscomplexobj(x):
        raise refusal(op, "weight must be real", {"weight.dtype": str(weight.dtype)}, kind=TypeError)
    wide = _wide(x)
    eps = float(jnp.finfo(wide.dtype).eps) if eps is None else eps
    y = _standardize(wide, tuple(range(x.ndim - len(shape), x.ndim)), eps, False)
    return _affine(y, weight, None, shape, x.dtype)


def local_response_norm(
    input: jax.Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """Divides by the energy of the neighbouring channels: ``y = x / (k + alpha mean(x²)) ** beta``.

    Args:
        input: ``(N, C, *)``, at least 3-D, floating.
        size: number of channels in the window; what lies outside of C counts as 0.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        ValueError: ``input`` is not at least 3-D, or ``size`` is not positive.
        TypeError: ``input`` is not floating.

    Source:
        Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012), section 3.3.

    Torch:
        ``torch.nn.functional.local_response_norm``, identical (torch's integer rounding of int64 input is refused).
    """
    op = "local_response_norm"
    x = _real(op, input)
    if x.ndim < 3:
        raise refusal(op, "input must be at least 3-D", {"input.shape": x.shape})
    if size <= 0:
        raise refusal(op, "size must be positive", {"size": size})
    wide = _wide(x)
    window = (1, size) + (1,) * (x.ndim - 2)
    padding = ((0, 0), (size // 2, (size - 1) // 2)) + ((0, 0),) * (x.ndim - 2)
    energy = lax.reduce_window(wide * wide, 0.0, lax.add, window, (1,) * x.ndim, padding) / size
    return (wide / (k + alpha * energy) ** beta).astype(x.dtype)


def normalize(
    input: jax.Array,
    p: float = 2.0,
    dim: int | Sequence[int] | None = 1,
    eps: float = 1e-12,
    out: None = None,
) -> jax.Array:
    """Divides by the p-norm along an axis: ``v / max(‖v‖_p, eps)``.

    Args:
        input: any shape, floating or complex.
        p: exponent of the norm; 0, infinities and negative ones are taken too.
        dim: axis or axes to take the norm over; None or none of them is all.
        eps: least divisor.
        out: must be None.

    Returns:
        The shape and dtype of ``input``. At 0 the slope is ``1 / eps``.

    Errors:
        IndexError: ``dim`` is out of range.
        ValueError: ``dim`` repeats itself, the norm of nothing does not exist, or ``out`` is given.
        TypeError: ``input`` is no floating array.

    Torch:
        ``torch.nn.functional.normalize``, differs in that ``out`` is refused: arrays are not written into.
    """
    op = "normalize"
    x = as_array(op, "input", input)
    check_floating(op, "input", x)
    if out is not None:
        raise refusal(op, "out must be None", {"type(out)": type(out).__name__}, "Use the result.")
    axes = canonical_axes(op, dim, x.ndim)
    check_norm(op, x, p, axes)
    wide = _wide(x)
    norm = vector_norm(wide, p, axes, keepdims=True)
    # where, not maximum: a norm of exactly eps passes its gradient whole
    return (wide / jnp.where(norm < eps, eps, norm)).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _standardize(x: jax.Array, axes: tuple[int, ...], eps: float, centred: bool, axis_name: Any = None) -> jax.Array:
    return _standardized(x, axes, eps, centred, axis_name)[0]


@_standardize.defjvp
def _standardize_jvp(
    axes: tuple[int, ...], eps: float, centred: bool, axis_name: Any, primals: Any, tangents: Any
) -> Any:
    # With ŷ the result and r = 1 / sqrt(Var[x] + eps): dŷ = r (dx - E[dx] - ŷ E[ŷ dx]). The map is its own transpose,
    # so the backward pass has this short form as well; differentiating mean and variance one by one would give XLA
    # more than twice the instructions. A jvp, and no vjp, so that forward mode and hessians work.
    (x,), (dx,) = primals, tangents
    y, r = _standardized(x, axes, eps, centred, axis_name)
    dy = dx - y * _mean(y * dx, axes, axis_name)
    return y, r * (dy - _mean(dx, axes, axis_name) if centred else dy)


def _standardized(
    x: jax.Array, axes: tuple[int, ...], eps: float, centred: bool, axis_name: Any
) -> tuple[jax.Array, jax.Array]:
    x = x - _mean(x, axes, axis_name) if centred else x
    r = lax.rsqrt(_mean(x * x, axes, axis_name) + eps)
    return x * r, r


def _mean(x: jax.Array, axes: tuple[int, ...], axis_name: Any = None) -> jax.Array:
    # keeps the axes; of nothing it is 0. What lies along a named axis are parts of equal size
    mean = jnp.sum(x, axes, keepdims=True) / max(1, math.prod(x.shape[a] for a in axes))
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _by_statistics(op: str, x: jax.Array, mean: Any, var: Any, eps: float) -> jax.Array:
    if mean is None:
        raise refusal(
            op, "running_mean and running_var must be given when the batch is not used", {"running_mean": None}
        )
    shape, x = _per_channel(x), _wide(x)
    return (x - mean.astype(x.dtype).reshape(shape)) * lax.rsqrt(var.astype(x.dtype) + eps).reshape(shape)


def _affine(y: jax.Array, weight: Any, bias: Any, shape: Sequence[int], dtype: Any) -> jax.Array:
    if weight is not None:
        y = y * weight.astype(y.dtype).reshape(shape)
    if bias is not None:
        y = y + bias.astype(y.dtype).reshape(shape)
    return y.astype(dtype)


def _updated(
    op: str,
    x: jax.Array,
    axes: tuple[int, ...],
    mean: Any,
    var: Any,
    momentum: float | jax.Array,
    axis_name: Any = None,
) -> Statistics:
    if momentum is None:
        remedy = "A cumulative average is momentum = 1 / (number of batches so far, this one included)."
        raise refusal(op, "momentum must be a number", {"momentum": None}, remedy, TypeError)
    if x.size == 0:
        return lax.stop_gradient((mean, var))
    n = math.prod(x.shape[a] for a in axes) * _parts(axis_name)
    x = lax.stop_gradient(_wide(x))
    others = tuple(a for a in range(x.ndim) if a != 1)
    new_mean = _mean(x, axes, axis_name)
    new_var = _mean(jnp.square(x - new_mean), axes, axis_name) * (n / (n - 1))

    def moved(old: jax.Array, new: jax.Array) -> jax.Array:
        # the examples of instance norm are averaged here; for batch norm these axes have length 1
        wide = (1 - momentum) * _wide(old) + momentum * new.mean(others)
        return lax.stop_gradient(wide.astype(old.dtype))

    return moved(mean, new_mean), moved(var, new_var)


def _parts(axis_name: Any) -> int:
    return 1 if axis_name is None else lax.axis_size(axis_name)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(wide_dtype(x.dtype))


def _batch_axes(x: jax.Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _spatial(x: jax.Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _channels(x: jax.Array) -> int:
    return x.shape[1] if x.ndim > 1 else 0


def _per_channel(x: jax.Array) -> tuple[int, ...]:
    return (_channels(x),) + (1,) * (x.ndim - 2)


def _real(op: str, input: Any) -> jax.Array:
    x = as_array(op, "input", input)
    check_floating(op, "input", x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise refusal(op, "input must be real", {"input.dtype": str(x.dtype)}, kind=TypeError)
    return x


def _twin(op: str, option: str, results: str) -> Exception:
    return refusal(
        op,
        f"running statistics must be None with {option}, for they would have to change in place",
        remedy=f"Call {op}_update, which returns {results}.",
    )


def _check_batch(
    op: str, input: Any, mean: Any, var: Any, training: bool, eps: float, axis_name: Any
) -> tuple[jax.Array, Any, Any]:
    x = _real(op, input)
    if x.ndim < 2 and x.shape != (0,):  # torch takes the empty vector, as no channels
        raise refusal(op, "input must be (N, C) or (N, C, *)", {"input.shape": x.shape})
    if training and x.size * _parts(axis_name) == _channels(x) > 0:
        raise refusal(op, "each channel must have more than 1 value when training", {"input.shape": x.shape})
    if eps < 0 or (training and eps == 0):
        raise refusal(op, "eps must be positive (when not training, 0 is allowed)", {"eps": eps})
    return x, *_check_statistics(op, x, mean, var)


def _check_instance(op: str, input: Any, mean: Any, var: Any, use_input_stats: bool) -> tuple[jax.Array, Any, Any]:
    x = _real(op, input)
    if x.ndim < 2:
        raise refusal(op, "input must be (N, C, *)", {"input.shape": x.shape})
    if use_input_stats and math.prod(x.shape[2:]) == 1:
        raise refusal(op, "there must be more than 1 spatial element when training", {"input.shape": x.shape})
    return x, *_check_statistics(op, x, mean, var)


def _check_statistics(op: str, x: jax.Array, mean: Any, var: Any) -> tuple[Any, Any]:
    if (mean is None) != (var is None) or (mean is None and op.endswith("_update")):
        rule = "running_mean and running_var must be given together"
        raise refusal(op, rule, {"running_mean": _kind(mean), "running_var": _kind(var)})
    mean, var = _check_pair(op, x, running_mean=mean, running_var=var)
    for name, array in (("running_mean", mean), ("running_var", var)):
        if array is not None and array.shape != (_channels(x),):
            rule = f"{name} must be (input.shape[1],)"
            raise refusal(op, rule, {f"{name}.shape": array.shape, "input.shape": x.shape})
    return mean, var


def _kind(value: Any) -> Any:
    return None if value is None else type(value).__name__


def _check_channels(op: str, x: jax.Array, weight: Any, bias: Any) -> tuple[Any, Any]:
    weight, bias = _check_pair(op, x, weight=weight, bias=bias)
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and array.size != _channels(x):
            rule = f"{name} must be (input.shape[1],)"
            raise refusal(op, rule, {f"{name}.shape": array.shape, "input.shape": x.shape})
    return weight, bias


def _check_pair(op: str, x: jax.Array, **pair: Any) -> tuple[Any, Any]:
    arrays = {name: None if value is None else as_array(op, name, value) for name, value in pair.items()}
    dtypes = {name: array.dtype for name, array in arrays.items() if array is not None}
    allowed = {x.dtype, jnp.dtype(jnp.float32)} if x.dtype.itemsize < 4 else {x.dtype}
    if not allowed.issuperset(dtypes.values()) or len(set(dtypes.values())) > 1:
        raise refusal(
            op,
            f"{' and '.join(arrays)} must have one dtype, that of input or float32 beside a 16-bit input",
            {"input.dtype": str(x.dtype), **{f"{name}.dtype": str(dtype) for name, dtype in dtypes.items()}},
            "Cast them with .astype(...).",
            TypeError,
        )
    first, second = arrays.values()
    return first, second


def _check_normalized_shape(op: str, x: jax.Array, normalized_shape: Any, **parameters: Any) -> tuple[int, ...]:
    if not isinstance(normalized_shape, Sequence):
        rule, remedy = "normalized_shape must be a tuple of integers", "Write (n,) for the last axis alone."
        raise refusal(op, rule, {"normalized_shape": normalized_shape}, remedy, TypeError)
    shape = tuple(normalized_shape)
    if not shape:
        raise refusal(op, "normalized_shape must have at least one axis", {"normalized_shape": shape})
    if x.shape[-len(shape) :] != shape:
        rule = "the last axes of input must equal normalized_shape"
        raise refusal(op, rule, {"input.shape": x.shape, "normalized_shape": shape})
    for name, value in parameters.items():
        if value is not None and as_array(op, name, value).shape != shape:
            rule = f"{name} must be of normalized_shape"
            raise refusal(op, rule, {f"{name}.shape": value.shape, "normalized_shape": shape})
    return shape
