"""prune: weights with zeros that stay."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn import init
from purenn.errors import refusal
from purenn.functional.distance import vector_norm
from purenn.model import Leaf, Model, buffer
from purenn.tree import Where
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain


def check_amount(op: str, amount: Any) -> None:
    """Refuses what is neither a fraction nor a count.

    Args:
        op: name of the caller.
        amount: to be checked.
    """
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise refusal(op, "amount must be a fraction or a whole number", {"amount": amount}, kind=TypeError)
    if not 0 <= amount <= (math.inf if isinstance(amount, int) else 1):
        raise refusal(op, "amount must lie in [0, 1], or be a count", {"amount": amount})


def how_many(op: str, amount: float, size: int) -> int:
    """The number of things to prune.

    Args:
        op: name of the caller.
        amount: a fraction, float, or a count, int.
        size: how many things there are.

    Returns:
        At most ``size``.

    Errors:
        ValueError: the count is larger.
    """
    if isinstance(amount, int) and amount > size:
        raise refusal(op, "amount must be at most what there is to prune", {"amount": amount, "size": size})
    return amount if isinstance(amount, int) else round(amount * size)


def without_least(scores: jax.Array, n: int) -> jax.Array:
    """Marks all but the n least.

    Args:
        scores: ``(size,)``.
        n: how many.

    Returns:
        ``(size,)``, 0 for the n least, 1 for the others.
    """
    order = jnp.argsort(scores)
    return jnp.ones(scores.shape, jnp.int32).at[order[:n]].set(0)


def channel_norms(weight: jax.Array, n: float, dim: int) -> jax.Array:
    """The norm of each slice.

    Args:
        weight: any shape.
        n: exponent of the norm.
        dim: the axis of the slices.

    Returns:
        ``(weight.shape[dim],)``.
    """
    kept = dim % weight.ndim
    return vector_norm(weight, n, tuple(axis for axis in range(weight.ndim) if axis != kept))


@dataclass(frozen=True)
class Masked(Parametrization):
    """``mask * weight``, with the mask among the buffers; it begins as 1.

    Args:
        shape: of the weight; filled in by `fit`.
        dtype: of the weight; filled in by `fit`.
    """

    constant: ClassVar[bool] = True

    shape: tuple[int, ...] = ()
    dtype: Any = None

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape."""
        return replace(self, shape=weight.shape, dtype=weight.dtype)

    def children(self) -> Mapping[str, Any]:
        """Names the mask."""
        return {"mask": buffer(init.ones, self.shape, self.dtype)}

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Masks the weight."""
        return m.mask * args[0]

    def right_inverse(self, m: Any, weight: Any) -> Any:
        """The weight itself."""
        del m
        return weight

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """The names of torch.nn.utils.prune."""
        return f"{name}_orig" if i is None else f"{name}_{array}"


@dataclass(frozen=True)
class Prune(Masked):
    """A mask that is decided by the first weight (see `prune`).

    Args:
        amount: fraction, or count, of what is pruned.
        method: ``"magnitude"`` or ``"random"``.
        dim: axis whose slices are pruned as a whole; None: single numbers.
        n: exponent of the norm that ranks slices.
    """

    amount: float = 0.5
    method: str = "magnitude"
    dim: int | None = None
    n: float = 2

    def __post_init__(self) -> None:
        check_amount("prune", self.amount)
        if self.method not in ("magnitude", "random"):
            raise refusal("prune", "method must be magnitude or random", {"method": self.method})

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape; there must be enough to prune."""
        if self.dim is not None and not -len(weight.shape) <= self.dim < len(weight.shape):
            rule = "dim must be an axis of the weight"
            raise refusal("prune", rule, {"dim": self.dim, "shape": weight.shape}, kind=IndexError)
        fitted = super().fit(weight)
        how_many("prune", self.amount, fitted._size)
        return fitted

    @property
    def _size(self) -> int:
        return math.prod(self.shape) if self.dim is None else self.shape[self.dim]

    def begin(self, m: Any, weight: Any) -> None:
        """Decides what is pruned."""
        if self.method == "random":
            scores = init.uniform(m.rng(), (self._size,))
        else:
            scores = jnp.abs(weight).reshape(-1) if self.dim is None else channel_norms(weight, self.n, self.dim)
        keep = without_least(scores, how_many("prune", self.amount, self._size)).astype(weight.dtype)
        if self.dim is None:
            m.mask = keep.reshape(weight.shape)
        else:
            axes = [axis for axis in range(weight.ndim) if axis != self.dim % weight.ndim]
            m.mask = jnp.broadcast_to(jnp.expand_dims(keep, axes), weight.shape)


def prune(
    model: Model, where: Where, amount: float, method: str = "magnitude", dim: int | None = None, n: float = 2
) -> Parametrized:
    """Sets a part of chosen weights to 0, and keeps it so in training.

    Args:
        model: any model.
        where: which params (see `purenn.tree`).
        amount: what is pruned of each weight: a fraction, float, or a count, int.
        method: ``"magnitude"`` prunes the least, ``"random"`` draws.
        dim: axis whose slices, for example output channels, are pruned as a whole; None prunes single numbers.
        n: exponent of the norm that ranks slices.

    Returns:
        The model; ``layer.weight_orig`` is trained, ``layer.weight_mask`` a buffer. What is pruned is decided by `init`
        and ``from_plain``: to prune what was trained, ``prune(model, ...).from_plain(params, buffers)``.

    Errors:
        TypeError for what is no model, or no amount; ValueError where ``where`` matches nothing, or there is not that
        much to prune; IndexError where dim is no axis.

    Torch:
        ``l1_unstructured``, ``random_unstructured``, ``ln_structured`` and ``random_structured`` of
        ``torch.nn.utils.prune``.
    """
    return apply_chain("prune", model, where, Prune(amount=amount, method=method, dim=dim, n=n))
