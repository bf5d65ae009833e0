"""``purenn inspect``: what a file holds."""

import argparse

from rich.console import Console

from purenn.files.content import Content, Entry
from purenn.files.error import CheckpointError
from stateful.checkpoint_files import opened
from stateful.cli_text import add_row, number, printable, selected, size, table
from stateful.cli_values import range_of


def inspect(console: Console, options: argparse.Namespace) -> int:
    """Prints a table of a file.

    Args:
        console: where to.
        options: file, prefix, map, where, no_values.

    Returns:
        0, or 1 where an array is damaged.

    Errors:
        CheckpointError where the file cannot be opened.
    """
    with opened(options.file) as content:
        content = selected("inspect", content, options)
        made = table(
            "name", "shape", "dtype", "bytes", "min", "mean", "max", "non-finite", "checksum",
            right=("bytes", "min", "mean", "max", "non-finite"),
        )  # fmt: skip
        damaged = 0
        for name, entry in content.entries.items():
            cells, sound = _values(entry, options.no_values)
            damaged += not sound
            add_row(made, name, *_kind(content, name, entry), *cells, style="" if sound else "red")
        for alias, name in content.aliases.items():
            add_row(made, alias, f"= {name}", *[""] * 7)
        for name, value in content.scalars.items():
            add_row(made, name, repr(value)[:60], type(value).__name__, *[""] * 6)
        console.print(made)
        console.print(_summary(content, damaged), markup=False)
    return 1 if damaged else 0


def _kind(content: Content, name: str, entry: Entry) -> tuple[str, str, str]:
    shape = "x".join(map(str, entry.shape)) or "()"
    impl = content.key(name)
    return shape, f"{entry.dtype} (key, {impl})" if impl else str(entry.dtype), size(entry.nbytes)


def _values(entry: Entry, skip: bool) -> tuple[list[str], bool]:
    if skip:
        return ["", "", "", "", "not read" if entry.checked else "none"], True
    try:
        found = range_of(entry.read())
    except CheckpointError:
        return ["", "", "", "", "DAMAGED"], False
    numbers = [number(value) for value in found[:3]]
    return [*numbers, str(found.strange or ""), "ok" if entry.checked else "none"], True


def _summary(content: Content, damaged: int) -> str:
    total = size(sum(entry.nbytes for entry in content.entries.values()))
    count = sum(entry.size for entry in content.entries.values())
    parts = [f"{content.kind}: {len(content.entries)} arrays, {count:,} numbers, {total}"]
    parts += [f"{len(content.aliases)} tied names"] if content.aliases else []
    parts += [f"{len(content.files) - 1} files"] if len(content.files) > 1 else []
    parts += [f"{damaged} DAMAGED"] if damaged else []
    return printable(", ".join(parts))
