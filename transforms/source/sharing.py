"""The functions of a generated file: one for every class of submodules, shared by all calls whose text is the same.

Calls whose texts differ in numbers alone share a function too, which takes the numbers as arguments.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from transforms.source.literals import Literal, literals, replaced
from transforms.source.loops import folded
from transforms.source.naming import RESERVED, plain, snake
from transforms.source.regions import Region, references_of
from transforms.source.statements import statement
from transforms.source.writing import Context, Writer, Written

_NUMBERS = 6  # arguments that a function may take for numbers that differ


@dataclass
class Function:
    """A function of the file; ``region`` is the first call that it was written for."""

    name: str
    region: Region
    parameters: list[str]
    lines: list[str]
    context: Context
    random: bool = False
    trains: bool = False
    stateful: bool = False
    writes: bool = False
    has_params: bool = False
    literals: list[str] = field(default_factory=list)

    def signature(self) -> list[str]:
        """All its parameters, in order."""
        return [
            *(["params"] if self.has_params else []), *(["buffers"] if self.stateful else []), *self.parameters,
            *(["train"] if self.trains else []), *(["keys"] if self.random else []), *self.literals,
        ]  # fmt: skip


@dataclass
class _Draft:
    region: Region
    parameters: list[str]
    lines: list[str]
    written: Written
    numbers: list[Literal] = field(default_factory=list)


class Library:
    """Writes the functions of all regions, the inner ones first."""

    def __init__(self, context: Context, taken: set[str]):
        self.context = context
        self.taken = {*RESERVED, *taken}
        self.functions: list[Function] = []

    def fill(self, root: Region) -> None:
        """Gives every region below the root its function.

        Args:
            root: the model.
        """
        levels: dict[int, list[Region]] = {}
        for region in _within(root):
            levels.setdefault(region.height, []).append(region)
        for height in sorted(levels):
            groups: dict[tuple[str, str], list[_Draft]] = {}
            for region in levels[height]:
                draft = self._draft(region)
                skeleton, draft.numbers = literals(draft.lines)
                groups.setdefault((region.cls, f"{draft.parameters}\n{skeleton}"), []).append(draft)
            for drafts in groups.values():
                self._share(drafts)

    def _draft(self, region: Region) -> _Draft:
        parameters = parameter_names(region, self.context.kinds)
        given = dict(zip(region.given, parameters, strict=True))
        written, lines = body(self.context, region, given)
        return _Draft(region, parameters, lines or ["pass"], written)

    def _share(self, drafts: list[_Draft]) -> None:
        """One function for drafts that are alike but for numbers, if these are few; else one for each text."""
        columns = list(zip(*[[number.text for number in draft.numbers] for draft in drafts], strict=True))
        varying = list(dict.fromkeys(column for column in columns if len(set(column)) > 1))
        if len(varying) > _NUMBERS:
            groups: dict[str, list[_Draft]] = {}
            for draft in drafts:
                groups.setdefault("\n".join(draft.lines), []).append(draft)
            for group in groups.values():
                self._add(group, [], [])
            return
        self._add(drafts, columns, varying)

    def _add(self, drafts: list[_Draft], columns: list[tuple[str, ...]], varying: list[tuple[str, ...]]) -> None:
        first = drafts[0]
        names: dict[tuple[str, ...], str] = {}
        used = {*first.parameters, *_names_in(first.lines)}
        for column in varying:
            hint = first.numbers[columns.index(column)].hint
            names[column] = _fresh(hint, used)
            used.add(names[column])
        changes = [(number, names[column]) for number, column in zip(first.numbers, columns, strict=False)
                   if column in names]  # fmt: skip
        lines = replaced(first.lines, changes)
        written = first.written
        name = _fresh(snake(first.region.cls), self.taken)
        self.taken.add(name)
        made = Function(
            name, first.region, first.parameters, lines, self.context, written.random, written.trains,
            written.stateful, written.writes, any("params" in line for line in lines), list(names.values()),
        )  # fmt: skip
        self.functions.append(made)
        for k, draft in enumerate(drafts):
            draft.region.function = made
            draft.region.literals = {name: column[k] for column, name in names.items()}


def body(
    context: Context, region: Region, given: dict[str, str], ending: tuple[str, ...] = ()
) -> tuple[Written, list[str]]:
    """The text of a region: its statements, before them those of evaluation where it differs.

    Args:
        context: the model.
        region: the region.
        given: names for the values that come in.
        ending: what is returned besides the results.

    Returns:
        ``(written, lines)``: what the body needs, and its statements with the last return.
    """
    written = Writer(context, region, given).run()
    lines = _with_return(written, ending)
    if region.other is None:
        return written, lines
    other = Writer(context, region.other, given).run()
    written.trains = True
    for flag in ("random", "stateful", "writes"):
        setattr(written, flag, getattr(written, flag) or getattr(other, flag))
    return written, ["if not train:", *(f"    {line}" for line in _with_return(other, ending)), *lines]


def _with_return(written: Written, ending: tuple[str, ...]) -> list[str]:
    results = [*written.results, *ending]
    lines = [part for line in folded(written.lines) for part in line.splitlines()]
    return [*lines, *([f"return {', '.join(results)}"] if results else [])]


def parameter_names(region: Region, kinds: Mapping[str, Any]) -> list[str]:
    """Names for what comes into a region: those of its forward's arguments, as far as they can be told.

    Args:
        region: the region.
        kinds: shapes and dtypes of values: the first argument is taken for the one that is like the result.

    Returns:
        A name for each value.
    """
    made = None
    for call in region.calls():
        for frame in call.frames:
            if frame.path == region.path and made is None:
                made = statement(frame.source, frame.code)
    arguments = list(made.arguments) if made else []
    used = {*RESERVED, *(item.function.name for item in region.items if isinstance(item, Region) and item.function)}
    if len(region.given) == 1 and arguments:
        return [_fresh(arguments[0], used)]
    names: list[str] = []
    readings = [_reader(region, value) for value in region.given]
    for n, value in enumerate(region.given):
        fitting = [name for name in arguments if name in readings[n] and name not in used]
        is_main = bool(region.outputs) and kinds.get(value) == kinds.get(region.outputs[0])
        # the line reads another value, too, and the main one may stand in it under a name that the body gave it
        is_shared = readings[n] in readings[n + 1 :]
        if len(fitting) != 1 or (is_main and is_shared):
            fitting = arguments[:1] if is_main else [plain(value) if plain(value) != "getitem" else "x"]
        names.append(_fresh((fitting or ["x"])[0], used))
        used.add(names[-1])
    return names


def _reader(region: Region, value: str) -> frozenset[str]:
    """The names in the line that reads a value first."""
    for item in region.items:
        if value in references_of(item):
            for frame in reversed(item.frames):
                if frame.path == region.path:
                    made = statement(frame.source, frame.code)
                    return made.names if made else frozenset()
    return frozenset()


def _fresh(wanted: str, used: set[str]) -> str:
    name, n = wanted, 1
    while name in used:
        n += 1
        name = f"{wanted}_{n}"
    return name


def _names_in(lines: list[str]) -> set[str]:
    return {name for line in lines for name in re.findall(r"[A-Za-z_]\w*", line)}


def _within(region: Region) -> Iterator[Region]:
    for part in (region, region.other):
        for item in part.items if part else ():
            if isinstance(item, Region):
                yield item
                yield from _within(item)
