"""The torch-free form of an exported torch model: operators in order, with names for what flows between them.

A `Program` is a list of calls, each the name of a torch operator with its arguments. It keeps for every call which
submodule made it and in which line of the user's source, so that an error, or a generator of source code, can say so.
It holds no torch object: it pickles, and runs where torch is not installed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transforms.torch_trees import Structure


@dataclass(frozen=True)
class Ref:
    """The value of an input or of an earlier call, in the arguments of a later one."""

    name: str


@dataclass(frozen=True)
class Body:
    """A subprogram in the arguments of a control-flow operator."""

    name: str


@dataclass(frozen=True)
class Dim:
    """One axis of an input: a fixed length, or a named one within bounds.

    ``size`` is the length where it is fixed, ``symbol`` its name where it is not; both are None for a length that
    follows from others.
    """

    size: int | None = None
    symbol: str | None = None
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Input:
    """A placeholder of the program.

    ``kind`` is ``"array"`` for one of the model's (``target`` is its dotted name), ``"constant"`` for a tensor lifted
    out of the code (``target`` is its name among the constants), ``"user"`` for a leaf of the arguments. A user's leaf
    is an array with ``dims`` and ``dtype``, or a Python value that was built in (``fixed``).
    """

    name: str
    kind: str
    target: str = ""
    dims: tuple[Dim, ...] | None = None
    dtype: Any = None
    fixed: bool = False
    value: Any = None


@dataclass(frozen=True)
class Frame:
    """A submodule that was running: its path and class, which of its calls it is, and the line of its forward."""

    path: str
    cls: str
    times: int = 0
    source: str = ""
    code: str = ""


@dataclass(frozen=True)
class Call:
    """One operator: ``name = op(*args, **kwargs)``.

    ``path`` and ``cls`` are the dotted path and the class of the submodule that called it, ``source`` the line of the
    user's code (``file:line``) with its text in ``code``. ``shape`` and ``dtype`` describe the result where it is one
    tensor; a length that is not fixed reads as its symbol. ``frames`` are the submodules that were running, the model
    first.
    """

    name: str
    op: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    cls: str = ""
    source: str = ""
    code: str = ""
    shape: tuple[Any, ...] | None = None
    dtype: str | None = None
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class Program:
    """What an exported graph computes.

    ``outputs`` are the leaves of the result (`Ref` or Python values) in the structure ``out``; ``mutated`` maps the
    dotted name of a buffer to its value afterwards. ``arguments`` are the structure of ``(args, kwargs)``.
    ``unwritten`` are the inputs and parameters that torch's forward writes into, and this program leaves as they are.
    """

    inputs: tuple[Input, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Any, ...]
    mutated: Mapping[str, Ref] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    bodies: Mapping[str, "Program"] = field(default_factory=dict)
    arguments: Structure | None = None
    out: Structure | None = None
    unwritten: tuple[str, ...] = ()

    def every_call(self) -> Iterator[Call]:
        """The calls of the program and of its bodies."""
        yield from self.calls
        for body in self.bodies.values():
            yield from body.every_call()


def references(value: Any) -> Iterator[str]:
    """Lists the names that an argument refers to.

    Args:
        value: of an argument: `Ref`, a Python value, or a list, tuple or dict of them.

    Yields:
        The names, in order, with repetitions.
    """
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)


def without_dead_calls(program: Program) -> Program:
    """Leaves out the calls whose results nothing uses; what draws numbers or checks values goes too.

    Args:
        program: any.

    Returns:
        The program with the calls that its outputs need.
    """
    needed = set(references(program.outputs)) | set(references(program.mutated))
    kept = []
    for call in reversed(program.calls):
        if call.name in needed:
            kept.append(call)
            needed.update(references(call.args), references(call.kwargs))
    return Program(
        program.inputs, tuple(reversed(kept)), program.outputs, program.mutated, program.constants,
        {name: without_dead_calls(body) for name, body in program.bodies.items()}, program.arguments, program.out,
        program.unwritten,
    )  # fmt: skip
