"""Recurrent layers: stacks over whole sequences, and the cells that make one step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import jax

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
from purenn.functional.packed import PackedSequence
from purenn.model import Layer, Leaf, param


def _uniform(shape: tuple[int, ...], hidden_size: int, dtype: Any) -> Leaf:
    bound = 1 / math.sqrt(hidden_size) if hidden_size else 0.0
    return param(init.uniform, shape, dtype, a=-bound, b=bound)


class _Recurrent(Layer):
    """What the stacks share; the fields are theirs, in torch's order."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    dtype: Any
    proj_size: int = 0

    gates: ClassVar[int] = 1

    @property
    def mode(self) -> str:
        """Torch's name of the network."""
        return type(self).__name__

    def __post_init__(self) -> None:
        name = type(self).__name__
        sizes = {each: getattr(self, each) for each in ("input_size", "hidden_size", "num_layers")}
        check_sizes(name, **sizes, proj_size=self.proj_size)
        for each, size in sizes.items():
            if size == 0:
                raise refusal(name, f"{each} must be positive", {each: size})
        for each in ("bias", "batch_first"):
            if not isinstance(getattr(self, each), bool):
                raise refusal(name, f"{each} must be a bool", {each: getattr(self, each)}, kind=TypeError)
        p = self.dropout
        if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= p <= 1:
            raise refusal(name, "dropout must be a probability, between 0 and 1", {"dropout": p})
        if self.proj_size >= self.hidden_size:
            got = {"proj_size": self.proj_size, "hidden_size": self.hidden_size}
            raise refusal(name, "proj_size must be less than hidden_size", got)

    def children(self) -> Mapping[str, Any]:
        """Of each layer ``n`` and direction, all U(-1/√H, 1/√H) with H the hidden size and G the number of gates.

        ``weight_ih_l{n}`` (G H, H_in), ``weight_hh_l{n}`` (G H, H_out), ``bias_ih_l{n}`` and ``bias_hh_l{n}`` (G H,),
        ``weight_hr_l{n}`` (H_out, H) where h is projected; those of the second direction end in ``_reverse``.
        """
        H, rows = self.hidden_size, self.gates * self.hidden_size
        out, directions = self.proj_size or H, 1 + bool(self.bidirectional)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            for end in ("", "_reverse")[:directions]:
                shapes[f"weight_ih_l{layer}{end}"] = rows, directions * out if layer else self.input_size
                shapes[f"weight_hh_l{layer}{end}"] = rows, out
                if self.bias:
                    shapes[f"bias_ih_l{layer}{end}"] = shapes[f"bias_hh_l{layer}{end}"] = (rows,)
                if self.proj_size:
                    shapes[f"weight_hr_l{layer}{end}"] = out, H
        return {name: _uniform(shape, H, self.dtype) for name, shape in shapes.items()}

    def _run(self, run: Callable[..., Any], m: Any, input: Any, hx: Any, lengths: Any) -> tuple[Any, Any]:
        """Output and last state, the first laid out as the input."""
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            if lengths is not None:
                raise refusal(type(self).__name__, "lengths must be None with a PackedSequence, which has its own")
            input, lengths = packed.padded, packed.lengths
        arrays = [getattr(m, name) for name in self.children()]
        draws = m.training and self.num_layers > 1 and 0 < self.dropout < 1
        out, *last = run(
            input, hx, arrays, self.bias, self.num_layers, self.dropout, m.training, self.bidirectional,
            self.batch_first and packed is None, lengths=lengths, rng=m.rng() if draws else None,
        )  # fmt: skip
        return out if packed is None else packed.with_padded(out), last[0] if len(last) == 1 else tuple(last)


@dataclass(frozen=True)
class RNN(_Recurrent):
    """Runs an Elman network: ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    Args:
        input_size: H_in.
        hidden_size: H.
        num_layers: how many networks; each reads what the one before puts out.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis of input and output (not of the states).
        dropout: probability for a number between two layers to be dropped, in training.
        bidirectional: runs a second direction from the end.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.RNN``, identical; ``lengths`` are this library's.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_nonlinearity("RNN", self.nonlinearity)

    @property
    def mode(self) -> str:
        """Torch's name of the network."""
        return f"RNN_{self.nonlinearity.upper()}"

    def forward(
        self, m: Any, input: Any, hx: jax.Array | None = None, *, lengths: jax.Array | None = None
    ) -> tuple[Any, jax.Array]:
        """``(L, N, H_in) -> (L, N, D H)`` and the last states ``(D num_layers, N, H)``, D the number of directions.

        Args:
            m: the layer with its arrays.
            input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, ``(L, H_in)``, or a `PackedSequence`.
            hx: the first states ``(D num_layers, N, H)``; 0 by default.
            lengths: ``(N,)``, integers from 1 to L: what follows the end of a sequence is not read, and put out as 0.

        Returns:
            The output, laid out as ``input``, and the last states.
        """
        return self._run(F.rnn_tanh if self.nonlinearity == "tanh" else F.rnn_relu, m, input, hx, lengths)


