"""ema: an exponential moving average of the weights, as a model and as two pure functions beside one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Leaf, Model, Params, check_model, structure
from purenn.tree import Tree, unflatten
from transforms.merging import Rewriting
from transforms.viewing import trained_leaves

Decay = float | Callable[[jax.Array], Any]


class Average(NamedTuple):
    """An average of params so far: a plain pytree."""

    mean: Params  # float32 at least
    updates: jax.Array  # () int32: how many


def start_average(params: Params) -> Average:
    """The average before the first update: the params themselves.

    Args:
        params: nested dict of floating arrays.

    Returns:
        Copies in float32 at least, and a count of 0.
    """
    return Average(jax.tree.map(_wide, params), jnp.zeros((), jnp.int32))


def update_average(average: Average, params: Params, decay: Decay, debias: bool = False) -> Average:
    """Moves the average towards the params: ``m + (1 - decay) (p - m)``; the first update copies.

    Args:
        average: from `start_average`, or the last update.
        params: of the same structure.
        decay: weight of the past, in [0, 1), or a function of the count that gives it.
        debias: whether the first updates weigh ``(1 - decay) / (1 - decay^n)``, so that all params so far are weighted
            as in an endless average, instead of the first ones more.

    Returns:
        The new average; no gradient flows through it.

    Torch:
        ``torch.optim.swa_utils.get_ema_multi_avg_fn``, identical without ``debias``.
    """
    rate = 1 - jnp.asarray(decay(average.updates) if callable(decay) else decay, jnp.float32)
    if debias:
        rate = rate / (1 - (1 - rate) ** (average.updates + 1).astype(jnp.float32))
    rate = jnp.where(average.updates == 0, 1.0, rate)
    params = jax.lax.stop_gradient(params)
    mean = jax.tree.map(lambda m, p: m + rate.astype(m.dtype) * (_wide(p) - m), average.mean, params)
    return Average(mean, average.updates + 1)


def read_average(average: Average, params: Params) -> Params:
    """The averaged params, in the dtypes of the params.

    Args:
        average: see `update_average`.
        params: nested dict that says the dtypes.

    Returns:
        Params to run the model with.
    """
    return jax.tree.map(lambda m, p: m.astype(p.dtype), average.mean, params)


def _wide(array: Any) -> jax.Array:
    return jnp.array(array, jnp.promote_types(array.dtype, jnp.float32))  # a copy: the params may be donated


def check_decay(op: str, decay: Any, debias: bool) -> None:
    """Refuses what is no decay.

    Args:
        op: name of the caller.
        decay: to be checked.
        debias: whether it must be one number.
    """
    if callable(decay):
        if debias:
            remedy = "A decay that begins small needs no correction."
            raise refusal(op, "decay must be a number with debias=True", {"decay": decay}, remedy, TypeError)
    elif isinstance(decay, bool) or not isinstance(decay, (int, float)):
        raise refusal(op, "decay must be a number or a function of the count", {"decay": decay}, kind=TypeError)
    elif not 0 <= decay < 1:
        raise refusal(op, "decay must lie in [0, 1)", {"decay": decay})


def ema(model: Model, decay: Decay, debias: bool = False) -> "Averaged":
    """Keeps an exponential average of the params among the buffers: training moves it, evaluation uses it.

    Every call with ``train=True`` counts as one update, with the params it was given; so the average is one step behind
    the optimizer. `start_average` and `update_average` are the same beside a model, for a training loop of one's own.

    Args:
        model: any model.
        decay: weight of the past, in [0, 1), or a function of the count that gives it.
        debias: see `update_average`.

    Returns:
        The model; its buffers have ``n_averaged``, and under ``averaged`` one array for each param, float32 at least.

    Errors:
        TypeError for what is no model, or no decay; ValueError for a decay outside [0, 1), or where the model uses the
        names.

    Torch:
        ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn(decay)``, differs in that it is one model,
        whose averages move in the call.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> params, buffers = transforms.ema(L.Linear(3, 2), 0.99).init(jax.random.key(0))
    >>> sorted(buffers), sorted(buffers["averaged"])
    (['averaged', 'n_averaged'], ['bias', 'weight'])
    """
    check_model("ema", model)
    check_decay("ema", decay, debias)
    taken = [name for name in structure(model) if name in ("averaged", "n_averaged")]
    if taken:
        remedy = "One model keeps one average."
        raise refusal("ema", "the model must not have these names itself", {"names": taken}, remedy)
    return Averaged(model, decay, debias)


@dataclass(frozen=True)
class Averaged(Rewriting):
    """The model that `ema` gives."""

    model: Model
    decay: Decay
    debias: bool = False

    def from_plain(self, params: Params, buffers: Buffers, rng: Any = None) -> tuple[Params, Buffers]:
        """Begins the average at these params; see `Rewriting.from_plain`."""
        del rng
        return self.arranged(params, self._join(buffers, start_average(params)))

    def structure(self) -> Tree:
        """Lists the model's leaves, and the averages among the buffers."""
        tree = structure(self.model)
        averages = {
            path: replace(
                leaf,
                dtype=jnp.promote_types(leaf.dtype, jnp.float32),
                initializer=None,
                trainable=False,
                parameter=False,
                norm=False,
            )
            for path, leaf in trained_leaves(tree).items()
        }
        count = Leaf((), jnp.dtype(jnp.int32), trainable=False, parameter=False)
        own = {name: node for name, node in tree.items() if isinstance(node, Leaf)}
        return {**own, "n_averaged": count, **tree, "averaged": unflatten(averages)}

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Average]:
        """Shows the params in training, their average in evaluation."""
        del rng
        if missing := {"averaged", "n_averaged"}.difference(buffers):
            remedy = "params and buffers come from the averaging model's own init or from_plain."
            raise refusal("ema", "buffers must hold the average", {"missing": sorted(missing)}, remedy)
        average = Average(buffers["averaged"], buffers["n_averaged"])
        state = {name: node for name, node in buffers.items() if name not in ("averaged", "n_averaged")}
        if train:
            return params, state, update_average(average, params, self.decay, self.debias)
        return read_average(average, params), state, average

    def leave(self, buffers: Buffers, note: Average) -> Buffers:
        """Keeps the average beside the model's buffers."""
        return self._join(buffers, note)

    def _join(self, buffers: Buffers, average: Average) -> Buffers:
        return {**buffers, "averaged": average.mean, "n_averaged": average.updates}
