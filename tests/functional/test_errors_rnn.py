"""What the operations of rnn.py and rnn_cell.py refuse, in words."""

import jax
import jax.numpy as jnp
import pytest

import purenn.functional as F

ones = jnp.ones
X, H = ones((4, 2, 3)), ones((1, 2, 5))
LSTM = (ones((20, 3)), ones((20, 5)), ones(20), ones(20))
GRU = tuple(w[:15] for w in LSTM)


def lstm(x=X, hx=None, params=LSTM, bias=True, layers=1, p=0.0, train=True, two=False, first=False, **kwargs):
    return lambda: F.lstm(x, hx, params, bias, layers, p, train, two, first, **kwargs)


def gru(x=X, hx=None, params=GRU, bias=True, layers=1, p=0.0, train=True, two=False, first=False, **kwargs):
    return lambda: F.gru(x, hx, params, bias, layers, p, train, two, first, **kwargs)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lstm([1.0]), TypeError, "lstm: input must be an array"),
        (lstm(X[..., None]), ValueError, r"lstm: input must be 3-D, or 2-D if unbatched, got input.shape="),
        (lstm(X[:0]), ValueError, "lstm: input must have at least one step"),
        (lstm(params=[1.0] * 4), TypeError, r"lstm: params\[0\] must be an array"),
        (lstm(params=LSTM[:3]), ValueError,
         r"lstm: params must hold 4 arrays for each of the 1 .* len\(params\)=3 .*A projected lstm has one more each"),
        (lstm(bias=False, params=LSTM), ValueError, "lstm: params must hold 2 arrays"),
        (gru(params=(*GRU, ones((2, 5)))), ValueError, "gru: params must hold 4 arrays"),
        (gru(layers=0), ValueError, "gru: num_layers must be at least 1"),
        (lstm(X.astype("bfloat16")), TypeError, r"lstm: input, params\[0\], .* must have one dtype"),
        (gru(X.astype("int32"), params=[w.astype("int32") for w in GRU]), TypeError, "gru: input must be floating"),
        (lstm(ones((4, 2, 2))), ValueError, r"lstm: weight_ih_l0 must be \(20, 2\), got weight_ih_l0.shape=\(20, 3\)"),
        (lstm(params=(LSTM[0], ones((20, 4)), *LSTM[2:])), ValueError, r"lstm: weight_hh_l0 must be \(20, 5\)"),
        (lstm(params=(LSTM[0], ones(20), *LSTM[2:])), ValueError, "lstm: weight_ih_l0 must be"),
        (lstm(params=(*LSTM[:3], ones(19))), ValueError, r"lstm: bias_hh_l0 must be \(20,\)"),
        (gru(params=GRU * 2, layers=2), ValueError, r"gru: weight_ih_l1 must be \(15, 5\)"),
        (gru(params=GRU * 4, layers=2, two=True), ValueError, r"gru: weight_ih_l1 must be \(15, 10\)"),
        (gru(params=(*GRU, GRU[0][:, :2], *GRU[1:]), two=True), ValueError, r"gru: weight_ih_l0_reverse must be"),
        (lstm(params=(LSTM[0], ones((20, 2)), *LSTM[2:], ones((2, 4)))), ValueError, r"weight_hr_l0 must be \(2, 5\)"),
        (lstm(hx=(H, H, H)), ValueError, r"lstm: hx must be the pair \(h, c\)"),
        (lstm(hx=(H, H[:, :1])), ValueError, r"lstm: hx\[1\] must be \(1, 2, 5\), got hx\[1\].shape=\(1, 1, 5\)"),
        (gru(hx=H[0]), ValueError, r"gru: hx must be \(1, 2, 5\), .* layers first, then the batch"),
        (gru(X[:, 0], hx=H), ValueError, r"gru: hx must be \(1, 5\)"),
        (gru(hx=H.astype("float16")), TypeError, "gru: input, hx must have one dtype"),
        (gru(hx=[1.0]), TypeError, "gru: hx must be an array"),
        (gru(p=1.5, params=GRU * 2, layers=2), ValueError, r"gru: dropout must lie in \[0, 1\]"),
        (lstm(p=0.5, layers=2, params=LSTM * 2), ValueError, "lstm: rng must be given when training with dropout"),
        (gru(lengths=ones(2)), TypeError, "gru: lengths must be integers"),
        (gru(lengths=(1, 2)), TypeError, "gru: lengths must be an array"),
        (gru(lengths=ones(3, "int32")), ValueError, r"gru: lengths must be \(N,\), or \(\) if unbatched"),
        (gru(X[:, 0], lengths=ones(1, "int32")), ValueError, "gru: lengths must be"),
        (gru(lengths=jnp.array([0, 1])), ValueError, r"gru: lengths must lie in \[1, 4\]"),
        (gru(lengths=jnp.array([5, 1])), ValueError, r"gru: lengths must lie in \[1, 4\]"),
        (lambda: F.rnn_tanh(X, None, (), True, 1, 0.0, True, False, False), ValueError, "rnn_tanh: params must hold"),
        (lambda: F.rnn_relu(X, None, (), True, 1, 0.0, True, False, False), ValueError, "rnn_relu: params must hold"),
    ],
)  # fmt: skip
def test_refusals_of_networks(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.lstm_cell(X[0], (H[0],), *LSTM), ValueError, r"lstm_cell: hx must be the pair \(h, c\)"),
        (lambda: F.lstm_cell(X[0], (H[0], H[0, :1]), *LSTM), ValueError, r"lstm_cell: hx\[1\] must be \(2, 5\)"),
        (lambda: F.gru_cell(X, H[0], *GRU), ValueError, "gru_cell: input must be 2-D, or 1-D if unbatched"),
        (lambda: F.gru_cell(X[0], H, *GRU), ValueError, r"gru_cell: hx must be \(2, 5\)"),
        (lambda: F.gru_cell(X[0], H[0], None, GRU[1]), TypeError, "gru_cell: w_ih must be an array"),
        (lambda: F.gru_cell(X[0], H[0], *LSTM), ValueError, r"gru_cell: w_ih must be \(15, 3\)"),
        (lambda: F.gru_cell(X[0], H[0], GRU[0], ones(15)), ValueError, "gru_cell: hx must be"),
        (lambda: F.gru_cell(X[0], H[0], *GRU[:3], ones(3)), ValueError, r"gru_cell: b_hh must be \(15,\)"),
        (lambda: F.rnn_tanh_cell(X[0], [1.0], *GRU), TypeError, "rnn_tanh_cell: hx must be an array"),
        (lambda: F.rnn_relu_cell(X[0].astype("float16"), None, *GRU), TypeError, "rnn_relu_cell: .* one dtype"),
        (lambda: F.rnn_relu_cell(ones((2, 1), "int32"), None, ones((1, 1), "int32"), ones((1, 1), "int32")), TypeError,
         "rnn_relu_cell: input must be floating"),
    ],
)  # fmt: skip
def test_refusals_of_cells(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.pad_sequence([]), ValueError, "pad_sequence: sequences must hold at least one array"),
        (lambda: F.pad_sequence([[1.0]]), TypeError, r"pad_sequence: sequences\[0\] must be an array"),
        (lambda: F.pad_sequence([X, H[..., :3]], padding_side="both"), ValueError, "padding_side must be"),
        (lambda: F.pad_sequence([X, X.astype("int32")]), TypeError, "pad_sequence: .* must have one dtype"),
        (lambda: F.pad_sequence([X, H]), ValueError, "pad_sequence: sequences must be equal in all but the first axis"),
        (lambda: F.pad_sequence([ones(())]), ValueError, "equal in all but the first axis"),
        (lambda: F.unpad_sequence([1.0], (1,)), TypeError, "unpad_sequence: padded_sequences must be an array"),
        (lambda: F.unpad_sequence(ones(3), (1,)), ValueError, "unpad_sequence: padded_sequences must be at least 2-D"),
        (lambda: F.unpad_sequence(X, (1.0, 2.0)), TypeError, "unpad_sequence: lengths must be integers"),
        (lambda: F.unpad_sequence(X, (1,)), ValueError, r"unpad_sequence: lengths must be \(N,\)"),
        (lambda: jax.jit(lambda n: F.unpad_sequence(X, n))(jnp.array([1, 2])), ValueError,
         "unpad_sequence: lengths must have values when traced"),
    ],
)  # fmt: skip
def test_refusals_of_sequences(call, error, words):
    with pytest.raises(error, match=words):
        call()
