"""A file loaded into a module: what fits is known before a number is read, and nothing changes unless all can."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from purenn.files.content import Content, Entry
from stateful.checkpoint_placing import Piece, cast, placed
from stateful.checkpoint_report import LoadReport, MisfitError
from stateful.module import Module
from stateful.parameter import Cell


def fill(module: Module, content: Content, strict: bool, path: str, verified: bool) -> LoadReport:
    """Loads a content into a module; a fresh one draws nothing.

    Args:
        module: to be filled.
        content: what there is.
        strict: whether missing and unexpected names are errors.
        path: of the file, for errors.
        verified: for the report.

    Returns:
        What was done.

    Errors:
        MisfitError, CheckpointError; nothing has been changed then.
    """
    cells = {path: cell for path, cell in module._named_cells(duplicates=True) if cell.leaf.persistent}
    report = _compare(content, cells, verified)
    if report.mismatched or (strict and (report.missing or report.unexpected)):
        raise MisfitError("load_into", path, report)
    module.load_state_dict(_state(content, cells, report, path), strict=False)
    return report


def _compare(content: Content, cells: dict[str, Cell], verified: bool) -> LoadReport:
    names = dict.fromkeys(content.names)
    held = {id(cells[name]) for name in names if name in cells}  # a tied array may come under one of its names
    loaded = [name for name, cell in cells.items() if id(cell) in held]
    mismatched = {name: text for name in names if name in cells and (text := _mismatch(content, name, cells[name]))}
    narrowed = {
        name: text
        for name in names
        if name in cells and name not in mismatched and (text := _narrowing(content.entry(name), cells[name]))
    }
    return LoadReport(
        loaded=tuple(name for name in loaded if name not in mismatched),
        missing=tuple(name for name in cells if name not in loaded),
        unexpected=tuple(name for name in names if name not in cells),
        mismatched=mismatched,
        narrowed=narrowed,
        verified=verified,
    )


def _mismatch(content: Content, name: str, cell: Cell) -> str:
    if name in content.scalars or content.key(name) is not None:
        return "a scalar or PRNG key in the file, an array in the module"
    entry = content.entry(name)
    if cell.shaped and entry.shape != tuple(cell.shape):
        return f"shape {entry.shape} in the file, {tuple(cell.shape)} in the module"
    if jnp.issubdtype(entry.dtype, jnp.complexfloating) and not jnp.issubdtype(cell.dtype, jnp.complexfloating):
        return f"dtype {entry.dtype} in the file, {cell.dtype} in the module"
    return ""


def _narrowing(entry: Entry, cell: Cell) -> str:
    holds = entry.dtype == cell.dtype or jnp.promote_types(entry.dtype, cell.dtype) == cell.dtype
    return "" if holds else f"{entry.dtype} to {cell.dtype}"


def _state(content: Content, cells: dict[str, Cell], report: LoadReport, path: str) -> dict[str, Any]:
    """The arrays as the cells will keep them, where they will keep them."""
    wanted = {content.aliases.get(name, name): name for name in reversed(content.names) if name in report.loaded}

    def pieces() -> Iterator[Piece]:
        for stored, name in wanted.items():
            yield Piece(stored, _cast(content.entries[stored].read(), cells[name]))

    def place(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        del shape, dtype
        return cells[wanted[name]].placement

    arrays = dict(placed(pieces(), place, path))
    return {name: arrays[content.aliases.get(name, name)] for name in content.names if name in cells}


def _cast(array: np.ndarray, cell: Cell) -> np.ndarray:
    # whether integers hold the values is for load_state_dict to see
    return cast(array, cell.dtype) if jnp.issubdtype(cell.dtype, jnp.inexact) else array
