"""Lookup modules: adapters of purenn.layers.embedding."""

from typing import Any

from purenn import layers as L
from purenn.errors import refusal
from stateful.module import Module
from stateful.parameter import Parameter


class Embedding(Module):
    """Rows of a table by index; see `purenn.layers.Embedding`."""

    pure = L.Embedding

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        options = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, dtype
        super().__init__(L.Embedding(num_embeddings, embedding_dim, *options), device=device)
        if _weight is not None:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                got = {"_weight.shape": tuple(_weight.shape)}
                raise refusal("Embedding", "_weight must be (num_embeddings, embedding_dim)", got)
            self.weight = Parameter(_weight)
        self.requires_grad_(not _freeze)

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **options: Any) -> "Embedding":
        """Makes a module of a table.

        Args:
            embeddings: ``(num_embeddings, embedding_dim)``.
            freeze: whether it is not trained.
            **options: of the constructor.

        Returns:
            The module.

        Errors:
            ValueError: the table is not 2-D.
        """
        if len(embeddings.shape) != 2:
            raise refusal("from_pretrained", "embeddings must be 2-D", {"embeddings.shape": tuple(embeddings.shape)})
        rows, length = embeddings.shape
        return cls(rows, length, _weight=embeddings, _freeze=freeze, **options)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        text += f", max_norm={self.max_norm}" if self.max_norm is not None else ""
        text += f", norm_type={self.norm_type}" if self.norm_type != 2 else ""
        text += f", scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else ""
        return text + (", sparse=True" if self.sparse else "")
