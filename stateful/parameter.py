"""Cells: the places in which modules keep arrays, or the promise of one.

Modules share an array by sharing its cell; that is what weight tying is.
"""

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.model import Leaf, buffer, param
from purenn.state import as_numpy_or_jax
from stateful.context import active
from stateful.in_place import Changed, InPlace
from stateful.random import key_of, take_ticket


class Cell:
    """An array, or a promise of one: shape and dtype are known, the numbers come at the first look."""

    shaped: ClassVar[bool] = True  # False: not even the shape is known (see Unshaped)

    def __init__(self, leaf: Leaf, draw: Callable[[], jax.Array] | None = None, path: str = ""):
        self._leaf = leaf
        self.placement: Any = None  # device or sharding
        self.path = path  # among the leaves of the model that draws it, with `draw`
        self._value: jax.Array | None = None
        self._draw = draw  # set where only a whole model can draw
        self._ticket = take_ticket()

    @property
    def leaf(self) -> Leaf:
        """The declaration."""
        self._heed()
        return self._leaf

    @leaf.setter
    def leaf(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def _heed(self) -> None:
        """Does what was asked of the array that was read, as one asks torch's parameters.

        jax takes any attribute on an array: ``p.requires_grad = False`` and ``p.data = x`` would be lost in silence.
        """
        asked = getattr(self._value, "__dict__", None)
        if not asked:
            return
        if "requires_grad" in asked and isinstance(self, Parameter):
            self._leaf = replace(self._leaf, trainable=bool(asked.pop("requires_grad")))
        if "data" in asked:
            self.put(self.fitting("data", asked.pop("data")))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.leaf.shape

    @property
    def dtype(self) -> Any:
        """Of the array."""
        return self.leaf.dtype

    @property
    def drawn(self) -> bool:
        """Whether the array exists."""
        return self._value is not None

    def array(self) -> jax.Array:
        """The array; drawn, placed and kept at the first look."""
        self._heed()
        if self._value is None:
            with jax.ensure_compile_time_eval():  # a look inside a trace keeps numbers, never a tracer
                drawn = self._draw() if self._draw else self.leaf.draw(key_of(self._ticket))
                self.put(drawn)
        assert self._value is not None
        _remember(self, self._value)
        return self._value

    def promise(self, initializer: Any, **options: Any) -> Self:
        """Forgets the array; another initializer will draw it, from a ticket of its own.

        Args:
            initializer: ``(rng, shape, dtype, **options) -> array``.
            **options: for the initializer.

        Returns:
            This cell.

        Errors:
            What the initializer says of this shape and dtype; nothing has been changed then.
        """
        leaf = replace(self.leaf, initializer=initializer, options=tuple(options.items()))
        jax.eval_shape(leaf.draw, jax.random.key(0))
        self.leaf, self._value, self._draw, self._ticket = leaf, None, None, take_ticket()
        return self

    def change(self, change: Callable[[Any, jax.Array], jax.Array]) -> Self:
        """Does something to the numbers, and to what ``init`` will draw.

        Args:
            change: ``(rng, old) -> new``, of the same shape.

        Returns:
            This cell.
        """
        if self._draw is not None:  # a whole model draws it: what it is now is what is changed
            self.promise(param(self.array()).initializer)
        leaf = replace(self.leaf, initializer=Changed(self.leaf, change), options=())
        if self._value is not None:
            self.put(change(key_of(take_ticket()), self._value))
        self.leaf = leaf
        return self

    def is_copy(self, other: "Cell") -> bool:
        """Whether a deep copy made one of the two of the other, so that both promise the same numbers."""
        return self is not other and self._ticket == other._ticket and self._draw is other._draw is None

    def put(self, value: jax.Array) -> None:
        """Keeps a value: it is cast to the dtype, and moved to the placement, of the cell."""
        if jnp.issubdtype(self.dtype, jnp.inexact) and value.dtype != self.dtype:
            value = value.astype(self.dtype)
        _owners.pop(id(self._value), None)
        self._value = value if self.placement is None else jax.device_put(value, self.placement)

    def assign(self, name: str, value: Any) -> None:
        """Keeps a value that a user gave; another shape or kind is refused."""
        self.put(self.fitting(name, value))

    def fitting(self, name: str, value: Any) -> jax.Array:
        """The value as this cell can keep it."""
        if not (hasattr(value, "shape") and hasattr(value, "dtype")) and not isinstance(value, (bool, int, float)):
            got: dict[str, Any] = {"type": type(value).__name__}
            raise refusal(name, "a parameter or buffer must be an array", got, "Or None, to leave it out.", TypeError)
        if isinstance(value, jax.core.Tracer):
            remedy = "Use module.apply(params, buffers, ...): it takes arrays and gives arrays."
            raise refusal(name, "an object must not keep a tracer", {"value": str(value.aval)}, remedy, TypeError)
        value = jnp.asarray(as_numpy_or_jax(value))
        if value.shape != self.shape:
            got = {"shape": value.shape, f"{name}.shape": self.shape}
            raise refusal(name, "the shape of a parameter must stay", got, "Assign a Parameter for a new one.")
        return value

    def cast(self, dtype: Any) -> None:
        """Changes the dtype of a floating cell, of the promise too."""
        if jnp.issubdtype(self.dtype, jnp.floating):
            self.leaf = replace(self.leaf, dtype=jax.dtypes.canonicalize_dtype(dtype))
            if self._value is not None:
                self.put(self._value)

    def place(self, placement: Any) -> None:
        """Moves the array, or what it will be, to a device or sharding."""
        self.placement = placement
        if self._value is not None:
            self._value = jax.device_put(self._value, placement)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cell":
        self._heed()  # the copy shares the array, not what was asked of it
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__.update(self.__dict__)  # arrays and declarations do not change: sharing them is copying them
        return copy

    def __getstate__(self) -> dict[str, Any]:
        self._heed()
        if self._draw is not None:
            self.array()
        value = None if self._value is None else np.asarray(self._value)
        return self.__dict__ | {"_draw": None, "_value": value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._value is not None:
            self._value = jnp.asarray(self._value)


class Parameter(Cell, InPlace):
    """A trained array of a module, to be assigned to an attribute: ``self.scale = nn.Parameter(jnp.ones(3))``.

    Read from a module, a parameter is a plain array. Only while ``__init__`` or `Module.for_each` runs, and as long as
    nobody has looked at its numbers, it is read as this promise, so that tying and initialising weights costs nothing:
    ``nn.init.zeros_(self.fc.bias)`` and ``self.fc.weight.data.normal_(0, 0.02)`` promise other numbers. A promise that
    was kept elsewhere (in a list, say) is, during a call, the array of that call.

    Args:
        value_or_initializer: an array, or a function ``(rng, shape, dtype, **options) -> array``.
        shape: wanted with an initializer. torch's second argument, ``requires_grad``, is understood too.
        dtype: of the array; float32, or that of the value.
        requires_grad: False puts the leaf among the buffers: no gradient, no optimizer state.
        **options: for the initializer.

    Torch:
        ``torch.nn.Parameter``; it is no array itself.
    """

    def __init__(
        self,
        value_or_initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        requires_grad: bool = True,
        **options: Any,
    ):
        if isinstance(shape, bool):
            shape, requires_grad = None, shape
        if hasattr(value_or_initializer, "detach"):
            value_or_initializer = as_numpy_or_jax(value_or_initializer)
        elif isinstance(value_or_initializer, InPlace):
            value_or_initializer = value_or_initializer.array()
        leaf = param(value_or_initializer, shape, dtype, **options)
        super().__init__(replace(leaf, trainable=requires_grad))

    @classmethod
    def of(cls, leaf: Leaf, draw: Callable[[], jax.Array] | None = None, path: str = "") -> "Parameter":
        """The cell for a declared leaf."""
        cell = object.__new__(cls)
        Cell.__init__(cell, leaf, draw, path)
        return cell

    @property
    def requires_grad(self) -> bool:
        """Whether the leaf is among params."""
        return self.leaf.trainable

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.leaf = replace(self.leaf, trainable=bool(value))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or thaws.

        Args:
            requires_grad: whether the leaf is among params.

        Returns:
            This parameter.
        """
        self.requires_grad = requires_grad
        return self

    def __jax_array__(self) -> jax.Array:
        frame = active.get()
        return self.array() if frame is None else frame.read(self)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype}, requires_grad={self.requires_grad})"


class BufferCell(Cell):
    """An array of a module that is not trained."""

    @classmethod
    def holding(cls, value: Any, persistent: bool) -> "BufferCell":
        """The cell for a value that a user registers."""
        return cls(buffer(as_numpy_or_jax(value), persistent=persistent))

    def put(self, value: jax.Array) -> None:
        """Keeps any array: a buffer may change its shape and dtype, as in torch."""
        self.leaf = replace(self.leaf, shape=tuple(value.shape), dtype=value.dtype)
        _owners.pop(id(self._value), None)
        self._value = value if self.placement is None else jax.device_put(value, self.placement)

    def cast(self, dtype: Any) -> None:
        """Changes the dtype of a floating cell, of the promise too."""
        if self._value is None:
            super().cast(dtype)
        elif jnp.issubdtype(self.dtype, jnp.floating):
            self.put(self._value.astype(dtype))

    def fitting(self, name: str, value: Any) -> jax.Array:
        """Any array."""
        if isinstance(value, jax.core.Tracer) or not hasattr(value, "shape"):
            return super().fitting(name, value)
        return jnp.asarray(as_numpy_or_jax(value))


class Buffer(BufferCell):
    """An array that a module keeps and does not train; assigned to an attribute, it is registered.

    Args:
        data: an array; an empty one by default.
        persistent: whether it is part of the state_dict.

    Errors:
        TypeError: ``data`` is no array.

    Torch:
        ``torch.nn.Buffer``, which is a tensor by itself; this is read as an array from the module that holds it.
    """

    def __init__(self, data: Any = None, *, persistent: bool = True):
        data = jnp.empty(0) if data is None else data
        if not hasattr(data, "shape"):
            raise refusal("Buffer", "data must be an array", {"type(data)": type(data).__name__}, kind=TypeError)
        super().__init__(buffer(as_numpy_or_jax(data), persistent=persistent))


class Unshaped(Cell):
    """A cell of a lazy module (see `stateful.lazy`): it waits for a shape as well. Read, it is this placeholder."""

    shaped = False
    becomes: ClassVar[type[Cell]]

    def shaped_by(self, leaf: Leaf) -> Cell:
        """The cell of this declaration, with the ticket, the place and the dtype that this one has."""
        cell: Any = copy.deepcopy(self)
        cell.__class__ = self.becomes
        cell.leaf = replace(leaf, dtype=self.dtype, trainable=self.leaf.trainable)
        return cell

    @property
    def shape(self) -> tuple[int, ...]:
        """Refused; a RuntimeError, as in torch."""
        raise _without_shape()

    def array(self) -> jax.Array:
        """Refused; a RuntimeError."""
        raise _without_shape()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _without_shape() -> Exception:
    remedy = "Call the module once on an input, or load a state_dict."
    return refusal("lazy module", "its arrays have no shape yet", remedy=remedy, kind=RuntimeError)


class UninitializedParameter(Unshaped, Parameter):
    """A parameter of a lazy module that waits for its shape.

    Torch:
        ``torch.nn.UninitializedParameter``; lazy modules alone make one.
    """

    becomes = Parameter


class UninitializedBuffer(Unshaped, BufferCell):
    """A buffer of a lazy module that waits for its shape.

    Torch:
        ``torch.nn.UninitializedBuffer``; lazy modules alone make one.
    """

    becomes = BufferCell


# Which cell an array was read from, so that assigning what was read ties: valid while the cell still keeps it.
_owners: dict[int, weakref.ref[Cell]] = {}


def _remember(cell: Cell, array: jax.Array) -> None:
    key = id(array)
    if key not in _owners or _owners[key]() is not cell:

        def forget(reference: weakref.ref[Cell]) -> None:
            if _owners.get(key) is reference:
                del _owners[key]

        _owners[key] = weakref.ref(cell, forget)


def owner(array: Any) -> Cell | None:
    """The cell that keeps this very array, if one does.

    Args:
        array: anything.

    Returns:
        The cell, or None.
    """
    reference = _owners.get(id(array))
    cell = None if reference is None else reference()
    if cell is not None and cell._value is array:
        return cell
    _owners.pop(id(array), None)
    return None
