"""A TrainState written as a training checkpoint of torch."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.files.atomic import replacing
from purenn.model import Leaf, Model, structure
from purenn.tree import flatten
from stateful.checkpoint_optimizer import ADAM, TRACE, check_leaves, named, nodes
from stateful.checkpoint_torch_writing import write_torch
from stateful.checkpoint_tree import content_of, structure_of
from transforms import TrainState

_COMMON = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}
# what torch's optimizers keep beside the numbers of their parameters
DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, **_COMMON},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "capturable": False,
             "decoupled_weight_decay": False, **_COMMON},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False, "capturable": False,
              "decoupled_weight_decay": True, **_COMMON},
}  # fmt: skip


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
    check_leaves(state.opt_state, "save_torch_training")
    leaves: dict[str, Leaf] = flatten(structure(model))
    arrays = {**named(state.params), **named(state.buffers)}
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
    kind = TRACE if optimizer == "sgd" else ADAM
    found = [node for node in nodes(state.opt_state) if isinstance(node, (TRACE, ADAM))]
    if not all(isinstance(node, kind) for node in found) or (not found and optimizer != "sgd"):
        got = {"optimizer": optimizer, "states": [type(node).__name__ for node in found]}
        raise refusal("save_torch_training", f"opt_state must be one of optax's {optimizer}", got)
    kept: dict[str, dict[str, Any]] = {}
    for node in found:
        if isinstance(node, TRACE):
            if int(state.step):
                kept |= {n: {"momentum_buffer": x.astype(dtypes[n])} for n, x in named(node.trace).items()}
        elif int(node.count):
            nu = named(node.nu)
            # a counter for each, because torch counts in place
            kept |= {
                n: {
                    "step": np.float32(node.count),
                    "exp_avg": x.astype(dtypes[n]),
                    "exp_avg_sq": nu[n].astype(dtypes[n]),
                }
                for n, x in named(node.mu).items()
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
