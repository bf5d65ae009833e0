"""Attention with its projections, as a layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from purenn import functional as F
from purenn import init
from purenn.errors import refusal
from purenn.layers.linear import Linear
from purenn.model import Layer, param


@dataclass(frozen=True)
class NonDynamicallyQuantizableLinear(Linear):
    """The last projection of `MultiheadAttention`: a `Linear` whose bias starts at 0.

    Args:
        in_features: length of the last axis of the input.
        out_features: length of the last axis of the output.
        bias: whether there is a bias.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.modules.linear.NonDynamicallyQuantizableLinear``, whose bias torch sets to 0 from outside.
    """

    def children(self) -> Mapping[str, Any]:
        """``weight`` (out_features, in_features), as in `Linear`, and ``bias`` (out_features,), 0."""
        bias = param(init.zeros, (self.out_features,), self.dtype) if self.bias else None
        return {**super().children(), "bias": bias}


@dataclass(frozen=True)
class MultiheadAttention(Layer):
    """Lets every query attend to the keys, in several heads at once, and projects what they find.

    Args:
        embed_dim: E, length of a query.
        num_heads: H, a divisor of E.
        dropout: probability for a weight to be dropped, in training.
        bias: whether the projections have biases.
        add_bias_kv: adds a learned key, and its value, to every sequence.
        add_zero_attn: adds a key and a value of zeros.
        kdim: length of a key; E by default.
        vdim: length of a value; E by default.
        batch_first: whether the batch is the first axis of inputs and output.
        dtype: of the arrays; float32 by default.

    Source:
        Vaswani et al., "Attention is all you need", 2017.

    Torch:
        ``torch.nn.MultiheadAttention``, the numbers of its general path (not of its inference kernels).
    """

    embed_dim: int
    num_heads: int
    dropout: float = 0.0
    bias: bool = True
    add_bias_kv: bool = False
    add_zero_attn: bool = False
    kdim: int | None = None
    vdim: int | None = None
    batch_first: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        E, H = self.embed_dim, self.num_heads
        if E <= 0 or H <= 0:
            got = {"embed_dim": E, "num_heads": H}
            raise refusal("MultiheadAttention", "embed_dim and num_heads must be positive", got)
        if E % H:
            got = {"embed_dim": E, "num_heads": H}
            raise refusal("MultiheadAttention", "num_heads must divide embed_dim", got)
        for name in ("kdim", "vdim"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, E)

    @property
    def head_dim(self) -> int:
        """Length of a query in one head."""
        return self.embed_dim // self.num_heads

    def children(self) -> Mapping[str, Any]:
        """``in_proj_weight`` (3 E, E), or ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight``; biases; out_proj."""
        E, dtype = self.embed_dim, self.dtype
        joined = self.kdim == self.vdim == E
        sizes: dict[str, Any] = {"q": E, "k": self.kdim, "v": self.vdim}
        added = param(init.xavier_normal, (1, 1, E), dtype) if self.add_bias_kv else None
        return {
            "in_proj_weight": param(init.xavier_uniform, (3 * E, E), dtype) if joined else None,
            **{
                f"{name}_proj_weight": None if joined else param(init.xavier_uniform, (E, size), dtype)
                for name, size in sizes.items()
            },
            "in_proj_bias": param(init.zeros, (3 * E,), dtype) if self.bias else None,
            "bias_k": added,
            "bias_v": added,
            "out_proj": NonDynamicallyQuantizableLinear(E, E, self.bias, dtype),
        }

    def forward(
        self,
        m: Any,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        key_padding_mask: jax.Array | None = None,
        need_weights: bool = True,
        attn_mask: jax.Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """``(L, N, E), (S, N, kdim), (S, N, vdim) -> (L, N, E)`` and the weights ``(N, L, S)``, without N if unbatched.

        Args:
            m: the layer with its arrays.
            query: ``(L, N, E)``, ``(N, L, E)`` with ``batch_first``, or ``(L, E)``.
            key: ``(S, N, kdim)``, laid out as ``query``.
            value: ``(S, N, vdim)``, laid out as ``query``.
            key_padding_mask: ``(N, S)``; True masks the key, a floating one is added.
            need_weights: returns the weights, instead of None.
            attn_mask: ``(L, S)`` or ``(N H, L, S)``; True masks, a floating one is added.
            average_attn_weights: returns the mean of the weights over the heads, not all ``(N, H, L, S)``.
            is_causal: says that ``attn_mask`` is the causal mask.

        Returns:
            The output, laid out as ``query``, and the weights or None.
        """
        swaps = self.batch_first and query.ndim == 3
        if swaps:  # what is one array stays one: its three projections are then one product
            batch_second = {id(x): x.swapaxes(0, 1) for x in (query, key, value)}
            query, key, value = (batch_second[id(x)] for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, m.in_proj_weight, m.in_proj_bias, m.bias_k, m.bias_v,
            self.add_zero_attn, self.dropout, m.out_proj.weight, m.out_proj.bias, m.training, key_padding_mask,
            need_weights, attn_mask, m.in_proj_weight is None, m.q_proj_weight, m.k_proj_weight, m.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
            rng=m.rng() if m.training and 0 < self.dropout < 1 else None,
        )  # fmt: skip
        return out.swapaxes(0, 1) if swaps else out, weights
