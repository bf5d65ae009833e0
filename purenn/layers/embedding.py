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


@dataclass(frozen=True)
class Embedding(Layer):
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

    def __post_init__(self) -> None:
        check_sizes("Embedding", num_embeddings=self.num_embeddings, embedding_dim=self.embedding_dim)
        index, rows = self.padding_idx, self.num_embeddings
        if index is not None:
            if not -rows <= index < rows:
                got = {"padding_idx": index, "num_embeddings": rows}
                raise refusal("Embedding", "padding_idx must be one of the rows", got)
            object.__setattr__(self, "padding_idx", index % rows)

    def children(self) -> Mapping[str, Any]:
        """``weight`` (num_embeddings, embedding_dim), N(0, 1)."""
        shape = (self.num_embeddings, self.embedding_dim)
        return {"weight": param(_rows, shape, self.dtype, padding_idx=self.padding_idx)}

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*) of integers -> (*, embedding_dim)``."""
        options = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return F.embedding(input, m.weight, *options)
