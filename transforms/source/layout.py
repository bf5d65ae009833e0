"""How a body is laid out: which statement of the source an operator belongs to, and which are inside others."""

from typing import Any

from transforms.source.draws import draws
from transforms.source.modes import BATCH_NORM
from transforms.source.regions import WRITE, Item, Region, outputs_of, references_of
from transforms.source.statements import Statement, statement
from transforms.torch_program import Call

_FEW = 2  # layers of a Sequential that are written inside each other


def _is_layer(call: Call) -> bool:
    return call.op.startswith(("aten.conv", "aten.linear."))


class Layout:
    """The layout of a region.

    ``uses`` are the places at which each value is read (the number of items for the result), ``statements`` the source
    of each item, ``folded`` the items that are written inside the one that uses them, ``last`` the place at which each
    value is read last, in the text.
    """

    def __init__(self, region: Region):
        self.region, self.items, self.end = region, region.items, len(region.items)
        self.uses: dict[str, list[int]] = {}
        for n, item in enumerate(self.items):
            for name in references_of(item):
                self.uses.setdefault(name, []).append(n)
        for name in region.outputs:
            self.uses.setdefault(name, []).append(self.end)
        self.statements = [self._statement(item) for item in self.items]
        self.folded = self._folded()
        places = self._places()
        self.last = {name: max(places[n] for n in uses) for name, uses in self.uses.items()}

    def _statement(self, item: Item) -> Statement | None:
        """The line of this function's source that an item stands in."""
        for frame in reversed(item.frames):
            if frame.path == self.region.path and (not frame.path or frame.times == self.region.times):
                return statement(frame.source, frame.code)
        return None

    def _folded(self) -> set[int]:
        """The items that are written inside the one that uses them, as in the source."""
        folded: set[int] = set()
        drawing: set[int] = set()  # items that have a draw written inside
        ends = {made.key: n for n, made in enumerate(self.statements) if made}
        for n, item in enumerate(self.items):
            outs = outputs_of(item)
            if len(outs) != 1 or len(self.uses.get(outs[0], [])) != 1:
                continue
            use = self.uses[outs[0]][0]
            effect = self._has_effect(item) or n in drawing
            if not self._same_line(n, use, ends) or (effect and any(map(self._effect_at, range(n + 1, use)))):
                continue
            if use < self.end and self._begins_layer(item, self.items[use]):
                continue
            if (effect and use in drawing) or self.is_repeated(n) or (use < self.end and self.is_repeated(use)):
                continue
            folded.add(n)
            if effect:
                drawing.add(use)
        return folded

    def _begins_layer(self, item: Item, user: Item) -> bool:
        """Whether the user is one of many layers in a Sequential, which get statements of their own."""
        if isinstance(item, Region) or isinstance(user, Region) or not _is_layer(user):
            return False
        parent, _, number = user.path.rpartition(".")
        if not number.isdigit() or item.path.rpartition(".")[0] != parent:
            return False
        layers = [other for other in self.items if isinstance(other, Call) and _is_layer(other)]
        return len([layer for layer in layers if layer.path.rpartition(".")[0] == parent]) > _FEW

    def _same_line(self, n: int, use: int, ends: dict[Any, int]) -> bool:
        mine = self.statements[n]
        if use == self.end or mine is None:
            return True
        theirs = self.statements[use]
        final = ends[mine.key] == n
        return theirs is None or mine.key == theirs.key or not (final and mine.targets)

    def is_repeated(self, n: int) -> bool:
        """Whether an item is one of several like calls in a row: they are to become a loop.

        Args:
            n: place of the item.

        Returns:
            Whether it is.
        """
        item = self.items[n]
        return isinstance(item, Region) and item.path.rpartition(".")[2].isdigit()

    def _effect_at(self, n: int) -> bool:
        return self._has_effect(self.items[n])

    def _has_effect(self, item: Item) -> bool:
        """Whether the order counts in which an item runs: it draws, or writes buffers."""
        if isinstance(item, Region):
            return bool(item.function and (item.function.random or item.function.writes))
        return draws(item) or item.op in (BATCH_NORM, WRITE)

    def _places(self) -> list[int]:
        """Where each item is written in the end: a folded one where the one is that uses it."""
        places = [*range(self.end + 1)]
        for n in reversed(range(self.end)):
            if n in self.folded:
                places[n] = places[self.uses[outputs_of(self.items[n])[0]][0]]
        return places
