"""The parameters of the generated ``apply``: those of the torch module's forward that are arrays."""

from collections.abc import Iterator

from transforms.source.naming import RESERVED
from transforms.torch_program import Program
from transforms.torch_trees import Structure


class Arguments:
    """``parameters`` of ``apply``, ``given`` names for the values, ``lines`` that take nested arguments apart."""

    def __init__(self, program: Program, positional: tuple[str, ...], users: list[str]):
        assert program.arguments is not None
        first, named = program.arguments.children
        self._leaves = iter(zip([i for i in program.inputs if i.kind == "user"], users, strict=True))
        self._used = set(RESERVED)
        self.parameters: list[str] = []
        self.given: dict[str, str] = {}
        self.lines: list[str] = []
        names = [*positional, *(f"arg{n}" for n in range(len(positional), len(first.children)))]
        kinds = [*zip(names, first.children, strict=False), *zip(named.names, named.children, strict=True)]
        for name, child in kinds:
            self._add(name, child)

    def _add(self, name: str, structure: Structure) -> None:
        if structure.kind == "leaf":
            given, value = next(self._leaves)
            if not given.fixed:
                self._name(value, self._free(name), self.parameters)
            return
        leaves = [next(self._leaves) for _ in range(_count(structure))]
        if all(given.fixed for given, _ in leaves):
            return
        own = self._free(name)
        self.parameters.append(own)
        for (given, value), path in zip(leaves, _paths(structure), strict=True):
            if not given.fixed:
                self.given[value] = f"{own}{path}"

    def _name(self, value: str, name: str, into: list[str]) -> None:
        into.append(name)
        self.given[value] = name

    def _free(self, name: str) -> str:
        while name in self._used or not name.isidentifier():
            name = f"{name}_" if name.isidentifier() else f"arg_{len(self._used)}"
        self._used.add(name)
        return name


def _count(structure: Structure) -> int:
    return 1 if structure.kind == "leaf" else sum(map(_count, structure.children))


def _paths(structure: Structure) -> Iterator[str]:
    """How each leaf of a nested argument is reached."""
    if structure.kind == "leaf":
        yield ""
        return
    by_name = structure.kind in ("dict", "record")
    for i, child in enumerate(structure.children):
        key = repr(structure.names[i]) if by_name else str(i)
        for rest in _paths(child):
            yield f"[{key}]{rest}"
