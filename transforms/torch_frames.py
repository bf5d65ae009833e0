"""Where a node of an exported graph comes from: the submodules that were running, and their lines of the source."""

import re
import sys
from typing import Any

from transforms.torch_program import Frame


def frames_of(node: Any) -> tuple[Frame, ...]:
    """The submodules that were running when an operator was called, the outermost first.

    Args:
        node: of an exported graph.

    Returns:
        One frame for each submodule, the model itself included, with the line of its forward where torch knows it.
    """
    stack = list(node.meta.get("nn_module_stack", {}).items())
    lines = re.findall(r'File "(.+?)", line (\d+), in .*\n\s+(.*)', node.meta.get("stack_trace") or "")
    levels = [(key, *_level(value)) for key, value in stack]
    chosen = _matched([cls for _, _, cls in levels], lines)
    return tuple(
        Frame(path, cls, _times(key), f"{line[0]}:{line[1]}" if line else "", line[2].strip() if line else "")
        for (key, path, cls), line in zip(levels, chosen, strict=True)
    )


def innermost_user_line(node: Any) -> tuple[str, str]:
    """The innermost line that is not torch's own.

    Args:
        node: of an exported graph.

    Returns:
        ``(file:line, its text)``, empty where torch does not say.
    """
    frames = re.findall(r'File "(.+?)", line (\d+), in .*\n\s+(.*)', node.meta.get("stack_trace") or "")
    users = [frame for frame in frames if "/torch/" not in frame[0].replace("\\", "/")] or frames
    return (f"{users[-1][0]}:{users[-1][1]}", users[-1][2].strip()) if users else ("", "")


def _level(value: Any) -> tuple[str, str]:
    path, cls = value
    cls = cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
    return re.sub(r"@\d+", "", path.removeprefix("L['self']")).lstrip("."), cls


def _times(key: str) -> int:
    """Which call of the submodule it is: torch counts them after an @."""
    found = re.search(r"@(\d+)$", key)
    return int(found.group(1)) if found else 0


def _matched(classes: list[str], lines: list[Any]) -> list[Any]:
    """A line for each class: one by one where their numbers agree, else by the files of the classes."""
    if len(classes) == len(lines):
        return lines
    chosen: list[Any] = []
    at = 0
    for cls in classes:
        file = _file_of(cls)
        found = next((i for i in range(at, len(lines)) if lines[i][0] == file), None)
        chosen.append(None if found is None else lines[found])
        at = at if found is None else found + 1
    return chosen


def _file_of(cls: str) -> str | None:
    module = cls
    while "." in module and module not in sys.modules:
        module = module.rpartition(".")[0]
    return getattr(sys.modules.get(module), "__file__", None)
