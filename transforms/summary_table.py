"""The table of a summary: its rows, and how they are printed."""

import io
from dataclasses import dataclass
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from purenn.errors import refusal


@dataclass(frozen=True)
class Row:
    """One module of a `Summary`; everything in it is in its numbers as well."""

    path: str  # dotted, empty for the whole
    kind: str  # its class, or the name of a function
    output: Any  # of the first call: a tree of jax.ShapeDtypeStruct, None where it was not called itself
    calls: int  # how often it was called
    params: int  # how many trained numbers it has
    buffers: int  # how many others
    flops: float  # of all its calls
    activation_bytes: int  # of the outputs of the modules that call no other, an array that is passed on once


@dataclass(frozen=True)
class Summary:
    """What `summary` says of a model; printed, it is a table."""

    rows: tuple[Row, ...]  # the whole first, then its modules in the order of their first call
    param_bytes: int
    buffer_bytes: int
    saved_bytes: int  # what the forward pass keeps for the backward pass, besides the params
    depth: int | None = None

    @property
    def total(self) -> Row:
        """The row of the whole model."""
        return self.rows[0]

    def __getitem__(self, path: str) -> Row:
        """The row of one module."""
        found = {row.path: row for row in self.rows}
        if path not in found:
            raise refusal("summary", "path must be that of a module", {"path": path, "known": [*found]})
        return found[path]

    def __rich__(self) -> Table:
        """The table, for rich."""
        table = Table("module", "kind", "output", title_justify="left")
        for heading in ("params", "buffers", "FLOPs", "activations"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            level = row.path.count(".") + 1 if row.path else 0
            if self.depth is None or level <= self.depth:
                table.add_row(*_cells(row, level))
        table.caption = (
            f"params {_bytes(self.param_bytes)}, buffers {_bytes(self.buffer_bytes)}; "
            f"kept for the backward pass {_bytes(self.saved_bytes)}"
        )
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=140, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _cells(row: Row, level: int) -> tuple[str, ...]:
    name = "  " * level + row.path.rpartition(".")[2] if row.path else "(model)"
    times = f" x {row.calls}" if row.calls > 1 else ""
    output = "-" if row.output is None else _written(row.output) + times
    return (name, row.kind, output, f"{row.params:,}", f"{row.buffers:,}", _rounded(row.flops),
            _bytes(row.activation_bytes))  # fmt: skip


def _written(output: Any) -> str:
    return ", ".join(map(_short, jax.tree.leaves(output)))


def _short(leaf: Any) -> str:
    """f32[8, 3], as jaxprs have it."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return repr(leaf)
    name = leaf.dtype.name
    for long, letter in (("uint", "u"), ("int", "i"), ("float", "f"), ("complex", "c")):
        name = name.replace(long, letter)
    return f"{name}{list(leaf.shape)}"


def _rounded(number: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def _bytes(number: int) -> str:
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} B"
