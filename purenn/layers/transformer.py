"""The Transformer family: attention and feed-forward blocks, stacks of them, and the two stacks together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
from purenn.layers.attention import MultiheadAttention
from purenn.layers.dropout import Dropout
from purenn.layers.linear import Linear
from purenn.layers.normalization import LayerNorm
from purenn.model import Buffers, Layer, Model, Params
from purenn.random import as_key, fold_name

_ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {"relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class _Block(Layer):
    """What the encoder's and the decoder's layer share."""

    d_model: int
    nhead: int
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: Any = F.relu
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True
    dtype: Any = None

    def __post_init__(self) -> None:
        name, given = type(self).__name__, self.activation
        check_sizes(name, d_model=self.d_model, dim_feedforward=self.dim_feedforward)
        if isinstance(given, str) and given in _ACTIVATIONS:
            object.__setattr__(self, "activation", _ACTIVATIONS[given])
        elif isinstance(given, type) or not (callable(given) or isinstance(given, Model)):
            got = {"activation": given.__name__ if isinstance(given, type) else given}
            raise refusal(name, "activation must be 'relu', 'gelu', a function or a model", got)

    def _attention(self) -> MultiheadAttention:
        options = {"bias": self.bias, "batch_first": self.batch_first, "dtype": self.dtype}
        return MultiheadAttention(self.d_model, self.nhead, self.dropout, **options)

    def _rest(self, count: int) -> dict[str, Any]:
        """Everything but the attention, with ``count`` norms and dropouts."""
        E, hidden, numbers = self.d_model, self.dim_feedforward, range(1, count + 1)
        return {
            "linear1": Linear(E, hidden, self.bias, self.dtype),
            "dropout": Dropout(self.dropout),
            "linear2": Linear(hidden, E, self.bias, self.dtype),
            **{f"norm{i}": LayerNorm(E, self.layer_norm_eps, bias=self.bias, dtype=self.dtype) for i in numbers},
            **{f"dropout{i}": Dropout(self.dropout) for i in numbers},
            **({"activation": self.activation} if isinstance(self.activation, Model) else {}),
        }

    def _add(self, norm: Callable[..., jax.Array], x: jax.Array, block: Callable[..., jax.Array]) -> jax.Array:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))


def _feed_forward(m: Any, x: jax.Array) -> jax.Array:
    return m.linear2(m.dropout(m.activation(m.linear1(x))))


@dataclass(frozen=True)
class TransformerEncoderLayer(_Block):
    """Self-attention and a feed-forward network, each added to its input and normalised.

    Args:
        d_model: E, length of a feature vector.
        nhead: number of heads, a divisor of E.
        dim_feedforward: hidden length of the feed-forward network.
        dropout: probability of a number to be dropped, in training.
        activation: of the feed-forward network: ``"relu"``, ``"gelu"``, a function, or a model, which becomes a child.
        layer_norm_eps: added to the variance by the norms.
        batch_first: whether the batch is the first axis.
        norm_first: normalises what goes into a block, not the sum that comes out.
        bias: whether projections and norms have biases.
        dtype: of the arrays; float32 by default.

    Source:
        Vaswani et al., "Attention is all you need", 2017; ``norm_first``: Xiong et al. 2020 (arXiv:2002.04745).

    Torch:
        ``torch.nn.TransformerEncoderLayer``, the numbers of its general path (not of its inference kernels).
    """

    def children(self) -> Mapping[str, Any]:
        """``self_attn``, ``linear1``, ``dropout``, ``linear2``, ``norm1``, ``norm2``, ``dropout1``, ``dropout2``."""
        return {"self_attn": self._attention(), **self._rest(2)}

    def forward(
        self,
        m: Any,
        src: jax.Array,
        src_mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        is_causal: bool = False,
    ) -> jax.Array:
        """``(S, N, E) -> (S, N, E)``, ``(N, S, E)`` with ``batch_first``, or ``(S, E)``.

        Args:
            m: the layer with its arrays.
            src: the sequence.
            src_mask: ``(S, S)`` or ``(N H, S, S)``; True masks, a floating one is added.
            src_key_padding_mask: ``(N, S)``; likewise.
            is_causal: says that ``src_mask`` is the causal mask.

        Returns:
            As ``src``.
        """
        masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask, "is_causal": is_causal}
        x = self._add(m.norm1, src, lambda x: m.dropout1(m.self_attn(x, x, x, need_weights=False, **masks)[0]))
        return self._add(m.norm2, x, lambda x: m.dropout2(_feed_forward(m, x)))


@dataclass(frozen=True)
class TransformerDecoderLayer(_Block):
    """Self-attention, attention to the encoder's output and a feed-forward network, each added and normalised.

    Args:
        d_model: E, length of a feature vector.
        nhead: number of heads, a divisor of E.
        dim_feedforward: hidden length of the feed-forward network.
        dropout: probability of a number to be dropped, in training.
        activation: of the feed-forward network: ``"relu"``, ``"gelu"``, a function, or a model, which becomes a child.
        layer_norm_eps: added to the variance by the norms.
        batch_first: whether the batch is the first axis.
        norm_first: normalises what goes into a block, not the sum that comes out.
        bias: whether projections and norms have biases.
        dtype: of the arrays; float32 by default.

    Source:
        Vaswani et al., "Attention is all you need", 2017; ``norm_first``: Xiong et al. 2020 (arXiv:2002.04745).

    Torch:
        ``torch.nn.TransformerDecoderLayer``, identical.
    """

    def children(self) -> Mapping[str, Any]:
        """``self_attn``, ``multihead_attn``, ``linear1``, ``dropout``, ``linear2``, three norms, three dropouts."""
        return {"self_attn": self._attention(), "multihead_attn": self._attention(), **self._rest(3)}

    def forward(
        self,
        m: Any,
        tgt: jax.Array,
        memory: jax.Array,
        tgt_mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        tgt_key_padding_mask: jax.Array | None = None,
        memory_key_padding_mask: jax.Array | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> jax.Array:
        """``(T, N, E), (S, N, E) -> (T, N, E)``, N first with ``batch_first``, or without N.

        Args:
            m: the layer with its arrays.
            tgt: the sequence.
            memory: what the encoder made of the other one.
            tgt_mask: ``(T, T)`` or ``(N H, T, T)``; True masks, a floating one is added.
            memory_mask: ``(T, S)`` or ``(N H, T, S)``; likewise.
            tgt_key_padding_mask: ``(N, T)``; likewise.
            memory_key_padding_mask: ``(N, S)``; likewise.
            tgt_is_causal: says that ``tgt_mask`` is the causal mask.
            memory_is_causal: says that ``memory_mask`` is.

        Returns:
            As ``tgt``.
        """
        own = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask, "is_causal": tgt_is_causal}
        other = {"attn_mask": memory_mask, "key_padding_mask": memory_key_padding_mask, "is_causal": memory_is_causal}

        def read(x: jax.Array) -> jax.Array:
            return m.dropout2(m.multihead_attn(x, memory, memory, need_weights=False, **other)[0])

        x = self._add(m.norm1, tgt, lambda x: m.dropout1(m.self_attn(x, x, x, need_weights=False, **own)[0]))
        x = self._add(m.norm2, x, read)
        return self._add(m.norm3, x, lambda x: m.dropout3(_feed_forward(m, x)))


@dataclass(frozen=True)
class Copies(Layer):
    """Several copies of one model that start with the same numbers, named ``"0"``, ``"1"``, ...; a list, not called.

    Args:
        layer: the model.
        count: how many.
    """

    layer: Any
    count: int

    def children(self) -> Mapping[str, Any]:
        """The copies."""
        return {str(i): self.layer for i in range(self.count)}

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws one of them, and repeats it."""
        if self.count == 0:
            return {}, {}
        one = self.layer.init(fold_name(as_key("Copies.init", rng), "0"))
        params, buffers = (
            {str(i): jax.tree.map(jnp.copy, tree) for i in range(self.count)} if tree else {} for tree in one
        )
        return params, buffers


