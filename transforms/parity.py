"""parity: proof that a model is the torch module it was ported from, or the name of the first place where it is not.

Both are run in float64 on the same numbers, so that what is left of a difference is a difference in the mathematics: an
eps of 1e-6 in place of 1e-5 stands out by five orders. Outputs of submodules are compared by their torch paths, in the
order in which torch computes them; the first that differs, although its inputs agree, is the place.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model
from purenn.state import load_state_dict
from purenn.tree import cast, flatten
from transforms.parity_causes import buffer_cause, likely_cause
from transforms.parity_recording import (
    Trace,
    difference,
    our_trace,
    scalar,
    torch_trace,
    torch_tree,
    without_dropout,
)


@dataclass(frozen=True)
class Row:
    """One comparison."""

    kind: str  # "output", "gradient", "training output", "buffer", "step"
    name: str  # dotted path, "" for the model as a whole
    error: float  # largest difference, relative to the largest of torch's numbers; inf for another shape


@dataclass(frozen=True)
class Parity:
    """What `parity` found; printed, it is a table. True where all agrees."""

    rows: tuple[Row, ...]
    tolerance: float
    place: str | None = None  # of the first submodule that differs
    cause: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The comparisons that differ, in the order in which torch computes."""
        return tuple(row for row in self.rows if not row.error <= self.tolerance)

    def __bool__(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        table = Table("compared", "where", "error", "", title=self._verdict(), title_justify="left")
        for row in self.rows:
            table.add_row(row.kind, row.name or "the model", f"{row.error:.1e}", "" if row in self._good else "differs")
        console = Console(file=StringIO(), width=100, highlight=False)
        console.print(table, *self.notes, sep="\n")
        return console.file.getvalue()  # type: ignore[attr-defined]

    @property
    def _good(self) -> set[Row]:
        return set(self.rows) - set(self.wrong)

    def _verdict(self) -> str:
        if self:
            return f"{len(self.rows)} comparisons agree to {self.tolerance:.0e}"
        where = self.place or "the model"
        because = f", perhaps because of {self.cause}" if self.cause else ""
        return f"{len(self.wrong)} of {len(self.rows)} comparisons differ; the first place is {where}{because}"

    def check(self) -> "Parity":
        """Raises where something differs.

        Returns:
            This.

        Raises:
            AssertionError: the table.
        """
        if not self:
            raise AssertionError(f"parity: {self._verdict()}\n{self}")
        return self


def parity(
    torch_module: Any,
    model: Model,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    params: Params | None = None,
    buffers: Buffers | None = None,
    tolerance: float = 1e-6,
) -> Parity:
    """Compares a model with the torch module that it should be, in everything a user depends on.

    Output and outputs of all submodules in evaluation, gradients of all params, output and buffers of a training
    forward, and the params after one step of Adam. Modules of dropout are passed over in training; where a training
    forward still draws numbers, it is not compared, and a note says so.

    Args:
        torch_module: the original; it is copied, not changed.
        model: the port.
        args: inputs, as torch tensors or arrays; floating ones become float64.
        kwargs: inputs by name.
        params: of the model; None takes the torch module's state_dict, whose names it must have.
        buffers: of the model; with ``params``.
        tolerance: largest difference, relative to the largest of torch's numbers.

    Returns:
        The comparisons, the first submodule that differs and the likely cause.

    Errors:
        TypeError for what is no model or no torch module; ValueError for a state_dict that does not fit.

    >>> import torch, transforms
    >>> from purenn import layers as L
    >>> found = transforms.parity(torch.nn.LayerNorm(8), L.LayerNorm(8, eps=1e-6), (torch.randn(2, 8),))
    >>> bool(found), found.cause
    (False, 'eps: 1e-06 here, 1e-05 in torch')
    """
    check_model("parity", model)
    if not hasattr(torch_module, "state_dict") or not hasattr(torch_module, "named_modules"):
        got = {"type(torch_module)": type(torch_module).__name__}
        raise refusal("parity", "torch_module must be a torch.nn.Module", got, kind=TypeError)
    if params is None:
        params, buffers = load_state_dict(model, torch_module.state_dict())
    original = copy.deepcopy(torch_module).double()
    inputs = torch_tree((tuple(args), dict(kwargs or {})))
    with jax.enable_x64(True):
        arrays = cast(params, jnp.float64), cast(buffers or {}, jnp.float64)
        return _Comparison(original, model, arrays, inputs, tolerance).run()


class _Comparison:
    """The runs of both sides, and the rows they give."""

    def __init__(self, original: Any, model: Model, arrays: tuple[Any, Any], inputs: Any, tolerance: float):
        self.original, self.model, self.arrays, self.inputs = original, model, arrays, inputs
        self.tolerance = tolerance
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.place: str | None = None
        self.cause = ""

    def run(self) -> Parity:
        """All comparisons, in order."""
        theirs, ours = self._forward(train=False)
        self._outputs("output", theirs, ours)
        if any(p.requires_grad for p in self.original.parameters()):
            self._gradients()
        self.model, passed = without_dropout(self.model, theirs.dropouts)
        passed |= {call.path for call in ours.calls}
        if theirs.drawing - passed or torch_is_random(self.original, self.inputs):
            self.notes.append("A training forward draws random numbers: it was not compared.")
        else:
            self._training()
        return Parity(tuple(self.rows), self.tolerance, self.place, self.cause, tuple(self.notes))

    def _forward(self, train: bool) -> tuple[Trace, Trace]:
        module = copy.deepcopy(self.original.train(train))
        theirs = torch_trace(module, self.inputs, train)
        return theirs, our_trace(self.model, self.arrays, self.inputs, train, theirs.dropouts)

    def _outputs(self, kind: str, theirs: Trace, ours: Trace) -> None:
        for call in theirs.calls:
            mine = ours.find(call)
            if mine is None:
                continue
            error = difference(mine.out, call.out)
            self.rows.append(Row(kind, call.path, error))
            if not error <= self.tolerance and self.place is None:
                agrees = difference(mine.inputs, call.inputs) <= self.tolerance
                self.place = call.path if agrees else call.path.rpartition(".")[0]
                self.cause = likely_cause(self.original, call, mine, agrees, self.tolerance)

    def _gradients(self) -> None:
        loss = scalar(self.original.eval(), self.inputs)
        self.original.zero_grad()
        loss.backward()
        args, kwargs = jax.tree.map(as_ours, self.inputs, is_leaf=lambda leaf: leaf is None)

        def ours(params: Any) -> Any:
            return scalar(lambda *a, **k: self.model.apply(params, self.arrays[1], *a, **k)[0], (args, kwargs))

        grads = flatten(jax.grad(ours)(self.arrays[0]))
        named = {name: p for name, p in self.original.named_parameters() if name in grads}
        self._named("gradient", grads, {name: _gradient(p) for name, p in named.items()})
        self._step(grads, named)

    def _step(self, grads: Any, named: Any) -> None:
        import torch

        with_gradient = [p for p in named.values() if p.grad is not None]
        if not with_gradient:
            return
        before = [p.detach().clone() for p in with_gradient]
        torch.optim.Adam(with_gradient, lr=1e-2).step()
        params = flatten(self.arrays[0])
        adam = optax.adam(1e-2)
        updates, _ = adam.update(grads, adam.init(params), params)
        after = optax.apply_updates(params, updates)
        chosen = {name: p for name, p in named.items() if p.grad is not None}
        self._named("step", after, {name: p.detach().numpy().copy() for name, p in chosen.items()})
        with torch.no_grad():
            for p, old in zip(with_gradient, before, strict=True):
                p.copy_(old)

    def _training(self) -> None:
        theirs, ours = self._forward(train=True)
        self._outputs("training output", theirs, ours)
        named = {n: b.numpy() for n, b in theirs.module.named_buffers() if n in ours.buffers and b.is_floating_point()}
        known = self.place
        self._named("buffer", ours.buffers, named)
        if known is None and self.place is not None:
            before = flatten(self.arrays[1])
            wrong = next(row.name for row in self.wrong if row.kind == "buffer")
            self.cause = buffer_cause(wrong, before[wrong], named[wrong], ours.buffers[wrong])

    @property
    def wrong(self) -> list[Row]:
        """The rows that differ so far."""
        return [row for row in self.rows if not row.error <= self.tolerance]

    def _named(self, kind: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        for name, value in theirs.items():
            error = difference(ours[name], value)
            self.rows.append(Row(kind, name, error))
            if not error <= self.tolerance and self.place is None:
                self.place = name.rpartition(".")[0]
                self.cause = f"the {kind} of {name}, though all outputs agree"


def _gradient(parameter: Any) -> np.ndarray:
    return np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy().copy()


def as_ours(leaf: Any) -> Any:
    """A torch tensor as a jax array; anything else as it is.

    Args:
        leaf: of the inputs.

    Returns:
        The leaf.
    """
    return jnp.asarray(leaf.detach().numpy()) if hasattr(leaf, "detach") else leaf


def torch_is_random(module: Any, inputs: Any) -> bool:
    """Whether a training forward of torch's gives other numbers each time, dropout modules aside.

    Args:
        module: torch's; it is copied.
        inputs: ``(args, kwargs)``.

    Returns:
        True where it does.
    """
    import torch

    outs = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outs.append(torch_trace(copy.deepcopy(module), inputs, True).calls[-1].out)
    return difference(outs[0], outs[1]) > 0
