"""accumulate: the gradients of a large batch, in the memory of a small one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model
from purenn.random import as_key
from purenn.tree import Where, flatten, partition
from transforms.batching import take_apart
from transforms.gradients import gradients_of


def accumulate(
    model: Model,
    loss: Callable[..., Any],
    n: int,
    where: Where | None = None,
    *,
    weight: Callable[..., Any] | None = None,
    reduction: str = "mean",
    in_axes: Any = 0,
) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function of `value_and_grad`, which takes its batch in n micro-batches, one after the other.

    Value and gradients are those of the batch as a whole, for a loss that is a mean over examples (or, with
    ``weight``, a weighted mean), or a sum over them. What normalises over the batch sees each micro-batch by itself.
    Buffers go from one micro-batch to the next, so that running statistics move n times. Micro-batch i holds
    the examples i, i + n, i + 2 n, ... (a batch that is spread over devices stays where it is) and draws from
    ``fold_in(rng, i)``. Gradients of half precision are added up in float32.

    Args:
        model: any model.
        loss: as in `value_and_grad`.
        n: how many micro-batches; it divides the number of examples. With 1, the function is that of `value_and_grad`.
        where: which params to differentiate, as in `value_and_grad`.
        weight: ``weight(*batch) -> scalar``, the weight of a micro-batch in the mean, such as the number of targets
            that are not ignored; None gives all the same. A micro-batch of weight 0 is left out, whatever its value.
        reduction: ``"mean"`` or ``"sum"``: what the loss does with the examples.
        in_axes: which axis of the batch is that of the examples, as in ``jax.vmap``.

    Returns:
        ``fn(params, buffers, *batch, rng=None, train=True) -> ((out, buffers), grads)``. Of the scalars among the
        metrics, floating ones are averaged as the value is in a mean, integers are added up, booleans ask for any.

    Errors:
        TypeError for what is no model; ValueError unless n is positive and divides the examples, for an unknown
        reduction, a weight where the loss sums, a metric or weight that is no scalar, and buffers that change their
        shape or dtype.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> fn = transforms.accumulate(L.Linear(3, 1), lambda m, x: m(x).mean(), 4)
    >>> params, buffers = L.Linear(3, 1).init(jax.random.key(0))
    >>> (value, buffers), grads = fn(params, buffers, jnp.ones((8, 3)))
    >>> grads["bias"]
    Array([1.], dtype=float32)
    """
    check_model("accumulate", model)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise refusal("accumulate", "n must be a positive integer", {"n": n})
    if reduction not in ("mean", "sum"):
        raise refusal("accumulate", "reduction must be 'mean' or 'sum'", {"reduction": reduction})
    if reduction == "sum" and weight is not None:
        raise refusal("accumulate", "weight must be None where the loss sums", {"reduction": reduction})
    gradients = gradients_of("accumulate", model, loss, where)
    if n == 1:
        return gradients

    def fn(params: Params, buffers: Buffers, *batch: Any, rng: Any = None, train: bool = True) -> Any:
        apart = take_apart("accumulate", batch, in_axes)
        parts = {i: _micro_batches(array, apart.axes[i], n) for i, array in apart.arrays.items()}
        chosen = params if where is None else partition(params, where, "accumulate")[0]

        def add(carry: tuple[Buffers, Params], part: tuple[Any, Any]) -> Any:
            (buffers, total), (arrays, key) = carry, part
            micro = apart.together(arrays)
            (out, after), grads = gradients(params, buffers, *micro, rng=key, train=train)
            _check_buffers(buffers, after)
            w = None if weight is None else _as_weight(weight(*micro))
            total = jax.tree.map(lambda t, g: t + _weighted(g.astype(t.dtype), w), total, grads)
            return (after, total), (out, w)

        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, _wide(p.dtype)), chosen)
        keys = None if rng is None else _keys(rng, n)
        (buffers, total), (outs, w) = jax.lax.scan(add, (buffers, zeros), (parts, keys), length=n)
        whole = 1 if reduction == "sum" else n if w is None else w.sum()
        grads = jax.tree.map(lambda t, p: (t / whole).astype(p.dtype), total, chosen)
        return (_reduce(outs, w, whole), buffers), grads

    return fn


def _micro_batches(array: jax.Array, axis: int, n: int) -> jax.Array:
    """(..., N, ...) to (n, ..., N / n, ...): interleaved, so that no device gives its examples away."""
    N = array.shape[axis]
    if N % n or not N:
        rule = "n must divide the number of examples, and leave some for each micro-batch"
        raise refusal("accumulate", rule, {"n": n, "the number of examples": N})
    split = jnp.reshape(array, (*array.shape[:axis], N // n, n, *array.shape[axis + 1 :]))
    return jnp.moveaxis(split, axis + 1, 0)


def _keys(rng: Any, n: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(as_key("accumulate", rng), jnp.arange(n, dtype=jnp.uint32))


def _wide(dtype: Any) -> Any:
    """The dtype to add up in: halves would lose what is small against the sum."""
    return jnp.promote_types(dtype, jnp.float32)


def _as_weight(w: Any) -> jax.Array:
    if jnp.shape(w) != ():
        raise refusal(
            "accumulate", "weight must give a scalar", {"its shape": jnp.shape(w)}, "Sum it over the examples."
        )
    return jnp.asarray(w, jnp.float32)


def _weighted(x: jax.Array, w: jax.Array | None) -> jax.Array:
    """The product, and zero for a weight of zero: the mean over no example is NaN, and would stay."""
    return x if w is None else jnp.where(w == 0, jnp.zeros_like(x), x * w.astype(x.dtype))


def _check_buffers(before: Buffers, after: Buffers) -> None:
    kinds = [
        {path: (jnp.shape(x), jnp.result_type(x)) for path, x in flatten(tree).items()} for tree in (before, after)
    ]
    if kinds[0] != kinds[1]:
        changed = sorted(path for path in {**kinds[0], **kinds[1]} if kinds[0].get(path) != kinds[1].get(path))
        raise refusal("accumulate", "a call must keep the shapes and dtypes of the buffers", {"changed": changed})


def _reduce(outs: Any, w: jax.Array | None, whole: Any) -> Any:
    """What the loss returned, from that of each micro-batch, (n,) each."""
    n = jax.tree.leaves(outs)[0].shape[0]

    def mean(x: jax.Array, whole: Any) -> jax.Array:
        wide = x.astype(_wide(x.dtype))
        return ((wide if w is None else jax.vmap(_weighted)(wide, w)).sum(0) / whole).astype(x.dtype)

    def metric(path: Any, x: jax.Array) -> jax.Array:
        if x.ndim != 1:
            got = {f"metrics{jax.tree_util.keystr(path)}": f"shape {x.shape[1:]}"}
            raise refusal("accumulate", "metrics must be scalars", got, "Reduce it in the loss.")
        if jnp.issubdtype(x.dtype, jnp.inexact):
            return mean(x, n if w is None else w.sum())
        return x.any(0) if x.dtype == bool else x.sum(0)

    if not isinstance(outs, tuple):
        return mean(outs, whole)
    return mean(outs[0], whole), *jax.tree_util.tree_map_with_path(metric, outs[1:])
