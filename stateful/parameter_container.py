"""Containers of parameters: arrays that are put in become parameters, what is read is an array."""

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from typing import Any, Self

from purenn.errors import refusal
from purenn.tree import check_name
from stateful.module import Module
from stateful.parameter import Parameter, owner

# How torch calls its tensors' types, which the printed form of a ParameterDict shows.
_TYPES = {
    "float16": "HalfTensor", "bfloat16": "BFloat16Tensor", "float32": "FloatTensor", "float64": "DoubleTensor",
    "complex64": "ComplexFloatTensor", "complex128": "ComplexDoubleTensor",
}  # fmt: skip


class _Parameters(Module):
    """What both containers share: entries are attributes, under their own names."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuses: it holds parameters, and computes nothing."""
        raise RuntimeError(f"{type(self).__name__} should not be called.")

    def _put(self, name: str, value: Any) -> None:
        shared = owner(value)
        if isinstance(shared, Parameter):
            value = shared  # what was read from a parameter ties it, as in torch
        elif hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, Parameter):
            value = Parameter(value)
        setattr(self, name, value)

    def _entry(self, name: str) -> Any:
        """An entry to be put in elsewhere: a parameter itself, or whatever it is."""
        cell = self._parameters.get(name)
        return getattr(self, name) if cell is None else cell

    def _lines(self, names: Iterable[str], kind: Callable[[Any], str]) -> str:
        lines = []
        for name in names:
            cell = self._parameters.get(name)
            size = "" if cell is None else "x".join(map(str, cell.shape))
            text = f"Object of type: {type(getattr(self, name)).__name__}"
            text = text if cell is None else f"Parameter containing: [torch.{kind(cell.dtype)} of size {size}]"
            lines.append(f"  ({name}): {text}")
        return "\n".join(lines)


class ParameterList(_Parameters):
    """Holds parameters, and other things, in a list.

    Args:
        values: arrays become parameters; anything else stays what it is.

    Torch:
        ``torch.nn.ParameterList``, identical; numpy arrays become parameters too.
    """

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _index(self, index: int) -> str:
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"index {number} is out of range")
        return str(number % len(self))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self._entry(str(i)) for i in range(*index.indices(len(self))))
        return getattr(self, self._index(index))

    def __setitem__(self, index: int, value: Any) -> None:
        self._put(self._index(index), value)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, value: Any) -> Self:
        """Adds an entry at the end.

        Args:
            value: an array becomes a parameter.

        Returns:
            This container.
        """
        self._size += 1
        self[-1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Adds entries at the end.

        Args:
            values: arrays become parameters.

        Returns:
            This container.

        Errors:
            TypeError: ``values`` is one array, or not iterable.
        """
        if hasattr(values, "shape") or not isinstance(values, Iterable):
            got = {"values": type(values).__name__}
            raise refusal("ParameterList.extend", "values must be iterable, and no array", got, kind=TypeError)
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """As torch prints it."""
        return self._lines(map(str, range(len(self))), str)


class ParameterDict(_Parameters):
    """Holds parameters, and other things, in a dict.

    Args:
        parameters: by name, or pairs; arrays become parameters. The names of a plain dict are sorted, as torch does.

    Torch:
        ``torch.nn.ParameterDict``, identical; numpy arrays become parameters too.
    """

    def __init__(self, parameters: Any = None):
        super().__init__()
        self._order: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._order:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        check_name("ParameterDict", key)
        self._put(key, value)
        self._order[key] = None

    def __delitem__(self, key: str) -> None:
        del self._order[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._order)

    def __contains__(self, key: object) -> bool:
        return key in self._order

    def __or__(self, other: "ParameterDict") -> "ParameterDict":
        both = self.copy()
        both.update(other)
        return both

    def __ior__(self, other: "ParameterDict") -> Self:
        self.update(other)
        return self

    def copy(self) -> "ParameterDict":
        """Makes a dict of the same parameters.

        Returns:
            A new container; its parameters are tied to those of this one.
        """
        return ParameterDict((key, self._entry(key)) for key in self)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Reads an entry; adds it where there is none.

        Args:
            key: its name.
            default: what is added.

        Returns:
            The entry.
        """
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Takes all entries out."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """Takes an entry out.

        Args:
            key: its name.

        Returns:
            The entry.
        """
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Takes the last entry out.

        Returns:
            ``(name, entry)``.

        Errors:
            KeyError: there is none.
        """
        if not self:
            raise KeyError("popitem: the ParameterDict is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Reads an entry.

        Args:
            key: its name.
            default: the result where there is none.

        Returns:
            The entry.
        """
        return self[key] if key in self else default  # noqa: SIM401

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> "ParameterDict":
        """Makes a dict of these names.

        Args:
            keys: the names.
            default: the entry of each.

        Returns:
            A new container.
        """
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._order.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and entry."""
        return ((key, self[key]) for key in self)

    def values(self) -> Iterable[Any]:
        """The entries."""
        return (self[key] for key in self)

    def update(self, parameters: Any) -> None:  # type: ignore[override]
        """Adds or replaces entries; `Module.update`, which carries arrays in, is `Module.update(self, ...)` here.

        Errors:
            TypeError: ``parameters`` is neither a dict nor pairs.
            ValueError: an element is no pair.

        Args:
            parameters: entries by name, or pairs.
        """
        if not isinstance(parameters, Iterable) or hasattr(parameters, "shape"):
            got = {"parameters": type(parameters).__name__}
            raise refusal("ParameterDict.update", "parameters must be a dict or pairs", got, kind=TypeError)
        if isinstance(parameters, ParameterDict):
            pairs: Iterable[Any] = [(key, parameters._entry(key)) for key in parameters]
        elif isinstance(parameters, Mapping):
            ordered = isinstance(parameters, OrderedDict)
            pairs = parameters.items() if ordered else sorted(parameters.items(), key=lambda pair: pair[0])
        else:
            pairs = [_pair(i, pair) for i, pair in enumerate(parameters)]
        for key, value in pairs:
            self[key] = value

    def extra_repr(self) -> str:
        """As torch prints it."""
        return self._lines(self, lambda dtype: _TYPES.get(str(dtype), str(dtype)))


def _pair(i: int, pair: Any) -> Any:
    if not isinstance(pair, Iterable):
        kind = {f"type(parameters[{i}])": type(pair).__name__}
        raise refusal("ParameterDict.update", "an element of parameters must be a pair", kind, kind=TypeError)
    if len(pair := tuple(pair)) != 2:
        length = {f"len(parameters[{i}])": len(pair)}
        raise refusal("ParameterDict.update", "an element of parameters must be a pair", length)
    return pair
