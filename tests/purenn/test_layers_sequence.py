"""Attention, Transformer and recurrent layers: their own table, and the laws of test_layers over it."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from layer_case import Case
from oracle import assert_close

import purenn
from purenn import functional as F
from purenn import layers as L
from purenn import tree

KEY = jax.random.key(0)
SMALL = {"d_model": 4, "nhead": 2, "dim_feedforward": 5, "dropout": 0.0}
PAIR = {"shape": (3, 2, 4), "more": ((5, 2, 4),)}
CASES = [
    Case("MultiheadAttention", (4, 2), {"add_bias_kv": True}, (3, 2, 4), ((5, 2, 4), (5, 2, 4))),
    Case("MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 2, "batch_first": True}, (2, 3, 4), ((2, 5, 3), (2, 5, 2))),
    Case("TransformerEncoderLayer", (), {**SMALL, "activation": "gelu", "norm_first": True}, (3, 2, 4)),
    Case("TransformerDecoderLayer", (), SMALL, **PAIR),
    Case("TransformerEncoder", (), {}, (3, 2, 4)),
    Case("TransformerDecoder", (), {}, **PAIR),
    Case("Transformer", (), {**SMALL, "num_encoder_layers": 2, "num_decoder_layers": 1}, **PAIR),
    Case("RNN", (4, 3, 2), {"nonlinearity": "relu", "bias": False}, (3, 2, 4)),
    Case("LSTM", (4, 3), {"bidirectional": True, "proj_size": 2, "num_layers": 2}, (3, 2, 4)),
    Case("GRU", (4, 3), {"batch_first": True}, (2, 3, 4)),
    Case("RNNCell", (4, 3), {"nonlinearity": "relu"}, (2, 4), ((2, 3),)),
    Case("LSTMCell", (4, 3), {}, (2, 4)),
    Case("GRUCell", (4, 3), {"bias": False}, (2, 4), ((2, 3),)),
]
each = pytest.mark.parametrize("case", CASES, ids=str)


def make(case, world):
    if case.name in ("TransformerEncoder", "TransformerDecoder"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(world, case.name)(getattr(world, f"{case.name}Layer")(**SMALL), 2, world.LayerNorm(4))
    return getattr(world, case.name)(*case.args, **case.kwargs)


@each
def test_state_forward_and_gradients_are_torchs(case):
    torch.manual_seed(0)
    layer, twin = make(case, L), make(case, torch.nn)
    state = {name: x.detach() for name, x in twin.state_dict().items()}
    assert list(purenn.state_dict(layer, *layer.init(KEY))) == list(state)
    params, buffers = purenn.load_state_dict(layer, state)
    xs = case.inputs()
    expected = jax.tree.leaves(twin(*map(torch.tensor, xs)), is_leaf=lambda x: isinstance(x, torch.Tensor))

    def loss(params, xs):
        out = jax.tree.leaves(layer.apply(params, buffers, *xs, train=True)[0])
        return sum((x * jnp.cos(jnp.arange(x.size)).reshape(x.shape)).sum() for x in out), out

    (_, out), (grads, _) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, xs)
    assert_close(out, expected, what=str(case))
    sum((x * torch.cos(torch.arange(x.numel())).reshape(x.shape)).sum() for x in expected).backward()
    for name, parameter in twin.named_parameters():
        assert_close(tree.flatten(grads)[name], parameter.grad, what=name)


@each
def test_structure_hash_and_vmap(case):
    layer = make(case, L)
    leaves = tree.flatten(purenn.structure(layer))
    params, _ = jax.eval_shape(layer.init, KEY)
    assert {path: leaf.shape for path, leaf in leaves.items()} == {p: x.shape for p, x in tree.flatten(params).items()}
    assert hash(layer) == hash(make(case, L))
    xs = case.inputs()
    ensemble = jax.vmap(lambda key: layer.init(key)[0])(jax.random.split(KEY, 2))
    many = jax.vmap(lambda params: layer.apply(params, {}, *xs)[0])(ensemble)
    assert_close(jax.tree.map(lambda x: x[1], many), layer.apply(jax.tree.map(lambda x: x[1], ensemble), {}, *xs)[0])


def test_dropout_needs_a_key_in_training_only():
    x = jnp.ones((3, 2, 4))
    for layer in (L.LSTM(4, 3, 2, dropout=0.5), L.TransformerEncoderLayer(4, 2, 5)):
        params, buffers = layer.init(KEY)
        layer.apply(params, buffers, x)
        with pytest.raises(ValueError, match="rng must be given where random numbers are drawn"):
            layer.apply(params, buffers, x, train=True)
        one, two = (jax.tree.leaves(layer.apply(params, buffers, x, rng=KEY, train=True)[0])[0] for _ in range(2))
        np.testing.assert_array_equal(one, two)


def test_stacked_layers_start_alike_and_a_transformers_matrices_do_not():
    encoder = L.TransformerEncoder(L.TransformerEncoderLayer(4, 2, 5), 3)
    first, _, last = encoder.init(KEY)[0]["layers"].values()
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True))
    layers = L.Transformer(4, 2, 2, 1, 5).init(KEY)[0]["encoder"]["layers"]
    assert (layers["0"]["linear1"]["weight"] != layers["1"]["linear1"]["weight"]).all()
    np.testing.assert_array_equal(layers["0"]["linear1"]["bias"], layers["1"]["linear1"]["bias"])
    assert abs(layers["0"]["linear2"]["weight"]).max() <= np.sqrt(6 / 9)


def test_lengths_end_each_sequence():
    layer, x = L.GRU(4, 3, bidirectional=True), jnp.asarray(np.random.default_rng(0).standard_normal((5, 2, 4)))
    params, _ = layer.init(KEY)
    out, last = layer.apply(params, {}, x, lengths=jnp.array([5, 2]))[0]
    short, end = layer.apply(params, {}, x[:2, 1])[0]
    assert_close((out[:2, 1], last[:, 1]), (short, end))
    assert (out[2:, 1] == 0).all()


def call(layer, *xs, **kwargs):
    return layer.apply(*layer.init(KEY), *xs, **kwargs)


X = jnp.ones((3, 2, 4))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: L.MultiheadAttention(0, 1), ValueError, "MultiheadAttention: embed_dim and num_heads must be positive, got embed_dim=0 and num_heads=1."),
        (lambda: L.MultiheadAttention(4, 3), ValueError, "MultiheadAttention: num_heads must divide embed_dim, got embed_dim=4 and num_heads=3."),
        (lambda: L.TransformerEncoderLayer(4, 2, activation="tanh"), ValueError, "TransformerEncoderLayer: activation must be 'relu', 'gelu', a function or a model, got activation='tanh'."),
        (lambda: L.TransformerDecoderLayer(4, 2, activation=L.PReLU), ValueError, "TransformerDecoderLayer: activation must be 'relu', 'gelu', a function or a model, got activation='PReLU'."),
        (lambda: L.TransformerEncoder(L.Linear, 2), TypeError, "TransformerEncoder: encoder_layer must be a model, got encoder_layer='Linear'."),
        (lambda: L.TransformerDecoder(F.relu, 2), TypeError, "TransformerDecoder: decoder_layer must be a model, got decoder_layer="),
        (lambda: L.TransformerDecoder(L.Identity(), -1), ValueError, "TransformerDecoder: num_layers must not be negative, got num_layers=-1."),
        (lambda: call(L.Transformer(4, 2, 1, 1, 5), X, X[:, :1]), ValueError, "Transformer: src and tgt must have the same batch, got src.shape=(3, 2, 4) and tgt.shape=(3, 1, 4)."),
        (lambda: call(L.Transformer(6, 2, 1, 1, 5), X, X), ValueError, "Transformer: the last axis of src and tgt must be d_model, got src.shape=(3, 2, 4) and tgt.shape=(3, 2, 4) and d_model=6."),
        (lambda: L.RNN(4, 3, nonlinearity="elu"), ValueError, "RNN: nonlinearity must be 'tanh' or 'relu', got nonlinearity='elu'."),
        (lambda: L.RNNCell(4, 3, nonlinearity="elu"), ValueError, "RNNCell: nonlinearity must be 'tanh' or 'relu', got nonlinearity='elu'."),
        (lambda: L.LSTM(4, 0), ValueError, "LSTM: hidden_size must be positive, got hidden_size=0."),
        (lambda: L.LSTM(4, 3, proj_size=3), ValueError, "LSTM: proj_size must be less than hidden_size, got proj_size=3 and hidden_size=3."),
        (lambda: L.GRU(4, 3, bias=1), TypeError, "GRU: bias must be a bool, got bias=1."),
        (lambda: L.GRU(4, 3, dropout=1.5), ValueError, "GRU: dropout must be a probability, between 0 and 1, got dropout=1.5."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()
