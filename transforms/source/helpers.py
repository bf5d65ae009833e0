"""Functions that a generated file takes with it, as they stand here, where an operator is no single expression."""

from typing import Any

import jax
import jax.numpy as jnp

import purenn.functional as F


def batch_norm(params: Any, buffers: Any, x: Any, train: Any, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """Batch norm of x (N, C, ...); in training its statistics move in ``buffers``."""
    weight, bias = params.get("weight"), params.get("bias")
    mean, var = buffers["running_mean"], buffers["running_var"]
    if not train:
        return F.batch_norm(x, mean, var, weight, bias, False, momentum, eps)
    x, (mean, var) = F.batch_norm_update(x, mean, var, weight, bias, momentum, eps)
    buffers |= {"running_mean": mean, "running_var": var, "num_batches_tracked": buffers["num_batches_tracked"] + 1}
    return x


def clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    """``x`` within bounds; at a bound the gradient is that of ``x``."""
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def max_along(x: Any, axis: int, keepdims: bool = False, arg: Any = jnp.argmax) -> Any:
    """The largest values along an axis with their places; the gradient goes to them alone."""
    index = arg(jax.lax.stop_gradient(x), axis, keepdims=True)
    values = jnp.take_along_axis(x, index, axis)
    return (values, index) if keepdims else (jnp.squeeze(values, axis), jnp.squeeze(index, axis))


def sort(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """Values in order with their places; equal ones keep theirs, NaN counts as the largest."""
    if descending:
        index = x.shape[axis] - 1 - jnp.flip(jnp.argsort(jnp.flip(jax.lax.stop_gradient(x), axis), axis), axis)
    else:
        index = jnp.argsort(jax.lax.stop_gradient(x), axis)
    return jnp.take_along_axis(x, index, axis), index


def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> Any:
    """The k largest or smallest values along an axis, in order, with their places."""
    if largest:
        index = x.shape[axis] - 1 - jnp.flip(jnp.argsort(jnp.flip(jax.lax.stop_gradient(x), axis), axis), axis)
    else:
        index = jnp.argsort(jax.lax.stop_gradient(x), axis)
    index = jax.lax.slice_in_dim(index, 0, k, axis=axis)
    return jnp.take_along_axis(x, index, axis), index


def gather(x: Any, axis: int, index: Any) -> Any:
    """The elements of ``x`` along an axis at the places that ``index`` names, for each of its own places."""
    inside = tuple(slice(None) if a == axis % x.ndim else slice(0, n) for a, n in enumerate(index.shape))
    return jnp.take_along_axis(x[inside], index, axis, mode="fill")


def places(index: Any, axis: int) -> Any:
    """For each element of ``index`` its own place, with ``axis`` replaced by the element."""
    grid = [jax.lax.broadcasted_iota(jnp.int32, index.shape, a) for a in range(index.ndim)]
    grid[axis % index.ndim] = index
    return tuple(grid)


def variance(x: Any, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The variance over axes; ``correction`` is taken off the number of elements."""
    centred = x - jnp.mean(x, axis, keepdims=True)
    total = jnp.sum(jnp.abs(centred) ** 2, axis, keepdims=keepdims)
    count = x.size // jnp.mean(x, axis).size
    return total / jnp.maximum(jnp.asarray(count - correction, total.dtype), 0)


def root(x: Any) -> Any:
    """The square root, whose gradient at 0 is 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), x * 0)


def masked_put(x: Any, mask: Any, values: Any) -> Any:
    """``values`` in the place of the elements where ``mask`` is True, in order."""
    place = jnp.cumsum(mask.reshape(-1)).reshape(mask.shape) - 1
    return jnp.where(mask, jnp.take(values.reshape(-1), place, mode="clip").astype(x.dtype), x)


def weights(params: Any) -> Any:
    """The arrays of an LSTM, GRU or RNN in the order that F takes them: layer by layer, forward before backward."""
    order = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    parts = {name: name.removesuffix("_reverse").rpartition("_l") for name in params}
    ranks = {name: (int(k), name.endswith("_reverse"), order.index(kind)) for name, (kind, _, k) in parts.items()}
    return [params[name] for name in sorted(params, key=ranks.__getitem__)]
