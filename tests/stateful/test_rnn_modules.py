"""What torch's module database does not say of the recurrent modules, and nn.utils.rnn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import stateful as nn
from purenn import layers as L
from stateful.utils import rnn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 4)).astype(np.float32)
LENGTHS = [2, 5, 3]


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences_give_torchs_numbers(name, batch_first):
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    theirs, ours = getattr(torch.nn, name)(4, 3, **options), getattr(nn, name)(4, 3, **options)
    ours.load_state_dict(theirs.state_dict())
    x = X.swapaxes(0, 1) if batch_first else X
    pack = torch.nn.utils.rnn
    packed = pack.pack_padded_sequence(torch.tensor(x), LENGTHS, batch_first, enforce_sorted=False)
    expected, last = theirs(packed)
    mine = rnn.pack_padded_sequence(jnp.asarray(x), LENGTHS, batch_first, enforce_sorted=False)
    for field in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
        np.testing.assert_array_equal(getattr(mine, field), getattr(packed, field))
    out, ours_last = ours(mine)
    assert_close((out.data, ours_last), (expected.data, last))
    assert_close(
        rnn.pad_packed_sequence(out, batch_first, -1.0, 6)[0],
        pack.pad_packed_sequence(expected, batch_first, -1.0, 6)[0],
    )
    params, _ = ours.split()
    compiled = jax.jit(lambda p, packed: ours.apply(p, {}, packed)[0])(params, mine)
    assert_close((compiled[0].data, compiled[1]), (expected.data, last))
    padded, again = ours(jnp.asarray(x), lengths=jnp.asarray(LENGTHS))
    assert_close(again, last)
    assert_close(padded, pack.pad_packed_sequence(expected, batch_first)[0])


def test_sequences_are_packed_and_unpacked():
    sequences = [jnp.asarray(X[:n, i]) for i, n in enumerate(LENGTHS)]
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    for a, b in zip(rnn.unpack_sequence(packed), sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    again = rnn.PackedSequence(*packed)
    np.testing.assert_array_equal(again.padded, rnn.pad_packed_sequence(packed)[0])
    np.testing.assert_array_equal(again.lengths, LENGTHS)
    doubled = rnn.PackedSequence(2 * packed.data, packed.batch_sizes, packed.sorted_indices)
    np.testing.assert_array_equal(doubled.data, 2 * packed[0])
    fallen = rnn.pack_sequence(sorted(sequences, key=len, reverse=True))
    assert fallen.sorted_indices is None
    assert fallen.unsorted_indices is None
    assert repr(fallen) == "PackedSequence(padded=float32[5, 3, 4], lengths=[5 3 2])"
    np.testing.assert_array_equal(rnn.invert_permutation(jnp.array([2, 0, 1])), [1, 2, 0])


def test_traced_lengths_stay_padded():
    module = nn.GRU(4, 3)

    def run(lengths):
        out, _ = module(rnn.pack_padded_sequence(jnp.asarray(X), lengths, enforce_sorted=False))
        return rnn.pad_packed_sequence(out)[0]

    assert_close(jax.jit(run)(jnp.asarray(LENGTHS)), run(jnp.asarray(LENGTHS)))
    with pytest.raises(ValueError, match="lengths must have values when traced"):
        jax.jit(lambda n: rnn.pack_padded_sequence(jnp.asarray(X), n).data)(jnp.asarray(LENGTHS))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rnn.pack_padded_sequence(jnp.ones(3), [3]), "input must be at least 2-D"),
        (lambda: rnn.pack_padded_sequence(jnp.ones((3, 2)), [3]), r"lengths must be \(N,\)"),
        (lambda: rnn.pack_padded_sequence(jnp.ones((3, 2)), [3, 0]), r"lengths must lie in \[1, 3\]"),
        (lambda: rnn.pack_padded_sequence(jnp.ones((3, 2)), [2, 3]), "lengths must fall, got .* Pass enforce_sorted"),
        (lambda: rnn.pack_padded_sequence(jnp.ones((3, 1)), [2.0]), "lengths must be integers"),
        (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([jnp.ones(3)]), total_length=2), "total_length must not be"),
        (lambda: rnn.PackedSequence(jnp.ones(3), np.array([1, 2])), "batch_sizes must fall and sum to the length"),
        (lambda: nn.GRU(1, 1)(rnn.pack_sequence([jnp.ones((3, 1))]), lengths=jnp.array([3])), "lengths must be None"),
        (lambda: nn.RNNBase("ELU", 1, 1), "mode must be 'RNN_TANH', 'RNN_RELU', 'LSTM' or 'GRU', got mode='ELU'"),
        (lambda: nn.RNNBase("GRU", 2, 2, proj_size=1), "proj_size must be 0 but for an LSTM"),
        (lambda: nn.RNNCellBase(2, 2, True, 2), "num_chunks must be 1, 3 or 4, got num_chunks=2"),
    ],
)
def test_refusals(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_attributes_of_torch():
    module = nn.LSTM(4, 3, 2, dropout=0.5, proj_size=2)
    module.flatten_parameters()
    twin = torch.nn.LSTM(4, 3, 2, dropout=0.5, proj_size=2)
    assert (module.mode, module.proj_size, module.bias, module.num_layers) == ("LSTM", 2, True, 2)
    assert [[w.shape for w in group] for group in module.all_weights] == [
        [tuple(w.shape) for w in g] for g in twin.all_weights
    ]
    assert repr(module) == repr(twin)
    module.dropout = 0.0
    assert_close(module.train()(jnp.asarray(X))[0], module.eval()(jnp.asarray(X))[0])
    for mode in ("RNN_TANH", "RNN_RELU", "GRU", "LSTM"):
        base = nn.RNNBase(mode, 4, 3)
        assert base.mode == mode
        assert list(base.state_dict()) == list(torch.nn.RNNBase(mode, 4, 3).state_dict())
    assert isinstance(nn.RNN(4, 3), nn.RNNBase)
    assert nn.RNN(4, 3).proj_size == 0
    assert nn.RNNCellBase(4, 3, False, 4).state_dict()["weight_ih"].shape == (12, 4)
    assert repr(nn.RNNCell(4, 3, False, "relu")) == repr(torch.nn.RNNCell(4, 3, False, "relu"))


def test_pure_layer_and_module_agree():
    layer, module, key = L.LSTM(4, 3, 2, bidirectional=True), nn.LSTM(4, 3, 2, bidirectional=True), jax.random.key(0)
    (params, _), (same, _) = layer.init(key), module.init(key)
    assert_close(jax.tree.leaves(params), jax.tree.leaves(same))
    assert_close(module.apply(params, {}, jnp.asarray(X))[0], layer.apply(params, {}, jnp.asarray(X))[0])
