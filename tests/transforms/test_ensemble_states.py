"""ensemble: stack and unstack, to and from models that were trained by themselves."""

import re

import jax
import numpy as np
import pytest
import torch
from table import KEY, NAMES, WIDTH, Net, X, pure

import purenn
import transforms


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("make", [pure, Net])
def test_states_of_models_trained_by_themselves_become_members(make):
    model, both = make(), transforms.ensemble(make(), 3)
    pairs = [model.init(jax.random.key(i)) for i in range(3)]
    states = [purenn.state_dict(model, *pair) for pair in pairs]
    params, buffers = both.stack(states)
    shapes = jax.eval_shape(both.init, KEY)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), (params, buffers)) == jax.tree.map(
        lambda a: (a.shape, a.dtype), shapes
    )
    out, _ = both.apply(params, buffers, X)
    for i, pair in enumerate(pairs):
        np.testing.assert_allclose(out[i], model.apply(*pair, X)[0], rtol=1e-5, atol=1e-6)
    back = both.unstack(params, buffers)
    assert [list(state) for state in back] == [NAMES] * 3
    equal(back, states)


def test_what_torch_trained_becomes_an_ensemble():
    nets = [torch.nn.Linear(WIDTH, 2) for _ in range(2)]
    both = transforms.ensemble(purenn.layers.Linear(WIDTH, 2), 2)
    out, _ = both.apply(*both.stack([net.state_dict() for net in nets]), X)
    for mine, net in zip(out, nets, strict=True):
        theirs = net(torch.from_numpy(np.array(X))).detach().numpy()
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_members_that_are_layers_too():
    model = transforms.scan(pure(), 2)
    both = transforms.ensemble(model, 2)
    params, buffers = both.init(KEY)
    states = both.unstack(params, buffers)
    assert list(states[0]) == [f"{i}.{name}" for i in range(2) for name in NAMES]
    equal(both.stack(states), (params, buffers))


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([], "ensemble.stack: there must be one state_dict for each member, got their number=0 and n=2."),
        ([{}, {}], "load_state_dict: the state_dict does not fit Composed, nothing was changed. 9 problems:"),
    ],
)
def test_refusals(states, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        transforms.ensemble(pure(), 2).stack(states)
