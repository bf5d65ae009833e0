"""What torch's module database does not say of MultiheadAttention."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import torch
from oracle import assert_close

import stateful as nn


def twins(**options):
    theirs = torch.nn.MultiheadAttention(4, 2, **options)
    ours = nn.MultiheadAttention(4, 2, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_batches_masks_and_weights_are_torchs():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    padding = np.array([[False, False, True], [False, False, False]])
    ours, theirs = twins(batch_first=True)
    a, b = jnp.asarray(x), torch.tensor(x)
    for options in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        expected = theirs(b, b, b, key_padding_mask=torch.tensor(padding), **options)
        got = ours(a, a, a, key_padding_mask=jnp.asarray(padding), **options)
        assert (got[1] is None) == (expected[1] is None)
        assert_close([y for y in got if y is not None], [y for y in expected if y is not None])
    causal = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    hinted = ours(a, a, a, attn_mask=jnp.asarray(causal), is_causal=True, need_weights=False)[0]
    assert_close(hinted, theirs(b, b, b, attn_mask=torch.tensor(causal))[0])


def test_the_projection_can_be_replaced_and_options_changed():
    ours, _ = twins()
    x = jnp.ones((3, 2, 4))
    assert (ours.kdim, ours.head_dim, ours.batch_first) == (4, 2, False)
    ours.out_proj = nn.Linear(4, 4, bias=False)
    assert_close(ours(x, x, x)[0], jax.jit(lambda p: ours.apply(p, {}, x, x, x)[0][0])(ours.split()[0]))
    assert "out_proj.bias" not in ours.state_dict()
    ours.batch_first = True
    assert ours(x, x, x)[1].shape == (3, 2, 2)


def test_the_signature_is_torchs():
    mine, theirs = (inspect.signature(world.MultiheadAttention).parameters for world in (nn, torch.nn))
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in theirs.values()]
