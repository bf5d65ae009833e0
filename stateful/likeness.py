"""Likeness: whether two modules compute the same thing, but for the numbers in their arrays."""

from typing import Any

import numpy as np

from stateful.node import OWN, Node


def likeness(module: Node) -> Any:
    """Describes what a module computes: its class, its attributes, the kinds of its arrays, its children.

    Args:
        module: any.

    Returns:
        A value; equal ones are of modules that are alike.
    """
    state = module.__dict__
    attributes = {name: _comparable(value) for name, value in state.items() if name not in OWN}
    cells = {name: (cell.leaf.shape, str(cell.leaf.dtype), cell.leaf.trainable) for name, cell in module._cells()}
    hooks = [*state["_forward_hooks"].values(), *state["_forward_pre_hooks"].values()]
    children = {name: likeness(child) for name, child in module._children()}
    return type(module), attributes, cells, module.training, state["_model"], hooks, children


def _comparable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value), [_comparable(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _comparable(entry) for key, entry in value.items()}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return value.shape, str(value.dtype), np.asarray(value).tobytes()
    return value
