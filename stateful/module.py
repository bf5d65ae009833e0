"""Module: a model that remembers its arrays.

A module keeps cells (arrays, or promises of them) and child modules. `init` and `apply` are the two pure functions of
the contract and never touch it: `apply` runs `forward` on a *bound copy*, a tree of shallow copies whose cells read
from a frame that holds this call's arrays. Calling a module as an object is the same thing, with the frame filled
from the cells and, if nothing failed, written back to them. So one mechanism serves both faces, nothing leaks out of
a trace, and an exception leaves nothing behind.
"""

import contextvars
import itertools
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.model import Buffers, Composed, Keys, Layer, Leaf, Model, Params, Structured, located, structure
from purenn.random import as_key, fold_name
from purenn.state import match
from purenn.tree import check_name, combine, flatten
from stateful.parameter import BufferCell, Cell, Parameter, owner
from stateful.random import key_of, noise_key, take_ticket

# Attributes of the machinery; everything else in a module's __dict__ is its user's.
_OWN = frozenset(
    "_parameters _buffers _modules _model _opaque training _forward_hooks _forward_pre_hooks _version".split()
)
_BOUND = frozenset("_frame _keys _path _original".split())

_constructing: contextvars.ContextVar[int] = contextvars.ContextVar("constructing", default=0)
_active: contextvars.ContextVar["_Frame | None"] = contextvars.ContextVar("active", default=None)
_hook_ids = itertools.count()
# Counts changes of any module that a compiled program may depend on (see stateful.compiled).
changes = itertools.count()
latest_change = 0


def _mode_changed() -> int:
    global latest_change
    latest_change = next(changes)
    return latest_change


def _changed(module: "Module") -> None:
    module.__dict__["_version"] = _mode_changed()


class _Frame:
    """The arrays of one call, by cell, and the bound copies that read them."""

    def __init__(self, remembers: bool):
        self.remembers = remembers  # an object call: cells are the source, and the target of what changes
        self.values: dict[int, Any] = {}
        self.written: dict[int, tuple[Cell, str]] = {}
        self.copies: dict[int, Module] = {}
        self.kept: list[Any] = []  # keeps ids from being used again
        self.outer = _active.get()

    def read(self, cell: Cell) -> Any:
        frame: _Frame | None = self
        while frame is not None:
            if id(cell) in frame.values:
                return frame.values[id(cell)]
            frame = frame.outer
        self.values[id(cell)] = cell.array()
        self.kept.append(cell)
        return self.values[id(cell)]

    def write(self, cell: Cell, name: str, value: Any) -> None:
        self.values[id(cell)] = value
        self.written[id(cell)] = (cell, name)
        self.kept.append(cell)

    def find(self, module: "Module") -> "Module | None":
        """The bound copy of a module in this call, or in one around it."""
        frame: _Frame | None = self
        while frame is not None:
            if id(module) in frame.copies:
                return frame.copies[id(module)]
            frame = frame.outer
        return None

    def commit(self) -> None:
        """Writes back what an object call changed; all of it, or nothing."""
        attributes = [change for copy in self.copies.values() for change in copy._new_attributes()]
        for cell, name in self.written.values():
            _refuse_tracer(name, self.values[id(cell)])
        for module, name, value in attributes:
            _refuse_tracer(f"{type(module).__name__}.{name}", value)
        for cell, _ in self.written.values():
            cell.put(self.values[id(cell)])
        for module, name, value in attributes:
            setattr(module, name, value)


def _refuse_tracer(name: str, value: Any) -> None:
    if any(is_traced(leaf) for leaf in jax.tree.leaves(value)):
        raise RuntimeError(
            f"{name} would keep a tracer: a module called as an object inside jit, grad or vmap cannot remember what "
            "it computes. Use out, buffers = module.apply(params, buffers, *inputs, rng=rng, train=True), or "
            "nn.jit(module), or module.eval()."
        )


