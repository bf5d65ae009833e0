"""The structure of a torch model's arguments and results, without torch's own pytrees.

A result class that only its own library knows (a Hugging Face ModelOutput, say) becomes a `Record`: its fields by key,
attribute or position, in torch's order.
"""

import json
from collections import OrderedDict, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.export

from purenn.errors import refusal


@jax.tree_util.register_pytree_with_keys_class
class Record(OrderedDict):
    """Named results in order: ``out.logits``, ``out["logits"]`` or ``out[0]``."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"the result has no {name!r}; it has: {', '.join(self) or 'nothing'}.")

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]

    def __reduce__(self) -> Any:
        return type(self), (list(self.items()),)

    def tree_flatten_with_keys(self) -> Any:
        """The values with their names, for jax."""
        return [(jax.tree_util.DictKey(name), value) for name, value in self.items()], tuple(self)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values: Any) -> "Record":
        """The record of these values, for jax."""
        return cls(zip(names, values, strict=True))


@dataclass(frozen=True)
class Structure:
    """A nest of containers: ``kind`` is ``"leaf"``, ``"tuple"``, ``"list"``, ``"dict"``, ``"named"`` or ``"record"``.

    ``names`` are the keys or fields of the children, ``title`` the class of a ``"named"`` or ``"record"``.
    """

    kind: str
    children: tuple["Structure", ...] = ()
    names: tuple[Any, ...] = ()
    title: str = ""

    def build(self, leaves: Iterator[Any]) -> Any:
        """Fills the structure.

        Args:
            leaves: the leaves, in order; as many as needed are taken.

        Returns:
            The nest.
        """
        if self.kind == "leaf":
            return next(leaves)
        values = [child.build(leaves) for child in self.children]
        match self.kind:
            case "dict":
                return dict(zip(self.names, values, strict=True))
            case "record":
                return Record(zip(self.names, values, strict=True))
            case "named":
                return _named(self.title, self.names)(*values)
            case "list":
                return values
        return tuple(values)

    def leaves(self, value: Any, path: str, op: str) -> Iterator[tuple[str, Any]]:
        """Takes a nest of this structure apart.

        Args:
            value: the nest; where a Python value was built in, it may be missing from a dict.
            path: how the user calls it, for errors.
            op: name of the caller.

        Yields:
            ``(path, leaf)``; `MISSING` for a leaf that is not there.

        Errors:
            TypeError or ValueError where the nest differs.
        """
        if self.kind == "leaf":
            yield path, value
        elif self.kind in ("dict", "record"):
            yield from self._leaves_by_name(self._by_attribute(value), path, op)
        else:
            yield from self._leaves_in_order(value, path, op)

    def _by_attribute(self, value: Any) -> Any:
        """An object of the user's own class, as a dict of the fields that the conversion knew."""
        if self.kind != "record" or value is MISSING or isinstance(value, Mapping):
            return value
        fields = {name: getattr(value, name) for name in self.names if hasattr(value, name)}
        return fields if len(fields) == len(self.names) else value

    def _leaves_by_name(self, value: Any, path: str, op: str) -> Iterator[tuple[str, Any]]:
        if value is not MISSING and not isinstance(value, Mapping):
            rule = f"{path} must be a dict, as it was at conversion"
            raise refusal(op, rule, {f"type({path})": type(value).__name__}, kind=TypeError)
        given: Any = {} if value is MISSING else value
        if unknown := [key for key in given if key not in self.names]:
            got = {"unknown": unknown, "known": [*self.names]}
            raise refusal(op, f"{path} must have the keys it had at conversion", got)
        for name, child in zip(self.names, self.children, strict=True):
            yield from child.leaves(given.get(name, MISSING), f"{path}[{name!r}]", op)

    def _leaves_in_order(self, value: Any, path: str, op: str) -> Iterator[tuple[str, Any]]:
        if value is MISSING:
            value = [MISSING] * len(self.children)
        if not isinstance(value, (list, tuple)):
            rule = f"{path} must be a {self.kind if self.kind != 'named' else 'named tuple'}, as it was at conversion"
            raise refusal(op, rule, {f"type({path})": type(value).__name__}, kind=TypeError)
        if len(value) != len(self.children):
            rule = f"{path} must have as many items as at conversion, {len(self.children)}"
            raise refusal(op, rule, {f"len({path})": len(value)})
        for i, (item, child) in enumerate(zip(value, self.children, strict=True)):
            yield from child.leaves(item, f"{path}[{i}]", op)


class _Missing:
    """What was not given."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@cache
def _named(title: str, names: tuple[str, ...]) -> Any:
    return namedtuple(title, names)  # the fields are known when it runs


def _names(text: Any) -> tuple[str, ...]:
    return tuple(json.loads(bytes(text)))


jax.export.register_pytree_node_serialization(
    Record,
    serialized_name="purenn.Record",
    serialize_auxdata=lambda names: json.dumps(names).encode(),
    deserialize_auxdata=_names,
)
