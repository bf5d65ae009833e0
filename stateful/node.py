"""Nodes: the attributes of a module. What is assigned is registered by its kind, what is read is an array.

A node keeps cells and child nodes by name, as torch.nn.Module does, beside the plain attributes of its user.
"""

import inspect
import itertools
from abc import ABCMeta
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from purenn import init
from purenn.errors import refusal
from purenn.model import Composed, Layer, Leaf, Model, Structured, param
from purenn.tree import check_name
from stateful.computed import Computed
from stateful.context import active, constructing, promising
from stateful.in_place import InPlace
from stateful.parameter import BufferCell, Cell, Parameter, owner

# Attributes of the machinery; everything else in a node's __dict__ is its user's.
OWN = frozenset({
    "_parameters", "_buffers", "_modules", "_model", "_opaque", "training", "_forward_hooks", "_forward_pre_hooks",
    "_version", "_frame", "_keys", "_path", "_original", "_computed", "_plain",
    "_state_hooks",
})  # fmt: skip

_changes = itertools.count(1)
# Number of the last change to any node that a compiled program may depend on (see stateful.compiled).
latest_change = 0


def mode_changed() -> int:
    """Counts a change that leaves the nodes themselves as they are.

    Returns:
        The number of the change.
    """
    global latest_change
    latest_change = next(_changes)
    return latest_change


def changed(node: "Node") -> None:
    """Counts a change of a node: of what it holds, not of the values of its arrays.

    Args:
        node: the one.
    """
    node.__dict__["_version"] = mode_changed()


