"""lora: a frozen weight, and a trained correction of low rank."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn import init
from purenn.errors import refusal
from purenn.model import Leaf, Model, param
from purenn.tree import Where
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain


def matrices(path: str, leaf: Leaf) -> bool:
    """A predicate for ``where``: floating weights of two axes or more.

    Args:
        path: of the leaf.
        leaf: its declaration.

    Returns:
        False for biases, and the weights of normalisations.
    """
    del path
    return len(leaf.one().shape) > 1 and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


@dataclass(frozen=True)
class LoRA(Parametrization):
    """``W + (alpha / rank) B A``, W frozen (see `lora`).

    Args:
        rank: of the correction; 0 leaves it out.
        alpha: its weight, ``rank`` if None.
        dropout: probability that an input feature of A is dropped in a call in training.
        rslora: whether it is divided by the square root of the rank instead.
        shape: of the weight; filled in by `fit`.
        dtype: of the weight; filled in by `fit`.
    """

    trains: ClassVar[bool] = False

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    rslora: bool = False
    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0:
            raise refusal("lora", "rank must be a whole number", {"rank": self.rank})
        if not 0 <= self.dropout < 1:
            raise refusal("lora", "dropout must lie in [0, 1)", {"dropout": self.dropout})

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape."""
        if len(weight.shape) < 2:
            remedy = "Choose the matrices of the model; where=None does."
            raise refusal("lora", "the weight must have two axes or more", {"shape": weight.shape}, remedy)
        return replace(self, shape=weight.shape, dtype=weight.dtype)

    @property
    def scaling(self) -> float:
        """What the product is multiplied by."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def children(self) -> Mapping[str, Any]:
        """Names the two factors: A is drawn, B begins as 0."""
        if not self.rank:
            return {}
        rows, *rest = self.shape
        tail = (1,) * (len(rest) - 1)  # a convolution's B has a kernel of 1
        return {
            "lora_A": param(init.kaiming_uniform, (self.rank, *rest), self.dtype, a=math.sqrt(5)),
            "lora_B": param(init.zeros, (rows, self.rank, *tail), self.dtype),
        }

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Computes the corrected weight."""
        (W,) = args
        return W + self._correction(m, m.training) if self.rank else W

    def right_inverse(self, m: Any, weight: Any) -> Any:
        """The weight without the correction."""
        return weight - self._correction(m, False) if self.rank else weight

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """The names of peft's adapter files; the weight stays where it was."""
        return name if i is None else f"{array}.{name}"

    def _correction(self, m: Any, train: bool) -> jax.Array:
        A, B = m.lora_A, m.lora_B
        if train and self.dropout:
            kept = jnp.ones((1, A.shape[1], *(1,) * (A.ndim - 2)), A.dtype)
            A = A * F.dropout(kept, self.dropout, True, rng=m.rng())
        BA = B.reshape(-1, self.rank) @ A.reshape(self.rank, -1)
        return (self.scaling * BA).reshape(self.shape).astype(self.dtype)


def lora(
    model: Model,
    where: Where | None = None,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    rslora: bool = False,
) -> Parametrized:
    """Freezes chosen weights and trains a correction of low rank: ``W + (alpha / rank) B A``.

    The correction begins as 0. Other params stay trained: freeze them first, ``lora(freeze(model, "*"), ...)``. On a
    quantised model, ``lora(quantize(model))``, the integers stay and the correction is added to what they stand for.

    Args:
        model: any model.
        where: which params (see `purenn.tree`), of two axes or more; None takes all that have them.
        rank: of the correction; with 0 there is none.
        alpha: weight of the correction; None is ``rank``, a factor of 1.
        dropout: probability that an input feature of A is dropped, for a whole call in training; wants ``rng``.
        rslora: whether the correction is divided by the square root of the rank, not by the rank.

    Returns:
        The model. ``layer.weight`` keeps its name, among the buffers; the factors are ``layer.lora_A.weight``
        ``(rank, in, ...)`` and ``layer.lora_B.weight`` ``(out, rank, ...)``. `merge` adds the correction in.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing, or a vector, or an option is out of
        range.

    Source:
        Hu et al. 2021 (arXiv:2106.09685); rslora: Kalajdzievski 2023 (arXiv:2312.03732).

    Torch:
        peft's ``LoraConfig``, with the names of its adapter files behind their prefix; differs in that dropout drops
        the same features for all of the batch.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> params, buffers = transforms.lora(L.Linear(30, 20), rank=2).init(jax.random.key(0))
    >>> sorted(params), sorted(buffers), params["lora_A"]["weight"].shape
    (['bias', 'lora_A', 'lora_B'], ['weight'], (2, 30))
    """
    return apply_chain("lora", model, matrices if where is None else where, LoRA(rank, alpha, dropout, rslora))
