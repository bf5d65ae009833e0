"""Frames: the arrays of one call.

A bound copy of a module reads its cells through the frame of the call. A pure call fills the frame with the arrays it
was given and forgets it; an object call fills it from the cells and, if nothing failed, writes back what changed.
"""

from typing import Any

import jax

from purenn.checks import is_traced
from purenn.deferring import arrived
from stateful.context import active
from stateful.parameter import Cell


class Frame:
    """The arrays of one call, by cell, and the bound copies that read them.

    Args:
        remembers: whether it is the call of an object: its cells are the source, and the target of what changes.
    """

    def __init__(self, remembers: bool):
        self.remembers = remembers
        self.values: dict[int, Any] = {}
        self.written: dict[int, tuple[Cell, str]] = {}
        self.copies: dict[int, Any] = {}
        self.kept: list[Any] = []  # keeps ids from being used again
        self.outer = active.get()

    def read(self, cell: Cell) -> Any:
        """The array of a cell in this call."""
        frame: Frame | None = self
        while frame is not None:
            if id(cell) in frame.values:
                return arrived(frame.values[id(cell)])
            frame = frame.outer
        self.values[id(cell)] = cell.array()
        self.kept.append(cell)
        return self.values[id(cell)]

    def holds(self, cell: Cell) -> bool:
        """Whether this call, or one around it, has read the cell."""
        frame: Frame | None = self
        while frame is not None and id(cell) not in frame.values:
            frame = frame.outer
        return frame is not None

    def write(self, cell: Cell, name: str, value: Any) -> None:
        """Replaces the array of a cell in this call."""
        self.values[id(cell)] = value
        self.written[id(cell)] = (cell, name)
        self.kept.append(cell)

    def find(self, module: Any) -> Any:
        """The bound copy of a module in this call, or in one around it."""
        frame: Frame | None = self
        while frame is not None:
            if id(module) in frame.copies:
                return frame.copies[id(module)]
            frame = frame.outer
        return None

    def commit(self) -> None:
        """Writes back what an object call changed; all of it, or nothing."""
        attributes = [change for copy in self.copies.values() for change in copy._new_attributes()]
        for cell, name in self.written.values():
            refuse_tracer(name, self.values[id(cell)])
        for module, name, value in attributes:
            refuse_tracer(f"{type(module).__name__}.{name}", value)
        for cell, _ in self.written.values():
            cell.put(self.values[id(cell)])
        for copy in self.copies.values():
            copy._hand_over()
        for module, name, value in attributes:
            setattr(module, name, value)


def refuse_tracer(name: str, value: Any) -> None:
    """Refuses to keep what has no value yet.

    Errors:
        RuntimeError: a leaf of it is a tracer.

    Args:
        name: of the place it would be kept in.
        value: any pytree.
    """
    if any(is_traced(leaf) for leaf in jax.tree.leaves(value)):
        raise RuntimeError(
            f"{name} would keep a tracer: a module called as an object inside jit, grad or vmap cannot remember what "
            "it computes. Use out, buffers = module.apply(params, buffers, *inputs, rng=rng, train=True), or "
            "nn.jit(module), or module.eval()."
        )
