"""Weight normalisation: a weight's length apart from its direction."""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn.errors import refusal
from purenn.functional.distance import vector_norm, wide_dtype
from purenn.model import Leaf, Model
from purenn.tree import Where
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain


@dataclass(frozen=True)
class WeightNorm(Parametrization):
    """``w = g v / ‖v‖``; ``original0`` is g, ``original1`` is v (see `weight_norm`).

    Args:
        dim: the axis whose slices have lengths of their own; None or -1: one length for all.

    Torch:
        ``torch.nn.utils.parametrizations.weight_norm``.
    """

    dim: int | None = 0

    def fit(self, weight: Leaf) -> Self:
        """Checks that the axis is there."""
        check_axis("weight_norm", 0 if self.dim is None else self.dim, weight)
        return self

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Computes the weight from g and v."""
        del m
        g, v = args
        return F.weight_norm(v, g, self.dim)

    def right_inverse(self, m: Any, weight: Any) -> tuple[jax.Array, jax.Array]:
        """The lengths of the weight, and the weight."""
        del m
        if self.dim in (None, -1):
            return _norm(weight, tuple(range(weight.ndim)), False), weight
        kept = self.dim % weight.ndim
        return _norm(weight, tuple(axis for axis in range(weight.ndim) if axis != kept), True), weight


@dataclass(frozen=True)
class OldWeightNorm(WeightNorm):
    """`WeightNorm` under the names ``weight_g`` and ``weight_v``.

    Torch:
        ``torch.nn.utils.weight_norm``.
    """

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """The older names."""
        del i
        return f"{name}_{'gv'[int(array[-1])]}"


def _norm(weight: Any, axes: tuple[int, ...], keepdims: bool) -> jax.Array:
    wide = jnp.asarray(weight, wide_dtype(weight.dtype))
    return vector_norm(wide, 2, axes, keepdims=keepdims).astype(weight.dtype)


def check_axis(op: str, dim: int, weight: Leaf) -> None:
    """Refuses, with an IndexError, what is no axis of a weight.

    Args:
        op: name of the caller.
        dim: the axis.
        weight: its declaration.
    """
    if not -len(weight.shape) <= dim < max(len(weight.shape), 1):
        raise refusal(op, "dim must be an axis of the weight", {"dim": dim, "shape": weight.shape}, kind=IndexError)


def weight_norm(model: Model, where: Where, dim: int | None = 0) -> Parametrized:
    """Trains the length of chosen weights apart from their direction: ``w = g v / ‖v‖``.

    Args:
        model: any model.
        where: which params (see `purenn.tree`).
        dim: the axis whose slices have lengths of their own; None or -1: one length for the whole weight.

    Returns:
        The model; g and v are ``layer.parametrizations.weight.original0`` and ``original1``.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing; IndexError where dim is no axis.

    Source:
        Salimans & Kingma 2016 (arXiv:1602.07868).

    Torch:
        ``torch.nn.utils.parametrizations.weight_norm``.
    """
    return apply_chain("weight_norm", model, where, WeightNorm(dim))
