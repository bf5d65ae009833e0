"""The programs of both modes in one form: what training adds is whole again, what changes nothing is left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from transforms.source.basics import basic
from transforms.torch_ops import OPERATORS
from transforms.torch_ops.promotion import canonical
from transforms.torch_program import Body, Call, Program, Ref

BATCH_NORM = "batch_norm"  # in both modes
_EVALUATION_NORM = "aten._native_batch_norm_legit_no_training.default"
_TRAINING_NORM = "aten._native_batch_norm_legit_functional.default"
DROPOUT = "dropout"  # of training; evaluation has nothing in its place
_SAME = {name for name, operator in OPERATORS.items() if operator.fn is OPERATORS["aten.clone.default"].fn}


@dataclass
class Normal:
    """A program with its calls in normal form.

    ``arrays`` and ``constants`` say what the inputs are, ``kinds`` gives the shape and dtype of every value that is one
    array, ``users`` are the leaves of the arguments in order, ``written`` the values of buffers afterwards, those of
    batch norm left out, ``bodies`` the branches of control flow.
    """

    calls: list[Call]
    outputs: tuple[Any, ...]
    written: dict[str, Any]
    arrays: dict[str, str]
    constants: dict[str, np.ndarray]
    users: list[str] = field(default_factory=list)
    bodies: "dict[str, Normal]" = field(default_factory=dict)
    kinds: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def normal(program: Program, arrays: Mapping[str, np.ndarray], like: Normal | None = None) -> Normal:
    """Brings a program into normal form.

    Args:
        program: of one mode.
        arrays: the model's, by their dotted names.
        like: the other mode's; the inputs get its names, and values get names that it has not.

    Returns:
        The program.
    """
    return _Normaliser(program, arrays, like).run()


class _Normaliser:
    """Goes through the calls once; ``names`` says what stands for a value that is left out."""

    def __init__(self, program: Program, arrays: Mapping[str, np.ndarray], like: Normal | None):
        self.program, self.like = program, like
        self.names: dict[str, Any] = {}
        self.made = Normal([], (), {}, {}, {})
        self._inputs(arrays)
        self.bodies = {name: normal(body, arrays) for name, body in program.bodies.items()}
        self.body_names = {name: name if self._is_shared(name) else f"{name}~" for name in self.bodies}
        self.made.bodies = {self.body_names[name]: body for name, body in self.bodies.items()}
        # a mask of dropout or a moment of batch norm that is looked at: there the operator stays as it is
        self.strange = {
            call.args[0].name
            for call in program.calls
            if call.op == "_operator.getitem" and isinstance(call.args[0], Ref) and call.args[1] in (1, 2)
        }
        self.norms = self._batch_norms()
        self.drops: set[str] = set()

    def _inputs(self, arrays: Mapping[str, np.ndarray]) -> None:
        known = {target: name for name, target in self.like.arrays.items()} if self.like else {}
        for given in self.program.inputs:
            name = known.get(given.target, given.name) if given.kind == "array" else given.name
            if given.kind == "array":
                self.made.arrays[name] = given.target
                value: Any = arrays[given.target]
                self.made.kinds[name] = (value.shape, canonical(value.dtype))
            elif given.kind == "constant":
                value = self.program.constants[given.target]
                name = self._constant(given.name, value)
                self.made.constants[name] = value
                self.made.kinds[name] = (value.shape, canonical(value.dtype))
            else:
                name = self.like.users[len(self.made.users)] if self.like else name
                self.made.users.append(name)
            if given.dims is not None:
                shape = tuple(dim.size if dim.size is not None else dim.symbol for dim in given.dims)
                self.made.kinds[name] = (shape, canonical(given.dtype))
            self.names[given.name] = Ref(name)

    def _constant(self, name: str, value: np.ndarray) -> str:
        for other, theirs in (self.like.constants if self.like else {}).items():
            if theirs.dtype == value.dtype and np.array_equal(theirs, value):
                return other
        return f"{name}~" if self.like else name

    def _batch_norms(self) -> dict[str, str]:
        """The calls of batch norm that are whole, by the dotted names of their modules.

        In training those whose statistics are buffers that move, in evaluation all of them.
        """
        owner = {given.name: given.target for given in self.program.inputs}
        found: dict[str, str] = {}
        statistic: dict[str, str] = {}  # values of statistics after an earlier call
        for call in self.program.calls:
            if call.op == _EVALUATION_NORM and call.name not in self.strange:
                found[call.name] = ""
            elif call.op == _TRAINING_NORM and call.name not in self.strange and isinstance(call.args[3], Ref):
                mean = call.args[3].name
                target = owner.get(mean) or statistic.get(mean, "")
                prefix = target.removesuffix("running_mean")
                if target != prefix and f"{prefix}num_batches_tracked" in self.program.mutated and call.args[5]:
                    found[call.name] = prefix
            elif call.op == "_operator.getitem" and found.get(call.args[0].name) and call.args[1] == 3:
                statistic[call.name] = f"{found[call.args[0].name]}running_mean"
        return found

    def run(self) -> Normal:
        for call in self.program.calls:
            args, kwargs = self.renamed(list(call.args)), self.renamed(dict(call.kwargs))
            self._give_kinds(args)
            call = replace(call, args=tuple(args), kwargs=kwargs)
            if call.name in self.norms:
                self._norm(call)
            elif call.op == "aten.batch_norm.default" and call.args[5] is False:
                self._keep(replace(call, op=_EVALUATION_NORM, args=(*call.args[:5], *call.args[6:8])))
            elif call.op == "aten.dropout.default" and call.args[2] is True and call.args[1] > 0:
                self._keep(replace(call, op=DROPOUT, args=call.args[:2]))
            elif (same := self._same(call)) is not None:
                self.names[call.name] = same
            else:
                self._keep(call)
        self.made.outputs = tuple(self.renamed(list(self.program.outputs)))
        moved = {f"{prefix}{leaf}" for prefix in self.norms.values() if prefix for leaf in _STATISTICS}
        self.made.written = {
            target: self.renamed(ref) for target, ref in self.program.mutated.items() if target not in moved
        }
        return self.made

    def _is_shared(self, name: str) -> bool:
        """Whether the other mode has the same branch."""
        if self.like is None:
            return True
        theirs, ours = self.like.bodies.get(name), self.bodies[name]
        return theirs is not None and _text(theirs) == _text(ours)

    def _give_kinds(self, args: list[Any]) -> None:
        """The operands of torch.cond give its branches the shapes and dtypes that torch leaves out there."""
        for arg in args[:-1]:
            if isinstance(arg, Body) and isinstance(args[-1], list):
                body = self.made.bodies[arg.name]
                body.kinds |= {name: self._kind(value) for name, value in zip(body.users, args[-1], strict=False)}

    def renamed(self, value: Any) -> Any:
        """An argument with the values that stand for others."""
        if isinstance(value, Ref):
            return self.names.get(value.name, value)
        if isinstance(value, Body):
            return Body(self.body_names[value.name])
        if isinstance(value, (list, tuple)):
            return [self.renamed(item) for item in value]
        if isinstance(value, Mapping):
            return {name: self.renamed(item) for name, item in value.items()}
        return value

    def _keep(self, call: Call) -> None:
        name = f"{call.name}~" if self.like else call.name
        self.names[call.name] = Ref(name)
        if call.shape is not None:
            self.made.kinds[name] = (call.shape, canonical(np.dtype(_dtype(call.dtype))))
        self.made.calls.append(replace(basic(call, self._kind), name=name))

    def _norm(self, call: Call) -> None:
        op = BATCH_NORM if call.op == _TRAINING_NORM else _EVALUATION_NORM
        self._keep(replace(call, op=op, args=(*call.args[:5], *call.args[-2:])))
        self.made.kinds[self.names[call.name].name] = self._kind(call.args[0])

    def _same(self, call: Call) -> Any:
        """What a call equals, where it computes nothing new."""
        constant = call.op == "aten.detach.default" and call.args[0].name in self.made.constants
        if call.op in _SAME or constant:
            return call.args[0]
        if call.op == "_operator.getitem" and isinstance(call.args[0], Ref):
            return self._item(call)
        if call.op == "aten.native_dropout.default" and call.name not in self.strange:
            self._keep(replace(call, op=DROPOUT, args=call.args[:2]))
            self.drops.add(self.names[call.name].name)
            self.made.kinds[self.names[call.name].name] = self._kind(call.args[0])
            return self.names[call.name]
        if call.op == "aten.add.Tensor" and self._counts(call.args[0]) and call.args[1] == 1:
            return call.args[0]
        if basic(call, self._kind).op in _UNCHANGING:
            return call.args[0] if self._unchanged(call) else None
        if call.op in _DROPS and (call.args[2] is False or call.args[1] == 0):
            return call.args[0]
        return None

    def _item(self, call: Call) -> Any:
        before = next((name for name in self.norms if self.names.get(name) == call.args[0]), None)
        if before is not None:
            # the statistics are read where they are kept, which the norm has changed by then
            source = next(c for c in self.made.calls if c.name == call.args[0].name)
            return {0: call.args[0], 3: source.args[3], 4: source.args[4]}.get(call.args[1])
        return call.args[0] if call.args[0].name in self.drops and call.args[1] == 0 else None

    def _counts(self, value: Any) -> bool:
        target = self.made.arrays.get(value.name, "") if isinstance(value, Ref) else ""
        prefix = target.removesuffix("num_batches_tracked")
        return target != prefix and bool(prefix) and prefix in self.norms.values() and target in self.program.mutated

    def _unchanged(self, call: Call) -> bool:
        kind = self._kind(call.args[0])
        return call.shape is not None and kind == (call.shape, canonical(np.dtype(_dtype(call.dtype))))

    def _kind(self, value: Any) -> tuple[Any, Any]:
        return self.made.kinds.get(value.name, (None, None)) if isinstance(value, Ref) else (None, None)


def _text(body: Normal) -> Any:
    """What a branch computes."""
    calls = [(call.name, call.op, call.args, dict(call.kwargs)) for call in body.calls]
    return body.users, calls, body.outputs


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_UNCHANGING = {"aten._to_copy.default", "aten.expand.default", "aten.view.default"}
_DROPS = {"aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default",
          "aten.feature_alpha_dropout.default"}  # fmt: skip


def _dtype(name: str | None) -> Any:
    from transforms.torch_dtypes import DTYPES

    return DTYPES[name or "float32"]
