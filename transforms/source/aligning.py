"""Both modes of a model as one tree of regions: where they agree, calls that know ``train``; where not, two bodies."""

from dataclasses import replace
from typing import Any

from transforms.source.modes import BATCH_NORM, DROPOUT, Normal
from transforms.source.regions import WRITE, Item, Region
from transforms.source.text import Expr
from transforms.torch_program import Call, Ref

TRAIN = Expr("train")
_FLAGS = {  # the operators that are told the mode, and by which argument
    "aten.lstm.input": 6, "aten.gru.input": 6, "aten.rnn_tanh.input": 6, "aten.rnn_relu.input": 6,
    "aten.feature_dropout.default": 2, "aten.alpha_dropout.default": 2, "aten.feature_alpha_dropout.default": 2,
    "aten.dropout.default": 2, "aten.rrelu.default": 3,
}  # fmt: skip
_ATTENTION = "aten.scaled_dot_product_attention.default"


class Aligner:
    """Walks through the regions of training and of evaluation together; what stands in training's is changed."""

    def __init__(self, training: Normal, evaluation: Normal):
        self.training, self.evaluation = training, evaluation

    def run(self, ours: Region, theirs: Region) -> None:
        """Makes one tree of two.

        Args:
            ours: of training; it becomes the tree of both.
            theirs: of evaluation.
        """
        names: dict[str, str] = {}
        agree = self._items(ours, theirs, names)
        if not agree or self._renamed(list(self.training.outputs), names) != list(self.evaluation.outputs):
            self._split(ours, theirs)

    def _items(self, ours: Region, theirs: Region, names: dict[str, str]) -> bool:
        """Whether the regions compute the same; ``names`` maps values of training to those of evaluation."""
        at = 0
        for n, mine in enumerate(ours.items):
            other = theirs.items[at] if at < len(theirs.items) else None
            if isinstance(mine, Call) and mine.op == DROPOUT and isinstance(other, Call) and other.op == DROPOUT:
                ours.items[n] = replace(mine, op="aten.dropout.default", args=(*mine.args, True))
                names[mine.name] = other.name
                at += 1
            elif isinstance(mine, Call) and mine.op == DROPOUT:
                names[mine.name] = self._renamed(mine.args[0], names).name
            elif isinstance(mine, Region) and not (isinstance(other, Region) and _alike(mine, other)):
                if not self._absent(mine, names):
                    return False
            elif other is None or not self._item(ours, n, other, names):
                return False
            else:
                at += 1
        return at == len(theirs.items)

    def _item(self, ours: Region, n: int, other: Item, names: dict[str, str]) -> bool:
        mine = ours.items[n]
        if isinstance(mine, Region):
            assert isinstance(other, Region)
            return self._regions(mine, other, names)
        made = isinstance(other, Call) and self._call(mine, other, names)
        if isinstance(made, Call) and isinstance(other, Call):
            ours.items[n] = made
            names[mine.name] = other.name
        return isinstance(made, Call)

    def _call(self, mine: Call, other: Call, names: dict[str, str]) -> Call | None:
        """One call for both modes, or None where there is none."""
        args, kwargs = self._renamed(list(mine.args), names), self._renamed(dict(mine.kwargs), names)
        theirs = list(other.args)
        if mine.op == BATCH_NORM and other.op.startswith("aten._native_batch_norm"):
            return mine if args == theirs else None
        if mine.op != other.op or kwargs != dict(other.kwargs):
            return None
        if args == theirs:
            return mine
        at = _FLAGS.get(mine.op, 4 if mine.op == _ATTENTION else None)
        if at is None or len(args) <= at:
            return None
        # evaluation leaves out a probability of 0
        theirs = [*theirs, *[None, 0.0, False][len(theirs) - 3 :]] if mine.op == _ATTENTION else theirs
        given = list(mine.args)
        given[at] = TRAIN if mine.op in _FLAGS else Expr(f"{args[at]} if train else {theirs[at]}")
        args[at] = theirs[at]
        padded = [*args, *[None, 0.0, False][len(args) - 3 :]] if mine.op == _ATTENTION else args
        return replace(mine, args=tuple(given)) if padded == theirs else None

    def _regions(self, mine: Region, other: Region, names: dict[str, str]) -> bool:
        known = dict(names)
        if self._items(mine, other, known):
            names.update(known)
            return True
        if not _same_outputs(mine, other, self.training, self.evaluation):
            return False
        back = {theirs: ours for ours, theirs in names.items()}
        if any(name.endswith("~") and name not in back for name in other.inputs):
            return False
        self._split(mine, other)
        _rename(other, {name: back[name] for name in other.inputs if name in back})
        names.update(zip(mine.outputs, other.outputs, strict=True))
        return True

    def _absent(self, mine: Region, names: dict[str, str]) -> bool:
        """A submodule that evaluation passes by: its result is then its input."""
        if len(mine.outputs) != 1 or any(call.op == WRITE for call in mine.calls()):
            return False
        kind = self.training.kinds.get(mine.outputs[0])
        if mine.items and all(isinstance(item, Call) and item.op == DROPOUT for item in mine.items):
            return self._items(mine, Region(mine.path, mine.cls, 0), names)
        alike = [name for name in mine.inputs if self.training.kinds.get(name) == kind]
        if len(alike) != 1:
            return False
        mine.other = Region(mine.path, mine.cls, mine.times, mine.frames, [], alike, alike)
        names[mine.outputs[0]] = names.get(alike[0], alike[0])
        return True

    def _split(self, ours: Region, theirs: Region) -> None:
        """Two bodies: where inner regions agree, evaluation takes training's, so that they have one function."""
        ours.other = theirs
        left = [item for item in ours.items if isinstance(item, Region)]
        for item in theirs.items:
            if not isinstance(item, Region):
                continue
            twin = next((mine for mine in left if _alike(mine, item)), None)
            if twin is None:
                continue
            left.remove(twin)
            if len(twin.inputs) == len(item.inputs) and len(twin.outputs) == len(item.outputs):
                names = dict(zip(twin.inputs, item.inputs, strict=True))
                if twin.other is not None or self._items(twin, item, dict(names)):
                    _take(item, twin, names)

    def _renamed(self, value: Any, names: dict[str, str]) -> Any:
        if isinstance(value, Ref):
            return Ref(names.get(value.name, value.name))
        if isinstance(value, (list, tuple)):
            return [self._renamed(item, names) for item in value]
        if isinstance(value, dict):
            return {name: self._renamed(item, names) for name, item in value.items()}
        return value


