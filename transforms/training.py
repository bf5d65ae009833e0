"""The training step, itself a pure pair: ``init(rng) -> state`` and ``step(state, batch) -> (state, metrics)``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params
from purenn.random import as_key, fold_name
from transforms.gradients import value_and_grad


class TrainState(NamedTuple):
    """All that training changes, or needs to go on: a plain pytree."""

    params: Params
    buffers: Buffers
    opt_state: Any
    rng: jax.Array  # the keys of all steps are folded from it
    step: jax.Array  # () int32: steps done


class TrainStep(NamedTuple):
    """The pair that `train_step` makes."""

    init: Callable[..., TrainState]
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


def train_step(
    model: Model, loss: Callable[..., Any], optimizer: optax.GradientTransformation, *, donate: bool = True
) -> TrainStep:
    """Makes the compiled training step of a model.

    Args:
        model: any model.
        loss: ``loss(m, batch) -> value`` or ``-> (value, metrics)`` with a dict of metrics; ``m`` is the model, bound.
        optimizer: from optax.
        donate: whether a step may reuse the memory of the state it is given, which cannot be used afterwards.

    Returns:
        ``init(rng, params=None, buffers=None) -> TrainState``, which draws the arrays or takes copies of those given,
        and ``step(state, batch) -> (state, metrics)``, compiled; ``metrics["loss"]`` is the value.

    Errors:
        TypeError where the model or the optimizer is none.

    >>> import jax, jax.numpy as jnp, optax, transforms
    >>> from purenn import layers as L
    >>> trainer = transforms.train_step(L.Linear(3, 1), lambda m, x: (m(x) ** 2).mean(), optax.sgd(0.1))
    >>> state = trainer.init(jax.random.key(0))
    >>> state, metrics = trainer.step(state, jnp.ones((8, 3)))
    >>> int(state.step), sorted(metrics)
    (1, ['loss'])
    """
    if not isinstance(model, Model) or isinstance(model, type):
        raise refusal("train_step", "model must be a model", {"type(model)": type(model).__name__}, kind=TypeError)
    if not isinstance(optimizer, optax.GradientTransformation):
        got = {"type(optimizer)": type(optimizer).__name__}
        raise refusal("train_step", "optimizer must be optax's", got, "For example optax.adam(1e-3).", TypeError)
    gradients = value_and_grad(model, loss)

    def init(rng: Any, params: Params | None = None, buffers: Buffers | None = None) -> TrainState:
        rng = as_key("train_step.init", rng)
        if params is None:
            params, drawn = model.init(rng)
            buffers = drawn if buffers is None else jax.tree.map(jnp.copy, buffers)
        else:
            # copies: the steps may take the memory of the state, never that of the caller's arrays
            params, buffers = jax.tree.map(jnp.copy, (params, {} if buffers is None else buffers))
        return TrainState(params, buffers, optimizer.init(params), fold_name(rng, "train"), jnp.zeros((), jnp.int32))

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        rng = jax.random.fold_in(state.rng, state.step)
        (out, buffers), grads = gradients(state.params, state.buffers, batch, rng=rng, train=True)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        value, metrics = out if isinstance(out, tuple) else (out, {})
        return TrainState(params, buffers, opt_state, state.rng, state.step + 1), {"loss": value, **metrics}

    return TrainStep(init, jax.jit(step, donate_argnums=0 if donate else ()))