class _ModuleMeta(ABCMeta):
    """Knows when a constructor runs: until it ends, reading a parameter gives the promise (see `Parameter`)."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        token = _constructing.set(_constructing.get() + 1)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _constructing.reset(token)


class RemovableHandle:
    """Takes a hook away again.

    Args:
        hooks: the dict that holds it.
        number: its place there.
    """

    def __init__(self, hooks: dict[int, Any], number: int):
        self._hooks, self._number = hooks, number

    def remove(self) -> None:
        """Removes the hook; a second time does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Module(metaclass=_ModuleMeta):
    """A model that remembers its arrays: torch.nn.Module's object, and the pair of pure functions.

    Subclass it as in torch, assigning parameters and modules in ``__init__`` after ``super().__init__()`` and writing
    ``forward``; or hand it any model, which it adapts.

    Args:
        model: a model to be remembered; its named children become modules, each reachable and replaceable.

    >>> import jax, stateful as nn
    >>> net = nn.Linear(3, 2)
    >>> params, buffers = net.init(jax.random.key(0))
    >>> out, buffers = net.apply(params, buffers, jax.numpy.ones((5, 3)))
    >>> out.shape, sorted(params)
    ((5, 2), ['bias', 'weight'])
    """

    # The pure layer that a class adapts; a composed model's children of that kind become modules of this class.
    pure: ClassVar[type | None] = None
    _adapters: ClassVar[dict[type, type["Module"]]] = {}

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, BufferCell | None]
    _modules: dict[str, "Module | None"]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if (layer := cls.__dict__.get("pure")) is not None:
            Module._adapters.setdefault(layer, cls)

    def __init__(self, model: Model | None = None, *, device: Any = None):
        self.__dict__.update(
            _parameters={}, _buffers={}, _modules={}, _model=None, _opaque=False, training=True,
            _forward_hooks={}, _forward_pre_hooks={}, _version=0,
        )  # fmt: skip
        if model is not None:
            self._adapt(model)
        if device is not None:
            self.to(device)

    # ---------------------------------------------------------------- adapting a pure model

    def _adapt(self, model: Model) -> None:
        if isinstance(model, type) or not isinstance(model, Model):
            got = {"model": model.__name__ if isinstance(model, type) else type(model).__name__}
            raise refusal("Module", "model must have init and apply", got, "Call the class.", TypeError)
        self.__dict__["_model"] = model
        if not isinstance(model, Layer):
            self.__dict__["_opaque"] = True
            _grow(self, structure(model), _Promise(model), "")
            return
        for name, child in model.children().items():
            if isinstance(child, Leaf):
                (self._parameters if child.trainable else self._buffers)[name] = (  # type: ignore[index]
                    Parameter.of(child) if child.trainable else BufferCell(child)
                )
            elif child is None:
                self._parameters[name] = None
            else:
                self._modules[name] = child if isinstance(child, Module) else as_module(child)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; a subclass writes it.

        Args:
            *args: inputs.
            **kwargs: inputs.

        Returns:
            The output.

        Raises:
            NotImplementedError: the class has none.
        """
        model = self.__dict__["_model"]
        if model is None:
            raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')
        if not self._opaque:
            return model.forward(self, *args, **kwargs)
        params, buffers = self._trees(self._frame.read)
        out, after = model.apply(params, buffers, *args, rng=self._keys.call(), train=self.training, **kwargs)
        self._write(after)
        return out

    # ---------------------------------------------------------------- the two pure functions

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws the arrays; the object stays as it is.

        Args:
            rng: PRNG key.

        Returns:
            ``(params, buffers)``; the key of an array is folded from its path.
        """
        return self._init(as_key(f"{type(self).__name__}.init", rng), set())

    def _init(self, rng: jax.Array, seen: set[int]) -> tuple[Params, Buffers]:
        if self._opaque:
            drawn = flatten(combine(*self._model.init(rng)))
            return self._trees(lambda cell: drawn[cell.path])
        params: Params = {}
        buffers: Buffers = {}
        for name, cell in self._cells():
            if id(cell) not in seen:
                seen.add(id(cell))
                (params if _is_trained(cell) else buffers)[name] = cell.leaf.draw(fold_name(rng, name))
        for name, child in self._children():
            if id(child) not in seen:
                seen.add(id(child))
                for mine, theirs in zip((params, buffers), child._init(fold_name(rng, name), seen), strict=True):
                    if theirs:
                        mine[name] = theirs
        return params, buffers

    def apply(
        self,
        params: Params,
        buffers: Buffers | None = None,
        *args: Any,
        rng: Any = None,
        train: bool | None = False,
        method: str | Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, Buffers]:
        """Runs ``forward`` on a bound copy; the object stays as it is.

        Args:
            params: as from `init` or `split`.
            buffers: as from `init`, `split` or the last `apply`.
            *args: inputs.
            rng: PRNG key, where numbers are drawn.
            train: the mode of every submodule; None leaves each in the one that ``train()`` and ``eval()`` chose.
            method: another method than ``forward``, or its name.
            **kwargs: inputs.

        Returns:
            ``(out, buffers)``.

        Raises:
            TypeError: torch's ``module.apply(fn)`` was meant: that is `for_each` here.
        """
        if buffers is None:
            if callable(params):
                raise TypeError(
                    f"{type(self).__name__}.apply: apply runs the model, apply(params, buffers, *inputs). "
                    "torch's module.apply(fn) is module.for_each(fn) here."
                )
            raise refusal(f"{type(self).__name__}.apply", "buffers must be given", {"buffers": None}, "Pass {}.")
        bound = self.bind(params, buffers, rng, train)
        out = bound(*args, **kwargs) if method is None else bound._call(_name_of(self, method), args, kwargs)
        return out, bound.buffers

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool | None = False) -> "BoundModule":
        """Puts arrays in, for one pure call; see `purenn.bind`.

        Args:
            params: as from `init`.
            buffers: as from `init`.
            rng: PRNG key, where numbers are drawn.
            train: as in `apply`.

        Returns:
            The module with these arrays: ``bound(x)``, ``bound.encode(x)``, ``bound.fc.weight``, ``bound.buffers``.
        """
        frame = _Frame(remembers=False)
        self._fill(frame, params, buffers)
        keys = Keys.root(type(self).__name__, rng)
        return BoundModule(self._bound_copy(frame, keys, "", train), frame)

    def _fill(self, frame: _Frame, params: Mapping[str, Any], buffers: Mapping[str, Any]) -> None:
        for which, tree in (("params", params), ("buffers", buffers)):
            if not isinstance(tree, Mapping):
                got = {f"type({which})": type(tree).__name__}
                remedy = "apply takes (params, buffers, *inputs)."
                raise refusal(f"{type(self).__name__}.apply", f"{which} must be a nested dict", got, remedy, TypeError)
        arrays = {**flatten(params), **flatten(buffers)}
        missing = []
        for path, cell in self._named_cells():
            if path in arrays:
                frame.values[id(cell)] = arrays.pop(path)
                frame.kept.append(cell)
            else:
                missing.append(path)
        if missing or arrays:
            got = {"missing": missing, "unknown": [*arrays]}
            remedy = "They come from init, split or load_state_dict."
            name = f"{type(self).__name__}.apply"
            raise refusal(name, "params and buffers must hold the module's arrays", got, remedy)

    # ---------------------------------------------------------------- bound copies

    def _bound_copy(self, frame: _Frame, keys: Keys, path: str, train: bool | None) -> Self:
        if id(self) in frame.copies:
            return frame.copies[id(self)]  # type: ignore[return-value]
        copy = object.__new__(type(self))
        children = dict(self._children())
        copy.__dict__.update(self.__dict__)
        frame.copies[id(self)] = copy
        frame.kept.append(self)
        copy.__dict__.update(
            _frame=frame,
            _keys=keys,
            _path=path,
            _original=self,
            training=self.training if train is None else bool(train),
            _parameters=dict(self._parameters),
            _buffers=dict(self._buffers),
        )
        copy.__dict__["_modules"] = {
            name: children[name]._bound_copy(frame, keys.child(name), f"{path}.{name}".lstrip("."), train)
            if name in children
            else None
            for name in self._modules
        }
        return copy

    def _new_attributes(self) -> list[tuple["Module", str, Any]]:
        """What a forward pass put on a bound copy: (original, name, value)."""
        mine, original = self.__dict__, self.__dict__["_original"]
        theirs = original.__dict__
        new = [
            (original, name, value)
            for name, value in mine.items()
            if name not in _OWN and name not in _BOUND and not (name in theirs and theirs[name] is value)
        ]
        for kind in ("_parameters", "_buffers"):
            new += [(original, n, cell) for n, cell in mine[kind].items() if theirs[kind].get(n, 0) is not cell]
        new += [
            (original, name, module)
            for name, module in mine["_modules"].items()
            if module is not None and "_frame" not in module.__dict__ and theirs["_modules"].get(name) is not module
        ]
        return new

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module as an object: it reads its arrays, and remembers its buffers."""
        if "_frame" in self.__dict__:
            return self._run("forward", args, kwargs)
        active = _active.get()
        if active is not None and (copy := active.find(self)) is not None:
            return copy(*args, **kwargs)
        frame = _Frame(remembers=True)
        copy = self._bound_copy(frame, Keys(noise_key), "", None)
        out = copy._enter("forward", args, kwargs)
        frame.commit()
        return out

    def _enter(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a method of a bound root, with its frame active for whoever holds the original."""
        token = _active.set(self._frame)
        try:
            return self._run(method, args, kwargs)
        finally:
            _active.reset(token)

    def _run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with located(self._path):
            if method != "forward":
                return getattr(self, method)(*args, **kwargs)
            if not (self._forward_pre_hooks or self._forward_hooks):
                return self.forward(*args, **kwargs)
            return self._run_hooked(args, kwargs)

    def _run_hooked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs, _ in self._forward_pre_hooks.values():
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out, after = None, list(self._forward_hooks.values())
        try:
            out = self.forward(*args, **kwargs)
            while after:
                hook, with_kwargs, _ = after.pop(0)
                changed = hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
                out = out if changed is None else changed
        except Exception:
            for hook, with_kwargs, always in after:
                if always:
                    hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
            raise
        return out

    def rng(self) -> jax.Array:
        """A key that this module has not used in this call, for the random operations of a ``forward``.

        Returns:
            A typed key.

        Raises:
            RuntimeError: no call is under way.
        """
        if "_keys" not in self.__dict__:
            active = _active.get()
            copy = None if active is None else active.find(self)
            if copy is None:
                raise RuntimeError(f"{type(self).__name__}.rng: keys exist during a call only; use it in forward.")
            return copy.rng()
        return self._keys.next(self._path or type(self).__name__)

    # ---------------------------------------------------------------- attributes

    def _read(self, cell: Cell) -> Any:
        frame = self.__dict__.get("_frame") or _active.get()
        if frame is not None:
            return frame.read(cell)
        if _constructing.get() and isinstance(cell, Parameter) and not cell.drawn:
            return cell
        return cell.array()

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        for kind in ("_parameters", "_buffers"):
            if name in state.get(kind, ()):
                cell = state[kind][name]
                return None if cell is None else self._read(cell)
        if name in state.get("_modules", ()):
            return state["_modules"][name]
        model = state.get("_model")
        if not name.startswith("_") and name in _hyperparameters(model):
            return getattr(model, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if "_modules" not in state:
            if isinstance(value, (Module, Cell)):
                raise AttributeError("cannot assign modules or parameters before Module.__init__() call")
            return object.__setattr__(self, name, value)
        if name == "training":
            state[name] = value
            _mode_changed()
        elif isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, BufferCell):
            self._take_name(name, "_buffers")[name] = value
        elif (module := _as_modules(type(self).__name__, name, value)) is not None:
            self._take_name(name, "_modules")[name] = module
            _changed(self)
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
            _changed(self)

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[kind]:
                del self.__dict__[kind][name]
                break
        else:
            object.__delattr__(self, name)
        _changed(self)

    def __dir__(self) -> list[str]:
        names = [*self._parameters, *self._buffers, *self._modules, *_hyperparameters(self._model)]
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
            _changed(self)
        elif (shared := owner(value)) is not None and isinstance(shared, Parameter):
            if cell is not None:
                cell.fitting(f"{type(self).__name__}.{name}", value)
            self._parameters[name] = shared
            _changed(self)
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
            if _constructing.get():  # what __init__ assigns is what init gives
                self._parameters[name] = Parameter(array.astype(cell.dtype), requires_grad=cell.requires_grad)
            else:
                cell.put(array)

    def _assign_buffer(self, name: str, value: Any) -> None:
        cell = self._buffers[name]
        if value is None:
            self._buffers[name] = None
        elif "_frame" in self.__dict__:
            if cell is None:
                cell = self._buffers[name] = BufferCell(Leaf(jnp.shape(value), value.dtype, trainable=False))
            self._frame.write(cell, f"{type(self).__name__}.{name}", value)
        elif cell is None:
            self._buffers[name] = BufferCell.holding(value, persistent=True)
            _changed(self)
        else:
            cell.assign(f"{type(self).__name__}.{name}", value)

    # ---------------------------------------------------------------- registering

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter.

        Args:
            name: without a dot.
            param: a `Parameter`, or None for one that is left out.

        Raises:
            TypeError: it is something else.
            KeyError: the name is taken by an attribute.
        """
        if param is not None and not isinstance(param, Parameter):
            got = {name: type(param).__name__}
            remedy = "Wrap it: nn.Parameter(array)."
            raise refusal("register_parameter", f"{name} must be a Parameter or None", got, remedy, TypeError)
        check_name("register_parameter", name)
        if hasattr(type(self), name):
            raise KeyError(f"attribute {name!r} already exists")
        self._take_name(name, "_parameters")[name] = param
        _changed(self)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds an array that is not trained.

        Args:
            name: without a dot.
            tensor: an array, or None.
            persistent: whether it is part of the state_dict.

        Raises:
            KeyError: the name is taken by something else.
            TypeError: ``tensor`` is no array.
        """
        check_name("register_buffer", name)
        if name not in self._buffers and (hasattr(type(self), name) or name in self.__dict__ or
                                          name in self._parameters or name in self._modules):  # fmt: skip
            raise KeyError(f"attribute {name!r} already exists")
        if tensor is not None and not hasattr(tensor, "shape"):
            got = {name: type(tensor).__name__}
            raise refusal("register_buffer", f"{name} must be an array or None", got, kind=TypeError)
        self._buffers[name] = None if tensor is None else BufferCell.holding(tensor, persistent)
        _changed(self)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Adds a child; see `add_module`.

        Args:
            name: without a dot.
            module: the child, or None.
        """
        self.add_module(name, module)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Adds a child.

        Args:
            name: without a dot.
            module: the child, or None.

        Raises:
            TypeError: it is no module.
            KeyError: the name is taken by something else.
        """
        if module is not None and not isinstance(module, Module):
            got = {name: type(module).__name__}
            raise refusal("add_module", f"{name} must be a module", got, "Adapt a model: nn.Module(model).", TypeError)
        check_name("add_module", name)
        if name not in self._modules and hasattr(self, name):
            raise KeyError(f"attribute {name!r} already exists")
        self._modules[name] = module
        _changed(self)

    # ---------------------------------------------------------------- walking

    def _cells(self) -> Iterator[tuple[str, Cell]]:
        """Own cells, in torch's order."""
        for cells in (self._parameters, self._buffers):
            for name, cell in cells.items():
                if cell is not None:
                    yield name, cell

    def _children(self) -> Iterator[tuple[str, "Module"]]:
        """Children, and what plain lists and dicts of modules have become since they were assigned."""
        for name, value in list(self.__dict__.items()):
            if name not in _OWN and isinstance(value, (list, tuple, dict)) and _holds_modules(value):
                setattr(self, name, value)
        for name, child in self._modules.items():
            if child is not None:
                yield name, child

    def _named_cells(self, duplicates: bool = False) -> Iterator[tuple[str, Cell]]:
        """All cells by path; the first path of a shared one only, unless ``duplicates``."""
        seen: set[int] = set()
        for prefix, module in self.named_modules(remove_duplicate=not duplicates):
            for name, cell in module._cells():
                if duplicates or id(cell) not in seen:
                    seen.add(id(cell))
                    yield f"{prefix}.{name}" if prefix else name, cell

    def _trees(self, read: Callable[[Any], Any]) -> tuple[Params, Buffers]:
        """Params and buffers, nested, in the order of the modules."""
        trees: tuple[Params, Buffers] = {}, {}
        for path, cell in self._named_cells():
            node: Any = trees[0 if _is_trained(cell) else 1]
            *parents, last = path.split(".")
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = read(cell)
        return trees

    def _write(self, buffers: Mapping[str, Any]) -> None:
        """Takes the buffers that an opaque model returned."""
        cells = dict(self._named_cells())
        for path, value in flatten(buffers).items():
            if path not in cells:
                raise RuntimeError(f"{type(self).__name__}: the model returned a buffer it did not have: {path}.")
            if self._frame.values.get(id(cells[path])) is not value:
                self._frame.write(cells[path], path, value)

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Module"]]:
        """Walks the tree, parents first.

        Args:
            memo: modules to pass over.
            prefix: put before every path.
            remove_duplicate: whether a module used twice comes once.

        Yields:
            ``(dotted path, module)``; the path of the module itself is the prefix.
        """
        memo = set() if memo is None else memo
        if remove_duplicate and self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self._children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """Walks the tree.

        Yields:
            Every module once, this one first.
        """
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Lists the children.

        Yields:
            ``(name, module)``, a module used twice once.
        """
        seen: set[int] = set()
        for name, child in self._children():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator["Module"]:
        """Lists the children.

        Yields:
            Every child once.
        """
        for _, child in self.named_children():
            yield child

    def _named_arrays(self, kind: type[Cell], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        cells = self._named_cells(duplicates=not once) if recurse else self._cells()
        for path, cell in cells:
            if isinstance(cell, kind):
                yield f"{prefix}.{path}" if prefix else path, self._read(cell)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, jax.Array]]:
        """Lists the parameters, frozen ones too, as arrays.

        Args:
            prefix: put before every path.
            recurse: whether to go into children.
            remove_duplicate: whether a tied one comes once.

        Yields:
            ``(dotted path, array)``.
        """
        yield from self._named_arrays(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[jax.Array]:
        """Lists the parameters as arrays.

        Args:
            recurse: whether to go into children.

        Yields:
            Arrays.
        """
        for _, array in self.named_parameters(recurse=recurse):
            yield array

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, jax.Array]]:
        """Lists the registered buffers as arrays.

        Args:
            prefix: put before every path.
            recurse: whether to go into children.
            remove_duplicate: whether a shared one comes once.

        Yields:
            ``(dotted path, array)``.
        """
        yield from self._named_arrays(BufferCell, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[jax.Array]:
        """Lists the registered buffers as arrays.

        Args:
            recurse: whether to go into children.

        Yields:
            Arrays.
        """
        for _, array in self.named_buffers(recurse=recurse):
            yield array

    def get_submodule(self, target: str) -> "Module":
        """Finds a module by its dotted path.

        Args:
            target: the path; empty for this module.

        Returns:
            The module.

        Raises:
            AttributeError: there is none.
        """
        module: Module = self
        for name in target.split(".") if target else []:
            if not isinstance(child := module._modules.get(name), Module):
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r} (looking for {target!r}).")
            module = child
        return module

    def set_submodule(self, target: str, module: "Module", strict: bool = False) -> None:
        """Replaces the module at a dotted path.

        Args:
            target: the path.
            module: the new one.
            strict: whether there must be one already.

        Raises:
            AttributeError: the parent, or with ``strict`` the module, is not there.
            ValueError: the path is empty.
        """
        parent, _, name = target.rpartition(".")
        if not name:
            raise refusal("set_submodule", "target must name a submodule", {"target": target})
        owner_module = self.get_submodule(parent)
        if strict and name not in owner_module._modules:
            raise AttributeError(f"{type(owner_module).__name__} has no submodule {name!r}.")
        setattr(owner_module, name, module)

    def get_parameter(self, target: str) -> jax.Array:
        """Finds a parameter by its dotted path.

        Args:
            target: the path.

        Returns:
            The array.

        Raises:
            AttributeError: there is none.
        """
        parent, _, name = target.rpartition(".")
        cell = self.get_submodule(parent)._parameters.get(name)
        if cell is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}.")
        return self._read(cell)

    def get_buffer(self, target: str) -> jax.Array:
        """Finds a buffer by its dotted path.

        Args:
            target: the path.

        Returns:
            The array.

        Raises:
            AttributeError: there is none.
        """
        parent, _, name = target.rpartition(".")
        cell = self.get_submodule(parent)._buffers.get(name)
        if cell is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}.")
        return self._read(cell)

    def for_each(self, fn: Callable[["Module"], Any]) -> Self:
        """Calls ``fn`` on every module, children first; torch's ``module.apply(fn)``.

        Args:
            fn: function of a module.

        Returns:
            This module.
        """
        for child in self.children():
            child.for_each(fn)
        fn(self)
        return self

    # ---------------------------------------------------------------- arrays in and out

    def split(self) -> tuple[Params, Buffers]:
        """Carries the arrays out; what does not exist yet is drawn.

        Returns:
            ``(params, buffers)``, nested dicts; frozen parameters are among the buffers.
        """
        return self._trees(self._read)

    def update(self, params: Params | None = None, buffers: Buffers | None = None) -> Self:
        """Carries arrays back in: the inverse of `split`.

        Args:
            params: all of the params, or None to leave them.
            buffers: all of the buffers, or None to leave them.

        Returns:
            This module.

        Errors:
            ValueError for names or shapes that do not fit, TypeError for tracers; nothing has been changed then.
        """
        name = f"{type(self).__name__}.update"
        cells = dict(self._named_cells())
        changes: list[tuple[Cell, jax.Array]] = []
        for which, tree, trained in (("params", params, True), ("buffers", buffers, False)):
            if tree is None:
                continue
            wanted = {path for path, cell in cells.items() if _is_trained(cell) is trained}
            given = flatten(tree)
            if wanted != set(given):
                got = {"missing": sorted(wanted - set(given)), "unknown": sorted(set(given) - wanted)}
                raise refusal(name, f"{which} must hold the module's names", got)
            changes += [(cells[path], cells[path].fitting(path, value)) for path, value in given.items()]
        for cell, value in changes:
            cell.put(value)
        return self

    def structure(self) -> dict[str, Any]:
        """Lists the leaves in torch's order; see `purenn.structure`."""
        tree: dict[str, Any] = {}
        for path, cell in self._named_cells():
            *parents, last = path.split(".")
            node = tree
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = cell.leaf
        return tree

    def state_dict(
        self, destination: dict[str, Any] | None = None, *, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, jax.Array]:
        """Flattens the arrays, in torch's names and order; tied ones stand under each of their names.

        Args:
            destination: a dict to add to.
            prefix: put before every name.
            keep_vars: accepted for torch's sake.

        Returns:
            ``{dotted path: array}``, without the buffers that are not persistent.
        """
        del keep_vars
        state = {} if destination is None else destination
        for path, cell in self._named_cells(duplicates=True):
            if cell.leaf.persistent:
                state[prefix + path] = self._read(cell)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes the arrays of a state_dict; what torch saved loads as it is.

        Args:
            state_dict: ``{dotted path: array}``; numpy and jax arrays and torch tensors, cast to the module's dtypes.
            strict: whether missing and unexpected names are errors.
            assign: accepted for torch's sake: arrays do not change in place, so there is only one way to take one.

        Returns:
            ``IncompatibleKeys(missing_keys, unexpected_keys)``.

        Errors:
            ValueError that lists every missing, unexpected and mis-shaped name at once; nothing has been changed then.
        """
        del assign
        cells = dict(self._named_cells(duplicates=True))
        names: dict[int, list[str]] = {}
        for path, cell in cells.items():
            names.setdefault(id(cell), []).append(path)
        # a file may hold a tied array under one of its names only
        given = dict(state_dict)
        for paths in names.values():
            present = [path for path in paths if path in given]
            for path in paths if present else []:
                given.setdefault(path, given[present[0]])
        leaves = {path: cell.leaf for path, cell in cells.items()}
        arrays, missing, unexpected = match(type(self).__name__, leaves, given, strict)
        _refuse_contradictions(names.values(), arrays)
        for path, value in arrays.items():
            cells[path].put(value)
        return IncompatibleKeys(missing, unexpected)

    def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Moves the arrays, or casts the floating ones; promises are kept in the new place and dtype.

        Args:
            *args: a dtype, a ``jax.Device``, a sharding, or a platform's name such as ``"cpu"`` or ``"gpu:1"``.
            device: the place, by name.
            dtype: the dtype, by name.

        Returns:
            This module.

        Raises:
            TypeError: an argument is none of these, or the dtype is not floating.
        """
        for arg in args:
            if isinstance(arg, (jax.Device, jax.sharding.Sharding)) or _is_platform(arg):
                device = arg
            else:
                dtype = arg
        if dtype is not None:
            try:
                floating = jnp.issubdtype(dtype, jnp.inexact)
            except TypeError:
                floating = False
            if not floating:
                got = {"dtype": dtype}
                rule = "the argument must be a floating dtype, a device or a sharding"
                raise refusal(f"{type(self).__name__}.to", rule, got, kind=TypeError)
        place = _device(device) if isinstance(device, str) else device
        for _, cell in self._named_cells():
            if dtype is not None:
                cell.cast(dtype)
            if place is not None:
                cell.place(place)
        _changed(self)
        return self

    def float(self) -> Self:
        """Casts floating arrays to float32; returns this module."""
        return self.to(jnp.float32)

    def double(self) -> Self:
        """Casts floating arrays to float64 where x64 is enabled; returns this module."""
        return self.to(jnp.float64)

    def half(self) -> Self:
        """Casts floating arrays to float16; returns this module."""
        return self.to(jnp.float16)

    def bfloat16(self) -> Self:
        """Casts floating arrays to bfloat16; returns this module."""
        return self.to(jnp.bfloat16)

    def type(self, dst_type: Any) -> Self:
        """Casts floating arrays; see `to`.

        Args:
            dst_type: floating dtype.

        Returns:
            This module.
        """
        return self.to(dst_type)

    def cpu(self) -> Self:
        """Moves the arrays to the host; returns this module."""
        return self.to("cpu")

    def cuda(self, device: int | None = None) -> Self:
        """Moves the arrays to a GPU.

        Args:
            device: its number.

        Returns:
            This module.
        """
        return self.to(f"gpu:{device or 0}")

    # ---------------------------------------------------------------- modes

    def train(self, mode: bool = True) -> Self:
        """Sets training or evaluation, for object calls and ``apply(train=None)``.

        Args:
            mode: True for training.

        Returns:
            This module.

        Raises:
            ValueError: ``mode`` is no boolean.
        """
        if not isinstance(mode, bool):
            raise refusal(f"{type(self).__name__}.train", "mode must be a boolean", {"mode": mode})
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Sets evaluation; returns this module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or thaws: a frozen parameter moves to the buffers, with the same name in the state_dict.

        Args:
            requires_grad: False to freeze.

        Returns:
            This module.
        """
        for _, cell in self._named_cells():
            if isinstance(cell, Parameter):
                cell.requires_grad = requires_grad
        _changed(self)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Does nothing: gradients are values that ``jax.grad`` returns, never kept in a module.

        Args:
            set_to_none: accepted for torch's sake.
        """

    # ---------------------------------------------------------------- hooks

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args)`` before each forward; what it returns replaces the arguments.

        Args:
            hook: the function; with ``with_kwargs`` it takes and returns ``(args, kwargs)``.
            prepend: whether it goes before the others.
            with_kwargs: whether it sees keyword arguments.

        Returns:
            A handle to remove it.
        """
        return self._add_hook(self._forward_pre_hooks, (hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls ``hook(module, args, output)`` after each forward; what it returns replaces the output.

        Args:
            hook: the function; inside jit it runs when the call is traced.
            prepend: whether it goes before the others.
            with_kwargs: whether it sees keyword arguments, ``hook(module, args, kwargs, output)``.
            always_call: whether it is called after an exception too.

        Returns:
            A handle to remove it.
        """
        return self._add_hook(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def _add_hook(self, hooks: dict[int, Any], entry: tuple[Any, ...], prepend: bool) -> RemovableHandle:
        number = next(_hook_ids)
        others = dict(hooks)
        hooks.clear()
        hooks.update({number: entry} | others if prepend else others | {number: entry})
        _changed(self)
        return RemovableHandle(hooks, number)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Refuses: there is no backward pass that runs through objects.

        Args:
            hook: not used.
            prepend: not used.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.register_full_backward_hook: gradients come from jax.grad over apply, not through "
            "objects. Wrap the value in a jax.custom_vjp function in forward to look at its gradient."
        )

    register_backward_hook = register_full_backward_hook
    register_full_backward_pre_hook = register_full_backward_hook

    # ---------------------------------------------------------------- printing

    def _get_name(self) -> str:
        model = self.__dict__.get("_model")
        return type(model).__name__ if type(self) is Module and model is not None else type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the printed module."""
        model = self.__dict__.get("_model")
        if type(self) is not Module or not isinstance(model, Layer) or not is_dataclass(model) or self._modules:
            return ""
        return ", ".join(f"{field.name}={getattr(model, field.name)!r}" for field in fields(model) if field.repr)

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        return self._print(extra, children)

    def _print(self, extra: list[str], children: list[str]) -> str:
        if len(extra) == 1 and not children:
            return f"{self._get_name()}({extra[0]})"
        lines = extra + children
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class IncompatibleKeys(tuple[list[str], list[str]]):
    """What `Module.load_state_dict` with ``strict=False`` did not find a use for, or a value for."""

    def __new__(cls, missing_keys: list[str], unexpected_keys: list[str]) -> Self:
        return super().__new__(cls, (missing_keys, unexpected_keys))  # type: ignore[type-var]

    @property
    def missing_keys(self) -> list[str]:
        """Names of the module that the state_dict lacks."""
        return self[0]

    @property
    def unexpected_keys(self) -> list[str]:
        """Names of the state_dict that the module lacks."""
        return self[1]

    def __repr__(self) -> str:
        if not (self[0] or self[1]):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"


class BoundModule:
    """A module with arrays, for one pure call (see `Module.bind`)."""

    def __init__(self, copy: Module, frame: _Frame):
        self._copy, self._frame = copy, frame

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs ``forward``."""
        return self._copy._enter("forward", args, kwargs)

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._copy._enter(method, args, kwargs)

    @property
    def buffers(self) -> Buffers:
        """The buffers after what has been called so far."""
        return self._copy._trees(self._frame.read)[1]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._copy, name)
        if callable(value) and getattr(value, "__self__", None) is self._copy:
            return lambda *args, **kwargs: self._call(name, args, kwargs)
        return value


