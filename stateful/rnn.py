"""Recurrent modules: adapters of purenn.layers.rnn."""

from typing import Any

from purenn import layers as L
from purenn.errors import refusal
from stateful.module import Module


class RNNBase(Module):
    """The base of the recurrent modules, and any of them by the name of its mode.

    Args:
        mode: ``"RNN_TANH"``, ``"RNN_RELU"``, ``"LSTM"`` or ``"GRU"``.
        input_size: length of an input.
        hidden_size: length of a state.
        num_layers: how many networks in sequence.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis.
        dropout: probability for a number between two layers to be dropped.
        bidirectional: runs a second direction from the end.
        proj_size: length to which the LSTM's h is projected.
        device: where the arrays lie.
        dtype: of the arrays.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ):
        if mode not in ("RNN_TANH", "RNN_RELU", "LSTM", "GRU"):
            raise refusal("RNNBase", "mode must be 'RNN_TANH', 'RNN_RELU', 'LSTM' or 'GRU'", {"mode": mode})
        if proj_size and mode != "LSTM":
            raise refusal("RNNBase", "proj_size must be 0 but for an LSTM", {"mode": mode, "proj_size": proj_size})
        kind: Any = getattr(L, mode.partition("_")[0])
        options: dict[str, Any] = {"proj_size": proj_size} if mode == "LSTM" else {}
        if kind is L.RNN:
            options = {"nonlinearity": mode.removeprefix("RNN_").lower()}
        options |= {"bias": bias, "batch_first": batch_first, "dropout": dropout, "bidirectional": bidirectional}
        layer = kind(input_size, hidden_size, num_layers, **options, dtype=dtype)
        super().__init__(layer, device=device)

    @property
    def mode(self) -> str:
        """Torch's name of the network."""
        return self.__dict__["_model"].mode

    @property
    def proj_size(self) -> int:
        """Length to which h is projected; 0 where it is not."""
        return self.__dict__["_model"].proj_size

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        groups: dict[str, list[Any]] = {}
        for name in self._parameters:
            groups.setdefault(name.partition("_l")[2], []).append(getattr(self, name))
        return list(groups.values())

    def flatten_parameters(self) -> None:
        """Does nothing: there is no layout in memory to be chosen."""

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", proj_size={self.proj_size}" if self.proj_size else ""
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += f", bias={self.bias}" if self.bias is not True else ""
        text += f", batch_first={self.batch_first}" if self.batch_first is not False else ""
        text += f", dropout={float(self.dropout)}" if self.dropout else ""
        return text + (f", bidirectional={self.bidirectional}" if self.bidirectional is not False else "")


class RNN(RNNBase):
    """An Elman network; see `purenn.layers.RNN`."""

    pure = L.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        options = num_layers, nonlinearity, bias, batch_first, dropout, bidirectional, dtype
        Module.__init__(self, L.RNN(input_size, hidden_size, *options), device=device)


class LSTM(RNNBase):
    """A long short-term memory; see `purenn.layers.LSTM`."""

    pure = L.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ):
        options = num_layers, bias, batch_first, dropout, bidirectional, proj_size, dtype
        Module.__init__(self, L.LSTM(input_size, hidden_size, *options), device=device)


class GRU(RNNBase):
    """Gated recurrent units; see `purenn.layers.GRU`."""

    pure = L.GRU

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        options = num_layers, bias, batch_first, dropout, bidirectional, dtype
        Module.__init__(self, L.GRU(input_size, hidden_size, *options), device=device)


class RNNCellBase(Module):
    """The base of the cells, and any of them by its number of gates.

    Args:
        input_size: length of an input.
        hidden_size: length of a state.
        bias: whether there are biases.
        num_chunks: 1 for `RNNCell`, 3 for `GRUCell`, 4 for `LSTMCell`.
        device: where the arrays lie.
        dtype: of the arrays.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ):
        cells: dict[int, Any] = {1: L.RNNCell, 3: L.GRUCell, 4: L.LSTMCell}
        if num_chunks not in cells:
            raise refusal("RNNCellBase", "num_chunks must be 1, 3 or 4", {"num_chunks": num_chunks})
        super().__init__(cells[num_chunks](input_size, hidden_size, bias, dtype=dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text + (f", bias={self.bias}" if self.bias is not True else "")


class RNNCell(RNNCellBase):
    """One step of an Elman network; see `purenn.layers.RNNCell`."""

    pure = L.RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ):
        Module.__init__(self, L.RNNCell(input_size, hidden_size, bias, nonlinearity, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity}" if self.nonlinearity != "tanh" else "")


class LSTMCell(RNNCellBase):
    """One step of a long short-term memory; see `purenn.layers.LSTMCell`."""

    pure = L.LSTMCell

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)


class GRUCell(RNNCellBase):
    """One step of gated recurrent units; see `purenn.layers.GRUCell`."""

    pure = L.GRUCell

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)
