"""The contract: a model is a pair of pure functions over nested dicts of arrays.

`Layer` is the base of every model that has named children: it derives `init` and `apply` from two simpler methods,
`children` (what there is, by name) and `forward` (how it is wired). The wire sees a `Bound`: the children with their
arrays, for one pure call. A `stateful.Module` offers the same view, so one wire serves both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import called, join, located, placed
from purenn.deferring import all_arrived, arrived
from purenn.errors import dtype_of, refusal
from purenn.random import as_key, fold_name
from purenn.tree import Tree, check_name

Params = dict[str, Any]
Buffers = dict[str, Any]


@runtime_checkable
class Model(Protocol):
    """A pair of pure functions; everything else in this library gives one or takes one."""

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws the arrays.

        Args:
            rng: PRNG key.

        Returns:
            ``(params, buffers)``: what is trained, and the rest of the state.
        """
        ...

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model.

        Args:
            params: as from `init`.
            buffers: as from `init`, or from the last `apply`.
            *args: inputs.
            rng: PRNG key, where the model draws numbers.
            train: training or evaluation.
            **kwargs: inputs.

        Returns:
            ``(out, buffers)``: the output, and the buffers afterwards.
        """
        ...


@runtime_checkable
class Bindable(Protocol):
    """A model that says itself what it is, bound to its arrays."""

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> Any:
        """Puts the arrays in; see `purenn.bind`."""
        ...


@runtime_checkable
class Structured(Protocol):
    """A model that knows its leaves without tracing `init`."""

    def structure(self) -> Tree:
        """Lists the leaves; see `purenn.structure`."""
        ...


class _Constant:
    """An initializer that gives one known array; equal arrays make equal initializers."""

    def __init__(self, value: Any):
        self.value = value.copy() if isinstance(value, np.ndarray) else value  # numpy's may be written into

    def __call__(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        del rng, shape
        # a copy: what is drawn may be donated, or the value written into
        return jnp.copy(self.value) if jnp.issubdtype(dtype, jax.dtypes.extended) else jnp.array(self.value, dtype)

    def __repr__(self) -> str:
        return f"array({'x'.join(map(str, np.shape(self.value))) or 'scalar'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constant) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple[Any, ...]:
        value = self.value
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        return str(self.value.dtype), value.shape, np.asarray(value).tobytes()


@dataclass(frozen=True)
class Leaf:
    """An array to be: where it will come from, and whether it is trained (see `param`, `buffer`)."""

    shape: tuple[int, ...]
    dtype: Any
    initializer: Callable[..., jax.Array] | None = None  # None: only the whole model can draw it
    options: tuple[tuple[str, Any], ...] = ()
    trainable: bool = True
    persistent: bool = True  # part of the state_dict
    parameter: bool = True  # declared as one; a frozen one is not trained, but stands where it stood
    norm: bool = False  # scale or shift of a normaliser, which low precision leaves in the dtype of reductions
    layer_axes: tuple[int, ...] = ()  # the axes of like layers kept stacked, the outer first (see purenn.layering)
    stacks: int = 0  # how many of the first axes are those of members or layers, each with such an array of its own

    def times(self, n: int, layers: bool = False) -> "Leaf":
        """The declaration of n such arrays in one, along a new first axis, be it members or layers."""
        axes = tuple(axis + 1 for axis in self.layer_axes)
        axes = (0, *axes) if layers else axes
        return replace(self, shape=(n, *self.shape), initializer=None, layer_axes=axes, stacks=self.stacks + 1)

    def one(self) -> "Leaf":
        """The declaration of one such array, where members or layers have theirs in one."""
        return replace(self, shape=self.shape[self.stacks :], layer_axes=(), stacks=0)

    def draw(self, rng: Any) -> jax.Array:
        """The array, from this key."""
        assert self.initializer is not None
        array = self.initializer(rng, self.shape, self.dtype, **dict(self.options))
        given = getattr(array, "shape", None), getattr(array, "dtype", None)
        if given != (self.shape, self.dtype):
            rule = f"an initializer must give the shape and dtype it is asked for, {self.shape} and {self.dtype}"
            name = getattr(self.initializer, "__name__", self.initializer)
            raise refusal("init", rule, {"initializer": name, "its shape": given[0], "its dtype": str(given[1])})
        return array


def param(value_or_initializer: Any, shape: Sequence[int] | None = None, dtype: Any = None, **options: Any) -> Leaf:
    """Declares a trained array among the children of a model.

    Args:
        value_or_initializer: an array, or a function ``(rng, shape, dtype, **options) -> array``.
        shape: of the array; wanted with an initializer.
        dtype: of the array; float32, or that of the value.
        **options: for the initializer.

    Returns:
        The declaration; `init` draws it.

    Errors:
        TypeError for what is neither; ValueError for an initializer without a shape.
    """
    return _leaf("param", value_or_initializer, shape, dtype, options)


def buffer(
    value_or_initializer: Any,
    shape: Sequence[int] | None = None,
    dtype: Any = None,
    persistent: bool = True,
    **options: Any,
) -> Leaf:
    """Declares an array that is not trained: a statistic, a counter, a table.

    Args:
        value_or_initializer: an array, or a function ``(rng, shape, dtype, **options) -> array``.
        shape: of the array; wanted with an initializer.
        dtype: of the array; float32, or that of the value.
        persistent: whether it is part of the state_dict.
        **options: for the initializer.

    Returns:
        The declaration; `init` draws it.

    Errors:
        TypeError for what is neither; ValueError for an initializer without a shape.
    """
    leaf = _leaf("buffer", value_or_initializer, shape, dtype, options)
    return replace(leaf, trainable=False, persistent=persistent, parameter=False)


def _leaf(op: str, source: Any, shape: Any, dtype: Any, options: Mapping[str, Any]) -> Leaf:
    if hasattr(source, "detach"):
        got = {"its type": type(source).__name__}
        raise refusal(op, "the value must be an array, not torch's", got, "Pass tensor.detach().numpy().", TypeError)
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        if shape is not None and tuple(shape) != tuple(source.shape):
            raise refusal(op, "shape must be that of the value", {"shape": tuple(shape), "value.shape": source.shape})
        if not jnp.issubdtype(source.dtype, jax.dtypes.extended):
            dtype = dtype_of(op, source.dtype if dtype is None else dtype)
        return Leaf(tuple(source.shape), dtype or source.dtype, _Constant(source))
    if isinstance(source, (bool, int, float, complex)):
        return _leaf(op, jnp.asarray(source), shape, dtype, options)
    if not callable(source):
        got = {"its type": type(source).__name__}
        raise refusal(op, "the value must be an array or an initializer", got, kind=TypeError)
    if shape is None:
        raise refusal(op, "shape must be given with an initializer", {"shape": None}, f"{op}(init.ones, (256,))")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = dtype_of(op, jnp.float32 if dtype is None else dtype)
    return Leaf(shape, dtype, source, tuple(options.items()))


@dataclass(frozen=True)
class Function:
    """A function without arrays, as a model."""

    fn: Callable[..., Any]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws nothing."""
        del rng
        return {}, {}

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Calls the function."""
        del params, rng, train
        return self.fn(*args, **kwargs), buffers

    def structure(self) -> Tree:
        """Has no leaves."""
        return {}


class Layer:
    """The base of models with named children; a subclass says what they are and how they are wired.

    Subclasses are frozen dataclasses whose fields are torch's constructor arguments, and hold no array.
    """

    reads_late: ClassVar[bool] = True  # see `purenn.deferring`

    def children(self) -> Mapping[str, Any]:
        """Names the children, in the order of torch's registration.

        Returns:
            A Model, a `Leaf` (see `param`, `buffer`), or None for one that is left out, by name.
        """
        raise NotImplementedError

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; ``m`` holds the children with their arrays.

        Args:
            m: a `Bound`, or the module that holds this layer.
            *args: inputs.
            **kwargs: inputs.

        Returns:
            The output.
        """
        raise NotImplementedError

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws every leaf from a key folded from its path.

        Args:
            rng: PRNG key.

        Returns:
            ``(params, buffers)``, nested dicts; children without arrays are left out.
        """
        rng = as_key(f"{type(self).__name__}.init", rng)
        params: Params = {}
        buffers: Buffers = {}
        for name, child in _ordered(self.children()):
            if isinstance(child, Leaf):
                (params if child.trainable else buffers)[name] = child.draw(fold_name(rng, name))
            else:
                inner = child.init(fold_name(rng, name))
                for mine, theirs in zip((params, buffers), inner, strict=True):
                    if theirs:
                        mine[name] = theirs
        return params, buffers

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the layer; see `Model.apply`."""
        bound = self.bind(params, buffers, rng, train)
        out = bound(*args, **kwargs)
        return out, bound.buffers

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> "Bound":
        """Puts the arrays in, for one pure call; see `purenn.bind`."""
        return Bound(self, params, buffers, Keys.root(type(self).__name__, rng), train)

    def structure(self) -> Tree:
        """Lists the leaves in torch's order; see `purenn.structure`."""
        nodes = {
            name: child if isinstance(child, Leaf) else structure(child) for name, child in _ordered(self.children())
        }
        return {name: node for name, node in nodes.items() if node}