class _Promise:
    """The arrays of a model that only draws them all at once."""

    def __init__(self, model: Model):
        self._model, self._ticket = model, take_ticket()
        self._arrays: dict[str, jax.Array] = {}

    def draw(self, path: str) -> jax.Array:
        """One of them; the first to be asked for draws all."""
        if path not in self._arrays:
            self._arrays = flatten(combine(*self._model.init(key_of(self._ticket))))
        return self._arrays.pop(path)


class _Branch(Module):
    """Part of the arrays of an adapted model that has no children to show."""


def _grow(module: Module, tree: Mapping[str, Any], promise: _Promise, prefix: str) -> None:
    for name, child in tree.items():
        path = f"{prefix}{name}"
        if isinstance(child, Leaf):
            draw = partial(promise.draw, path)
            cell: Cell = Parameter.of(child, draw) if child.trainable else BufferCell(child, draw)
            cell.path = path
            (module._parameters if child.trainable else module._buffers)[name] = cell  # type: ignore[index]
        else:
            branch = _Branch()
            module._modules[name] = branch
            _grow(branch, child, promise, f"{path}.")


def as_module(model: Model) -> Module:
    """Adapts a model to the class that stands for its kind.

    Args:
        model: any model.

    Returns:
        A module: of class ``Linear`` for ``layers.Linear``, a plain `Module` for what has no class of its own.
    """
    cls = Module._adapters.get(type(model), Module)
    module = cls.__new__(cls)
    Module.__init__(module, model)
    return module


