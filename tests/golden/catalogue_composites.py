"""Catalogue: recurrence, attention, Transformers, containers and base classes."""

from module_case import cases
from oracle import t

SEQUENCE, MEMORY = t(3, 2, 4), t(5, 2, 4)

CASES = [
    *cases(
        """
        RNN(4, 3)
        RNN(4, 3, 2, nonlinearity="relu", bias=False, bidirectional=True)
        LSTM(4, 3, num_layers=2)
        LSTM(4, 3, bidirectional=True, proj_size=2, batch_first=True)
        TransformerEncoderLayer(4, 2, 5, 0.0, "gelu", norm_first=True)
        TransformerEncoderLayer(4, 2, 5, 0.0, bias=False, batch_first=True)
        TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, 0.0), 2, nn.LayerNorm(4))
        Sequential(nn.Linear(4, 3), nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 2, bias=False)))
        """,
        SEQUENCE,
    ),
    *cases("LSTM(4, 3, 2, dropout=0.5)\nTransformerEncoderLayer(4, 2, 5)", SEQUENCE, draws=True),
    *cases("GRU(4, 3, bidirectional=True, bias=False)", SEQUENCE, t(2, 2, 3)),
    *cases("RNNCell(4, 3, nonlinearity=\"relu\")\nGRUCell(4, 3, bias=False)", t(2, 4), t(2, 3)),
    *cases("LSTMCell(4, 3)", t(2, 4)),
    *cases("MultiheadAttention(4, 2)\nMultiheadAttention(4, 2, bias=False, add_zero_attn=True)\n"
           "MultiheadAttention(4, 2, add_bias_kv=True)", SEQUENCE, MEMORY, MEMORY),
    *cases("MultiheadAttention(4, 2, kdim=3, vdim=2, batch_first=True)", t(2, 3, 4), t(2, 5, 3), t(2, 5, 2)),
    *cases("TransformerDecoderLayer(4, 2, 5, 0.0)\n"
           "TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5, 0.0, bias=False), 2)\n"
           "Transformer(4, 2, 1, 1, 5, 0.0)", SEQUENCE, MEMORY),
    *cases(
        """
        Module()
        Container(first=nn.Linear(2, 3), second=nn.BatchNorm1d(3))
        ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)])
        ModuleDict({"b": nn.Linear(2, 3), "a": nn.LayerNorm(3)})
        ParameterList([nn.Parameter(array([1.0, 2.0])), nn.Parameter(array(3.0))])
        ParameterDict({"b": nn.Parameter(array([1.0, 2.0])), "a": nn.Parameter(array(3.0))})
        Sequential()
        RNNBase("LSTM", 3, 4, 2)
        RNNCellBase(3, 4, True, 3)
        """,
        called=False,
    ),
]  # fmt: skip