@dataclass(frozen=True)
class TransformerEncoder(Layer):
    """Applies copies of a layer in sequence, and a norm to the result.

    Args:
        encoder_layer: the layer, usually a `TransformerEncoderLayer`; its copies start with the same numbers.
        num_layers: how many.
        norm: a model for the result.
        enable_nested_tensor: accepted for torch's sake; there are no nested tensors.
        mask_check: accepted for torch's sake.

    Torch:
        ``torch.nn.TransformerEncoder``, the numbers of its general path: where torch's inference kernels take over,
        they put out 0 at padded positions.
    """

    encoder_layer: Any
    num_layers: int
    norm: Any = None
    enable_nested_tensor: bool = True
    mask_check: bool = True

    def __post_init__(self) -> None:
        _check_stack("TransformerEncoder", "encoder_layer", self.encoder_layer, self.num_layers)

    def children(self) -> Mapping[str, Any]:
        """``layers`` and ``norm``."""
        return {"layers": Copies(self.encoder_layer, self.num_layers), "norm": self.norm}

    def forward(
        self,
        m: Any,
        src: jax.Array,
        mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        is_causal: bool | None = None,
    ) -> jax.Array:
        """``(S, N, E) -> (S, N, E)``, ``(N, S, E)`` with ``batch_first``, or ``(S, E)``.

        Args:
            m: the layer with its arrays.
            src: the sequence.
            mask: ``(S, S)`` or ``(N H, S, S)``; True masks, a floating one is added.
            src_key_padding_mask: ``(N, S)``; likewise.
            is_causal: says that ``mask`` is the causal mask; None says nothing.

        Returns:
            As ``src``.
        """
        for layer in m.layers:
            src = layer(src, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask)
        return src if m.norm is None else m.norm(src)


