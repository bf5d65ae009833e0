"""Attention modules: adapters of purenn.layers.attention."""

from typing import Any

from purenn import layers as L
from purenn.layers import attention as A
from stateful.linear import Linear
from stateful.module import Module


class NonDynamicallyQuantizableLinear(Linear):
    """The last projection of `MultiheadAttention`; see `purenn.layers.attention.NonDynamicallyQuantizableLinear`."""

    pure = A.NonDynamicallyQuantizableLinear


class MultiheadAttention(Module):
    """Attention in several heads, with its projections; see `purenn.layers.MultiheadAttention`."""

    pure = L.MultiheadAttention

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        options = dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, dtype
        super().__init__(L.MultiheadAttention(embed_dim, num_heads, *options), device=device)

    @property
    def head_dim(self) -> int:
        """Length of a query in one head."""
        return self.embed_dim // self.num_heads
