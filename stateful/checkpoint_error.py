"""The one error of files that cannot be trusted."""

import os
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


def _cut(value: Any, limit: int = 200) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * limit:
        return f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= limit else f"{text[:limit]}..."