# How plain lists and dicts of modules are registered; stateful.container fills it.
containers: dict[type, Callable[[Any], Module]] = {}


def _holds_modules(value: Any) -> bool:
    entries = value.values() if isinstance(value, dict) else value
    return any(isinstance(entry, Module) or (type(entry) in containers and _holds_modules(entry)) for entry in entries)


def _as_modules(owner_name: str, name: str, value: Any) -> Module | None:
    """The module that an assigned value is registered as; None where it is no module."""
    if isinstance(value, Module):
        return value
    if isinstance(value, Structured) and isinstance(value, Model) and not isinstance(value, type):
        return as_module(value)
    if type(value) not in containers or not _holds_modules(value):
        return None
    entries = list(value.values() if isinstance(value, dict) else value)
    converted = [_as_modules(owner_name, name, entry) for entry in entries]
    if any(entry is None for entry in converted):
        kinds = sorted({type(entry).__name__ for entry in entries})
        remedy = "Keep the modules in a ModuleList or ModuleDict of their own."
        raise refusal(owner_name, f"{name} must hold modules only, or none", {"it holds": kinds}, remedy, TypeError)
    return containers[type(value)](dict(zip(value, converted, strict=True)) if isinstance(value, dict) else converted)


def _hyperparameters(model: Any) -> frozenset[str]:
    """Constructor arguments of an adapted layer that are not children: they can be read and changed."""
    return _field_names(type(model)) if isinstance(model, Layer) and not isinstance(model, Composed) else frozenset()


