"""torch.export, tried both ways: what it says where it cannot, and the module as it was afterwards."""

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from purenn.errors import refusal

_REMEDIES = (
    (
        "data-dependent",
        "What values decide must be written with torch.where or torch.cond, or be given as an argument.",
    ),
    ("pytree", "Return tensors in tuples, lists, dicts and named tuples."),
    ("input type", "Pass tensors, numbers and strings in tuples, lists, dicts and named tuples."),
    ("fake tensor", "A tensor that forward makes outside torch's own operators cannot be followed."),
    ("numpy()", "Write that line with torch's operators."),
    ("ScriptModule", "Convert the module before torch.jit.script."),
    ("jit.script", "Convert the module before torch.jit.script."),
)


def captured(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any) -> Any:
    """Exports a module: its Python as it runs, or, where that cannot be followed, as torch's compiler reads it.

    Args:
        module: torch.nn.Module.
        args: torch tensors and Python values, in any nest.
        kwargs: likewise.
        dynamic_shapes: as torch.export.export takes it.

    Returns:
        torch's ExportedProgram.

    Errors:
        ValueError where torch can export it neither way; the error says what torch said, and of which line.
    """
    import torch

    export = functools.partial(torch.export.export, module, args, kwargs, dynamic_shapes=dynamic_shapes)
    try:
        return export(strict=False)
    except Exception as error:  # torch raises errors of many kinds
        if str(error).startswith("from_torch: "):
            raise
        # the compiler cannot decide by values either
        other = None if "data-dependent" in str(error) else _otherwise(export)
        if other is None:
            got = {"module": type(module).__name__}
            raise refusal("from_torch", "module must be one that torch.export takes", got, _said(error)) from error
        return other


def _otherwise(export: Callable[..., Any]) -> Any:
    try:
        return export(strict=True)
    except Exception:  # the first error is the one that is told
        return None


def _said(error: Exception) -> str:
    text = str(error).strip()
    first = text.split("\n\n")[0].split("\n")[0].rstrip(".")
    remedy = next((f" {remedy}" for sign, remedy in _REMEDIES if sign in text), "")
    return f"torch said: {type(error).__name__}: {first}{_place(error)}.{remedy}"


def _place(error: Exception) -> str:
    """The innermost line that is neither torch's nor ours."""
    frames = traceback.extract_tb(error.__traceback__)
    paths = [(frame.filename.replace("\\", "/"), frame) for frame in frames]
    users = [frame for path, frame in paths if "/torch/" not in path and "/transforms/torch_" not in path]
    users = [frame for frame in users if not frame.filename.endswith("contextlib.py") and frame.line]
    return f" (at {users[-1].filename}:{users[-1].lineno}: {users[-1].line})" if users else ""


@contextlib.contextmanager
def untouched(module: Any) -> Iterator[None]:
    """Keeps what a module is: its modes, counters, lists and whatever else its forward writes into its attributes.

    Args:
        module: torch.nn.Module.

    Yields:
        Nothing.
    """
    before = [(vars(part), dict(vars(part)), _containers(part)) for part in module.modules()]
    try:
        yield
    finally:
        for attributes, values, containers in before:
            for name in [name for name in attributes if name not in values]:
                del attributes[name]
            attributes.update(values)
            for container, content in containers:
                _refill(container, content)


def _containers(part: Any) -> list[tuple[Any, Any]]:
    return [(value, value.copy()) for value in vars(part).values() if isinstance(value, (list, dict, set))]


def _refill(container: Any, content: Any) -> None:
    if len(container) == len(content) and all(a is b for a, b in zip(_parts(container), _parts(content), strict=True)):
        return
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(content)


def _parts(container: Any) -> list[Any]:
    return [*container, *(container.values() if isinstance(container, dict) else ())]
