"""A training run carried from torch to a TrainState, and back: weights, statistics, moments and counters.

torch numbers the parameters of an optimizer; their names come from the order of the model. optax keeps the moments in
trees of the names, somewhere in a nest of states: ``TraceState`` is torch's momentum, ``ScaleByAdamState`` the moments
of Adam and AdamW. Options such as the learning rate are the optimizer's and stay where they are: they are no state.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from purenn.errors import refusal
from purenn.files.error import broken
from purenn.model import Leaf, Model, structure
from purenn.tree import flatten
from stateful.checkpoint_files import opened
from stateful.checkpoint_names import chosen
from stateful.checkpoint_report import LoadReport, MisfitError
from stateful.checkpoint_tree import entry_text
from transforms import TrainState

ADAM, TRACE, _SCHEDULE = optax.ScaleByAdamState, optax.TraceState, optax.ScaleByScheduleState
_NODES = (ADAM, TRACE, _SCHEDULE)


def load_torch_training(
    path: str | os.PathLike[str],
    state: TrainState,
    model: Model,
    *,
    model_key: str = "model",
    optimizer_key: str = "optimizer",
    step: int | None = None,
    verify: bool = True,
) -> TrainState:
    """Reads a training checkpoint of torch, ``{"model": ..., "optimizer": ...}``, into a state.

    Args:
        path: of the file that ``torch.save`` wrote.
        state: of a `transforms.train_step` with the optimizer that corresponds; its shapes, dtypes and places are kept,
            and its rng, its average of the params and its loss scale, which torch's file has not.
        model: of that step; its order of parameters is that in which torch's optimizer has them.
        model_key: under which the state_dict of the model is.
        optimizer_key: under which the state_dict of the optimizer is.
        step: steps done; None takes Adam's counter, or leaves that of ``state`` where torch keeps none.
        verify: whether checksums are checked.

    Returns:
        The state. The next steps are torch's next ones.

    Errors:
        CheckpointError for a damaged file; MisfitError where names or shapes differ; ValueError for options of torch
        that optax's state cannot stand for.
    """
    with opened(path, verify) as content:
        weights = chosen("load_torch_training", content, prefix=f"{model_key}.")
        params, buffers = _filled(path, weights, state, flatten(structure(model)))
        moments = _Moments(path, chosen("load_torch_training", content, prefix=f"{optimizer_key}."), model)
        check_leaves(state.opt_state)
        steps = moments.steps() if step is None else step
        opt_state = _map_nodes(lambda node: moments.fill(node, steps), state.opt_state)
    count = state.step if steps is None else _as(np.asarray(steps), state.step)
    return state._replace(params=params, buffers=buffers, opt_state=opt_state, step=count)


def _filled(path: Any, weights: Any, state: TrainState, leaves: Mapping[str, Leaf]) -> tuple[Any, Any]:
    wanted = {**named(state.params), **named(state.buffers)}
    wanted = {name: leaf for name, leaf in wanted.items() if name not in leaves or leaves[name].persistent}
    names = set(weights.names)
    known = {weights.aliases.get(name, name) for name in wanted if name in names}
    mismatched = {
        name: f"shape {weights.entry(name).shape} in the file, {tuple(leaf.shape)} in the state"
        for name, leaf in wanted.items()
        if name in names and (name in weights.scalars or weights.entry(name).shape != tuple(leaf.shape))
    }
    report = LoadReport(
        missing=tuple(name for name in wanted if name not in names),
        # other names of tied arrays are expected
        unexpected=tuple(n for n in weights.names if n not in wanted and weights.aliases.get(n, n) not in known),
        mismatched=mismatched,
    )
    if report.problems():
        raise MisfitError("load_torch_training", path, report)

    def read(keys: Any, leaf: Any) -> Any:
        return _as(weights.entry(_name(keys)).read(), leaf) if _name(keys) in wanted else leaf

    return tuple(jax.tree_util.tree_map_with_path(read, tree) for tree in (state.params, state.buffers))


def _name(keys: Sequence[Any]) -> str:
    return ".".join(entry_text(key) for key in keys)


def named(tree: Any) -> dict[str, Any]:
    """Names the leaves of a tree.

    Args:
        tree: any pytree.

    Returns:
        ``{dotted name: leaf}``.
    """
    return {_name(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _as(value: np.ndarray, leaf: Any) -> jax.Array:
    """A value in the dtype and place of a leaf."""
    array = value.astype(leaf.dtype)
    if jnp.issubdtype(leaf.dtype, jnp.integer) and not np.array_equal(array, value):
        raise refusal("load_torch_training", f"{leaf.dtype} must hold the counters", {"value": value.tolist()})
    return jax.device_put(array, leaf.sharding if leaf.committed else None)


def _map_nodes(fn: Callable[[Any], Any], opt_state: Any) -> Any:
    return jax.tree.map(
        lambda node: fn(node) if isinstance(node, _NODES) else node, opt_state, is_leaf=lambda n: isinstance(n, _NODES)
    )


def nodes(opt_state: Any) -> list[Any]:
    """Lists the states that have a counterpart in torch.

    Args:
        opt_state: of optax.

    Returns:
        States of moments and schedules.
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, _NODES))
    return [leaf for leaf in leaves if isinstance(leaf, _NODES)]


