"""The parametrizations of one weight of a module, and the attribute that they compute."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.model import Leaf
from purenn.random import fold_name
from purenn.state import as_numpy_or_jax
from purenn.tree import flatten
from stateful.computed import Computed
from stateful.container import ModuleList
from stateful.module import Module
from stateful.parameter import BufferCell, Cell, Parameter

# What has been computed in the block of `cached` that is under way, by module and name.
_cache: contextvars.ContextVar[dict[tuple[int, str], tuple[Any, Any]] | None] = contextvars.ContextVar(
    "cache", default=None
)


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Computes each parametrised weight once until the block ends, however often it is read.

    Yields:
        Nothing.

    Torch:
        ``torch.nn.utils.parametrize.cached``, identical; between pure calls, which have their own arrays, nothing is
        shared.
    """
    token = _cache.set({} if _cache.get() is None else _cache.get())
    try:
        yield
    finally:
        _cache.reset(token)


class Adapted(Module):
    """A pure parametrization as a module."""

    def begin(self, weight: Any) -> None:
        """Sets buffers by the first weight.

        Args:
            weight: the array.
        """
        self.__dict__["_model"].begin(self, weight)

    def right_inverse(self, weight: Any) -> Any:
        """Computes arrays that ``forward`` makes the weight of.

        Args:
            weight: the array.

        Returns:
            One array or a tuple.
        """
        return self.__dict__["_model"].right_inverse(self, weight)