class NodeMeta(ABCMeta):
    """Knows when a constructor runs: until it ends, reading a parameter gives the promise (see `Parameter`)."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Constructs."""
        with promising():
            return super().__call__(*args, **kwargs)

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, which the call above would hide."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Node(metaclass=NodeMeta):
    """Parameters, buffers and children under their names; the base of Module."""

    # Makes a node of a pure model; stateful.module sets it.
    adapter: ClassVar[Callable[[Any], "Node"]]

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, BufferCell | None]
    _modules: dict[str, Any]
    _computed: dict[str, Computed]

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _computed={})
        self.__dict__.update(_model=None, training=True, _version=0)

    def _read(self, cell: Cell) -> Any:
        frame = self.__dict__.get("_frame") or active.get()
        if frame is not None:
            return frame.read(cell)
        if constructing.get() and isinstance(cell, Parameter) and not cell.drawn:
            return cell
        return cell.array() if cell.shaped else cell

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        for kind in ("_parameters", "_buffers"):
            if name in state.get(kind, ()):
                cell = state[kind][name]
                return None if cell is None else self._read(cell)
        if name in state.get("_modules", ()):
            return state["_modules"][name]
        if name in state.get("_computed", ()):
            return state["_computed"][name].read(self)
        model = state.get("_model")
        if not name.startswith("_") and name in _hyperparameters(model):
            return getattr(model, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if "_modules" not in state:
            if isinstance(value, (Node, Cell)):
                raise AttributeError("cannot assign modules or parameters before Module.__init__() call")
            object.__setattr__(self, name, value)
        elif name == "training":
            state[name] = value
            mode_changed()
        elif name in state["_computed"] and not isinstance(value, (Cell, Node)):
            state["_computed"][name].write(self, value)
        elif isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, BufferCell):
            self._take_name(name, "_buffers")[name] = value
        elif (module := as_modules(type(self).__name__, name, value)) is not None:
            self._take_name(name, "_modules")[name] = module
            changed(self)
        elif name in state["_parameters"]:
            self._assign_parameter(name, value)
        elif name in state["_buffers"]:
            self._assign_buffer(name, value)
        else:
            self._assign_plain(name, value)

    def _assign_plain(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name in state["_modules"]:
            if value is not None:
                got = {name: type(value).__name__}
                raise refusal(type(self).__name__, f"{name} must be a module or None", got, kind=TypeError)
            state["_modules"][name] = None
        elif name in _hyperparameters(state["_model"]):
            state["_model"] = replace(state["_model"], **{name: value})
        else:
            object.__setattr__(self, name, value)
        if "_frame" not in state:
            changed(self)

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[kind]:
                del self.__dict__[kind][name]
                break
        else:
            object.__delattr__(self, name)
        changed(self)

    def __dir__(self) -> list[str]:
        names = [*self._parameters, *self._buffers, *self._modules, *self._computed, *_hyperparameters(self._model)]
        return sorted({*super().__dir__(), *(name for name in names if name.isidentifier())})

    def _take_name(self, name: str, kind: str) -> dict[str, Any]:
        """The dict of one kind, with the name free for it."""
        check_name(type(self).__name__, name)
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                self.__dict__[other].pop(name, None)
        self.__dict__.pop(name, None)
        return self.__dict__[kind]

    def _assign_parameter(self, name: str, value: Any) -> None:
        cell = self._parameters[name]
        if value is None:
            self._parameters[name] = None
            changed(self)
        elif (shared := owner(value)) is not None and isinstance(shared, Parameter):
            if cell is not None:
                cell.fitting(f"{type(self).__name__}.{name}", value)
            self._parameters[name] = shared
            changed(self)
        elif "_frame" in self.__dict__:
            raise RuntimeError(
                f"{type(self).__name__}.{name}: parameters stay as they are during a call. "
                "Register a buffer for what forward changes."
            )
        elif cell is None:
            remedy = "Wrap it: nn.Parameter(array)."
            raise refusal(
                f"{type(self).__name__}.{name}", "a parameter must be given", {name: value}, remedy, TypeError
            )
        else:
            array = cell.fitting(f"{type(self).__name__}.{name}", value)
            if constructing.get():  # what __init__ assigns is what init gives
                cell.promise(param(array).initializer)
            else:
                cell.put(array)

    def _assign_buffer(self, name: str, value: Any) -> None:
        cell = self._buffers[name]
        if value is None:
            self._buffers[name] = None
        elif "_frame" in self.__dict__:
            if cell is None:
                cell = self._buffers[name] = BufferCell(
                    Leaf(np.shape(value), value.dtype, trainable=False, parameter=False)
                )
            self._frame.write(cell, f"{type(self).__name__}.{name}", value)
        elif cell is None:
            self._buffers[name] = BufferCell.holding(value, persistent=True)
            changed(self)
        else:
            cell.assign(f"{type(self).__name__}.{name}", value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter.

        Errors:
            TypeError: it is something else.
            KeyError: the name is taken by an attribute.

        Args:
            name: without a dot.
            param: a `Parameter`, or None for one that is left out.
        """
        if param is not None and not isinstance(param, Parameter):
            got = {name: type(param).__name__}
            remedy = "Wrap it: nn.Parameter(array)."
            raise refusal("register_parameter", f"{name} must be a Parameter or None", got, remedy, TypeError)
        check_name("register_parameter", name)
        if hasattr(type(self), name) or name in self._computed:
            raise KeyError(f"attribute {name!r} already exists")
        self._take_name(name, "_parameters")[name] = param
        changed(self)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds an array that is not trained.

        Errors:
            KeyError: the name is taken by something else.
            TypeError: ``tensor`` is no array.

        Args:
            name: without a dot.
            tensor: an array, or None.
            persistent: whether it is part of the state_dict.
        """
        check_name("register_buffer", name)
        if name not in self._buffers and (hasattr(type(self), name) or name in self.__dict__ or
                                          name in self._parameters or name in self._modules or
                                          name in self._computed):  # fmt: skip
            raise KeyError(f"attribute {name!r} already exists")
        if tensor is not None and not hasattr(tensor, "shape"):
            got = {name: type(tensor).__name__}
            raise refusal("register_buffer", f"{name} must be an array or None", got, kind=TypeError)
        self._buffers[name] = None if tensor is None else BufferCell.holding(tensor, persistent)
        changed(self)

    def register_module(self, name: str, module: "Node | None") -> None:
        """Adds a child; see `add_module`.

        Args:
            name: without a dot.
            module: the child, or None.
        """
        self.add_module(name, module)

    def add_module(self, name: str, module: "Node | None") -> None:
        """Adds a child.

        Errors:
            TypeError: it is no module.
            KeyError: the name is taken by something else.

        Args:
            name: without a dot.
            module: the child, or None.
        """
        if module is not None and not isinstance(module, Node):
            got = {name: type(module).__name__}
            raise refusal("add_module", f"{name} must be a module", got, "Adapt a model: nn.Module(model).", TypeError)
        check_name("add_module", name)
        if name not in self._modules and hasattr(self, name):
            raise KeyError(f"attribute {name!r} already exists")
        self._modules[name] = module
        changed(self)

    def _cells(self) -> Iterator[tuple[str, Cell]]:
        """Own cells, in torch's order."""
        for cells in (self._parameters, self._buffers):
            for name, cell in cells.items():
                if cell is not None:
                    yield name, cell

    def _children(self) -> Iterator[tuple[str, Any]]:
        """Children, and what plain lists and dicts of modules have become since they were assigned."""
        for name, value in list(self.__dict__.items()):
            if name not in OWN and isinstance(value, (list, tuple, dict)) and _holds_modules(value):
                setattr(self, name, value)
        for name, child in self._modules.items():
            if child is not None and not self._names_elsewhere(child):
                yield name, child

    def _names_elsewhere(self, child: Any) -> bool:
        """Whether it was a plain list or dict, and all its modules are children under names of their own, too."""
        if "_plain" not in child.__dict__:
            return False
        others = {id(module) for module in self._modules.values() if module is not child}
        return all(id(module) in others for module in child._modules.values())


def _keeper(value: Any) -> Any:
    """The cell that an initializer is to draw anew: ``nn.init.zeros_(self.fc.bias)``; None where it is none."""
    cell = value if isinstance(value, InPlace) else owner(value)
    frame = active.get()
    if cell is not None and frame is not None and frame.holds(cell):
        raise RuntimeError("nn.init: parameters stay as they are during a call. Initialise them before it.")
    return cell


init.keeper = _keeper

# How plain lists and dicts of modules are registered; stateful.container fills it.
containers: dict[type, Callable[[Any], Any]] = {}


def _holds_modules(value: Any) -> bool:
    entries = value.values() if isinstance(value, dict) else value
    return any(isinstance(entry, Node) or (type(entry) in containers and _holds_modules(entry)) for entry in entries)


def as_modules(owner_name: str, name: str, value: Any) -> "Node | None":
    """Takes what may be registered as a child: a module, a pure model, or a list or dict of them.

    Args:
        owner_name: of the parent, for the error.
        name: of the attribute.
        value: what is assigned.

    Returns:
        The module it becomes; None where it is none.

    Errors:
        TypeError for a list or dict that mixes modules with other things.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Structured) and isinstance(value, Model) and not isinstance(value, type):
        return Node.adapter(value)
    if type(value) not in containers or not _holds_modules(value):
        return None
    entries = list(value.values() if isinstance(value, dict) else value)
    converted = [as_modules(owner_name, name, entry) for entry in entries]
    if any(entry is None for entry in converted):
        kinds = sorted({type(entry).__name__ for entry in entries})
        remedy = "Keep the modules in a ModuleList or ModuleDict of their own."
        raise refusal(owner_name, f"{name} must hold modules only, or none", {"it holds": kinds}, remedy, TypeError)
    made = containers[type(value)](dict(zip(value, converted, strict=True)) if isinstance(value, dict) else converted)
    made.__dict__["_plain"] = True
    return made


def _hyperparameters(model: Any) -> frozenset[str]:
    """Constructor arguments of an adapted layer that are not children: they can be read and changed."""
    kind: Any = type(model)
    return _field_names(kind) if isinstance(model, Layer) and not isinstance(model, Composed) else frozenset()


@cache
def _field_names(layer: Any) -> frozenset[str]:
    return (
        frozenset(field.name for field in fields(layer) if field.name != "items")
        if is_dataclass(layer)
        else frozenset()
    )
