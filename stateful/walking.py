"""Walking: the tree of modules, and the names of what is in it."""

from collections.abc import Callable, Iterator
from typing import Any, Self

import jax

from purenn.errors import refusal
from purenn.model import Buffers, Params
from stateful.context import promising
from stateful.node import Node
from stateful.parameter import BufferCell, Cell, Parameter


def is_trained(cell: Cell) -> bool:
    """Whether a cell is among params.

    Args:
        cell: any.

    Returns:
        False for buffers and frozen parameters.
    """
    return isinstance(cell, Parameter) and cell.requires_grad


class Walking(Node):
    """Names, paths and orders, all torch's."""

    def _named_cells(self, duplicates: bool = False) -> Iterator[tuple[str, Cell]]:
        """All cells by path; the first path of a shared one only, unless ``duplicates``."""
        seen: set[int] = set()
        for prefix, module in self.named_modules(remove_duplicate=not duplicates):
            for name, cell in module._cells():
                if duplicates or id(cell) not in seen:
                    seen.add(id(cell))
                    yield f"{prefix}.{name}" if prefix else name, cell

    def require_shapes(self, op: str, prefix: str = "") -> None:
        """Refuses while a lazy module waits for the shapes of its arrays.

        Args:
            op: what is refused.
            prefix: path of this module.

        Errors:
            ValueError that names the arrays.
        """
        waiting = [f"{prefix}.{path}".lstrip(".") for path, cell in self._named_cells() if not cell.shaped]
        if waiting:
            remedy = "Call the module once on an input, or load a state_dict."
            rule = "lazy modules must know the shapes of their arrays"
            raise refusal(f"{type(self).__name__}.{op}", rule, {"without": waiting}, remedy)

    def _trees(self, read: Callable[[Any], Any]) -> tuple[Params, Buffers]:
        """Params and buffers, nested, in the order of the modules."""
        trees: tuple[Params, Buffers] = {}, {}
        for path, cell in self._named_cells():
            node: Any = trees[0 if is_trained(cell) else 1]
            *parents, last = path.split(".")
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = read(cell)
        return trees

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Walking"]]:
        """Walks the tree, parents first.

        Args:
            memo: modules to pass over.
            prefix: put before every path.
            remove_duplicate: whether a module used twice comes once.

        Yields:
            ``(dotted path, module)``; the path of the module itself is the prefix.
        """
        memo = set() if memo is None else memo
        if remove_duplicate and self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self._children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Walking"]:
        """Walks the tree.

        Yields:
            Every module once, this one first.
        """
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, "Walking"]]:
        """Lists the children.

        Yields:
            ``(name, module)``, a module used twice once.
        """
        seen: set[int] = set()
        for name, child in self._children():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator["Walking"]:
        """Lists the children.

        Yields:
            Every child once.
        """
        for _, child in self.named_children():
            yield child

    def _named_arrays(self, kind: type[Cell], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        cells = self._named_cells(duplicates=not once) if recurse else self._cells()
        for path, cell in cells:
            if isinstance(cell, kind):
                yield f"{prefix}.{path}" if prefix else path, self._read(cell)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, jax.Array]]:
        """Lists the parameters, frozen ones too, as arrays.

        Args:
            prefix: put before every path.
            recurse: whether to go into children.
            remove_duplicate: whether a tied one comes once.

        Yields:
            ``(dotted path, array)``.
        """
        yield from self._named_arrays(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[jax.Array]:
        """Lists the parameters as arrays.

        Args:
            recurse: whether to go into children.

        Yields:
            Arrays.
        """
        for _, array in self.named_parameters(recurse=recurse):
            yield array

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, jax.Array]]:
        """Lists the registered buffers as arrays.

        Args:
            prefix: put before every path.
            recurse: whether to go into children.
            remove_duplicate: whether a shared one comes once.

        Yields:
            ``(dotted path, array)``.
        """
        yield from self._named_arrays(BufferCell, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[jax.Array]:
        """Lists the registered buffers as arrays.

        Args:
            recurse: whether to go into children.

        Yields:
            Arrays.
        """
        for _, array in self.named_buffers(recurse=recurse):
            yield array

    def get_submodule(self, target: str) -> "Walking":
        """Finds a module by its dotted path.

        Args:
            target: the path; empty for this module.

        Returns:
            The module.

        Errors:
            AttributeError: there is none.
        """
        module: Walking = self
        for name in target.split(".") if target else []:
            if not isinstance(child := module._modules.get(name), Walking):
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r} (looking for {target!r}).")
            module = child
        return module

    def set_submodule(self, target: str, module: "Walking", strict: bool = False) -> None:
        """Replaces the module at a dotted path.

        Errors:
            AttributeError: the parent, or with ``strict`` the module, is not there.
            ValueError: the path is empty.

        Args:
            target: the path.
            module: the new one.
            strict: whether there must be one already.
        """
        parent, _, name = target.rpartition(".")
        if not name:
            raise refusal("set_submodule", "target must name a submodule", {"target": target})
        owner_module = self.get_submodule(parent)
        if strict and name not in owner_module._modules:
            raise AttributeError(f"{type(owner_module).__name__} has no submodule {name!r}.")
        setattr(owner_module, name, module)

    def get_parameter(self, target: str) -> jax.Array:
        """Finds a parameter by its dotted path.

        Args:
            target: the path.

        Returns:
            The array.

        Errors:
            AttributeError: there is none.
        """
        parent, _, name = target.rpartition(".")
        cell = self.get_submodule(parent)._parameters.get(name)
        if cell is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}.")
        return self._read(cell)

    def get_buffer(self, target: str) -> jax.Array:
        """Finds a buffer by its dotted path.

        Args:
            target: the path.

        Returns:
            The array.

        Errors:
            AttributeError: there is none.
        """
        parent, _, name = target.rpartition(".")
        cell = self.get_submodule(parent)._buffers.get(name)
        if cell is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}.")
        return self._read(cell)

    def for_each(self, fn: Callable[["Walking"], Any]) -> Self:
        """Calls ``fn`` on every module, children first; torch's ``module.apply(fn)``.

        As in a constructor, a parameter that nobody has looked at is read as its promise, so that what ``fn``
        initialises is drawn once.

        Args:
            fn: function of a module.

        Returns:
            This module.
        """
        for child in self.children():
            child.for_each(fn)
        with promising():
            fn(self)
        return self
