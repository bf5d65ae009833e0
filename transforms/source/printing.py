"""A generated file as text: its imports, helpers, functions, ``apply`` and ``load``, formatted by ruff."""

import ast
import re
import shutil
import subprocess

from purenn import ported
from purenn.errors import refusal
from transforms.porting import FromTorch
from transforms.source.arguments import Arguments
from transforms.source.draws import left_out
from transforms.source.regions import Region
from transforms.source.sharing import Function, Library, body
from transforms.source.weights import load_lines
from transforms.source.writing import Context

_IMPORTS = (
    ("import jax", "jax."), ("import jax.numpy as jnp", "jnp."), ("import purenn", "purenn."),
    ("import purenn.functional as F", "F."), ("from purenn.functional.distance import vector_norm", "vector_norm("),
)  # fmt: skip


def file_text(model: FromTorch, root: Region, context: Context, arguments: Arguments, note: str) -> str:
    """Writes the file.

    Args:
        model: the converted model.
        root: its regions.
        context: its arrays and values.
        arguments: of its forward.
        note: an error that training raises, or "".

    Returns:
        The text, not yet formatted.
    """
    library = Library(context, {"apply", "init", "vector_norm", *ported.__all__})
    library.fill(root)
    apply = _apply(model, root, library, arguments, note)
    parts = [_definition(function) for function in library.functions]
    code = "\n\n\n".join([*parts, apply, "\n".join(load_lines(model))])
    title = f'"""{model.name} in JAX: ``params, buffers = load(path)``, then ``apply(params, buffers, ...)``."""'
    imports = [line for line, mark in _IMPORTS if re.search(rf"(?<![\w.]){re.escape(mark)}", code)]
    helpers = [name for name in ported.__all__ if re.search(rf"(?<![\w.]){name}\(", code)]
    imports += [f"from purenn.ported import {', '.join(helpers)}"] if helpers else []
    return "\n".join([title, "", *imports, "", "", code, ""])


def _apply(model: FromTorch, root: Region, library: Library, arguments: Arguments, note: str) -> str:
    written, lines = body(library.context, root, arguments.given, ("buffers",))
    head = ", ".join(["params", "buffers", *arguments.parameters, "*", "rng=None", "train=False"])
    start = []
    if note:
        start += ["if train:", f"    raise ValueError({note!r})"]
    if written.random:
        passed = left_out("to_source", root)
        start.append(f"keys = Keys(rng{f', {passed!r}' if passed else ''})")
    if written.writes:
        start.append("buffers = jax.tree.map(lambda array: array, buffers)  # a copy, to be written into")
    return _text("apply", head, _shapes(model.name, list(arguments.given), root.outputs, library.context),
                 [*start, *lines])  # fmt: skip


def _definition(function: Function) -> str:
    region = function.region
    title = _shapes(region.cls.rpartition(".")[2], region.given, region.outputs, function.context)
    return _text(function.name, ", ".join(function.signature()), title, function.lines)


def _text(name: str, head: str, title: str, lines: list[str]) -> str:
    plain = _without_brackets(ast.unparse(ast.parse("\n".join(lines))))
    comments = [line for line in lines if "  # " in line]
    text = "\n".join(f"    {line}" if line else "" for line in plain.splitlines())
    for line in comments:
        text = text.replace(line.partition("  # ")[0], line)
    return f'def {name}({head}):\n    """{title}"""\n{text}'


def _without_brackets(text: str) -> str:
    """Results without the brackets that say nothing."""

    def bare(found: re.Match[str]) -> str:
        value = ast.parse(found.group(2), mode="eval").body
        several = isinstance(value, ast.Tuple) and len(value.elts) > 1
        return f"{found.group(1)}return {found.group(2)[1:-1] if several else found.group(2)}"

    return re.sub(r"(?m)^( *)return (\(.*\))$", bare, text)


def _shapes(name: str, inputs: list[str], outputs: list[str], context: Context) -> str:
    def shape(value: str) -> str:
        found = context.kinds.get(value, (None, None))[0]
        return "number" if found is None else "(" + ", ".join(map(str, found)) + ("," if len(found) == 1 else "") + ")"

    left, right = (", ".join(dict.fromkeys(map(shape, values))) for values in (inputs, outputs))
    return f"{name}: {left} -> {right}." if left and right else f"{name}."


def formatted(text: str) -> str:
    """Formats Python.

    Args:
        text: of a file.

    Returns:
        The text, as ruff writes it in lines of 120 letters.

    Errors:
        RuntimeError where ruff is not installed.
    """
    command = [_ruff(), "format", "--isolated", "--line-length", "120", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return done.stdout


def _ruff() -> str:
    try:
        from ruff import find_ruff_bin

        return str(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("ruff")
    if found is None:
        remedy = "pip install 'purenn[port]'."
        raise refusal("to_source", "ruff must be installed, which formats the text", None, remedy, RuntimeError)
    return found
