"""From a model and a loss to gradients: state and randomness go through, nothing is lost on the way."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, bind, check_model
from purenn.tree import Where, combine, partition


def value_and_grad(
    model: Model, loss: Callable[..., Any], where: Where | None = None
) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function that gives a loss, the buffers after it, and the gradients of the params.

    Args:
        model: any model.
        loss: ``loss(m, *batch) -> value`` or ``-> (value, metrics)``; ``m`` is the model bound to its arrays, and
            ``value`` a floating scalar.
        where: which params to differentiate (see `purenn.tree`), None all of them; the others cost no backward pass.

    Returns:
        ``fn(params, buffers, *batch, rng=None, train=True) -> ((out, buffers), grads)``, where ``out`` is what the
        loss returned and ``grads`` has the structure of ``params``, or of ``partition(params, where)[0]``.

    Errors:
        TypeError for what is no model, or a value that is not floating; ValueError where the value is no scalar, or
        where ``where`` matches nothing.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> fn = transforms.value_and_grad(L.Linear(3, 1), lambda m, x: m(x).sum())
    >>> params, buffers = L.Linear(3, 1).init(jax.random.key(0))
    >>> (value, buffers), grads = fn(params, buffers, jnp.ones((2, 3)))
    >>> grads["bias"]
    Array([2.], dtype=float32)
    """
    check_model("value_and_grad", model)
    return gradients_of("value_and_grad", model, loss, where)


def gradients_of(
    op: str, model: Model, loss: Callable[..., Any], where: Where | None
) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function of `value_and_grad` for another transform.

    Args:
        op: name of the transform, for errors.
        model: as in `value_and_grad`.
        loss: as in `value_and_grad`.
        where: as in `value_and_grad`.

    Returns:
        The function.
    """

    def fn(params: Params, buffers: Buffers, *batch: Any, rng: Any = None, train: bool = True) -> Any:
        chosen, scalar = objective(op, model, loss, where, params, buffers, batch, rng, train)
        (_, out_and_buffers), grads = jax.value_and_grad(scalar, has_aux=True)(chosen)
        return out_and_buffers, grads

    return fn


def objective(
    op: str,
    model: Model,
    loss: Callable[..., Any],
    where: Where | None,
    params: Params,
    buffers: Buffers,
    batch: tuple[Any, ...],
    rng: Any,
    train: bool,
) -> tuple[Params, Callable[[Params], tuple[jax.Array, tuple[Any, Buffers]]]]:
    """Writes the loss of one batch as a function of the params that are differentiated.

    Args:
        op: name of the caller, for errors.
        model: any model.
        loss: as in `value_and_grad`.
        where: as in `value_and_grad`.
        params: all of them.
        buffers: as from init.
        batch: arguments of the loss.
        rng: PRNG key or None.
        train: training or evaluation.

    Returns:
        ``(chosen, fn)``, with ``fn(chosen) -> (value, (out, buffers))``.

    Errors:
        As `value_and_grad` says.
    """
    chosen, rest = (params, None) if where is None else partition(params, where, op)

    def scalar(chosen: Params) -> tuple[jax.Array, tuple[Any, Buffers]]:
        m = bind(model, chosen if rest is None else combine(chosen, rest), buffers, rng, train)
        out = loss(m, *batch)
        value = _as_scalar(op, out[0] if isinstance(out, tuple) and out else out)
        return value, (out, m.buffers)

    return chosen, scalar


def _as_scalar(op: str, value: Any) -> jax.Array:
    if value is None or isinstance(value, (str, Mapping)):
        got = {"its type": type(value).__name__}
        raise refusal(op, "the loss must return a number, or a tuple that begins with one", got, kind=TypeError)
    value = jnp.asarray(value)
    if value.shape != ():
        remedy = "Reduce it, for example with .mean()."
        raise refusal(op, "the loss must be a scalar", {"its shape": value.shape}, remedy)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        got = {"its dtype": str(value.dtype)}
        raise refusal(op, "the loss must be floating", got, kind=TypeError)
    return value