@cache
def _field_names(layer: type) -> frozenset[str]:
    return (
        frozenset(field.name for field in fields(layer) if field.name != "items")
        if is_dataclass(layer)
        else frozenset()
    )


def _is_trained(cell: Cell) -> bool:
    return isinstance(cell, Parameter) and cell.requires_grad


def _name_of(module: Module, method: str | Callable[..., Any]) -> str:
    name = method if isinstance(method, str) else getattr(method, "__name__", "")
    if not callable(getattr(type(module), name, None)):
        rule = "method must be a method of the module, or its name"
        raise refusal(f"{type(module).__name__}.apply", rule, {"method": method}, kind=TypeError)
    return name


def _refuse_contradictions(names: Iterable[list[str]], arrays: Mapping[str, jax.Array]) -> None:
    for paths in names:
        values = [arrays[path] for path in paths if path in arrays]
        if any(value is not values[0] and not bool(jnp.array_equal(value, values[0])) for value in values[1:]):
            rule = "names of one tied array must hold the same values"
            raise refusal("load_state_dict", rule, {"names": paths}, "Nothing was changed.")


def _is_platform(value: Any) -> bool:
    return isinstance(value, str) and value.split(":")[0] in ("cpu", "gpu", "cuda", "rocm", "tpu")


def _device(name: str) -> jax.Device:
    platform, _, number = name.partition(":")
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        found = ", ".join(map(str, jax.devices()))
        raise refusal("to", "the device must exist", {"device": name}, f"jax finds: {found}.") from error
