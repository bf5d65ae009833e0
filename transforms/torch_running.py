"""Runs a `Program`: one call after the other, each the JAX function of its operator."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from purenn.files.narrowing import to_jax
from purenn.model import located
from purenn.random import fold_name
from transforms.torch_constants import computed_beforehand
from transforms.torch_ops import OPERATORS
from transforms.torch_program import Body, Call, Program, Ref, references


class BoundBody:
    """A subprogram of a control-flow operator, to be called with its inputs."""

    def __init__(self, program: Program, rng: Any):
        self._program, self._rng = program, rng

    def __call__(self, *values: Any, step: Any = None) -> tuple[Any, ...]:
        """Runs it.

        Args:
            *values: its inputs.
            step: number of the iteration, so that each draws other numbers.

        Returns:
            Its outputs, always a tuple.
        """
        rng = self._rng if self._rng is None or step is None else jax.random.fold_in(self._rng, step)
        names = [given.name for given in self._program.inputs if given.kind != "constant"]
        return run(self._program, dict(zip(names, values, strict=True)), rng)[0]


def run(program: Program, values: Mapping[str, Any], rng: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Runs a program.

    Args:
        program: as `transforms.torch_tracing` makes it.
        values: of its inputs, by name; constants are its own.
        rng: a typed key, or None; a call that draws numbers folds its own name into it.

    Returns:
        ``(outputs, mutated)``: the leaves of the result, and the buffers that change by their dotted names.
    """
    beforehand = computed_beforehand(program)
    known = dict(values)
    for given in program.inputs:
        if given.kind == "constant":
            with _traced_unless(given.name in beforehand):
                known[given.name] = to_jax(program.constants[given.target])
    # what is used for the last time is let go, as it would be in torch
    last = _last_uses(program)
    for call in program.calls:
        with _traced_unless(call.name in beforehand):
            known[call.name] = _run_call(program, call, known, rng)
        for name in last[call.name]:
            known.pop(name, None)
    outputs = tuple(_resolve(item, program, known, None) for item in program.outputs)
    return outputs, {target: known[ref.name] for target, ref in program.mutated.items()}


def _traced_unless(known: bool) -> contextlib.AbstractContextManager[Any]:
    return jax.ensure_compile_time_eval() if known else contextlib.nullcontext()


def _run_call(program: Program, call: Call, known: Mapping[str, Any], rng: Any) -> Any:
    operator = OPERATORS[call.op]
    kwargs = {name: _resolve(value, program, known, rng) for name, value in call.kwargs.items()}
    if operator.random:
        kwargs["rng"] = None if rng is None else fold_name(rng, call.name)
    with located(call.path):
        try:
            return operator.fn(*[_resolve(value, program, known, rng) for value in call.args], **kwargs)
        except Exception as error:
            note = f"at {call.source}: {call.code}" if call.source else f"at {call.op}"
            if note not in getattr(error, "__notes__", []):
                error.add_note(note)
            raise


def _resolve(value: Any, program: Program, known: Mapping[str, Any], rng: Any) -> Any:
    if isinstance(value, Ref):
        return known[value.name]
    if isinstance(value, Body):
        return BoundBody(program.bodies[value.name], rng)
    if isinstance(value, (list, tuple)):
        return [_resolve(item, program, known, rng) for item in value]
    if isinstance(value, Mapping):
        return {name: _resolve(item, program, known, rng) for name, item in value.items()}
    return value


def _last_uses(program: Program) -> dict[str, Sequence[str]]:
    """For each call, the values that nothing uses after it."""
    kept = set(references(program.outputs)) | set(references(program.mutated))
    uses: dict[str, Sequence[str]] = {}
    for call in reversed(program.calls):
        fresh = {*references(call.args), *references(call.kwargs), call.name} - kept
        uses[call.name] = tuple(fresh)
        kept |= fresh
    return uses
