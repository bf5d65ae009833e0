"""Choosing and renaming what is read: ``prefix``, ``map`` and ``where``, in this order."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from purenn.errors import refusal
from purenn.files.content import Content
from purenn.tree import Where, choose

Renaming = Mapping[str, str] | Callable[[str], str]


def chosen(
    op: str, content: Content, prefix: str = "", map: Renaming | None = None, where: Where | None = None
) -> Content:
    """A content with fewer and other names.

    Args:
        op: name of the caller, for errors.
        content: what there is.
        prefix: only names that begin with it are taken, without it.
        map: ``{regular expression: replacement}``, each searched and replaced in every name, in order; or a function
            of a name.
        where: a glob, several, or a predicate ``(name, entry or scalar) -> bool``, on the names that result.

    Returns:
        The content; an alias whose array is not chosen takes its place.

    Errors:
        ValueError where prefix, a pattern or ``where`` matches nothing, or two names become one.
    """
    names = _without(op, prefix, content.names)
    names = _renamed(op, names, map)
    if where is not None:
        leaves = {new: content.leaf(old) for old, new in names.items()}
        kept = set(choose(leaves, where, op))
        names = {old: new for old, new in names.items() if new in kept}
    return _restricted(content, names)


def _without(op: str, prefix: str, names: list[str]) -> dict[str, str]:
    found = {name: name[len(prefix) :] for name in names if name.startswith(prefix)}
    if prefix and not found:
        raise refusal(op, "prefix must begin a name", {"prefix": prefix}, _like(names))
    return found


def _like(names: list[str]) -> str:
    return f"Names are like {', '.join(repr(name) for name in names[:3])}."


def _renamed(op: str, names: dict[str, str], map: Renaming | None) -> dict[str, str]:
    if map is None:
        return names
    if callable(map):
        renamed = {old: map(new) for old, new in names.items()}
    else:
        renamed = names
        for pattern, replacement in map.items():
            renamed = _replaced(op, renamed, pattern, replacement)
    _check_distinct(op, renamed)
    return renamed


def _replaced(op: str, names: dict[str, str], pattern: str, replacement: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
        found = {old: expression.subn(replacement, new) for old, new in names.items()}
    except (re.error, IndexError) as error:
        raise refusal(op, "map must hold regular expressions", {"pattern": pattern}, f"{error}.") from error
    if not any(count for _, count in found.values()):
        raise refusal(op, "every pattern of map must match something", {"pattern": pattern}, _like([*names.values()]))
    return {old: new for old, (new, _) in found.items()}


def _check_distinct(op: str, names: dict[str, str]) -> None:
    first: dict[Any, str] = {}
    for old, new in names.items():
        if not isinstance(new, str):
            raise refusal(op, "map must give a name", {"name": old, "gave": new}, kind=TypeError)
        if new in first:
            raise refusal(op, "map must not make two names one", {"names": [first[new], old], "name": new})
        first[new] = old


def _restricted(content: Content, names: dict[str, str]) -> Content:
    entries, aliases, keys = {}, {}, {}
    stored: dict[str, str] = {}  # by its name in the file, the first one here
    for old, new in names.items():
        if old in content.scalars:
            continue
        source = content.aliases.get(old, old)
        if source in stored:
            aliases[new] = stored[source]
            continue
        stored[source] = new
        entries[new] = content.entries[source]
        if source in content.keys:
            keys[new] = content.keys[source]
    scalars = {new: content.scalars[old] for old, new in names.items() if old in content.scalars}
    return replace(content, entries=entries, aliases=aliases, scalars=scalars, keys=keys)
