"""What torch's module database lacks of pooling, padding and upsampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import stateful as nn
from purenn import layers as L

KEY = jax.random.key(0)


def draw(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def agree(name, args, kwargs, x, change):
    """Both print and compute the same, as built and after a change of their attributes."""
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    for options in ({}, change):
        for key, value in options.items():
            setattr(ours, key, value)
            setattr(theirs, key, value)
        assert repr(ours) == repr(theirs)
        expected = theirs(torch.tensor(x))
        for got in (ours(x), ours.apply({}, {}, x)[0], jax.tree.map(lambda a: a[0], jax.vmap(ours)(x[None]))):
            for a, b in zip(jax.tree.leaves(got), expected if isinstance(expected, tuple) else [expected], strict=True):
                assert_close(a, b, what=name)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shape", "change"),
    [
        ("Upsample", (), {"scale_factor": 2}, (1, 2, 3), {"mode": "linear", "align_corners": True}),
        ("Upsample", ((4, 5),), {"mode": "bicubic"}, (1, 2, 3, 3), {"size": (2, 2)}),
        ("Upsample", (), {"scale_factor": (1.5, 2)}, (1, 2, 3, 4), {"recompute_scale_factor": True}),
        ("UpsamplingNearest2d", (), {"scale_factor": 2}, (1, 2, 3, 3), {}),
        ("UpsamplingBilinear2d", (5,), {}, (1, 2, 3, 3), {"size": 4}),
        ("MaxPool2d", (2,), {"return_indices": True}, (1, 2, 4, 5), {"padding": 1, "ceil_mode": True}),
        ("AvgPool1d", (3,), {"padding": 1}, (1, 2, 7), {"count_include_pad": False}),
        ("AdaptiveMaxPool2d", ((2, None),), {}, (1, 2, 4, 5), {"return_indices": True}),
        ("LPPool1d", (2, 3), {}, (1, 2, 7), {"stride": 1, "ceil_mode": True}),
        ("ConstantPad2d", ((1, 2, 0, -1), 3.5), {}, (1, 2, 4, 5), {"value": 1.0, "padding": (1, 1, 1, 1)}),
        ("ZeroPad1d", (2,), {}, (2, 3), {"padding": (0, 1)}),
    ],
    ids=str,
)
def test_attributes_change_and_print_as_in_torch(name, args, kwargs, shape, change):
    agree(name, args, kwargs, draw(*shape), change)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_undoes_pooling(rank):
    x, pools = draw(1, 2, *(5, 4, 6)[:rank]), []
    for library, array in ((nn, jnp.asarray(x)), (torch.nn, torch.tensor(x))):
        pool = getattr(library, f"MaxPool{rank}d")(2, return_indices=True)
        unpool = getattr(library, f"MaxUnpool{rank}d")(2)
        assert library is torch.nn or repr(unpool) == repr(getattr(torch.nn, f"MaxUnpool{rank}d")(2))
        maxima, indices = pool(array)
        pools.append((maxima, indices, unpool(maxima, indices, output_size=x.shape)))
    for mine, theirs in zip(*pools, strict=True):
        assert_close(mine, theirs)


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_pooling_draws_in_training_and_in_evaluation(rank):
    name = f"FractionalMaxPool{rank}d"
    layer, module = getattr(L, name)(2, output_size=3), getattr(nn, name)(2, output_size=3)
    x = draw(2, 3, *(9,) * rank)
    assert repr(module) == repr(getattr(torch.nn, name)(2, output_size=3))
    assert module.kernel_size == (2,) * rank
    assert module.state_dict() == {}
    for train in (True, False):
        outs = [layer.apply({}, {}, x, rng=jax.random.key(i), train=train)[0] for i in range(3)]
        np.testing.assert_array_equal(outs[0], module.apply({}, {}, x, rng=KEY, train=train)[0])
        assert not np.array_equal(outs[0], outs[1])
        assert not np.array_equal(outs[1], outs[2])
        assert not np.array_equal(module.train(train)(x), module(x))
    with pytest.raises(ValueError, match=f"^{name}: rng must be given where random numbers are drawn"):
        layer.apply({}, {}, x)


def test_fractional_samples_that_are_given_are_a_buffer():
    samples, x = np.random.default_rng(0).uniform(size=(2, 3, 2)).astype(np.float32), draw(2, 3, 8, 9)
    theirs = torch.nn.FractionalMaxPool2d(2, None, (0.5, 0.4), True, torch.tensor(samples))
    ours = nn.FractionalMaxPool2d(2, None, [0.5, 0.4], True, samples)
    layer = L.FractionalMaxPool2d(2, None, (0.5, 0.4), True, samples)
    assert hash(layer) == hash(L.FractionalMaxPool2d((2, 2), None, (0.5, 0.4), True, samples))
    assert layer != L.FractionalMaxPool2d(2, None, (0.5, 0.4), True, samples / 2)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["_random_samples"]
    for got in (ours(x), jax.jit(lambda x: layer.apply(*layer.init(KEY), x)[0])(x)):
        for a, b in zip(got, theirs(torch.tensor(x)), strict=True):
            assert_close(a, b)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: L.FractionalMaxPool2d(2),
            "FractionalMaxPool2d: either output_size or output_ratio must be given, got",
        ),
        (lambda: nn.FractionalMaxPool3d(2, 3, 0.5), "FractionalMaxPool3d: either output_size or output_ratio"),
        (
            lambda: nn.FractionalMaxPool2d(2, None, 1.5),
            "FractionalMaxPool2d: output_ratio must be between 0 and 1, got",
        ),
        (lambda: L.FractionalMaxPool3d((2, 0, 2), 3), "FractionalMaxPool3d: kernel_size must be positive, got"),
        (lambda: nn.CircularPad2d(1)(jnp.ones((2, 3))), "pad: "),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call()
