"""eval_step: a model in evaluation mode, as one compiled function from a state and a batch to metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, bind, check_model
from transforms.averaging import read_average
from transforms.casting import precise
from transforms.measuring import Metrics, Weighted, measured, weighted
from transforms.train_state import TrainState


def eval_step(
    model: Model,
    loss_or_metrics: Callable[..., Any],
    *,
    metrics: Metrics | None = None,
    weight: Callable[[Any], Any] | None = None,
    precision: Any = None,
    ema: bool = False,
) -> Callable[..., dict[str, Any]]:
    """Makes the compiled function that evaluates a model on a batch; `aggregate` puts the batches together.

    Args:
        model: any model.
        loss_or_metrics: the loss of `train_step`, ``fn(m, batch) -> value`` or ``-> (value, aux)``; or
            ``fn(m, batch) -> dict`` of metrics. ``m`` is the model, bound, in evaluation mode.
        metrics: of the loss, as in `train_step`.
        weight: ``weight(batch) -> number``, what the means over this batch weigh; None is the number of its examples,
            the length of the first axis that all of its arrays have.
        precision: as in `train_step`.
        ema: whether to use the average of the params, ``state.ema``.

    Returns:
        ``step(state, batch, rng=None) -> metrics``, compiled; ``state`` is a `TrainState` or ``(params, buffers)``, and
        floating metrics are `Weighted`.

    Errors:
        TypeError where the model is none; in a call, TypeError for what is no metric, ValueError where the batch does
        not tell its weight, or the state has no average.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> evaluate = transforms.eval_step(L.Linear(3, 1), lambda m, x: m(x).mean())
    >>> state = L.Linear(3, 1).init(jax.random.key(0))
    >>> total = transforms.aggregate(evaluate(state, x) for x in (jnp.ones((4, 3)), jnp.ones((2, 3))))
    >>> sorted(total)
    ['loss']
    """
    check_model("eval_step", model)
    model = precise("eval_step", model, precision)
    run = _either(loss_or_metrics, metrics)

    def step(state: Any, batch: Any, rng: Any = None) -> dict[str, Any]:
        params, buffers = _arrays(state, ema)
        found = run(bind(model, params, buffers, rng, False), batch)
        weigh = _examples if weight is None else weight
        return {name: _weigh(value, weigh, batch) for name, value in found.items()}

    return jax.jit(step)


def _either(fn: Callable[..., Any], metrics: Metrics | None) -> Callable[..., dict[str, Any]]:
    """Metrics of a loss, or those that the function gives itself."""
    measured("eval_step", fn, metrics)  # refuses now what it can refuse

    def run(m: Any, batch: Any) -> dict[str, Any]:
        out = fn(m, batch)
        if isinstance(out, Mapping):
            return dict(out)
        value, found = measured("eval_step", lambda *_: out, metrics)(m, batch)
        value = value if isinstance(value, Weighted) else jnp.asarray(value)
        if not isinstance(value, Weighted) and value.shape != ():
            got = {"its shape": value.shape}
            raise refusal("eval_step", "the loss must be a scalar", got, "Reduce it, for example with .mean().")
        return {"loss": value, **found}

    return run


def _arrays(state: Any, ema: bool) -> tuple[Params, Buffers]:
    if not isinstance(state, TrainState):
        if ema or not (isinstance(state, tuple) and len(state) == 2):
            rule = "state must be a TrainState" + ("" if ema else " or (params, buffers)")
            raise refusal("eval_step", rule, {"type(state)": type(state).__name__}, kind=TypeError)
        return state
    if not ema:
        return state.params, state.buffers
    if state.ema is None:
        raise refusal("eval_step", "state must have an average", {"state.ema": None}, "train_step(..., ema=0.999)")
    return read_average(state.ema, state.params), state.buffers


def _weigh(value: Any, weigh: Callable[[Any], Any], batch: Any) -> Any:
    floating = not isinstance(value, Weighted) and jnp.issubdtype(jnp.result_type(value), jnp.inexact)
    return weighted(value, weigh(batch)) if floating else value


def _examples(batch: Any) -> int:
    arrays = [leaf for leaf in jax.tree.leaves(batch) if isinstance(leaf, (jax.Array, np.ndarray))]
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in arrays}
    if len(lengths) != 1 or None in lengths:
        got = {"shapes": [leaf.shape for leaf in arrays]}
        remedy = "Say what it weighs: eval_step(..., weight=lambda batch: ...), or give weighted metrics."
        raise refusal("eval_step", "the arrays of a batch must have one first axis, to be counted", got, remedy)
    return lengths.pop()  # type: ignore[return-value]
