"""The methods of `stateful.utils.prune`: each decides by the weight which of its numbers are pruned."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn import init
from purenn.errors import refusal
from stateful.module import Module
from stateful.node import changed
from stateful.random import key_of, take_ticket
from stateful.utils.attached import Attached, attach, detach
from transforms.pruning import Masked, channel_norms, check_amount, how_many, without_least


@dataclass(frozen=True)
class Pruned(Attached):
    """The attribute of a pruned weight, and the method that pruned it."""

    method: Any = None


class BasePruningMethod(ABC):
    """A way to prune; a subclass writes ``compute_mask``, and says its ``PRUNING_TYPE``.

    ``"unstructured"`` methods see the numbers that are left, as a vector, ``"structured"`` ones the slices along their
    ``dim`` that are left, ``"global"`` ones all.
    """

    PRUNING_TYPE: ClassVar[str]
    _tensor_name: str

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Decides what is pruned.

        Args:
            t: scores: the weight, or what is given in its place.
            default_mask: of the same shape, what was pruned before.

        Returns:
            The mask: 0 for what is pruned, 1 for the rest.
        """

    def apply_mask(self, module: Module) -> Any:
        """Masks the weight that this method has been applied to.

        Args:
            module: that has it.

        Returns:
            The pruned weight.
        """
        return getattr(module, f"{self._tensor_name}_mask") * getattr(module, f"{self._tensor_name}_orig")

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Self:
        """Prunes a weight of a module.

        Args:
            module: changed in place.
            name: of the weight.
            *args: for the constructor.
            importance_scores: in the place of the weight, of its shape.
            **kwargs: for the constructor.

        Returns:
            The method; a `PruningContainer` where the weight has been pruned before.

        Errors:
            ValueError: there is no such parameter, or the scores have another shape.
        """
        new = cls(*args, **kwargs)
        new._tensor_name = name
        before = module._computed.get(name)
        method: Any = new
        if isinstance(before, Pruned):
            old = before.method
            method = PruningContainer(*(old if isinstance(old, PruningContainer) else (old,)))
            method.add_pruning_method(new)
        elif name not in module._parameters:
            raise refusal("prune", "name must be a parameter of the module", {"name": name})
        weight = jnp.asarray(getattr(module, name))
        scores = weight if importance_scores is None else jnp.asarray(importance_scores)
        if scores.shape != weight.shape:
            got = {"importance_scores.shape": scores.shape, "shape": weight.shape}
            raise refusal("prune", "importance_scores must have the shape of the weight", got)
        default = getattr(module, f"{name}_mask") if isinstance(before, Pruned) else jnp.ones_like(weight)
        mask = method.compute_mask(scores, default_mask=default)
        if not isinstance(before, Pruned):
            attach("prune", module, name, Masked(), Pruned)
        setattr(module, f"{name}_mask", mask.astype(weight.dtype))
        held: Any = module._computed[name]
        module._computed[name] = Pruned(held.claim, held.leaf, method)
        changed(module)
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """Prunes an array.

        Args:
            t: the array.
            default_mask: what was pruned before; None: nothing.
            importance_scores: in the place of the array, of its shape.

        Returns:
            The array with zeros.

        Errors:
            ValueError: the scores have another shape.
        """
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            got = {"importance_scores.shape": scores.shape, "t.shape": t.shape}
            raise refusal("prune", "importance_scores must have the shape of t", got)
        return t * self.compute_mask(scores, default_mask=jnp.ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Makes the weight a parameter again, with its zeros.

        Args:
            module: that has it.
        """
        detach("prune.remove", module, self._tensor_name, Masked)


class PruningContainer(BasePruningMethod):
    """The methods that have pruned one weight, in their order; the last sees what the others have left.

    Args:
        *args: methods.
    """

    def __init__(self, *args: BasePruningMethod):
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Adds a method.

        Args:
            method: of the same weight.

        Errors:
            TypeError where it is none, ValueError where it is another weight's.
        """
        if not isinstance(method, BasePruningMethod):
            got = {"type": type(method).__name__}
            raise refusal("PruningContainer", "method must be a pruning method", got, kind=TypeError)
        if method._tensor_name != self._tensor_name:
            got = {"its weight": method._tensor_name, "weight": self._tensor_name}
            raise refusal("PruningContainer", "all methods must prune one weight", got)
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Lets the last method decide among what is left.

        Args:
            t: scores.
            default_mask: what was pruned before.

        Returns:
            Both masks in one.
        """
        method: Any = self._pruning_methods[-1]
        left: Any
        if method.PRUNING_TYPE == "unstructured":
            left = default_mask == 1
        elif method.PRUNING_TYPE == "structured":
            left = _slices_left(default_mask, method.dim)
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.ndim
        else:
            rule = "PRUNING_TYPE must be unstructured, structured or global"
            raise refusal("prune", rule, {"PRUNING_TYPE": method.PRUNING_TYPE})
        mask = jnp.asarray(default_mask, t.dtype)
        return mask.at[left].set(method.compute_mask(t[left], default_mask=default_mask[left]).astype(t.dtype))


def _slices_left(mask: jax.Array, dim: int) -> tuple[Any, ...]:
    axis = dim % mask.ndim
    alive = mask.any(tuple(other for other in range(mask.ndim) if other != axis))
    return (slice(None),) * axis + (alive,)


class Identity(BasePruningMethod):
    """Prunes nothing."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """What was pruned before."""
        del t
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes numbers that are drawn.

    Args:
        amount: a fraction, float, or a count, int.
    """

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float):
        check_amount(type(self).__name__, amount)
        self.amount = amount

    def scores(self, t: Any) -> jax.Array:
        """What ranks the numbers.

        Args:
            t: the weight.

        Returns:
            ``(t.size,)``.
        """
        return init.uniform(key_of(take_ticket()), (t.size,))

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Prunes the least by score."""
        n = how_many(type(self).__name__, self.amount, t.size)
        return default_mask * without_least(self.scores(t), n).reshape(t.shape).astype(t.dtype)


class L1Unstructured(RandomUnstructured):
    """Prunes the numbers of the least magnitude.

    Args:
        amount: a fraction, float, or a count, int.
    """

    def scores(self, t: Any) -> jax.Array:
        """The magnitudes."""
        return jnp.abs(t).reshape(-1)


class RandomStructured(BasePruningMethod):
    """Prunes slices that are drawn.

    Args:
        amount: a fraction, float, or a count, int.
        dim: axis of the slices.
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1):
        check_amount(type(self).__name__, amount)
        self.amount, self.dim = amount, dim

    def scores(self, t: Any) -> jax.Array:
        """What ranks the slices.

        Args:
            t: the weight.

        Returns:
            ``(t.shape[dim],)``.
        """
        return init.uniform(key_of(take_ticket()), (t.shape[self.dim],))

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Prunes the least by score."""
        op = type(self).__name__
        if t.ndim < 2:
            raise refusal(op, "the weight must have two axes or more", {"shape": t.shape})
        if not -t.ndim <= self.dim < t.ndim:
            got = {"dim": self.dim, "shape": t.shape}
            raise refusal(op, "dim must be an axis of the weight", got, kind=IndexError)
        keep = without_least(self.scores(t), how_many(op, self.amount, t.shape[self.dim]))
        axes = [axis for axis in range(t.ndim) if axis != self.dim % t.ndim]
        return default_mask * jnp.expand_dims(keep, axes).astype(t.dtype)


class LnStructured(RandomStructured):
    """Prunes the slices of the least norm.

    Args:
        amount: a fraction, float, or a count, int.
        n: exponent of the norm.
        dim: axis of the slices.
    """

    def __init__(self, amount: float, n: float, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def scores(self, t: Any) -> jax.Array:
        """The norms."""
        return channel_norms(t, self.n, self.dim)


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask.

    Args:
        mask: 0 for what is pruned.
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any):
        self.mask = jnp.asarray(mask)

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Both masks in one."""
        del t
        return default_mask * self.mask.astype(default_mask.dtype)
