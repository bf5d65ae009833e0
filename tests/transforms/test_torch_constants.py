"""Masks and sizes that are made of constants are known inside jit; those of an input are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import transforms

X = np.cos(np.arange(9, dtype=np.float32)).reshape(3, 3)


class Constants(nn.Module):
    def forward(self, x):
        counts = torch.tensor([2, 0, 1])
        rows = x.repeat_interleave(counts, dim=0)
        picked = x[:, torch.arange(3) != 1], x[torch.nonzero(counts)[:, 0]], x.masked_select(torch.eye(3).bool())
        nowhere = x.clone()
        nowhere[counts > 2] = x[counts > 2] * 2
        return rows, *picked, torch.zeros(counts.max().item()), nowhere


class OfTheInput(nn.Module):
    def forward(self, x):
        return x[x[:, 0] > 0]


def test_constant_masks_and_sizes_are_known_inside_jit():
    model = transforms.from_torch(Constants(), (torch.tensor(X),))
    out, _ = jax.jit(model.apply)({}, {}, jnp.asarray(X))
    expected = Constants()(torch.tensor(X))
    for mine, theirs in zip(out, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    jax.grad(lambda x: sum(part.sum() for part in model.apply({}, {}, x)[0]))(jnp.asarray(X))


def test_a_mask_of_the_input_is_refused_inside_jit_only():
    model = transforms.from_torch(OfTheInput(), (torch.tensor(X),))
    np.testing.assert_array_equal(model.apply({}, {}, jnp.asarray(X))[0], OfTheInput()(torch.tensor(X)))
    with pytest.raises(ValueError, match="index: a mask that picks rows must be known when the model is traced"):
        jax.jit(model.apply)({}, {}, jnp.asarray(X))
