"""The one error of files that cannot be trusted."""

import os
import reprlib
from collections.abc import Mapping
from typing import Any

from purenn.errors import refusal


class CheckpointError(ValueError):
    """A file that is damaged, cut short, of another format, or made to deceive; nothing of it has been used."""


def broken(
    path: str | os.PathLike[str], rule: str, got: Mapping[str, Any] | None = None, remedy: str = ""
) -> Exception:
    """Builds the error for a file; the caller raises it.

    Args:
        path: of the file.
        rule: what must hold, e.g. ``"the header must be JSON"``.
        got: what broke the rule, by name; values of any length are cut.
        remedy: one sentence, where there is one.

    Returns:
        A `CheckpointError`.
    """
    shown = {name: _cut(value) for name, value in (got or {}).items()}
    remedy = remedy or "The file is damaged, cut short or of another format."
    return refusal("load", rule, {"path": os.fspath(path), **shown}, remedy, CheckpointError)


class _Shown(str):
    """A text that is its own repr."""

    def __repr__(self) -> str:
        return str(self)


def _cut(value: Any, limit: int = 200) -> Any:
    if isinstance(value, int) and value.bit_length() > limit:
        return _Shown(f"an integer of {value.bit_length()} bits")
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}..."
    # not repr: what a hostile file holds may have a repr without end
    return _Shown(_short.repr(value))


_short = reprlib.Repr()
_short.maxtuple = _short.maxlist = _short.maxdict = 8
_short.maxlevel, _short.maxother, _short.maxstring = 3, 100, 60
