"""Module: a model that remembers its arrays.

A module keeps cells (arrays, or promises of them) and child modules. `init` and `apply` are the two pure functions of
the contract and never touch it: `apply` runs `forward` on a *bound copy*, a tree of shallow copies whose cells read
from a frame that holds this call's arrays. Calling a module as an object is the same thing, with the frame filled
from the cells and, if nothing failed, written back to them. So one mechanism serves both faces, nothing leaks out of
a trace, and an exception leaves nothing behind.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, ClassVar, Self

import jax

from purenn.building import taker
from purenn.calling import called, located, placed
from purenn.errors import refusal
from purenn.model import Buffers, Keys, Layer, Leaf, Model, Params, structure
from purenn.random import as_key, fold_name
from purenn.tree import combine, flatten
from stateful.frame import Frame, active
from stateful.hooks import Hooked
from stateful.likeness import likeness
from stateful.node import OWN, Node, changed
from stateful.parameter import BufferCell, Parameter
from stateful.random import key_of, noise_key, take_ticket
from stateful.remembering import Remembering
from stateful.walking import is_trained


class Module(Remembering, Hooked):
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
    reads_late: ClassVar[bool] = True  # see `purenn.deferring`
    _adapters: ClassVar[dict[type, type["Module"]]] = {}

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if (layer := cls.__dict__.get("pure")) is not None:
            Module._adapters.setdefault(layer, cls)

    def __init__(self, model: Model | None = None, *, device: Any = None):
        super().__init__()
        self.__dict__["_opaque"] = False
        if model is not None:
            self._adapt(model)
        if device is not None:
            self.to(device)

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
            if hasattr(Module, name):
                remedy = "Give the child another name."
                raise refusal("Module", "a child must not be called like a method of Module", {"name": name}, remedy)
            if isinstance(child, Leaf):
                self._add_cell(name, child)
            elif child is None:
                self._parameters[name] = None
            else:
                self._modules[name] = child if isinstance(child, Module) else as_module(child)

    def _add_cell(self, name: str, leaf: Leaf, draw: Callable[[], jax.Array] | None = None, path: str = "") -> None:
        if leaf.parameter:
            self._parameters[name] = Parameter.of(leaf, draw, path)
        else:
            self._buffers[name] = BufferCell(leaf, draw, path)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; a subclass writes it.

        Args:
            *args: inputs.
            **kwargs: inputs.

        Returns:
            The output.

        Errors:
            NotImplementedError: the class has none.
        """
        model = self.__dict__["_model"]
        if model is None:
            raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')
        if not self._opaque:
            return model.forward(self, *args, **kwargs)
        params, buffers = self._trees(self._frame.read)
        with placed(self._path):
            out, after = model.apply(params, buffers, *args, rng=self._keys.call(), train=self.training, **kwargs)
        self._write(after)
        return out

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws the arrays; the object stays as it is.

        Args:
            rng: PRNG key.

        Returns:
            ``(params, buffers)``; the key of an array is folded from its path.
        """
        self.require_shapes("init")
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
                (params if is_trained(cell) else buffers)[name] = cell.leaf.draw(fold_name(rng, name))
        for name, child in self._children():
            if id(child) not in seen:
                seen.add(id(child))
                for mine, theirs in zip((params, buffers), child._init(fold_name(rng, name), seen), strict=True):
                    if theirs:
                        mine[name] = theirs
        for computed in self._computed.values():
            computed.start(self, rng, params, buffers)
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

        Errors:
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
        frame = Frame(remembers=False)
        copy = self._bound_copy(frame, Keys.root(type(self).__name__, rng), "", train)
        self._fill(frame, params, buffers)
        return BoundModule(copy, frame)

    def _fill(self, frame: Frame, params: Mapping[str, Any], buffers: Mapping[str, Any]) -> None:
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

    def _bound_copy(self, frame: Frame, keys: Keys, path: str, train: bool | None) -> Self:
        if id(self) in frame.copies:
            return frame.copies[id(self)]
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
        children |= self._modules  # in this order: a module has its place from the name that counts
        copies = {
            name: None
            if child is None
            else child._bound_copy(frame, keys.child(name), f"{path}.{name}".lstrip("."), train)
            for name, child in children.items()
        }
        copy.__dict__["_modules"] = {name: copies[name] for name in self._modules}
        return copy

    def _new_attributes(self) -> list[tuple["Module", str, Any]]:
        """What a forward pass put on a bound copy: (original, name, value)."""
        mine, original = self.__dict__, self.__dict__["_original"]
        theirs = original.__dict__
        new = [
            (original, name, value)
            for name, value in mine.items()
            if name not in OWN and not (name in theirs and theirs[name] is value)
        ]
        for kind in ("_parameters", "_buffers"):
            new += [(original, n, cell) for n, cell in mine[kind].items() if theirs[kind].get(n, 0) is not cell]
        new += [
            (original, name, module)
            for name, module in mine["_modules"].items()
            if module is not None and "_frame" not in module.__dict__ and theirs["_modules"].get(name) is not module
        ]
        return new

    def _hand_over(self) -> None:
        """Makes the original what a forward pass has made this bound copy: a lazy module, the plain one."""
        original = self.__dict__["_original"]
        if type(self) is not type(original):
            original.__dict__["_model"] = self.__dict__["_model"]
            original.__class__ = type(self)
            changed(original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module as an object: it reads its arrays, and remembers its buffers."""
        return self._call("forward", args, kwargs)

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "_frame" in self.__dict__:
            return self._run(method, args, kwargs)
        around = active.get()
        if around is not None and (copy := around.find(self)) is not None:
            return copy._call(method, args, kwargs)
        if (take := taker.get()) is not None and method == "forward":
            return take(self, args, kwargs)
        frame = Frame(remembers=True)
        copy = self._bound_copy(frame, Keys(noise_key), "", None)
        out = copy._enter(method, args, kwargs)
        frame.commit()
        return out

    def _enter(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a method of a bound root, with its frame active for whoever holds the original."""
        token = active.set(self._frame)
        try:
            return self._run(method, args, kwargs)
        finally:
            active.reset(token)

    def _run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if method != "forward":
            with located(self._path):
                return getattr(self, method)(*args, **kwargs)
        hooked = self._forward_pre_hooks or self._forward_hooks
        return called(self._path, self._run_hooked if hooked else self.forward, args, kwargs)

    def rng(self) -> jax.Array | None:
        """A key that this module has not used in this call: ``F.dropout(x, 0.5, self.training, rng=self.rng())``.

        Returns:
            A typed key. None in evaluation where the call has none, so that what draws in training alone asks for none.

        Errors:
            RuntimeError: no call is under way.
            ValueError: training, and the call has no key.
        """
        if "_keys" not in self.__dict__:
            around = active.get()
            copy = None if around is None else around.find(self)
            if copy is None:
                raise RuntimeError(f"{type(self).__name__}.rng: keys exist during a call only; use it in forward.")
            return copy.rng()
        return self._keys.next(self._path or type(self).__name__) if self.training or self._has_key() else None

    def _has_key(self) -> bool:
        try:
            return self._keys.own() is not None
        except RuntimeError:  # an object called inside jit has no noise of its own
            return False

    def _write(self, buffers: Mapping[str, Any]) -> None:
        """Takes the buffers that an opaque model returned."""
        cells = dict(self._named_cells())
        for path, value in flatten(buffers).items():
            if path not in cells:
                raise RuntimeError(f"{type(self).__name__}: the model returned a buffer it did not have: {path}.")
            if self._frame.values.get(id(cells[path])) is not value:
                self._frame.write(cells[path], path, value)

    def _get_name(self) -> str:
        model = self.__dict__.get("_model")
        name = type(model).__name__ if type(self) is Module and model is not None else type(self).__name__
        return max((computed.prefix for computed in self._computed.values()), default="") + name

    def likeness(self) -> Any:
        """Describes what this module computes, but for the numbers in its arrays; equal for modules that are alike."""
        return likeness(self)

    def extra_repr(self) -> str:
        """What stands between the parentheses of the printed module."""
        model = self.__dict__.get("_model")
        if type(self) is not Module or not isinstance(model, Layer) or not is_dataclass(model) or self._modules:
            return ""
        return ", ".join(f"{field.name}={getattr(model, field.name)!r}" for field in fields(model) if field.repr)

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        shown = {
            name: child for name, child in self._modules.items() if child is None or not self._names_elsewhere(child)
        }
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in shown.items()]
        return self._print(extra, children)

    def _print(self, extra: list[str], children: list[str]) -> str:
        if len(extra) == 1 and not children:
            return f"{self._get_name()}({extra[0]})"
        lines = extra + children
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class BoundModule:
    """A module with arrays, for one pure call (see `Module.bind`)."""

    def __init__(self, copy: Module, frame: Frame):
        self._copy, self._frame = copy, frame

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs ``forward``."""
        return self._copy._enter("forward", args, kwargs)

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._copy._enter(method, args, kwargs)

    @property
    def buffers(self) -> Buffers:
        """The buffers after what has been called so far."""
        # params stay as they are, and are not read: some would be computed for it
        return self._copy._trees(lambda cell: None if is_trained(cell) else self._frame.read(cell))[1]

    def __getitem__(self, name: Any) -> Any:
        container: Any = self._copy
        return getattr(self, name) if isinstance(name, str) else container[name]

    def __iter__(self) -> Iterator[Any]:
        """The children, in order."""
        return (child for _, child in self._copy._children())

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
            module._add_cell(name, child, partial(promise.draw, path), path)
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


Node.adapter = staticmethod(as_module)


def _name_of(module: Module, method: str | Callable[..., Any]) -> str:
    name = method if isinstance(method, str) else getattr(method, "__name__", "")
    if not callable(getattr(type(module), name, None)):
        rule = "method must be a method of the module, or its name"
        raise refusal(f"{type(module).__name__}.apply", rule, {"method": method}, kind=TypeError)
    return name