class ParametrizationList(ModuleList):
    """The parametrizations of one weight, and the arrays it is computed from; `register_parametrization` makes it.

    Args:
        modules: parametrizations, in the order of their application.
        original: the weight: a `Parameter`, or an array for one that is not trained.
        unsafe: whether the shape or dtype may change.

    Torch:
        ``torch.nn.utils.parametrize.ParametrizationList``.
    """

    def __init__(self, modules: Sequence[Any], original: Any, unsafe: bool = False):
        super().__init__(modules)
        if not modules:
            raise refusal("ParametrizationList", "modules must not be empty", {"modules": modules})
        cell = original if isinstance(original, Cell) else BufferCell.holding(original, persistent=True)
        self.unsafe = unsafe
        self.__dict__["_leaf"] = cell.leaf
        raws = self._call("_start", (cell.array(),), {})
        if not hasattr(raws, "shape") and not isinstance(raws, Sequence):
            got = {"type": type(raws).__name__}
            raise refusal("ParametrizationList", "right_inverse must return an array or a sequence of arrays", got)
        self.is_tensor = hasattr(raws, "shape")
        self.ntensors = 1 if self.is_tensor else len(raws)
        self._keep(cell, raws)
        if not unsafe:
            check_kept("register_parametrization", cell.leaf, self())

    def _keep(self, cell: Cell, raws: Any) -> None:
        if self.is_tensor:
            if raws is not cell.array():
                if raws.dtype != cell.dtype:
                    got = {"dtype": str(cell.dtype), "right_inverse(original).dtype": str(raws.dtype)}
                    raise refusal("ParametrizationList", "right_inverse must keep the dtype", got)
                cell.put(cell.fitting("original", raws))
            self._own(cell)["original"] = cell  # the very cell: whoever shares it, shares the raw array
        else:
            for i, raw in enumerate(raws):
                self._own(cell)[f"original{i}"] = (
                    Parameter(raw, requires_grad=cell.requires_grad)
                    if isinstance(cell, Parameter)
                    else BufferCell.holding(raw, cell.leaf.persistent)
                )

    def _own(self, cell: Cell) -> dict[str, Any]:
        return self._parameters if isinstance(cell, Parameter) else self._buffers

    @property
    def raw_names(self) -> tuple[str, ...]:
        """Names of the arrays that the weight is computed from."""
        return ("original",) if self.is_tensor else tuple(f"original{i}" for i in range(self.ntensors))

    @property
    def leaf(self) -> Leaf:
        """Declaration of the weight."""
        cell = self._own_cell(self.raw_names[0])
        return replace(self.__dict__["_leaf"], dtype=cell.dtype)

    def _own_cell(self, name: str) -> Cell:
        cells: dict[str, Any] = {**self._buffers, **self._parameters}
        return cells[name]

    def _start(self, weight: Any) -> Any:
        """What is registered for a weight, on a bound copy: buffers are begun, and the raw arrays found."""
        for i, p in enumerate(self):
            if isinstance(p, Adapted):
                p.begin(weight)
            if i == 0:
                raws = inverse(p, weight)
            if i + 1 < len(self):
                weight = p(weight) if i or hasattr(raws, "shape") else p(*raws)
        return raws

    def _begin_last(self, weight: Any) -> None:
        if isinstance(self[-1], Adapted):
            self[-1].begin(weight)

    def _invert(self, value: Any) -> Any:
        for p in reversed(list(self)):
            if not hasattr(p, "right_inverse"):
                name = type(p).__name__
                raise RuntimeError(f"{name}: it has no right_inverse: no weight can be given to it.")
            value = p.right_inverse(value)
        return value

    def right_inverse(self, value: Any) -> None:
        """Takes a weight: the arrays it is computed from become what the parametrizations' inverses give.

        Args:
            value: the weight.

        Errors:
            ValueError where what they give does not fit.

        Raises:
            RuntimeError: a parametrization has no ``right_inverse``, or a call is under way.
        """
        if "_frame" in self.__dict__:
            raise RuntimeError("ParametrizationList.right_inverse: parameters stay as they are during a call.")
        raws = self._call("_invert", (as_numpy_or_jax(value),), {})
        given = (raws,) if hasattr(raws, "shape") else tuple(raws)
        if len(given) != self.ntensors or hasattr(raws, "shape") is not self.is_tensor:
            got: dict[str, Any] = {"arrays": len(given), "ntensors": self.ntensors}
            raise refusal("right_inverse", "it must give as many arrays as before", got)
        cells = [self._own_cell(name) for name in self.raw_names]
        values = [c.fitting(n, raw) for c, n, raw in zip(cells, self.raw_names, given, strict=True)]
        for cell, raw in zip(cells, values, strict=True):
            if raw.dtype != cell.dtype:
                got = {"dtype": str(raw.dtype), "original.dtype": str(cell.dtype)}
                raise refusal("right_inverse", "it must give the dtype of the original", got)
        for cell, raw in zip(cells, values, strict=True):
            cell.put(raw)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the weight."""
        first, *others = self
        weight = first(*(getattr(self, name) for name in self.raw_names))
        for p in others:
            weight = p(weight)
        return weight


def inverse(p: Any, weight: Any) -> Any:
    """The raw arrays for a weight; the weight itself, where the parametrization has no inverse.

    Args:
        p: a module.
        weight: the array.

    Returns:
        One array or a tuple.
    """
    if not hasattr(p, "right_inverse"):
        return weight
    try:
        return p.right_inverse(weight)
    except NotImplementedError:
        return weight


@dataclass(frozen=True)
class Listed(Computed):
    """The attribute that a `ParametrizationList` computes."""

    prefix: ClassVar[str] = "Parametrized"

    name: str

    def read(self, node: Any) -> Any:
        """Computes the weight, or takes it from the cache."""
        cache, plist = _cache.get(), node._modules["parametrizations"]._modules[self.name]
        if cache is None:
            return plist()
        frame = node.__dict__.get("_frame")
        # object calls have their arrays in common; pure ones have their own
        owner = node.__dict__["_original"] if frame is not None and frame.remembers else node
        key = id(owner), self.name
        if key in cache:
            return cache[key][1]
        value = plist()
        if not (owner is not node and is_traced(value)):
            cache[key] = owner, value
        return value

    def write(self, node: Any, value: Any) -> None:
        """Takes a weight."""
        node._modules["parametrizations"]._modules[self.name].right_inverse(value)

    def start(self, node: Any, rng: Any, params: dict[str, Any], buffers: dict[str, Any]) -> None:
        """Draws the weight as the plain module does, and what it is computed from out of it."""
        plist = node._modules["parametrizations"]._modules[self.name]
        trees = [tree.get("parametrizations", {}).get(self.name, {}) for tree in (params, buffers)]
        if not any(plist.raw_names[0] in tree for tree in trees):
            return  # shared, and drawn where it comes first
        weight = plist.leaf.draw(fold_name(rng, self.name))
        key = fold_name(fold_name(rng, "parametrizations"), self.name)
        bound = plist.bind(*trees, rng=key, train=False)
        raws = bound._call("_start", (weight,), {})
        after = flatten(bound.buffers)
        for path in flatten(trees[1]):
            *parents, last = path.split(".")
            branch = trees[1]
            for parent in parents:
                branch = branch[parent]
            branch[last] = after[path]
        for name, raw in zip(plist.raw_names, (raws,) if plist.is_tensor else raws, strict=True):
            next(tree for tree in trees if name in tree)[name] = raw


def check_kept(op: str, weight: Any, value: Any) -> None:
    """Refuses another shape or dtype than the weight's.

    Args:
        op: name of the caller.
        weight: the weight, or its declaration.
        value: what a parametrization gave.
    """
    if not hasattr(value, "shape"):
        raise refusal(op, "a parametrization must return an array", {"type": type(value).__name__})
    if (tuple(value.shape), value.dtype) != (tuple(weight.shape), weight.dtype):
        got = {"shape": tuple(weight.shape), "dtype": str(weight.dtype)}
        got |= {"parametrized shape": tuple(value.shape), "parametrized dtype": str(value.dtype)}
        raise refusal(op, "a parametrization must keep shape and dtype, unless unsafe=True", got)