def _alike(mine: Region, other: Region) -> bool:
    return (mine.path, mine.cls, mine.times) == (other.path, other.cls, other.times)


def _same_outputs(mine: Region, other: Region, training: Normal, evaluation: Normal) -> bool:
    ours = [training.kinds.get(name) for name in mine.outputs]
    return ours == [evaluation.kinds.get(name) for name in other.outputs]


def _take(region: Region, twin: Region, names: dict[str, str]) -> None:
    """Gives a region the items of its twin, under its own names for what comes in and goes out."""
    names = names | dict(zip(twin.outputs, region.outputs, strict=True))
    copied = Region(twin.path, twin.cls, twin.times, twin.frames, list(twin.items), list(twin.inputs),
                    list(twin.outputs), twin.other)  # fmt: skip
    _rename(copied, names)
    region.items, region.inputs, region.other = copied.items, copied.inputs, copied.other


def _rename(region: Region, names: dict[str, str]) -> None:
    """Other names for values, in a region and all within it."""

    def value(given: Any) -> Any:
        if isinstance(given, Ref):
            return Ref(names.get(given.name, given.name))
        if isinstance(given, (list, tuple)):
            return type(given)(map(value, given))
        if isinstance(given, dict):
            return {name: value(item) for name, item in given.items()}
        return given

    region.inputs = [names.get(name, name) for name in region.inputs]
    region.outputs = [names.get(name, name) for name in region.outputs]
    items: list[Item] = []
    for item in region.items:
        if isinstance(item, Region):
            inner = replace(item, items=list(item.items))
            _rename(inner, names)
            items.append(inner)
        else:
            name = names.get(item.name, item.name)
            items.append(replace(item, name=name, args=value(item.args), kwargs=value(dict(item.kwargs))))
    region.items = items
    if region.other is not None:
        region.other = replace(region.other, items=list(region.other.items))
        _rename(region.other, names)
