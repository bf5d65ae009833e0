"""From a model and a loss to gradients: state and randomness go through, nothing is lost on the way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, bind, check_model


def value_and_grad(model: Model, loss: Callable[..., Any]) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function that gives a loss, the buffers after it, and the gradients of all params.

    Args:
        model: any model.
        loss: ``loss(m, *batch) -> value`` or ``-> (value, metrics)``; ``m`` is the model bound to its arrays, and
            ``value`` a floating scalar.

    Returns:
        ``fn(params, buffers, *batch, rng=None, train=True) -> ((out, buffers), grads)``, where ``out`` is what the
        loss returned and ``grads`` has the structure of ``params``.

    Errors:
        TypeError for what is no model, or a value that is not floating; ValueError where the value is no scalar.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> fn = transforms.value_and_grad(L.Linear(3, 1), lambda m, x: m(x).sum())
    >>> params, buffers = L.Linear(3, 1).init(jax.random.key(0))
    >>> (value, buffers), grads = fn(params, buffers, jnp.ones((2, 3)))
    >>> grads["bias"]
    Array([2.], dtype=float32)
    """
    check_model("value_and_grad", model)

    def fn(params: Params, buffers: Buffers, *batch: Any, rng: Any = None, train: bool = True) -> Any:
        def scalar(params: Params) -> tuple[jax.Array, Any]:
            m = bind(model, params, buffers, rng, train)
            out = loss(m, *batch)
            value = jnp.asarray(out[0] if isinstance(out, tuple) else out)
            _check_scalar(value)
            return value, (out, m.buffers)

        (_, out_and_buffers), grads = jax.value_and_grad(scalar, has_aux=True)(params)
        return out_and_buffers, grads

    return fn


def _check_scalar(value: jax.Array) -> None:
    if value.shape != ():
        remedy = "Reduce it, for example with .mean()."
        raise refusal("value_and_grad", "the loss must be a scalar", {"its shape": value.shape}, remedy)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        got = {"its dtype": str(value.dtype)}
        raise refusal("value_and_grad", "the loss must be floating", got, kind=TypeError)
