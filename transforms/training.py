"""The training step, itself a pure pair: ``init(rng) -> state`` and ``step(state, batch) -> (state, metrics)``."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model
from purenn.random import as_key, fold_name
from transforms.accumulation import accumulate as accumulated
from transforms.averaging import check_decay, start_average, update_average
from transforms.casting import Precision, computes_in, precise
from transforms.gradients import objective, value_and_grad
from transforms.measuring import Metrics, Weighted, measured
from transforms.scaling import LossScaling, all_finite, scaled, unscaled
from transforms.skipping import judged, unless_lost
from transforms.train_state import TrainState, distinct, strong


class TrainStep(NamedTuple):
    """The pair that `train_step` makes."""

    init: Callable[..., TrainState]
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


def train_step(
    model: Model,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int | Mapping[str, Any] = 1,
    precision: Any = None,
    loss_scale: LossScaling | bool | None = None,
    skip_nonfinite: bool = False,
    ema: Any = None,
    donate: bool = True,
    metrics: Metrics | None = None,
) -> TrainStep:
    """Makes the compiled training step of a model.

    Args:
        model: any model.
        loss: ``loss(m, batch) -> value`` or ``-> (value, metrics)`` with a dict of metrics; ``m`` is the model, bound.
        optimizer: from optax. One that takes more than gradients (a line search, momo, sophia, sam, ...) is
            given what it asks for: ``value``, ``grad``, ``value_fn``, ``obj_fn``, ``grad_fn``.
        accumulate: number of micro-batches, or the options of `accumulate`.
        precision: compute dtype, or the options of `precision`; the state keeps what `precision` keeps.
        loss_scale: how the loss is scaled; None scales where the model computes in float16, False does not.
        skip_nonfinite: whether a step whose loss or gradients are not finite leaves params, buffers, optimizer state
            and average as they were; ``state.step`` counts it.
        ema: decay, or options ``{"decay": ..., "debias": ...}``, of an average of the params in ``state.ema``.
        donate: whether a step may reuse the memory of the state it is given, which cannot be used afterwards.
        metrics: what to make of the second thing that the loss gives, which is the dict of metrics otherwise:
            ``fn(aux, batch) -> dict``, or ``{name: fn(aux, batch) -> metric}``. A metric is a number or `weighted`.

    Returns:
        ``init(rng, params=None, buffers=None) -> TrainState``, which draws the arrays or takes copies of those given,
        and ``step(state, batch) -> (state, metrics)``, compiled; ``metrics["loss"]`` is the value. With a scaled loss,
        ``metrics["loss_scale"]`` is the scale and ``metrics["overflow"]`` says that params, buffers, optimizer state
        and average were left as they were. With ``skip_nonfinite``, so does ``metrics["nonfinite"]``; gradients that a
        smaller loss scale may mend are an overflow only.

    Errors:
        TypeError where the model or the optimizer is none, for unknown options and half-precision params or losses
        beside a loss scale; in the first step, where the metrics are no dict, ValueError where one of them has a name
        that is taken, or where the step changes a shape or dtype of the state.

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
    model = precise("train_step", model, precision)
    training = _Training(
        model,
        measured("train_step", loss, metrics),
        optimizer,
        _accumulation(accumulate),
        _scaling(model, loss_scale),
        skip_nonfinite,
        None if ema is None else _averaging(ema),
    )
    return TrainStep(training.init, jax.jit(training.step, donate_argnums=0 if donate else ()))