def check_leaves(opt_state: Any, op: str = "load_torch_training") -> None:
    """Refuses states of optimizers that torch's three do not have.

    Args:
        opt_state: of optax.
        op: name of the caller.

    Errors:
        ValueError that names the arrays.
    """
    found = jax.tree_util.tree_flatten_with_path(opt_state, is_leaf=lambda node: isinstance(node, _NODES))[0]
    if others := [_name(keys) for keys, leaf in found if not isinstance(leaf, _NODES)]:
        rule = "opt_state must be of optax.sgd, adam or adamw, with schedules"
        raise refusal(op, rule, {"other arrays": others[:5]}, "Only these have a counterpart in torch.")


class _Moments:
    """The state_dict of an optimizer of torch, by the names of the parameters."""

    def __init__(self, path: Any, content: Any, model: Model):
        self._path, self._content = path, content
        self._check_options()
        self._numbers = self._numbered(model)

    def _check_options(self) -> None:
        for name, value in self._content.scalars.items():
            option = name.rpartition(".")[2]
            if name.startswith("param_groups.") and option in ("maximize", "amsgrad", "dampening") and value:
                rule = f"{option} must be off, because optax has no state for it"
                raise refusal("load_torch_training", rule, {option: value})

    def _numbered(self, model: Model) -> dict[str, int]:
        """The number that torch has for every parameter that is trained here."""
        groups = {name: value for name, value in self._content.scalars.items() if ".params." in name}
        numbers = [value for name, value in groups.items() if name.startswith("param_groups.")]
        leaves: dict[str, Leaf] = flatten(structure(model))
        every = [name for name, leaf in leaves.items() if leaf.parameter]
        trained = [name for name in every if leaves[name].trainable]
        for names in (trained, every):
            if len(names) == len(numbers):
                return dict(zip(names, numbers, strict=True))
        got = {"in the file": len(numbers), "in the model": len(every), "of them trained": len(trained)}
        raise refusal("load_torch_training", "the optimizer must have the parameters of the model", got)

    def _entry(self, name: str, key: str) -> Any:
        place = f"state.{self._numbers.get(name)}.{key}"
        return (
            self._content.entry(place) if place in self._content.names and place not in self._content.scalars else None
        )

    def _step(self, name: str) -> int:
        place = f"state.{self._numbers.get(name)}.step"
        if place in self._content.scalars:
            return int(self._content.scalars[place])  # older torch counts with Python's integers
        entry = self._entry(name, "step")
        return 0 if entry is None else int(entry.read())

    def steps(self) -> int | None:
        """Steps that Adam has done; None where torch keeps no counter."""
        counts = {name: self._step(name) for name in self._numbers if self._entry(name, "exp_avg") is not None}
        return max(counts.values()) if counts else None

    def fill(self, node: Any, steps: int | None) -> Any:
        """A state of optax with the numbers of torch."""
        if isinstance(node, _SCHEDULE):
            return node if steps is None else node._replace(count=_as(np.asarray(steps), node.count))
        if isinstance(node, TRACE):
            return node._replace(trace=self._tree(node.trace, "momentum_buffer"))
        names = [*named(node.mu)]
        counts = {self._step(name) for name in names}
        if len(counts) > 1:
            got = {"steps": sorted(counts), "names": [n for n in names if self._step(n) == min(counts)][:5]}
            remedy = "optax has one counter for all; parameters that got no gradient in torch have another."
            raise refusal("load_torch_training", "all parameters must have done the same steps", got, remedy)
        count = _as(np.asarray(max(counts, default=0)), node.count)
        return node._replace(count=count, mu=self._tree(node.mu, "exp_avg"), nu=self._tree(node.nu, "exp_avg_sq"))

    def _tree(self, tree: Any, key: str) -> Any:
        if not any(self._entry(name, key) for name in named(tree)) and self._has_other(key):
            rule = f"the optimizer of the file must keep {key}, as the state does"
            raise refusal("load_torch_training", rule, {"path": os.fspath(self._path)}, "Take the optimizer it was.")

        def read(keys: Any, leaf: Any) -> Any:
            entry = self._entry(_name(keys), key)
            if entry is None:  # no gradient yet
                return jnp.zeros_like(leaf)
            if entry.shape != tuple(leaf.shape):
                got = {"name": _name(keys), "shape": entry.shape, "of the parameter": tuple(leaf.shape)}
                raise broken(self._path, f"{key} must have the shape of its parameter", got)
            return _as(entry.read(), leaf)

        return jax.tree_util.tree_map_with_path(read, tree)

    def _has_other(self, key: str) -> bool:
        return any(name.startswith("state.") and not name.endswith(f".{key}") for name in self._content.entries)