@dataclass(frozen=True)
class LSTM(_Recurrent):
    """Runs a long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``; see `purenn.functional.lstm`.

    Args:
        input_size: H_in.
        hidden_size: H.
        num_layers: how many networks; each reads what the one before puts out.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis of input and output (not of the states).
        dropout: probability for a number between two layers to be dropped, in training.
        bidirectional: runs a second direction from the end.
        proj_size: H_out, to which h is projected; 0 leaves it as it is, H_out is then H.
        dtype: of the arrays; float32 by default.

    Source:
        Hochreiter & Schmidhuber 1997; the projection: Sak et al. 2014 (arXiv:1402.1128).

    Torch:
        ``torch.nn.LSTM``, identical; ``lengths`` are this library's.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0
    dtype: Any = None

    gates: ClassVar[int] = 4

    def forward(
        self,
        m: Any,
        input: Any,
        hx: tuple[jax.Array, jax.Array] | None = None,
        *,
        lengths: jax.Array | None = None,
    ) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        """``(L, N, H_in) -> (L, N, D H_out)`` and the last ``h (D num_layers, N, H_out)`` and ``c (.., N, H)``.

        Args:
            m: the layer with its arrays.
            input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, ``(L, H_in)``, or a `PackedSequence`.
            hx: the first h and c; 0 by default.
            lengths: ``(N,)``, integers from 1 to L: what follows the end of a sequence is not read, and put out as 0.

        Returns:
            The output, laid out as ``input``, and the pair of last states.
        """
        return self._run(F.lstm, m, input, hx, lengths)


@dataclass(frozen=True)
class GRU(_Recurrent):
    """Runs gated recurrent units: ``h_t = (1 - z) n + z h_{t-1}``; see `purenn.functional.gru`.

    Args:
        input_size: H_in.
        hidden_size: H.
        num_layers: how many networks; each reads what the one before puts out.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis of input and output (not of the states).
        dropout: probability for a number between two layers to be dropped, in training.
        bidirectional: runs a second direction from the end.
        dtype: of the arrays; float32 by default.

    Source:
        Cho et al. 2014 (arXiv:1406.1078), with the reset gate after the product.

    Torch:
        ``torch.nn.GRU``, identical; ``lengths`` are this library's.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    dtype: Any = None

    gates: ClassVar[int] = 3

    def forward(
        self, m: Any, input: Any, hx: jax.Array | None = None, *, lengths: jax.Array | None = None
    ) -> tuple[Any, jax.Array]:
        """``(L, N, H_in) -> (L, N, D H)`` and the last states ``(D num_layers, N, H)``, D the number of directions.

        Args:
            m: the layer with its arrays.
            input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, ``(L, H_in)``, or a `PackedSequence`.
            hx: the first states ``(D num_layers, N, H)``; 0 by default.
            lengths: ``(N,)``, integers from 1 to L: what follows the end of a sequence is not read, and put out as 0.

        Returns:
            The output, laid out as ``input``, and the last states.
        """
        return self._run(F.gru, m, input, hx, lengths)


def _check_nonlinearity(op: str, nonlinearity: Any) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise refusal(op, "nonlinearity must be 'tanh' or 'relu'", {"nonlinearity": nonlinearity})


class _Cell(Layer):
    input_size: int
    hidden_size: int
    bias: bool
    dtype: Any

    gates: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_sizes(type(self).__name__, input_size=self.input_size, hidden_size=self.hidden_size)

    def children(self) -> Mapping[str, Any]:
        """``weight_ih`` (G H, H_in), ``weight_hh`` (G H, H), ``bias_ih``, ``bias_hh`` (G H,), all U(-1/√H, 1/√H)."""
        H, rows = self.hidden_size, self.gates * self.hidden_size
        bias = _uniform((rows,), H, self.dtype) if self.bias else None
        return {
            "weight_ih": _uniform((rows, self.input_size), H, self.dtype),
            "weight_hh": _uniform((rows, H), H, self.dtype),
            "bias_ih": bias,
            "bias_hh": bias,
        }


@dataclass(frozen=True)
class RNNCell(_Cell):
    """Makes one step of an Elman network: ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input_size: H_in.
        hidden_size: H.
        bias: whether there are biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.RNNCell``, identical.
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    nonlinearity: str = "tanh"
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_nonlinearity("RNNCell", self.nonlinearity)

    def forward(self, m: Any, input: jax.Array, hx: jax.Array | None = None) -> jax.Array:
        """``(N, H_in), (N, H) -> (N, H)``, or all without N; ``hx`` is 0 by default."""
        step = F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell
        return step(input, hx, m.weight_ih, m.weight_hh, m.bias_ih, m.bias_hh)


@dataclass(frozen=True)
class LSTMCell(_Cell):
    """Makes one step of a long short-term memory: ``c' = f c + i g``, ``h' = o tanh(c')``.

    Args:
        input_size: H_in.
        hidden_size: H.
        bias: whether there are biases.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.LSTMCell``, identical.
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    dtype: Any = None

    gates: ClassVar[int] = 4

    def forward(
        self, m: Any, input: jax.Array, hx: tuple[jax.Array, jax.Array] | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """``(N, H_in), ((N, H), (N, H)) -> ((N, H), (N, H))``, h and c, or all without N; 0 by default."""
        return F.lstm_cell(input, hx, m.weight_ih, m.weight_hh, m.bias_ih, m.bias_hh)


@dataclass(frozen=True)
class GRUCell(_Cell):
    """Makes one step of gated recurrent units: ``h' = (1 - z) n + z h``.

    Args:
        input_size: H_in.
        hidden_size: H.
        bias: whether there are biases.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.GRUCell``, identical.
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    dtype: Any = None

    gates: ClassVar[int] = 3

    def forward(self, m: Any, input: jax.Array, hx: jax.Array | None = None) -> jax.Array:
        """``(N, H_in), (N, H) -> (N, H)``, or all without N; ``hx`` is 0 by default."""
        return F.gru_cell(input, hx, m.weight_ih, m.weight_hh, m.bias_ih, m.bias_hh)
