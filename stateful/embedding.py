"""Lookup modules: adapters of purenn.layers.embedding."""

from typing import Any

from purenn import layers as L
from purenn.errors import refusal
from stateful.module import Module
from stateful.parameter import Parameter


class _Table(Module):
    def _begin(self, weight: Any, trained: bool) -> None:
        """Takes the table that the constructor was given."""
        if weight is not None:
            if tuple(weight.shape) != (self.num_embeddings, self.embedding_dim):
                got = {"_weight.shape": tuple(weight.shape)}
                raise refusal(type(self).__name__, "_weight must be (num_embeddings, embedding_dim)", got)
            self.weight = Parameter(weight)
        self.requires_grad_(trained)

    @classmethod
    def _of(cls, embeddings: Any, freeze: bool, **options: Any) -> Any:
        if len(embeddings.shape) != 2:
            raise refusal("from_pretrained", "embeddings must be 2-D", {"embeddings.shape": tuple(embeddings.shape)})
        rows, length = embeddings.shape
        make: Any = cls
        return make(rows, length, _weight=embeddings, **options).requires_grad_(not freeze)


class Embedding(_Table):
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
        self._begin(_weight, not _freeze)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> "Embedding":
        """Makes a module of a table.

        Args:
            embeddings: ``(num_embeddings, embedding_dim)``.
            freeze: whether it is not trained.
            padding_idx: as in the constructor.
            max_norm: as in the constructor.
            norm_type: as in the constructor.
            scale_grad_by_freq: as in the constructor.
            sparse: as in the constructor.

        Returns:
            The module.

        Errors:
            ValueError: the table is not 2-D.
        """
        options = {"max_norm": max_norm, "norm_type": norm_type, "scale_grad_by_freq": scale_grad_by_freq}
        return cls._of(embeddings, freeze, padding_idx=padding_idx, sparse=sparse, **options)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        text += f", max_norm={self.max_norm}" if self.max_norm is not None else ""
        text += f", norm_type={self.norm_type}" if self.norm_type != 2 else ""
        text += f", scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else ""
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """Sums, means or maxima of rows of a table; see `purenn.layers.EmbeddingBag`."""

    pure = L.EmbeddingBag

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ):
        options = max_norm, norm_type, scale_grad_by_freq, mode, sparse, include_last_offset, padding_idx, dtype
        super().__init__(L.EmbeddingBag(num_embeddings, embedding_dim, *options), device=device)
        self._begin(_weight, True)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> "EmbeddingBag":
        """Makes a module of a table.

        Args:
            embeddings: ``(num_embeddings, embedding_dim)``.
            freeze: whether it is not trained.
            max_norm: as in the constructor.
            norm_type: as in the constructor.
            scale_grad_by_freq: as in the constructor.
            mode: as in the constructor.
            sparse: as in the constructor.
            include_last_offset: as in the constructor.
            padding_idx: as in the constructor.

        Returns:
            The module.

        Errors:
            ValueError: the table is not 2-D.
        """
        options = {"max_norm": max_norm, "norm_type": norm_type, "scale_grad_by_freq": scale_grad_by_freq}
        bags = {"mode": mode, "include_last_offset": include_last_offset, "padding_idx": padding_idx}
        return cls._of(embeddings, freeze, sparse=sparse, **options, **bags)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += f", max_norm={self.max_norm}" if self.max_norm is not None else ""
        text += f", norm_type={self.norm_type}" if self.norm_type != 2 else ""
        text += f", scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else ""
        text += f", mode={self.mode!r}"
        return text + (f", padding_idx={self.padding_idx}" if self.padding_idx is not None else "")
