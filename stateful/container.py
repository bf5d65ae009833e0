"""Containers: modules that hold others."""

import operator
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from purenn import layers as L
from purenn.errors import refusal
from stateful.module import Module
from stateful.node import as_modules, changed, containers


def _module(op: str, name: str, value: Any) -> Module:
    module: Any = as_modules(op, name, value)
    if module is None:
        got = {name: type(value).__name__}
        raise refusal(op, "an entry must be a module", got, "Wrap a function in a Module with a forward.", TypeError)
    return module


class Lambda(Module):
    """A bare function as a module, which `Sequential` makes of what it is given.

    Args:
        fn: function without arrays.
    """

    def __init__(self, fn: Callable[..., Any]):
        super().__init__()
        self.fn = fn

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it."""
        return self.fn(*args, **kwargs)

    def extra_repr(self) -> str:
        """Its name."""
        return getattr(self.fn, "__name__", repr(self.fn))


class Container(Module):
    """A module with children by name, and no ``forward``; an old name for `Module`, and warns so.

    Args:
        **kwargs: modules, by name.
    """

    def __init__(self, **kwargs: Any):
        words = "nn.Container is deprecated. All of its functionality is in nn.Module: subclass that."
        warnings.warn(words, FutureWarning, stacklevel=3)
        super().__init__()
        for name, module in kwargs.items():
            self.add_module(name, _module("Container", name, module))


class _Listed(Module):
    """Modules under the names "0", "1", ...; what Sequential and ModuleList share."""

    def _index(self, index: int) -> str:
        length, number = len(self), operator.index(index)
        if not -length <= number < length:
            raise IndexError(f"index {number} is out of range")
        return list(self._modules)[number % length]

    def _renumber(self, modules: Iterable[Module | None]) -> None:
        self.__dict__["_modules"] = {str(i): module for i, module in enumerate(modules)}
        changed(self)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            names = list(self._modules)[index]
            return type(self)._of({name: self._modules[name] for name in names})
        return self._modules[self._index(index)]

    @classmethod
    def _of(cls, modules: dict[str, Module | None]) -> Any:
        part = cls.__new__(cls)
        Module.__init__(part)
        part._renumber(modules.values())
        return part

    def __setitem__(self, index: int, module: Any) -> None:
        setattr(self, self._index(index), _module(type(self).__name__, str(index), module))

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._index(index)]
        self._renumber([module for name, module in self._modules.items() if name not in names])

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __contains__(self, module: object) -> bool:
        return any(module is mine for mine in self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, module: Any) -> Self:
        """Adds a module at the end.

        Args:
            module: to be added.

        Returns:
            This container.
        """
        self.add_module(str(len(self)), _module(type(self).__name__, "module", module))
        return self

    def extend(self, modules: Iterable[Any]) -> Self:
        """Adds modules at the end.

        Args:
            modules: to be added.

        Returns:
            This container.
        """
        if not isinstance(modules, Iterable):
            got = {"modules": type(modules).__name__}
            raise refusal(f"{type(self).__name__}.extend", "modules must be iterable", got, kind=TypeError)
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Puts a module before another.

        Args:
            index: of the other.
            module: to be added.

        Returns:
            This container from Sequential, None from ModuleList, as in torch.
        """
        modules = list(self._modules.values())
        modules.insert(index, _module(type(self).__name__, "module", module))
        self._renumber(modules)
        return self

    def pop(self, key: int | slice) -> Any:
        """Takes a module out.

        Args:
            key: its index.

        Returns:
            The module.
        """
        module = self[key]
        del self[key]
        return module

    def __iadd__(self, modules: Iterable[Any]) -> Self:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Any]) -> Any:
        return type(self)._of({str(i): module for i, module in enumerate(chain(self, modules))})


class Sequential(_Listed):
    """Feeds each module's output to the next.

    Args:
        *args: modules, pure models and bare functions; or one dict with names of its own.

    Torch:
        ``torch.nn.Sequential``; bare functions are taken too.
    """

    pure = L.Sequential

    def __init__(self, *args: Any):
        super().__init__()
        named = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else None
        for name, value in named.items() if named is not None else ((str(i), arg) for i, arg in enumerate(args)):
            self.add_module(name, _step(name, value))

    def forward(self, input: Any) -> Any:
        """Runs them in order."""
        for module in self._modules.values():
            input = module(input)
        return input

    def append(self, module: Any) -> Self:
        """Adds a step at the end.

        Args:
            module: a module, a pure model or a bare function.

        Returns:
            This container.
        """
        return super().append(_step("module", module))

    @classmethod
    def _of(cls, modules: dict[str, Module | None]) -> Any:
        part = cls.__new__(cls)
        Module.__init__(part)
        part.__dict__["_modules"] = dict(modules)  # a slice keeps its names, as in torch
        return part


def _step(name: str, value: Any) -> Module:
    is_function = callable(value) and not isinstance(value, type) and not hasattr(value, "apply")
    return Lambda(value) if is_function else _module("Sequential", name, value)


class ModuleList(_Listed):
    """Holds modules in a list; it is not called itself.

    Args:
        modules: modules or pure models.

    Torch:
        ``torch.nn.ModuleList``, identical.
    """

    def __init__(self, modules: Iterable[Any] | None = None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def insert(self, index: int, module: Any) -> None:
        """Puts a module before another.

        Args:
            index: of the other.
            module: to be added.
        """
        super().insert(index, module)

    def __repr__(self) -> str:
        if not self._modules:
            return f"{self._get_name()}()"
        lines: list[str] = []
        texts = [repr(module) for module in self]
        start = 0
        for stop in range(1, len(texts) + 1):
            if stop == len(texts) or texts[stop] != texts[start]:
                count = stop - start
                label = f"({start}-{stop - 1}): {count} x " if count > 1 else f"({start}): "
                lines.append(label + texts[start].replace("\n", "\n  "))
                start = stop
        return self._print([], lines)


class ModuleDict(Module):
    """Holds modules in a dict; it is not called itself.

    Args:
        modules: modules or pure models by name, or pairs.

    Torch:
        ``torch.nn.ModuleDict``, identical.
    """

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Any) -> None:
        self.add_module(key, _module("ModuleDict", key, module))

    def __delitem__(self, key: str) -> None:
        del self._modules[key]
        changed(self)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Takes all modules out."""
        self._modules.clear()
        changed(self)

    def pop(self, key: str) -> Any:
        """Takes a module out.

        Args:
            key: its name.

        Returns:
            The module.
        """
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Pairs of name and module."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:  # type: ignore[override]
        """Adds or replaces modules; `Module.update`, which carries arrays in, is `Module.update(self, ...)` here.

        Args:
            modules: modules by name, or pairs.
        """
        if not isinstance(modules, Iterable):
            got = {"modules": type(modules).__name__}
            raise refusal("ModuleDict.update", "modules must be a dict or pairs", got, kind=TypeError)
        for key, module in modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules:
            self[key] = module


containers.update({list: ModuleList, tuple: ModuleList, dict: ModuleDict, OrderedDict: ModuleDict})
