"""functionalize: a function that builds its children where it uses them becomes a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from purenn.building import built
from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.model import Composed, Leaf, Model, as_child, bind, compose
from purenn.random import fold_name


def functionalize(fn: Callable[..., Any], *inputs: Any, **named: Any) -> Composed:
    """Makes a model from a function that builds and calls modules inside.

    Args:
        fn: ``fn(m, *inputs) -> out``. Inside, ``m("body", layer)`` is the child of that name, bound for this call:
            declared at the first use, with shapes taken from what is there; ``m("scale", purenn.param(...))`` is an
            array. A module called by itself, ``nn.Linear(x.shape[-1], 256)(x)``, is a child named after its class and
            the number of those before it: ``linear``, ``linear_1``. ``m.rng()`` and ``m.training`` are those of a wire.
        *inputs: arrays, or their shapes (``jax.ShapeDtypeStruct``), with which the function is traced once to find
            its children; nothing is computed or drawn.
        **named: inputs by name.

    Returns:
        The model that `purenn.compose` would make of the function and its children.

    Errors:
        TypeError for what is no function, or no child; ValueError for a name that stands for two different children,
        or, in a call, for a child that was not found.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> def mlp(m, x):
    ...     for i in range(2):
    ...         x = jnp.tanh(m(f"fc{i}", L.Linear(x.shape[-1], 8))(x))
    ...     return m("head", L.Linear(8, 2))(x)
    >>> net = transforms.functionalize(mlp, jnp.ones((5, 3)))
    >>> params, buffers = net.init(jax.random.key(0))
    >>> list(params), params["fc0"]["weight"].shape
    (['fc0', 'fc1', 'head'], (8, 3))
    """
    if not callable(fn):
        raise refusal("functionalize", "fn must be a function", {"type(fn)": type(fn).__name__}, kind=TypeError)
    finder = _Finder()

    def find(rng: Any, inputs: Any, named: Any) -> Any:
        finder.begin(rng)
        with built(finder.call):
            return fn(finder, *inputs, **named)

    jax.eval_shape(find, jax.random.key(0), inputs, named)
    return compose(_Wire(fn), **finder.children)


@dataclass(frozen=True)
class _Wire:
    """The function, given its children."""

    fn: Callable[..., Any]

    def __call__(self, m: Any, *args: Any, **kwargs: Any) -> Any:
        giver = _Giver(m)
        with built(giver.call):
            return self.fn(giver, *args, **kwargs)


class _Builder:
    """What the function sees; gives children by name."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, name: str, child: Any) -> Any:
        """The child of this name."""
        raise NotImplementedError

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls a module that has no name yet."""
        kind = type(module).__name__.lower()
        number = self._numbers[kind] = self._numbers.get(kind, -1) + 1
        with built(None):
            return self(f"{kind}_{number}" if number else kind, module)(*args, **kwargs)


class _Finder(_Builder):
    """Notes the children as they are declared."""

    training = False

    def __init__(self) -> None:
        super().__init__()
        self.children: dict[str, Any] = {}

    def begin(self, rng: jax.Array) -> None:
        """Starts from nothing, with a key that has no value."""
        self.__init__()  # type: ignore[misc]
        self._rng = rng
        self._bound: dict[str, Any] = {}

    def __call__(self, name: str, child: Any) -> Any:
        """Declares a child, or finds it again."""
        child = as_child("functionalize", name, child)
        if name in self.children:
            _check_same(name, self.children[name], child)
            return self._bound.get(name)
        self.children[name] = child
        rng = fold_name(self._rng, name)
        if isinstance(child, Leaf):
            _check_known(name, child)
            self._bound[name] = child.draw(rng)
        elif child is not None:
            params, buffers = child.init(rng)
            self._bound[name] = bind(child, params, buffers, rng)
        return self._bound.get(name)

    def rng(self) -> jax.Array:
        """A key."""
        return self._rng


class _Giver(_Builder):
    """Gives the children that were found."""

    def __init__(self, m: Any):
        super().__init__()
        self._m = m

    def __call__(self, name: str, child: Any) -> Any:
        """The child, bound."""
        try:
            return getattr(self._m, name)
        except AttributeError:
            rule = "the function must build the same children in every call"
            remedy = "Which there are must not depend on m.training or on the inputs."
            raise refusal("functionalize", rule, {"name": name}, remedy) from None

    @property
    def training(self) -> bool:
        """The mode of the call."""
        return self._m.training

    def rng(self) -> jax.Array:
        """A key not used yet in this call."""
        return self._m.rng()


def _check_known(name: str, leaf: Leaf) -> None:
    """Refuses a value that was computed inside the function: there it has no numbers yet."""
    if is_traced(getattr(leaf.initializer, "value", None)):
        remedy = f"purenn.param(init.ones, {leaf.shape})."
        raise refusal("functionalize", "an array must be given by an initializer and a shape", {"name": name}, remedy)


def _check_same(name: str, first: Any, again: Any) -> None:
    """One name, one child: equal layers, or modules of one class."""
    same = first is again or first == again or (type(first) is type(again) and _is_module(first))
    if not same:
        got = {"name": name, "first": type(first).__name__, "again": type(again).__name__}
        raise refusal("functionalize", "a name must stand for one child", got, "Give the second one its own name.")


def _is_module(model: Model) -> bool:
    return hasattr(model, "named_modules")
