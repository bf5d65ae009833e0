"""Lookup tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
from purenn.model import Layer, param


def _rows(rng: Any, shape: tuple[int, int], dtype: Any, padding_idx: int | None) -> jax.Array:
    """Standard normal rows; that of ``padding_idx`` is 0."""
    weight = init.normal(rng, shape, dtype)
    return weight if padding_idx is None else jnp.where(jnp.arange(shape[0])[:, None] == padding_idx, 0, weight)


class _Table(Layer):
    """Rows to be looked up; what both layers share."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    dtype: Any

    def __post_init__(self) -> None:
        name, index, rows = type(self).__name__, self.padding_idx, self.num_embeddings
        check_sizes(name, num_embeddings=rows, embedding_dim=self.embedding_dim)
        if index is not None:
            if not -rows <= index < rows:
                got = {"padding_idx": index, "num_embeddings": rows}
                raise refusal(name, "padding_idx must be one of the rows", got)
            object.__setattr__(self, "padding_idx", index % rows)

    def children(self) -> Mapping[str, Any]:
        """``weight`` (num_embeddings, embedding_dim), N(0, 1)."""
        shape = (self.num_embeddings, self.embedding_dim)
        return {"weight": param(_rows, shape, self.dtype, padding_idx=self.padding_idx)}


@dataclass(frozen=True)
class Embedding(_Table):
    """Looks up rows of a table.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        padding_idx: a row that starts at 0 and gets no gradient; negative counts from the end.
        max_norm: rows looked up are scaled down to this norm.
        norm_type: p of that norm.
        scale_grad_by_freq: whether gradients are divided by how often a row is looked up in the call.
        sparse: accepted for torch's sake; gradients are dense.
        dtype: of the table; float32 by default.

    Torch:
        ``torch.nn.Embedding``, identical, but the table itself is not renormalised by ``max_norm``.
    """

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False
    dtype: Any = None

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*) of integers -> (*, embedding_dim)``."""
        options = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return F.embedding(input, m.weight, *options)


@dataclass(frozen=True)
class EmbeddingBag(_Table):
    """Looks up bags of rows of a table, and reduces each bag to its sum, mean or maximum.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        max_norm: rows looked up are scaled down to this norm.
        norm_type: p of that norm.
        scale_grad_by_freq: whether gradients are divided by how often a row is looked up in the call.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: accepted for torch's sake; gradients are dense.
        include_last_offset: whether offsets end with where the last bag stops.
        padding_idx: a row that starts at 0 and counts for nothing in a bag; negative counts from the end.
        dtype: of the table; float32 by default.

    Torch:
        ``torch.nn.EmbeddingBag``, identical, but the table itself is not renormalised by ``max_norm``.
    """

    num_embeddings: int
    embedding_dim: int
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    mode: str = "mean"
    sparse: bool = False
    include_last_offset: bool = False
    padding_idx: int | None = None
    dtype: Any = None

    def forward(
        self, m: Any, input: jax.Array, offsets: jax.Array | None = None, per_sample_weights: jax.Array | None = None
    ) -> jax.Array:
        """``(B, L)``, or ``(L,)`` cut into bags by ``offsets`` (B,), of integers -> ``(B, embedding_dim)``."""
        options = self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse
        bags = per_sample_weights, self.include_last_offset, self.padding_idx
        return F.embedding_bag(input, m.weight, offsets, *options, *bags)
