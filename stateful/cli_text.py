"""How the command shows names and numbers."""

import argparse
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from purenn.errors import refusal
from purenn.files.content import Content
from stateful.checkpoint_names import chosen

_UNITS = ("B", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """A text without what a terminal would obey: names come from files of strangers.

    Args:
        text: any.

    Returns:
        The text, its control characters written out.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def size(count: int) -> str:
    """A number of bytes.

    Args:
        count: of bytes.

    Returns:
        Three digits and a unit.
    """
    value, unit = float(count), 0
    while value >= 999.5 and unit + 1 < len(_UNITS):
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.3g} {_UNITS[unit]}"


def number(value: float | None) -> str:
    """A number for a table.

    Args:
        value: any; None for none.

    Returns:
        Four digits.
    """
    return "" if value is None else f"{value:.4g}"


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table.

    Args:
        *columns: their names.
        right: those of numbers.

    Returns:
        The table.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return made


def add_row(made: Table, *cells: str, style: str = "") -> None:
    """Adds a row; nothing in it is markup.

    Args:
        made: the table.
        *cells: texts.
        style: of the row.
    """
    made.add_row(*(Text(printable(cell).replace("\n", "\\n")) for cell in cells), style=style)


def selected(op: str, content: Content, options: argparse.Namespace) -> Content:
    """What the options of a command choose in a file.

    Args:
        op: name of the command.
        content: of the file.
        options: with prefix, map and where.

    Returns:
        The content.

    Errors:
        ValueError for a map that is none, or choices that choose nothing.
    """
    return chosen(op, content, options.prefix, _renaming(op, options.map) or None, options.where or None)


def _renaming(op: str, pairs: list[str]) -> Mapping[str, str]:
    renaming = {}
    for pair in pairs:
        pattern, equals, replacement = pair.partition("=")
        if not equals or not pattern:
            raise refusal(op, "map must be PATTERN=REPLACEMENT", {"map": pair}, r"For example '^module\.='.")
        renaming[pattern] = replacement
    return renaming
