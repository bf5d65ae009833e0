"""What the laws cannot say of Flatten, Unflatten, Bilinear and the transposed convolutions."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import purenn
from purenn import layers as L

KEY = jax.random.key(0)


def run(layer, *inputs, **options):
    return layer.apply(*layer.init(KEY), *inputs, **options)[0]


@pytest.mark.parametrize(
    ("rank", "shape", "size", "options"),
    [
        (1, (2, 4, 5), (10,), {"stride": 2, "padding": 1}),
        (2, (2, 4, 3, 5), (8, 9), {"stride": (3, 2), "dilation": (1, 2), "padding": (1, 3)}),
        (2, (2, 4, 3, 5), (2, 4, 8, 11), {"stride": (3, 2)}),
        (2, (4, 3, 5), (4, 7, 9), {"stride": (2, 2), "padding": 0, "output_padding": 1}),
        (3, (2, 4, 2, 2, 2), [5, 6, 5], {"stride": 2}),
    ],
    ids=str,
)
def test_output_size_gives_torchs_output(rank, shape, size, options):
    name, x = f"ConvTranspose{rank}d", np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    layer, twin = getattr(L, name)(4, 6, 3, **options), getattr(torch.nn, name)(4, 6, 3, **options)
    params, buffers = purenn.load_state_dict(layer, twin.state_dict())
    try:
        expected = twin(torch.tensor(x), output_size=list(size))
    except ValueError:
        with pytest.raises(ValueError, match=r"output_size must be from \["):
            layer.apply(params, buffers, x, output_size=size)
        return
    got = jax.jit(lambda p, x: layer.apply(p, buffers, x, output_size=size)[0])(params, x)
    assert_close(got, expected)


X = jnp.ones((2, 4, 3, 3))
UP = {"in_channels": 4, "out_channels": 2, "kernel_size": 3}


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: L.ConvTranspose2d(**UP, padding_mode="reflect"), ValueError, "ConvTranspose2d: padding_mode must be 'zeros', got padding_mode='reflect'."),
        (lambda: L.ConvTranspose1d(**UP, padding="same"), ValueError, "ConvTranspose1d: padding must be numbers, got padding='same'."),
        (lambda: L.ConvTranspose3d(**UP, groups=3), ValueError, "ConvTranspose3d: in_channels must be divisible by groups, got in_channels=4 and groups=3."),
        (lambda: run(L.ConvTranspose2d(**UP), X, output_size=(5,)), ValueError, "ConvTranspose2d: output_size must have 2 or 4 numbers, got output_size=(5,) and input.shape=(2, 4, 3, 3)."),
        (lambda: run(L.ConvTranspose2d(**UP, stride=2), X, output_size=(9, 7)), ValueError, "ConvTranspose2d: output_size must be from [7, 7] to [8, 8], got output_size=(9, 7)."),
        (lambda: run(L.ConvTranspose1d(**UP), X, output_size=(5,)), ValueError, "ConvTranspose1d: input must be 3-D, or 2-D without a batch, got input.shape=(2, 4, 3, 3)."),
        (lambda: L.Bilinear(0, 2, 3), ValueError, "Bilinear: in1_features must be positive, got in1_features=0."),
        (lambda: L.Bilinear(2, 2.0, 3), TypeError, "Bilinear: in2_features must be an integer, got in2_features=2.0."),
        (lambda: run(L.Flatten(3), X[0]), IndexError, "Flatten: start_dim must be an axis of input, got start_dim=3 and input.shape=(4, 3, 3)."),
        (lambda: run(L.Flatten(2, 1), X), ValueError, "Flatten: start_dim must not come after end_dim, got start_dim=2 and end_dim=1 and input.shape=(2, 4, 3, 3)."),
        (lambda: L.Unflatten(1, 5), TypeError, "Unflatten: unflattened_size must be a tuple of integers, got type(unflattened_size)='int'."),
        (lambda: L.Unflatten(1, (2, 2.0)), TypeError, "Unflatten: unflattened_size[1] must be an integer, got unflattened_size[1]=2.0."),
        (lambda: L.Unflatten(1, (-2, 2)), ValueError, "Unflatten: unflattened_size[0] must not be negative, got unflattened_size[0]=-2."),
        *(
            (lambda sizes=sizes: run(L.Unflatten(1, sizes), X), ValueError, f"Unflatten: unflattened_size must multiply to the length of the axis, got unflattened_size={sizes} and its length=4.")
            for sizes in [(3, 2), (), (-1, -1), (3, -1), (0, -1)]
        ),
        (lambda: run(L.Unflatten(4, (1, 1)), X), IndexError, "Unflatten: dim must be an axis of input, got dim=4 and input.shape=(2, 4, 3, 3)."),
        (lambda: run(L.Unflatten(0, (1,)), jnp.ones(())), IndexError, "Unflatten: dim must be an axis of input, got dim=0 and input.shape=()."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()


def test_flatten_and_unflatten_under_vmap_and_in_sequence():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    net = L.Sequential(L.Flatten(0), L.Unflatten(0, (4, -1)))
    np.testing.assert_array_equal(jax.vmap(lambda a: net.apply({}, {}, a)[0])(x), x.reshape(2, 4, 3))
    assert hash(L.Unflatten(0, [2, 3])) == hash(L.Unflatten(0, (2, 3)))
