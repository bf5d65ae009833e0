"""A program cut into the calls of its submodules: a tree of regions, each of which becomes a call of a function."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from transforms.source.modes import Normal
from transforms.torch_program import Call, Frame, references
from transforms.torch_trees import Structure

WRITE = "write"  # a buffer gets a value: args are its dotted name and the value
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
_COMPOSITES = ("MultiheadAttention", "TransformerEncoder", "TransformerDecoder", "Transformer")
_MANY = 4  # operators of one of torch.nn's own layers that are no longer written in line


@dataclass
class Region:
    """One call of a submodule: operators and inner regions in order, the values that come in and go out.

    ``other`` is what runs in evaluation, where that differs, with ``renamed`` for its inputs; ``function`` and
    ``literals`` are filled in when its function has been written. ``result`` is the model's, a nest of values.
    """

    path: str
    cls: str
    times: int
    frames: tuple[Frame, ...] = ()
    items: list["Item"] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    other: "Region | None" = None
    function: Any = None
    literals: dict[str, str] = field(default_factory=dict)
    result: Any = None

    @property
    def given(self) -> list[str]:
        """The values that come in, those of evaluation alone last."""
        others = self.other.inputs if self.other else []
        return [*self.inputs, *dict.fromkeys(name for name in others if name not in self.inputs)]

    def calls(self) -> Iterator[Call]:
        """Every operator in it, in order."""
        for item in self.items:
            if isinstance(item, Region):
                yield from item.calls()
            else:
                yield item

    @property
    def height(self) -> int:
        """How deep the regions within it are nested."""
        inner = [item.height + 1 for item in self.items if isinstance(item, Region)]
        return max([*inner, self.other.height if self.other else 0], default=0)


Item = Call | Region


def references_of(item: Item) -> list[str]:
    """The values that an item reads.

    Args:
        item: an operator or a region.

    Returns:
        Their names, in order, with repetitions.
    """
    if isinstance(item, Region):
        return item.given
    return [*references(item.args), *references(item.kwargs)]


def outputs_of(item: Item) -> list[str]:
    """The values that an item gives.

    Args:
        item: an operator or a region.

    Returns:
        Their names.
    """
    return item.outputs if isinstance(item, Region) else [] if item.op == WRITE else [item.name]


def regions_of(program: Normal, name: str, out: Structure) -> Region:
    """Cuts a program into regions.

    Args:
        program: in normal form.
        name: of the model's class.
        out: structure of the result.

    Returns:
        The root, whose outputs are those of the program.
    """
    chosen = _functions(program.calls)
    root = Region("", name, 0)
    open_regions = [root]
    for call in program.calls:
        chain = [frame for frame in call.frames[1:] if chosen(frame)]
        depth = 0
        while depth < len(chain) and depth + 1 < len(open_regions) and _is_of(open_regions[depth + 1], chain[depth]):
            depth += 1
        del open_regions[depth + 1 :]
        for frame in chain[depth:]:
            made = Region(frame.path, frame.cls, frame.times, call.frames)
            open_regions[-1].items.append(made)
            open_regions.append(made)
        open_regions[-1].items.append(call)
    _place_writes(root, program)
    _find_interfaces(root, program)
    root.result = _nest(out.build(iter(program.outputs)))
    return root


def _nest(value: Any) -> Any:
    """A result in containers that a file without torch and transforms has: dicts for records, tuples for named ones."""
    if isinstance(value, Mapping):
        return {name: _nest(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(_nest, value))
    return value


def _is_of(region: Region, frame: Frame) -> bool:
    return (region.path, region.cls, region.times) == (frame.path, frame.cls, frame.times)


def _functions(calls: list[Call]) -> Callable[[Frame], bool]:
    """Which submodules become functions: all but torch.nn's containers and its layers of few operators."""
    count = Counter(frame for call in calls for frame in _keys(call))

    def chosen(frame: Frame) -> bool:
        if not frame.cls.startswith("torch.nn.modules."):
            return True
        name = frame.cls.rpartition(".")[2]
        if name in _CONTAINERS:
            return False
        return name.startswith(_COMPOSITES) or count[frame.path, frame.times] > _MANY

    return chosen


def _keys(call: Call) -> list[tuple[str, int]]:
    return [(frame.path, frame.times) for frame in call.frames]


def owns(path: str, target: str) -> bool:
    """Whether an array is one of a submodule's own.

    Args:
        path: of the submodule, "" for the model.
        target: dotted name of the array.

    Returns:
        Whether it is.
    """
    return not path or target.startswith(f"{path}.")


def _place_writes(root: Region, program: Normal) -> None:
    """Puts the writing of a buffer at the end of the innermost region that made the value and has the buffer."""
    readers = {target: name for name, target in program.arrays.items()}
    for target, value in program.written.items():
        region = root
        names = set(references([value]))
        while inner := _maker(region, names, target):
            after = region.items[region.items.index(inner) + 1 :]
            if any(readers.get(target) in references_of(item) for item in _flat(after)):
                break  # its old value is read later
            region = inner
        region.items.append(Call("", WRITE, (target, value)))


def _flat(items: list[Item]) -> Iterator[Call]:
    for item in items:
        if isinstance(item, Region):
            yield from item.calls()
        else:
            yield item


def _maker(region: Region, names: set[str], target: str) -> Region | None:
    """The inner region that makes one of the values, if the array is its own."""
    for item in region.items:
        if isinstance(item, Region) and owns(item.path, target) and names & {call.name for call in item.calls()}:
            return item
    return None


def _find_interfaces(root: Region, program: Normal) -> None:
    """Fills in what comes into every region and what goes out."""
    uses: Counter[str] = Counter()
    for call in root.calls():
        uses.update(references_of(call))
    uses.update(references(list(program.outputs)))
    for region in _every(root):
        made = {call.name for call in region.calls()}
        inside: Counter[str] = Counter(name for call in region.calls() for name in references_of(call))
        region.inputs = [
            name
            for name in inside
            if name not in made
            and name not in program.constants
            and not (name in program.arrays and owns(region.path, program.arrays[name]))
        ]
        region.outputs = [call.name for call in region.calls() if uses[call.name] > inside[call.name]]
    root.inputs, root.outputs = [], list(references(list(program.outputs)))


def _every(region: Region) -> Iterator[Region]:
    yield region
    for item in region.items:
        if isinstance(item, Region):
            yield from _every(item)
