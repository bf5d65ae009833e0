"""What torch's module database does not say of the Transformer modules."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import torch
from oracle import assert_close

import stateful as nn
from purenn import layers as L
from purenn import tree

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32))


def layer(**options):
    return nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, **options)


def test_the_decoder_stack_is_torchs():
    make = lambda world: world.TransformerDecoder(world.TransformerDecoderLayer(4, 2, 5, 0.0), 2, world.LayerNorm(4))  # noqa: E731
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    x = torch.tensor(np.asarray(X))
    twin_mask = torch.nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask, twin_mask)
    expected = theirs(x, x, tgt_mask=twin_mask)
    assert_close(ours(X, X, tgt_mask=mask), expected)
    assert_close(ours(X, X, tgt_mask=mask, tgt_is_causal=True), expected)


def test_copies_start_alike_and_are_separate():
    original = layer()
    encoder = nn.TransformerEncoder(original, 2)
    first, second = encoder.layers
    assert first is not original
    np.testing.assert_array_equal(first.linear1.weight, second.linear1.weight)
    np.testing.assert_array_equal(first.linear1.weight, original.linear1.weight)
    first.linear1.weight = jnp.zeros((5, 4))
    assert second.linear1.weight.any()
    params = encoder.init(KEY)[0]
    pure = L.TransformerEncoder(L.TransformerEncoderLayer(4, 2, 5, 0.0), 2).init(KEY)[0]
    for drawn in (params, nn.Module(L.TransformerEncoder(L.TransformerEncoderLayer(4, 2, 5), 2)).init(KEY)[0]):
        for path, x in tree.flatten(pure).items():
            np.testing.assert_array_equal(tree.flatten(drawn)[path], x, err_msg=path)


def test_a_transformer_draws_as_its_pure_twin_does():
    model = nn.Transformer(4, 2, 2, 1, 5, custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5), 1))
    pure = L.Transformer(
        4, 2, 2, 1, 5, custom_decoder=L.TransformerDecoder(L.TransformerDecoderLayer(4, 2, 5), 1)
    ).init(KEY)[0]
    drawn = tree.flatten(model.init(KEY)[0])
    assert list(drawn) == list(model.state_dict())
    for path, x in tree.flatten(pure).items():
        np.testing.assert_array_equal(drawn[path], x, err_msg=path)
    first, second = model.encoder.layers
    assert (first.linear1.weight != second.linear1.weight).all()
    assert (model.d_model, model.nhead, model.encoder.num_layers) == (4, 2, 2)


class Doubling(nn.Module):
    def forward(self, query, key, value, **options):
        return 2 * query, None


def test_parts_can_be_replaced_and_layers_taken_out():
    encoder = nn.TransformerEncoder(layer(), 3)
    before = encoder(X)
    encoder.layers[1].self_attn = Doubling()
    assert abs(encoder(X) - before).max() > 1e-3
    encoder.layers[0].activation = nn.GELU()
    assert "activation" in dict(encoder.layers[0].named_children())
    encoder.layers = encoder.layers[:1]
    one = encoder(X)
    assert_close(one, encoder.layers[0](X))
    assert_close(copy.deepcopy(encoder)(X), one)
    params, buffers = encoder.split()
    assert_close(jax.jit(lambda p: encoder.apply(p, buffers, X)[0])(params), one)


def test_activations_may_be_modules_functions_and_words():
    module = layer(activation=nn.GELU())
    assert list(dict(module.named_children()))[-1] == "activation"
    words, function = layer(activation="gelu"), layer(activation=nn.functional.gelu)
    for other in (words, function):
        other.load_state_dict(module.state_dict())
        assert_close(other(X), module(X))


def test_any_module_may_be_stacked():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
            return src + self.linear(src)

    encoder = nn.TransformerEncoder(Block(), 2)
    assert list(encoder.state_dict())[-1] == "layers.1.linear.bias"
    assert_close(encoder(X), encoder.layers[1](encoder.layers[0](X)))
