"""View: the base of the transforms that show a model other arrays than they keep.

`freeze` keeps some params among the buffers, `parametrize` keeps the arrays that a weight is computed from, `precision`
keeps float32 and shows bfloat16. Each says in two functions what the model sees and what is kept afterwards; that is
all it says, so that they nest in any order, and the children of the model stay within reach of a loss.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from purenn.model import Buffers, Leaf, Model, Params, bind
from purenn.tree import Tree, flatten, reorder


class View:
    """A model seen through other arrays; a subclass is a frozen dataclass with a field ``model``.

    A subclass defines `init` and `structure`, which speak of what is kept, and `enter` and `leave`; `run` where the
    inputs or outputs change too, `around` for what stands between its modules (see `purenn.calling`).
    """

    model: Model

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws the arrays that are kept."""
        raise NotImplementedError

    def structure(self) -> Tree:
        """Lists the leaves that are kept; see `purenn.structure`."""
        raise NotImplementedError

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Any]:
        """From what is kept to what the model sees.

        Args:
            params: kept.
            buffers: kept.
            rng: the key of the call, or None; it is the model's, so fold a name before drawing from it.
            train: training or evaluation; None where submodules say so themselves.

        Returns:
            ``(params, buffers, note)``: what the model sees, and what `leave` needs to know.
        """
        raise NotImplementedError

    def leave(self, buffers: Buffers, note: Any) -> Buffers:
        """From the buffers that the model left to those that are kept.

        Args:
            buffers: the model's, after the call.
            note: from `enter`.

        Returns:
            The buffers to be kept, in any order.
        """
        raise NotImplementedError

    def run(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the bound model; a subclass may change what goes in or comes out.

        Args:
            bound: the model with the arrays it sees.
            args: inputs.
            kwargs: inputs.

        Returns:
            The output.
        """
        with self.around():
            return bound(*args, **kwargs)

    def around(self) -> AbstractContextManager[None]:
        """What stands around each call of the model, or of a child that a loss calls; nothing, unless a subclass says.

        Returns:
            A context manager, a new one for each call.
        """
        return nullcontext()

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model; see `purenn.Model`."""
        bound = self.bind(params, buffers, rng, train)
        out = bound(*args, **kwargs)
        return out, bound.buffers

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> "BoundView":
        """Puts the arrays in; the children are those of the model."""
        shown, state, note = self.enter(params, buffers, rng, train)
        return BoundView(self, bind(self.model, shown, state, rng, train), note)

    def ordered(self, buffers: Buffers) -> Buffers:
        """Buffers in the order of the structure, which jit may have lost."""
        return reorder(buffers, self._order)

    @cached_property
    def _order(self) -> Tree:
        return self.structure()


class BoundView:
    """A `View` with its arrays, for one pure call; attributes are those of the bound model."""

    def __init__(self, view: View, bound: Any, note: Any):
        self.__dict__.update(_view=view, _bound=bound, _note=note)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""
        return self._view.run(self._bound, args, kwargs)

    @property
    def buffers(self) -> Buffers:
        """The buffers to be kept after what has been called so far."""
        return self._view.ordered(self._view.leave(self._bound.buffers, self._note))

    def __getitem__(self, name: str) -> Any:
        return _shown_by(self._view, self._bound[name])

    def __iter__(self) -> Iterator[Any]:
        """The children of the model, in order."""
        return (_shown_by(self._view, child) for child in self._bound)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._bound, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _shown_by(self._view, getattr(self._bound, name))


class _Child:
    """A child of the model of a `View`, which stands around its calls too."""

    _view: View
    _bound: Any

    def __init__(self, view: View, bound: Any):
        self.__dict__.update(_view=view, _bound=bound)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the child."""
        with self._view.around():
            return self._bound(*args, **kwargs)

    __getitem__ = BoundView.__getitem__
    __iter__ = BoundView.__iter__
    __setattr__ = BoundView.__setattr__
    __getattr__ = BoundView.__getattr__


def _shown_by(view: View, child: Any) -> Any:
    return _Child(view, child) if callable(child) and type(view).around is not View.around else child


def untrained(leaf: Leaf) -> Leaf:
    """The declaration of an array that is kept, but not trained.

    Args:
        leaf: any.

    Returns:
        The same leaf among the buffers; it stands where it stood.
    """
    return replace(leaf, trainable=False)


def trained_leaves(tree: Tree) -> dict[str, Leaf]:
    """Lists the params of a structure.

    Args:
        tree: from `purenn.structure`.

    Returns:
        ``{dotted path: leaf}``.
    """
    return {path: leaf for path, leaf in flatten(tree).items() if leaf.trainable}
