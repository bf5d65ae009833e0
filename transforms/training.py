"""The training step, itself a pure pair: ``init(rng) -> state`` and ``step(state, batch) -> (state, metrics)``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model
from purenn.random import as_key, fold_name
from transforms.gradients import value_and_grad


class TrainState(NamedTuple):
    """All that training changes, or needs to go on: a plain pytree."""

    params: Params
    buffers: Buffers
    opt_state: Any
    rng: jax.Array  # raw key data, the quickest to hand to jit; the keys of all steps are folded from it
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
        TypeError where the model or the optimizer is none; in the first step, where the metrics are no dict, ValueError
        where one of them is called ``"loss"``.

    >>> import jax, jax.numpy as jnp, optax, transforms
    >>> from purenn import layers as L
    >>> trainer = transforms.train_step(L.Linear(3, 1), lambda m, x: (m(x) ** 2).mean(), optax.sgd(0.1))
    >>> state = trainer.init(jax.random.key(0))
    >>> state, metrics = trainer.step(state, jnp.ones((8, 3)))
    >>> int(state.step), sorted(metrics)
    (1, ['loss'])
    """
    check_model("train_step", model)
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
        state = params, buffers, optimizer.init(params), fold_name(rng, "train"), jnp.zeros((), jnp.int32)
        return TrainState(*_distinct(state))

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        rng = jax.random.fold_in(as_key("train_step", state.rng), state.step)
        (out, buffers), grads = gradients(state.params, state.buffers, batch, rng=rng, train=True)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, buffers, opt_state, state.rng, state.step + 1), _metrics(out)

    return TrainStep(init, jax.jit(step, donate_argnums=0 if donate else ()))


def _distinct(tree: Any) -> Any:
    """No array twice: some optimizers keep the first params, and memory is given to a step only once."""
    seen: set[int] = set()

    def own(leaf: Any) -> Any:
        if id(leaf) in seen:
            return jnp.copy(leaf)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, tree)


def _metrics(out: Any) -> dict[str, jax.Array]:
    if not isinstance(out, tuple):
        return {"loss": out}
    value, metrics = (*out, None)[:2]
    if len(out) != 2 or not isinstance(metrics, Mapping):
        got = {"its length": len(out), "type(metrics)": type(metrics).__name__}
        raise refusal("train_step", "the loss must give a value, or a value and a dict of metrics", got, kind=TypeError)
    if "loss" in metrics:
        raise refusal("train_step", "no metric may be called 'loss'", {"metrics": [*metrics]}, "That is the value.")
    return {"loss": value, **metrics}