class _Training:
    """The two functions, before they are compiled."""

    def __init__(
        self,
        model: Model,
        loss: Callable[..., Any],
        optimizer: Any,
        micro: Mapping[str, Any],
        scaling: LossScaling | None,
        skips: bool,
        averaging: Mapping[str, Any] | None,
    ):
        self.model, self.optimizer = model, optimizer
        self.loss = _unweighted(loss) if micro.get("weight") else loss
        self.micro, self.scaling, self.skips, self.averaging = micro, scaling, skips, averaging
        self._gradients(loss)  # refuses now what it can refuse

    def init(self, rng: Any, params: Params | None = None, buffers: Buffers | None = None) -> TrainState:
        """Makes the first state; see `train_step`."""
        rng = as_key("train_step.init", rng)
        if params is None:
            params, drawn = self.model.init(rng)
            buffers = drawn if buffers is None else jax.tree.map(jnp.copy, buffers)
        else:
            # copies: the steps may take the memory of the state, never that of the caller's arrays
            params, buffers = jax.tree.map(jnp.copy, (params, {} if buffers is None else buffers))
        if isinstance(self.model, Precision):
            params, buffers = self.model.kept(params, buffers)
        state = TrainState(
            params,
            buffers,
            strong(self.optimizer.init(params)),
            fold_name(rng, "train"),
            jnp.zeros((), jnp.int32),
            None if self.averaging is None else start_average(params),
            None if self.scaling is None else self.scaling.init(),
        )
        return distinct(state)

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Does one step; see `train_step`."""
        rng = jax.random.fold_in(as_key("train_step", state.rng), state.step)
        value, metrics, buffers, grads, finite = self._differentiate(state, batch, rng)
        counts, old, more = judged(self.scaling, state, value, finite, self.skips)

        def update() -> TrainState:
            extra = self._extra(state, batch, rng, value, grads)
            updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params, **extra)
            params = optax.apply_updates(state.params, updates)
            average = None if state.ema is None else update_average(state.ema, params, **(self.averaging or {}))
            return old._replace(params=params, buffers=buffers, opt_state=strong(opt_state), ema=average)

        new = unless_lost(counts, update, old)
        return new._replace(step=state.step + 1), {"loss": value, **_joined(metrics, more)}

    def _gradients(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        if self.micro["n"] == 1:
            return value_and_grad(self.model, loss)
        return accumulated(self.model, loss, **self.micro)

    def _differentiate(self, state: TrainState, batch: Any, rng: jax.Array) -> tuple[Any, ...]:
        """``(value, metrics, buffers, grads, finite)``; finite is of the gradients, None where nobody asks."""
        arrays: Any = state.params, state.buffers, batch
        if state.loss_scale is None:
            ((value, metrics), buffers), grads = self._gradients(self.loss)(*arrays, rng=rng, train=True)
            return value, metrics, buffers, grads, all_finite(grads) if self.skips else None
        scale = state.loss_scale.scale

        def loss(m: Any, batch: Any) -> tuple[Any, Any]:
            value, metrics = self.loss(m, batch)
            return scaled(value, scale), metrics

        ((value, metrics), buffers), grads = self._gradients(loss)(*arrays, rng=rng, train=True)
        grads, finite = unscaled(grads, scale)
        return value / scale.astype(value.dtype), metrics, buffers, grads, finite

    def _extra(self, state: TrainState, batch: Any, rng: jax.Array, value: Any, grads: Params) -> dict[str, Any]:
        """What the optimizer's ``update`` asks for."""
        if not isinstance(self.optimizer, optax.GradientTransformationExtraArgs):
            return {}

        def value_fn(params: Params, obj_fn: Any = None, grad_fn: Any = None) -> Any:
            del obj_fn, grad_fn  # optax's line searches hand on to it what they do not know
            if self.micro["n"] > 1:
                (out, _), _ = self._gradients(self.loss)(params, state.buffers, batch, rng=rng, train=True)
                return out[0]
            arrays = params, state.buffers, (batch,)
            chosen, scalar = objective("train_step", self.model, self.loss, None, *arrays, rng, True)
            return scalar(chosen)[0]

        offered = {
            "value": value,
            "grad": grads,
            "value_fn": value_fn,
            "obj_fn": value_fn,  # sophia's name for it
            "grad_fn": lambda params, _: jax.grad(value_fn)(params),  # sam's
        }
        asked = inspect.signature(self.optimizer.update).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked.values()):
            return offered
        return {name: given for name, given in offered.items() if name in asked}


def _accumulation(choice: Any) -> dict[str, Any]:
    """The options of `accumulate`; ``in_axes`` speaks of the batch, which is one argument of the loss."""
    options = dict(choice) if isinstance(choice, Mapping) else {"n": choice}
    known = "n", "weight", "reduction", "in_axes"
    if "n" not in options or not set(options) <= set(known):
        got = {"accumulate": choice, "known": known}
        rule = "accumulate must be a number of micro-batches or options of transforms.accumulate, n among them"
        raise refusal("train_step", rule, got, "What is not to be trained is frozen: freeze(model, where).", TypeError)
    if "in_axes" in options:
        options["in_axes"] = (options["in_axes"],)
    if isinstance(options["n"], bool) or not isinstance(options["n"], int) or options["n"] < 1:
        raise refusal("train_step", "accumulate must be a positive integer", {"accumulate": options["n"]})
    return options


def _unweighted(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss, whose metrics must have no weights of their own."""

    def fn(m: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        value, metrics = loss(m, batch)
        if given := [name for name, metric in metrics.items() if isinstance(metric, Weighted)]:
            remedy = "Give its mean: micro-batches are weighed already."
            raise refusal(
                "train_step", "with accumulate's weight, no metric may have its own", {"metrics": given}, remedy
            )
        return value, metrics

    return fn


def _scaling(model: Model, choice: Any) -> LossScaling | None:
    if choice is None:
        return LossScaling() if computes_in(model, jnp.float16) else None
    if isinstance(choice, LossScaling):
        return choice
    if isinstance(choice, bool):
        return LossScaling() if choice else None
    got = {"loss_scale": choice}
    raise refusal("train_step", "loss_scale must be a LossScaling, a bool or None", got, kind=TypeError)


def _averaging(choice: Any) -> dict[str, Any]:
    options = dict(choice) if isinstance(choice, Mapping) else {"decay": choice}
    if "decay" not in options or not set(options) <= {"decay", "debias"}:
        got = {"ema": choice}
        raise refusal("train_step", "ema must be a decay, or options decay and debias", got, kind=TypeError)
    check_decay("train_step", options["decay"], bool(options.get("debias", False)))
    return options


def _joined(metrics: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    if taken := [name for name in more if name in metrics]:
        raise refusal("train_step", "no metric may have a name of the step's own", {"metrics": taken})
    return {**metrics, **more}