def _ordered(children: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """In the order of torch's state_dict: parameters, buffers, then models; those left out are left out."""

    def rank(child: Any) -> int:
        return 1 - child.trainable if isinstance(child, Leaf) else 2

    return sorted([item for item in children.items() if item[1] is not None], key=lambda item: rank(item[1]))


class Keys:
    """The keys of one node of a model for one call: folded from its path, and only when they are asked for."""

    __slots__ = ("_drawn", "_fold", "_key")

    def __init__(self, fold: Callable[[], jax.Array] | None):
        self._fold = fold
        self._key: jax.Array | None = None
        self._drawn = 0

    @classmethod
    def root(cls, op: str, rng: Any) -> "Keys":
        """The keys of a model that was called with ``rng``."""
        if rng is None:
            return cls(None)
        key = as_key(op, rng)
        return cls(lambda: key)

    def child(self, name: str) -> "Keys":
        """The keys of the child ``name``."""
        return Keys(None if self._fold is None else lambda: fold_name(self.own(), name))  # type: ignore[arg-type]

    def own(self) -> jax.Array | None:
        """The key of this node, None when the call has none."""
        if self._key is None and self._fold is not None:
            self._key = self._fold()
        return self._key

    def next(self, path: str) -> jax.Array:
        """A key that this node has not used in this call."""
        key = self.own()
        if key is None:
            raise refusal(
                path,
                "rng must be given where random numbers are drawn",
                {"rng": None},
                "Pass rng=jax.random.key(0) to apply, a fresh one for each call; evaluation (train=False) needs none.",
            )
        self._drawn += 1
        return jax.random.fold_in(key, self._drawn - 1)

    def call(self) -> jax.Array | None:
        """The key for a call of this node as a whole: its own at first, then fresh ones."""
        key = self.own()
        if key is None:
            return None
        self._drawn += 1
        return key if self._drawn == 1 else jax.random.fold_in(key, self._drawn - 1)


class Bound:
    """A `Layer` with its arrays, for one pure call.

    ``m(x)`` runs it; ``m.<name>`` is a child, bound, or an array; ``m.<buffer> = array`` replaces a buffer in this call
    alone, and ``m.buffers`` is the tree afterwards; ``m.training`` says which mode; ``m.rng()`` is a key not used yet.
    """

    def __init__(self, model: Layer, params: Params, buffers: Buffers, keys: Keys, train: bool | None, path: str = ""):
        children = model.children()
        _check_names(model, children, params, buffers, path)
        self.__dict__.update(
            _model=model,
            _children=children,
            _params=params,
            _buffers=dict(buffers),
            _keys=keys,
            _path=path,
            _bound={},
            training=bool(train),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""
        return called(self._path, partial(self._model.forward, self), args, kwargs)

    def __getitem__(self, name: str) -> Any:
        if name not in self._children:
            names = ", ".join(self._children) or "none"
            raise AttributeError(f"{self._name()} has no child {name!r}; its children are: {names}.")
        child = self._children[name]
        if child is None:
            return None
        if isinstance(child, Leaf):
            return arrived(self._params[name]) if name in self._params else self._buffers[name]
        if name not in self._bound:
            path = f"{self._path}.{name}" if self._path else name
            arrays = self._params.get(name, {}), self._buffers.get(name, {})
            self._bound[name] = _bind(child, *arrays, self._keys.child(name), self.training, path)
        return self._bound[name]

    def __iter__(self) -> Iterator[Any]:
        """The children that are models, in order."""
        return (self[name] for name, child in _ordered(self._children) if not isinstance(child, Leaf))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self._children and not name.startswith("_") and hasattr(self._model, name):
            return getattr(self._model, name)  # a hyperparameter
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        leaf = self._children.get(name)
        if not isinstance(leaf, Leaf) or leaf.trainable:
            what = "a parameter" if isinstance(leaf, Leaf) else "no buffer"
            raise AttributeError(f"{self._name()}: only buffers can be replaced inside a call, {name!r} is {what}.")
        self._buffers[name] = value

    @property
    def buffers(self) -> Buffers:
        """The buffers after what has been called so far."""
        after = dict(self._buffers)
        for name, child in self._bound.items():
            if inner := child.buffers:
                after[name] = inner
        return after

    def rng(self) -> jax.Array:
        """A key not used yet in this call; an error without ``rng``."""
        return self._keys.next(self._name())

    def _name(self) -> str:
        return self._path or type(self._model).__name__


class BoundModel:
    """A model without children of its own to show, with its arrays, for one pure call."""

    def __init__(self, model: Model, params: Params, buffers: Buffers, keys: Keys, train: bool | None, path: str = ""):
        self._model, self._params, self.buffers = model, params, buffers
        self._keys, self.training, self._path = keys, train, path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""
        return called(self._path, self._run, args, kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        mode: dict[str, Any] = {"rng": self._keys.call(), "train": self.training}
        with placed(self._path):
            out, self.buffers = self._model.apply(all_arrived(self._params), self.buffers, *args, **mode, **kwargs)
        return out

    def __getitem__(self, name: str) -> Any:
        found = [tree[name] for tree in (self._params, self.buffers) if name in tree]
        if not found:
            names = ", ".join([*self._params, *self.buffers]) or "none"
            raise AttributeError(f"{self._path or type(self._model).__name__} has no {name!r}; it holds: {names}.")
        return _Branch(*found) if isinstance(found[0], Mapping) else arrived(found[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


class _Placed:
    """What a model's own ``bind`` gave, or a child or method of that, at its place in the model around it."""

    def __init__(self, bound: Any, path: str, whole: bool = True):
        self.__dict__.update(_bound=bound, _path=path, _whole=whole)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model, or its part: a part calls itself by the rest of its path."""
        if self._whole:
            return called(self._path, self._run, args, kwargs)
        with located(self._path):
            return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        with placed(self._path):
            return self._bound(*args, **kwargs)

    def _part(self, value: Any) -> Any:
        return _Placed(value, self._path, False) if callable(value) and not isinstance(value, type) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._part(getattr(self._bound, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._bound, name, value)

    def __getitem__(self, name: str) -> Any:
        return self._part(self._bound[name])

    def __iter__(self) -> Iterator[Any]:
        """The children of what is bound, in order."""
        return map(self._part, self._bound)


class _Branch:
    """Part of the arrays of a `BoundModel`, to be read."""

    def __init__(self, *trees: Mapping[str, Any]):
        self._trees = trees

    __getitem__ = BoundModel.__getitem__
    __getattr__ = BoundModel.__getattr__

    _path = "this branch"

    @property
    def _params(self) -> Mapping[str, Any]:
        return self._trees[0]

    @property
    def buffers(self) -> Mapping[str, Any]:
        return self._trees[-1]


def _check_names(
    model: Layer, children: Mapping[str, Any], params: Mapping[str, Any], buffers: Mapping[str, Any], path: str
) -> None:
    name = path or type(model).__name__
    for which, tree in (("params", params), ("buffers", buffers)):
        if not isinstance(tree, Mapping):
            raise refusal(name, f"{which} must be a nested dict", {f"type({which})": type(tree).__name__},
                          "apply takes (params, buffers, *inputs).", TypeError)  # fmt: skip
        if unknown := [key for key in tree if key not in children]:
            raise refusal(name, f"{which} must hold the model's names only", {"unknown": unknown, "known": [*children]})
    missing = [
        key for key, leaf in children.items() if isinstance(leaf, Leaf) and key not in params and key not in buffers
    ]
    if missing:
        remedy = "params and buffers come from init, or from a state_dict."
        raise refusal(name, "params and buffers must hold every array", {"missing": missing}, remedy)


def _bind(model: Any, params: Params, buffers: Buffers, keys: Keys, train: bool | None, path: str) -> Any:
    if isinstance(model, Layer):
        return Bound(model, params, buffers, keys, train, path)
    if isinstance(model, Bindable):
        if not getattr(model, "reads_late", False):
            params = all_arrived(params)
        bound = model.bind(params, buffers, keys.own(), train)  # type: ignore[arg-type]
        return _Placed(bound, path) if path else bound
    return BoundModel(model, params, buffers, keys, train, path)


def check_model(op: str, model: Any) -> None:
    """Refuses what is no model, with a TypeError.

    Args:
        op: name of the caller.
        model: to be checked.
    """
    if isinstance(model, type):
        raise refusal(op, "model must be a model, not a class", {"model": model.__name__}, "Call it.", TypeError)
    if not isinstance(model, Model):
        got = {"type(model)": type(model).__name__}
        raise refusal(op, "model must have init and apply", got, "A function becomes one by compose.", TypeError)


def bind(model: Model, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> Any:
    """Puts a model and its arrays together, for one pure call.

    Args:
        model: any model.
        params: as from ``model.init``.
        buffers: as from ``model.init``.
        rng: PRNG key, where the model draws numbers.
        train: training or evaluation.

    Returns:
        ``bound``: ``bound(x)`` runs the model, ``bound.buffers`` is the tree afterwards, ``bound.body`` the child.
    """
    check_model("bind", model)
    return _bind(model, params, buffers, Keys.root(type(model).__name__, rng), train, "")


@dataclass(frozen=True)
class Composed(Layer):
    """A model made by `compose`."""

    wire: Callable[..., Any]
    items: tuple[tuple[str, Any], ...]

    def children(self) -> Mapping[str, Any]:
        """Names the children as they were given."""
        return dict(self.items)

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the wire."""
        return self.wire(m, *args, **kwargs)


# What a wire finds on its first argument besides the children.
RESERVED = ("buffers", "params", "rng", "training")


def compose(wire: Callable[..., Any], /, **children: Any) -> Composed:
    """Makes a model from a plain function and named children.

    Args:
        wire: ``wire(m, *inputs) -> out``; ``m.<name>`` is the child, bound for this call, or the array.
        **children: models, functions without arrays, or arrays declared with `param` and `buffer`.

    Returns:
        The model.

    Errors:
        TypeError for a child that is none of these; ValueError for a name that is taken.

    >>> import jax, purenn
    >>> from purenn import init, layers as L
    >>> net = purenn.compose(lambda m, x: m.head(x) * m.scale, head=L.Linear(3, 2), scale=purenn.param(init.ones, (2,)))
    >>> params, buffers = net.init(jax.random.key(0))
    >>> sorted(purenn.tree.flatten(params))
    ['head.bias', 'head.weight', 'scale']
    """
    if not callable(wire):
        raise refusal("compose", "wire must be a function", {"type(wire)": type(wire).__name__}, kind=TypeError)
    return Composed(wire, tuple((name, as_child("compose", name, child)) for name, child in children.items()))


def as_child(op: str, name: str, child: Any) -> Any:
    """Takes what may be a child of a composed model.

    Args:
        op: name of the caller.
        name: of the child.
        child: a model, a function, a `Leaf` or None.

    Returns:
        The child; a bare function as a `Function`.
    """
    check_name(op, name)
    if name in RESERVED or name.startswith("_"):
        rule = f"a child must not be called {', '.join(RESERVED)} or begin with an underscore"
        raise refusal(op, rule, {"name": name}, "Give it another name.")
    if isinstance(child, type):
        raise refusal(op, f"{name} must be a model, not a class", {name: child.__name__}, "Call it.", TypeError)
    if child is None or isinstance(child, (Leaf, Model)):
        return child
    if callable(child):
        return Function(child)
    raise refusal(
        op,
        f"{name} must be a model, a function, purenn.param(...) or purenn.buffer(...)",
        {f"type({name})": type(child).__name__},
        "An array becomes a child as purenn.param(array) or purenn.buffer(array).",
        TypeError,
    )


@runtime_checkable
class Walked(Protocol):
    """A model that lists the models in it, as torch's modules do."""

    def named_modules(self) -> Any:
        """Yields ``(dotted path, model)``, itself under the empty path."""
        ...


def submodels(model: Model) -> dict[str, Any]:
    """Lists the models inside a model that are children of layers or modules; what is in a transform is not seen.

    Args:
        model: any model.

    Returns:
        ``{dotted path: model}``, parents first; the model itself under the empty path.
    """
    if isinstance(model, Walked):
        return dict(model.named_modules())
    found: dict[str, Any] = {"": model}
    for name, child in model.children().items() if isinstance(model, Layer) else ():
        if isinstance(child, Model):
            found |= {join(name, path): inner for path, inner in submodels(child).items()}
    return found


def structure(model: Model) -> Tree:
    """Lists the leaves of a model, in the order of its state_dict; nothing is drawn.

    Args:
        model: any model.

    Returns:
        Nested dict of `Leaf`: shape, dtype, whether it is trained, whether it is part of the state_dict.
    """
    check_model("structure", model)
    if isinstance(model, Structured):
        return model.structure()
    seen: list[Tree] = []

    def record(rng: jax.Array) -> Any:
        params, buffers = model.init(rng)
        seen.append(_merge(_describe(params, True), _describe(buffers, False)))
        return params, buffers

    jax.eval_shape(record, jax.random.key(0))
    return seen[0]


def _describe(tree: Mapping[str, Any], trainable: bool) -> Tree:
    return {
        name: _describe(child, trainable)
        if isinstance(child, Mapping)
        else Leaf(tuple(jnp.shape(child)), child.dtype, trainable=trainable, parameter=trainable)
        for name, child in tree.items()
    }


def _merge(first: Tree, second: Tree) -> Tree:
    """Both trees in one: at each node the leaves come before the branches, as in torch."""
    names = dict.fromkeys([*first, *second])
    merged = {
        name: _merge(first.get(name, {}), second.get(name, {}))
        if isinstance(first.get(name, second.get(name)), Mapping)
        else first.get(name, second.get(name))
        for name in names
    }
    leaves = {name: child for name, child in merged.items() if isinstance(child, Leaf)}
    return leaves | merged
