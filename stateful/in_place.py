"""In place: what torch's code writes into a parameter, done to what its promise will give.

Arrays do not change in place, promises can. Code that initialises (``self.fc.weight.data.normal_(0, 0.02)``,
``self.rnn.bias_hh_l0.data[4:8].fill_(1)``) says what the numbers shall be, not when they are made: the initializer of
the promise is replaced, or followed by a change, so that ``module.init(rng)`` gives what the object gives. Whoever
looks at a promise as an array (an operator, a method of arrays, ``jnp.asarray``) gets the array.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import numpy as np

from purenn import init
from purenn.changes import Change, clipped, combined, redrawn, replaced, within
from purenn.errors import refusal
from purenn.model import Leaf
from purenn.random import fold_name
from purenn.state import as_numpy_or_jax


@dataclass(frozen=True)
class Changed:
    """An initializer followed by a change.

    Args:
        before: what draws the numbers.
        change: what is done to them.
    """

    before: Leaf
    change: Change

    def __call__(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Draws and changes."""
        del shape
        return self.change(fold_name(rng, "change"), self.before.draw(rng)).astype(dtype)


class InPlace:
    """Torch's verbs with an underscore, and the habits of an array, over ``array()`` and ``change()``."""

    shape: Any
    dtype: Any

    def array(self) -> jax.Array:
        """The numbers as they are now."""
        raise NotImplementedError

    def change(self, change: Change) -> Self:
        """Does something to the numbers, now or when they are drawn.

        Args:
            change: ``(rng, old) -> new``, of the same shape; picklable where modules shall be.

        Returns:
            This.
        """
        raise NotImplementedError

    def promise(self, initializer: Callable[..., jax.Array], **options: Any) -> Self:
        """Draws the numbers by another initializer.

        Args:
            initializer: ``(rng, shape, dtype, **options) -> array``.
            **options: for the initializer.

        Returns:
            This.
        """
        jax.eval_shape(partial(initializer, shape=self.shape, dtype=self.dtype, **options), jax.random.key(0))
        return self.change(partial(redrawn, partial(initializer, **options)))

    def copy_(self, src: Any) -> Self:
        """Takes these numbers, broadcast; returns this."""
        src = as_numpy_or_jax(src.array() if isinstance(src, InPlace) else src)
        change = partial(replaced, src)
        try:
            jax.eval_shape(partial(change, None), jax.ShapeDtypeStruct(self.shape, self.dtype))
        except ValueError as error:
            got = {"src.shape": tuple(np.shape(src)), "shape": tuple(self.shape)}
            raise refusal("copy_", "src must broadcast to the shape of what it is copied to", got) from error
        return self.change(change)

    def fill_(self, value: Any) -> Self:
        """Takes one number everywhere; returns this."""
        return self.promise(init.constant, val=value)

    def zero_(self) -> Self:
        """Takes 0 everywhere; returns this."""
        return self.promise(init.zeros)

    def normal_(self, mean: float = 0.0, std: float = 1.0) -> Self:
        """Draws from N(mean, std²); returns this."""
        return self.promise(init.normal, mean=mean, std=std)

    def uniform_(self, a: float = 0.0, b: float = 1.0) -> Self:
        """Draws from U(a, b); returns this."""
        return self.promise(init.uniform, a=a, b=b)

    def mul_(self, other: Any) -> Self:
        """Multiplies; returns this."""
        return self.change(partial(combined, operator.mul, other))

    def div_(self, other: Any) -> Self:
        """Divides; returns this."""
        return self.change(partial(combined, operator.truediv, other))

    def add_(self, other: Any, alpha: float = 1) -> Self:
        """Adds ``alpha * other``; returns this."""
        return self.change(partial(combined, operator.add, other if alpha == 1 else alpha * other))

    def sub_(self, other: Any, alpha: float = 1) -> Self:
        """Subtracts ``alpha * other``; returns this."""
        return self.add_(other, -alpha)

    def clamp_(self, min: Any = None, max: Any = None) -> Self:
        """Clips; returns this."""
        return self.change(partial(clipped, min, max))

    @property
    def data(self) -> Self:
        """This; torch's name for the numbers without their history."""
        return self

    @data.setter
    def data(self, value: Any) -> None:
        self.copy_(value)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> "Part":
        return Part(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not (isinstance(value, Part) and value._index is index):  # else ``self[index] *= 2`` has written already
            Part(self, index).copy_(value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array())

    def __jax_array__(self) -> jax.Array:
        return self.array()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array(), dtype=dtype, copy=copy)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(jax.Array, name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self.array(), name)


class Part(InPlace):
    """Some of the numbers of a promise: ``weight[0]``, ``bias[n : 2 * n]``.

    Args:
        whole: what it is a part of.
        index: as of an array.
    """

    def __init__(self, whole: InPlace, index: Any):
        self._whole, self._index = whole, index
        declared = jax.ShapeDtypeStruct(whole.shape, whole.dtype)
        self.shape, self.dtype = jax.eval_shape(lambda x: x[index], declared).shape, whole.dtype

    def array(self) -> jax.Array:
        """The numbers as they are now."""
        return self._whole.array()[self._index]

    def change(self, change: Change) -> Self:
        """Does something to the part; the rest stays."""
        self._whole.change(partial(within, self._index, change))
        return self


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: InPlace, *others: Any) -> Any:
        return getattr(self.array(), name)(*(o.array() if isinstance(o, InPlace) else o for o in others))

    return apply


_UNARY = "neg", "pos", "abs", "bool", "int", "float"
_BINARY = "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"
for _name in (*_UNARY, *_BINARY, *(f"r{name}" for name in _BINARY), "lt", "le", "gt", "ge"):
    setattr(InPlace, f"__{_name}__", _operator(f"__{_name}__"))
for _name, _verb in {"iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_"}.items():
    setattr(InPlace, f"__{_name}__", getattr(InPlace, _verb))
