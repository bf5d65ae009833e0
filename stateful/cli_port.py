"""``purenn port``: a torch model of the user's own code as a file of readable Python."""

import argparse
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import purenn
from purenn.errors import refusal
from purenn.files.atomic import replacing
from purenn.tree import flatten, unflatten
from stateful.checkpoint import load
from stateful.cli_text import printable
from transforms import from_torch, to_source, to_torch
from transforms.source.checking import check_source


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes.

    Args:
        parser: of the command.
    """
    parser.add_argument("model", metavar="FILE.py:NAME", help="your code, which is imported and runs, and its model")
    parser.add_argument("--args", default="", metavar="CODE", help="example inputs: 'torch.randn(2, 3), mask'")
    parser.add_argument("--kwargs", default="", metavar="CODE", help="example inputs by name: 'mask=torch.ones(2)'")
    parser.add_argument(
        "--dynamic-shapes", metavar="CODE",
        help="lengths that may vary, as torch.export takes them: '({0: Dim(\"batch\")}, None)'; others are built in",
    )  # fmt: skip
    parser.add_argument("--init", default="", metavar="CODE", help="arguments of NAME, if it is a class or function")
    parser.add_argument("--weights", metavar="FILE", help="a state_dict for the model: *.pt, *.pth, *.safetensors, ...")
    parser.add_argument("-o", "--out", required=True, metavar="OUT.py", help="the file to write")
    parser.add_argument("--save-weights", metavar="OUT.safetensors", help="write the weights too, for its load")
    parser.add_argument("--check", action="store_true", help="compare with torch, in both modes and in gradients")


def port(console: Console, options: argparse.Namespace) -> int:
    """Writes the source of a model, and its weights.

    Args:
        console: where to say what was done.
        options: as `add_port_arguments` declares them.

    Returns:
        0, or 1 where ``--check`` finds a difference.

    Errors:
        ValueError or TypeError for options that cannot be used; NotImplementedError for what cannot be written.
    """
    names = _names(options.model)
    module = _module(options, names)
    args = _evaluated("args", f"({options.args},)" if options.args.strip() else "()", names)
    args = args[0] if len(args) == 1 and isinstance(args[0], tuple) else args
    kwargs = _evaluated("kwargs", f"dict({options.kwargs})", names)
    varying = _evaluated("dynamic-shapes", options.dynamic_shapes or "None", names)
    model = _quietly(console, lambda: from_torch(module, args, kwargs, dynamic_shapes=varying))
    text = to_source(model)
    with replacing(options.out) as file:
        file.write(text.encode())
    _say(console, f"{options.model} -> {options.out}: {len(text.splitlines())} lines")
    if options.save_weights:
        params, buffers = model.init()
        purenn.save_safetensors(options.save_weights, flatten(params) | flatten(buffers))
        _say(console, f"weights -> {options.save_weights}: {len(model.weights)} arrays")
    if not options.check:
        return 0
    found = _quietly(console, lambda: check_source(text, module, args, kwargs, dynamic_shapes=varying))
    console.print(printable(str(found)), markup=False)
    return 0 if found else 1


def _names(model: str) -> dict[str, Any]:
    """The names of the user's file, and torch."""
    import torch

    path, colon, name = model.rpartition(":")
    if not colon or not name.isidentifier() or not path.endswith(".py"):
        raise refusal("port", "the model must be FILE.py:NAME", {"model": model}, "For example net.py:Net.")
    if not os.path.isfile(path):
        raise refusal("port", "the file must exist", {"file": path})
    torch.manual_seed(0)
    file = Path(path).resolve()
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # classes are looked up by it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    if not hasattr(module, name):
        raise refusal("port", f"{file.name} must have the model", {"name": name})
    return {"Dim": torch.export.Dim, **vars(module), "torch": torch, "": getattr(module, name)}


def _module(options: argparse.Namespace, names: dict[str, Any]) -> Any:
    import torch

    made = names[""]
    if not isinstance(made, torch.nn.Module):
        made = _evaluated("init", f"__model__({options.init})", {**names, "__model__": made})
    if not isinstance(made, torch.nn.Module):
        got = {"type": type(made).__name__}
        raise refusal("port", "the model must be a torch.nn.Module, or give one", got, kind=TypeError)
    if options.weights:
        arrays = {name: value for name, value in load(options.weights).items() if hasattr(value, "dtype")}
        try:
            made.load_state_dict(to_torch(unflatten(arrays), {}))
        except RuntimeError as error:
            raise refusal("port", "weights must be a state_dict of the model", {"weights": options.weights},
                          str(error)) from error  # fmt: skip
    return made


def _evaluated(option: str, code: str, names: dict[str, Any]) -> Any:
    try:
        return eval(compile(code, f"--{option}", "eval"), dict(names))
    except Exception as error:  # whatever the user's code raises
        got = {option: code, "error": f"{type(error).__name__}: {error}"}
        raise refusal("port", f"--{option} must be Python that can be evaluated", got) from error


def _quietly(console: Console, run: Callable[[], Any]) -> Any:
    """Runs something and says what it warns of, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = run()
    for text in dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning):
        _say(console, f"warning: {text}")
    return result


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True)
