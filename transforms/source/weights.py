"""The generated function that reads the weights, and the names of arrays written short."""

import re
from collections.abc import Mapping
from typing import Any

from purenn.tree import unflatten
from transforms.porting import FromTorch
from transforms.source.text import array_text

_WIDTH = 100


def load_lines(model: FromTorch) -> list[str]:
    """The text of ``load``.

    Args:
        model: the converted model.

    Returns:
        Its lines, and before them the names of the arrays.

    Errors:
        NotImplementedError for an array that torch does not save and that is too large to be written down.
    """
    groups = [
        [path for path, weight in model.weights.items() if weight.trained is trained] for trained in (True, False)
    ]
    lines = [f"PARAMS = {quoted(short_names(groups[0]))}"]
    arguments = ["path", "PARAMS"]
    if groups[1]:
        lines.append(f"BUFFERS = {quoted(short_names(groups[1]))}")
        arguments.append("BUFFERS")
    if model.ties:
        arguments.append(f"tied={dict(model.ties)!r}")
    if absent := _absent(model):
        arguments.append("absent={" + ", ".join(f"{path!r}: {text}" for path, text in absent.items()) + "}")
    doc = '    """Gives ``(params, buffers)`` from a safetensors file that torch or purenn wrote."""'
    return [*lines, "", "", "def load(path):", doc, f"    return purenn.load_named({', '.join(arguments)})"]


def _absent(model: FromTorch) -> dict[str, str]:
    """The values of arrays that a state_dict of torch's lacks."""
    texts: dict[str, str] = {}
    for path, weight in model.weights.items():
        if weight.persistent:
            continue
        text = array_text(weight.value)
        if text is not None:
            texts[path] = text
    return texts


def check_absent(model: FromTorch) -> list[str]:
    """The arrays that only a file of ours can hold: torch does not save them, and they are too large for the text.

    Args:
        model: the converted model.

    Returns:
        Their names.
    """
    return [path for path, weight in model.weights.items() if not weight.persistent and not array_text(weight.value)]


def quoted(text: str) -> str:
    """A string as Python, over several lines where it is long.

    Args:
        text: with spaces or commas between its parts.

    Returns:
        The expression.
    """
    lines = [""]
    for part in re.split(r"(?<=[ ,])", text):
        if len(lines[-1]) + len(part) > _WIDTH:
            lines.append("")
        lines[-1] += part
    if len(lines) < 2:
        return f'"{text}"'
    return "(\n" + "\n".join(f'    "{line}"' for line in lines) + "\n)"


def short_names(paths: list[str]) -> str:
    """Names in the form that `purenn.load_named` takes.

    Args:
        paths: dotted names.

    Returns:
        The pattern, which stands for the names in their order.
    """
    return " ".join(_patterns(unflatten(dict.fromkeys(paths)))) if paths else ""


def _patterns(tree: Mapping[str, Any]) -> list[str]:
    """A pattern for every run of neighbours that have the same names below them."""
    runs: list[tuple[list[str], str]] = []
    for name, child in tree.items():
        below = _braces(_patterns(child)) if isinstance(child, Mapping) else ""
        if runs and runs[-1][1] == below:
            runs[-1][0].append(name)
        else:
            runs.append(([name], below))
    return [f"{_alternatives(names)}.{below}" if below else _alternatives(names) for names, below in runs]


def _alternatives(names: list[str]) -> str:
    if len(names) > 1 and all(
        name == str(i) for i, name in enumerate(names, int(names[0]) if names[0].isdigit() else 0)
    ):
        return f"{{{names[0]}..{names[-1]}}}"
    return _braces(names)


def _braces(parts: list[str]) -> str:
    inner = _RECURRENT.sub(r"{weight,bias}_{ih,hh}\1", ",".join(parts))
    return inner if "," not in _outside(inner) else f"{{{inner}}}"


_RECURRENT = re.compile(r"weight_ih(\w+),weight_hh\1,bias_ih\1,bias_hh\1")  # the four arrays of a layer


def _outside(text: str) -> str:
    """What stands outside braces."""
    while (shorter := re.sub(r"\{[^{}]*\}", "", text)) != text:
        text = shorter
    return text
