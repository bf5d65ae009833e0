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
from purenn.model import Leaf, Model, structure
from purenn.tree import flatten
from stateful.checkpoint_atomic import replacing
from stateful.checkpoint_error import broken
from stateful.checkpoint_files import opened
from stateful.checkpoint_names import chosen
from stateful.checkpoint_report import LoadReport, MisfitError
from stateful.checkpoint_torch_writing import write_torch
from stateful.checkpoint_tree import content_of, entry_text, structure_of
from transforms import TrainState

_ADAM, _TRACE, _SCHEDULE = optax.ScaleByAdamState, optax.TraceState, optax.ScaleByScheduleState
_NODES = (_ADAM, _TRACE, _SCHEDULE)
_COMMON = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}
# what torch's optimizers keep beside the numbers of their parameters
DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, **_COMMON},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "capturable": False,
             "decoupled_weight_decay": False, **_COMMON},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False, "capturable": False,
              "decoupled_weight_decay": True, **_COMMON},
}  # fmt: skip


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
        _check_leaves(state.opt_state)
        steps = moments.steps() if step is None else step
        opt_state = _map_nodes(lambda node: moments.fill(node, steps), state.opt_state)
    count = state.step if steps is None else _as(np.asarray(steps), state.step)
    return state._replace(params=params, buffers=buffers, opt_state=opt_state, step=count)


def _filled(path: Any, weights: Any, state: TrainState, leaves: Mapping[str, Leaf]) -> tuple[Any, Any]:
    wanted = {**_named(state.params), **_named(state.buffers)}
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


def _named(tree: Any) -> dict[str, Any]:
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


def _nodes(opt_state: Any) -> list[Any]:
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, _NODES))
    return [leaf for leaf in leaves if isinstance(leaf, _NODES)]


def _check_leaves(opt_state: Any, op: str = "load_torch_training") -> None:
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
        if isinstance(node, _TRACE):
            return node._replace(trace=self._tree(node.trace, "momentum_buffer"))
        names = [*_named(node.mu)]
        counts = {self._step(name) for name in names}
        if len(counts) > 1:
            got = {"steps": sorted(counts), "names": [n for n in names if self._step(n) == min(counts)][:5]}
            remedy = "optax has one counter for all; parameters that got no gradient in torch have another."
            raise refusal("load_torch_training", "all parameters must have done the same steps", got, remedy)
        count = _as(np.asarray(max(counts, default=0)), node.count)
        return node._replace(count=count, mu=self._tree(node.mu, "exp_avg"), nu=self._tree(node.nu, "exp_avg_sq"))

    def _tree(self, tree: Any, key: str) -> Any:
        if not any(self._entry(name, key) for name in _named(tree)) and self._has_other(key):
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


def training_structure(state: TrainState, model: Model, optimizer: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A state as torch's training checkpoints have it.

    Args:
        state: of a `transforms.train_step`.
        model: of that step.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        options: of torch's optimizer, ``lr`` among them.

    Returns:
        ``{"model": state_dict, "optimizer": state_dict, "step": int}``, of arrays.

    Errors:
        ValueError for other optimizers, options that torch's lacks, and a missing ``lr``.
    """
    if optimizer not in DEFAULTS:
        got = {"optimizer": optimizer}
        raise refusal("save_torch_training", f"optimizer must be one of {', '.join(DEFAULTS)}", got)
    if unknown := [name for name in options if name not in {"lr", *DEFAULTS[optimizer]}]:
        remedy = f"They are lr, {', '.join(DEFAULTS[optimizer])}."
        raise refusal(
            "save_torch_training", f"options must be those of torch's {optimizer}", {"unknown": unknown}, remedy
        )
    if "lr" not in options:
        raise refusal("save_torch_training", "lr must be given: torch keeps it with the state", {"options": [*options]})
    _check_leaves(state.opt_state, "save_torch_training")
    leaves: dict[str, Leaf] = flatten(structure(model))
    arrays = {**_named(state.params), **_named(state.buffers)}
    names = [name for name, leaf in leaves.items() if leaf.parameter]
    kept = _kept(state, optimizer, {name: arrays[name].dtype for name in names})
    groups = [{"lr": options["lr"], **DEFAULTS[optimizer], **options, "params": [*range(len(names))]}]
    return {
        "model": {name: arrays[name] for name, leaf in leaves.items() if leaf.persistent},
        "optimizer": {
            "state": {number: kept[name] for number, name in enumerate(names) if name in kept},
            "param_groups": groups,
        },
        "step": int(state.step),
    }


def _kept(state: TrainState, optimizer: str, dtypes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    kind = _TRACE if optimizer == "sgd" else _ADAM
    nodes = [node for node in _nodes(state.opt_state) if isinstance(node, (_TRACE, _ADAM))]
    if not all(isinstance(node, kind) for node in nodes) or (not nodes and optimizer != "sgd"):
        got = {"optimizer": optimizer, "states": [type(node).__name__ for node in nodes]}
        raise refusal("save_torch_training", f"opt_state must be one of optax's {optimizer}", got)
    kept: dict[str, dict[str, Any]] = {}
    for node in nodes:
        if isinstance(node, _TRACE):
            if int(state.step):
                kept |= {n: {"momentum_buffer": x.astype(dtypes[n])} for n, x in _named(node.trace).items()}
        elif int(node.count):
            nu = _named(node.nu)
            # a counter for each, because torch counts in place
            kept |= {
                n: {
                    "step": np.float32(node.count),
                    "exp_avg": x.astype(dtypes[n]),
                    "exp_avg_sq": nu[n].astype(dtypes[n]),
                }
                for n, x in _named(node.mu).items()
            }
    return kept


def save_torch_training(
    path: str | os.PathLike[str], state: TrainState, model: Model, optimizer: str, *, fsync: bool = True, **options: Any
) -> None:
    """Writes a state as a training checkpoint of torch: ``torch.load`` gives ``{"model", "optimizer", "step"}``.

    Args:
        path: of the file.
        state: of a `transforms.train_step` over optax's sgd, adam or adamw.
        model: of that step; torch's model must have its parameters in that order.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``, what torch goes on with.
        fsync: whether a power cut after the return cannot undo it.
        **options: of torch's optimizer; ``lr``, and what is not torch's default: its load_state_dict takes them.

    Errors:
        ValueError for states and options without a counterpart in torch.
    """
    tree = training_structure(state, model, optimizer, options)
    content, structure_ = content_of(tree), structure_of(tree)
    with replacing(path, fsync) as file:
        write_torch(file, structure_, content)
