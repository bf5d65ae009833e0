"""What a checkpoint holds, whatever its format: names, shapes and dtypes now, and the numbers one array at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from purenn.files.dtypes import nbytes

# What a tree may hold besides arrays; each is stored as text and comes back as it was.
SCALARS = (bool, int, float, complex, str, type(None))


@dataclass(frozen=True)
class Entry:
    """One array of a checkpoint."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]  # the numbers; checked, where there is a checksum, before they are given
    checked: bool = False  # whether there is one

    @property
    def size(self) -> int:
        """Of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """In a file."""
        return nbytes(self.dtype, self.shape)


@dataclass(frozen=True)
class Content:
    """All that a checkpoint holds. A name stands in one of entries, aliases and scalars."""

    entries: Mapping[str, Entry]
    aliases: Mapping[str, str] = field(default_factory=dict)  # other names of one array
    scalars: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)  # PRNG keys, stored as their words: implementation by name
    kind: str = ""  # of the file that it comes from
    shard: str = ""  # which of a set, for a file that is one
    files: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of everything, in order."""
        return [*self.entries, *self.aliases, *self.scalars]

    @property
    def checked(self) -> bool:
        """Whether every array has a checksum."""
        return all(entry.checked for entry in self.entries.values())

    def entry(self, name: str) -> Entry:
        """The array under a name, or under the name that it is stored by."""
        return self.entries[self.aliases.get(name, name)]

    def leaf(self, name: str) -> Any:
        """What stands under a name: an entry, or a scalar."""
        return self.scalars[name] if name in self.scalars else self.entry(name)

    def key(self, name: str) -> str | None:
        """The implementation of the PRNG key under a name; None for an array of numbers."""
        return self.keys.get(self.aliases.get(name, name))


def scalar_to_text(value: Any) -> list[str]:
    """Writes down a Python scalar.

    Args:
        value: of a type in `SCALARS`.

    Returns:
        ``[type, text]``.
    """
    return [type(value).__name__, value if isinstance(value, str) else repr(value)]


def scalar_from_text(kind: str, text: str) -> Any:
    """Reads what `scalar_to_text` wrote.

    Args:
        kind: of the type.
        text: the value.

    Returns:
        The scalar.

    Errors:
        ValueError, KeyError for what it has not written.
    """
    constants = {"True": True, "False": False, "None": None}
    readers: dict[str, Callable[[str], Any]] = {
        "bool": constants.__getitem__, "NoneType": constants.__getitem__, "int": int, "float": float,
        "complex": complex, "str": str,
    }  # fmt: skip
    value = readers[kind](text)
    if type(value).__name__ != kind:
        raise ValueError(f"{text!r} is no {kind}")
    return value


def is_text(name: str) -> bool:
    """Whether a name can be written: half of a pair of surrogates cannot.

    Args:
        name: any string.

    Returns:
        True for what utf-8 can encode.
    """
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