@dataclass(frozen=True)
class TransformerDecoder(Layer):
    """Applies copies of a layer in sequence, each reading the same memory, and a norm to the result.

    Args:
        decoder_layer: the layer, usually a `TransformerDecoderLayer`; its copies start with the same numbers.
        num_layers: how many.
        norm: a model for the result.

    Torch:
        ``torch.nn.TransformerDecoder``, identical.
    """

    decoder_layer: Any
    num_layers: int
    norm: Any = None

    def __post_init__(self) -> None:
        _check_stack("TransformerDecoder", "decoder_layer", self.decoder_layer, self.num_layers)

    def children(self) -> Mapping[str, Any]:
        """``layers`` and ``norm``."""
        return {"layers": Copies(self.decoder_layer, self.num_layers), "norm": self.norm}

    def forward(
        self,
        m: Any,
        tgt: jax.Array,
        memory: jax.Array,
        tgt_mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        tgt_key_padding_mask: jax.Array | None = None,
        memory_key_padding_mask: jax.Array | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> jax.Array:
        """``(T, N, E), (S, N, E) -> (T, N, E)``, N first with ``batch_first``, or without N.

        Args:
            m: the layer with its arrays.
            tgt: the sequence.
            memory: what the encoder made of the other one.
            tgt_mask: ``(T, T)`` or ``(N H, T, T)``; True masks, a floating one is added.
            memory_mask: ``(T, S)`` or ``(N H, T, S)``; likewise.
            tgt_key_padding_mask: ``(N, T)``; likewise.
            memory_key_padding_mask: ``(N, S)``; likewise.
            tgt_is_causal: says that ``tgt_mask`` is the causal mask; None says nothing.
            memory_is_causal: says that ``memory_mask`` is.

        Returns:
            As ``tgt``.
        """
        for layer in m.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return tgt if m.norm is None else m.norm(tgt)


def _check_stack(op: str, name: str, layer: Any, count: Any) -> None:
    if isinstance(layer, type) or not isinstance(layer, Model):
        got = {name: layer.__name__ if isinstance(layer, type) else type(layer).__name__}
        raise refusal(op, f"{name} must be a model", got, kind=TypeError)
    check_sizes(op, num_layers=count)


@dataclass(frozen=True)
class Transformer(Layer):
    """An encoder, and a decoder that reads what it makes of the source.

    Args:
        d_model: E, length of a feature vector.
        nhead: number of heads, a divisor of E.
        num_encoder_layers: how many layers the encoder has.
        num_decoder_layers: how many layers the decoder has.
        dim_feedforward: hidden length of the feed-forward networks.
        dropout: probability of a number to be dropped, in training.
        activation: of the feed-forward networks: ``"relu"``, ``"gelu"``, a function or a model.
        custom_encoder: a model to be the encoder.
        custom_decoder: a model to be the decoder.
        layer_norm_eps: added to the variance by the norms.
        batch_first: whether the batch is the first axis.
        norm_first: normalises what goes into a block, not the sum that comes out.
        bias: whether projections and norms have biases.
        dtype: of the arrays; float32 by default.

    Source:
        Vaswani et al., "Attention is all you need", 2017.

    Torch:
        ``torch.nn.Transformer``, the numbers of its general path; every matrix starts as Xavier's uniform one.
    """

    d_model: int = 512
    nhead: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: Any = F.relu
    custom_encoder: Any = None
    custom_decoder: Any = None
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True
    dtype: Any = None

    def children(self) -> Mapping[str, Any]:
        """``encoder`` and ``decoder``."""
        block = (
            self.d_model, self.nhead, self.dim_feedforward, self.dropout, self.activation, self.layer_norm_eps,
            self.batch_first, self.norm_first, self.bias, self.dtype,
        )  # fmt: skip
        norm = LayerNorm(self.d_model, self.layer_norm_eps, bias=self.bias, dtype=self.dtype)
        encoder, decoder = self.custom_encoder, self.custom_decoder
        if encoder is None:
            encoder = TransformerEncoder(TransformerEncoderLayer(*block), self.num_encoder_layers, norm)
        if decoder is None:
            decoder = TransformerDecoder(TransformerDecoderLayer(*block), self.num_decoder_layers, norm)
        return {"encoder": encoder, "decoder": decoder}

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws the children, then every matrix anew from its own key."""
        params, buffers = super().init(rng)
        return _redraw_matrices(params, as_key("Transformer.init", rng)), buffers

    def forward(
        self,
        m: Any,
        src: jax.Array,
        tgt: jax.Array,
        src_mask: jax.Array | None = None,
        tgt_mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        src_key_padding_mask: jax.Array | None = None,
        tgt_key_padding_mask: jax.Array | None = None,
        memory_key_padding_mask: jax.Array | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> jax.Array:
        """``(S, N, E), (T, N, E) -> (T, N, E)``, N first with ``batch_first``, or without N.

        Args:
            m: the layer with its arrays.
            src: the sequence to the encoder.
            tgt: the sequence to the decoder.
            src_mask: ``(S, S)`` or ``(N H, S, S)``; True masks, a floating one is added.
            tgt_mask: ``(T, T)`` or ``(N H, T, T)``; likewise.
            memory_mask: ``(T, S)`` or ``(N H, T, S)``; likewise.
            src_key_padding_mask: ``(N, S)``; likewise.
            tgt_key_padding_mask: ``(N, T)``; likewise.
            memory_key_padding_mask: ``(N, S)``; likewise.
            src_is_causal: says that ``src_mask`` is the causal mask; None says nothing.
            tgt_is_causal: says that ``tgt_mask`` is.
            memory_is_causal: says that ``memory_mask`` is.

        Returns:
            As ``tgt``.
        """
        got: dict[str, Any] = {"src.shape": src.shape, "tgt.shape": tgt.shape}
        batch = 0 if self.batch_first else 1
        if src.ndim == tgt.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise refusal("Transformer", "src and tgt must have the same batch", got)
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise refusal(
                "Transformer", "the last axis of src and tgt must be d_model", {**got, "d_model": self.d_model}
            )
        memory = m.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return m.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> jax.Array:
        """Makes the causal mask: 0 on and below the diagonal, -inf above.

        Args:
            sz: length of the sequence.
            device: where it lies.
            dtype: of the mask; float32 by default.

        Returns:
            ``(sz, sz)``, to be added.
        """
        mask = jnp.triu(jnp.full((sz, sz), -jnp.inf, jnp.float32 if dtype is None else dtype), 1)
        return mask if device is None else jax.device_put(mask, device)


def _redraw_matrices(params: Params, rng: jax.Array) -> Params:
    def draw(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _redraw_matrices(dict(value), fold_name(rng, name))
        return init.xavier_uniform(fold_name(rng, name), value.shape, value.dtype) if value.ndim > 1 else value

    return {name: draw(name, value) for name, value in params.items()}
