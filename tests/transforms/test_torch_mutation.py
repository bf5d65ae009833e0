"""make_plain: which graphs need torch's second pass, and that the others mean the same without it."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import transforms
from transforms.torch_mutation import make_plain

X = np.cos(np.arange(12, dtype=np.float32)).reshape(3, 4)


def of(forward, train=False):
    """A module with two layers and this forward."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            return forward(self, x)

    torch.manual_seed(0)
    return Net().train(train)


def fresh(m, x):
    y = torch.relu_(m.one(x))
    y += x
    y.mul_(2).add_(x[0])
    seen = y.exp()
    y.clamp_(min=0.1)
    return y, seen


def chained(m, x):
    return m.two(x).sub_(x, alpha=2).sigmoid_().masked_fill_(x > 0, 0.5)


def through_a_view(m, x):
    y = m.one(x)
    row = y[0]
    y.mul_(2)
    return y, row + 0


def into_a_view(m, x):
    y = m.one(x)
    y[1].add_(1)
    return y


def through_an_alias(m, x):
    y = m.one(x)
    z = nn.functional.dropout(y, 0.5, training=False)
    y.mul_(2)
    return z + 0


def through_a_view_of_an_alias(m, x):
    y = nn.functional.dropout1d(m.one(x)[None], 0.5, training=False)
    z = nn.functional.dropout(y, 0.0)
    y[0, 0].zero_()
    return y.sum(), z


def into_the_input(m, x):
    return m.one(x.add_(1))


def statistics(m, x):
    return m.norm(x)


PLAIN = {"fresh": fresh, "chained": chained, "statistics in evaluation": statistics}
WRITES = {"through a view": through_a_view, "into a view": into_a_view, "through an alias": through_an_alias,
          "through a view of an alias": through_a_view_of_an_alias,
          "into the input": into_the_input}  # fmt: skip


def exported(module):
    return torch.export.export(module, (torch.tensor(X),), strict=False)


@pytest.mark.parametrize("name", PLAIN)
def test_writes_into_fresh_tensors_need_no_pass(name):
    assert make_plain(exported(of(PLAIN[name])))


@pytest.mark.parametrize("name", WRITES)
def test_other_writes_need_it(name):
    assert not make_plain(exported(of(WRITES[name])))


def test_the_statistics_of_a_training_norm_need_it():
    assert not make_plain(exported(of(statistics, train=True)))


@pytest.mark.filterwarnings("ignore:.isinstance:FutureWarning")  # of torch itself
def test_what_was_made_plain_can_still_be_passed_on():
    """The graph's signature follows the replacements."""
    program = exported(of(fresh))
    make_plain(program)
    out = program.run_decompositions({}).module()(torch.tensor(X))
    assert torch.equal(out[0], fresh(of(fresh), torch.tensor(X))[0])


@pytest.mark.parametrize("name", [*PLAIN, *WRITES])
def test_values_are_torchs(name):
    module = of({**PLAIN, **WRITES}[name])
    model = transforms.from_torch(module, (torch.tensor(X),))
    params, buffers = model.init()
    out, _ = model.apply(params, buffers, jnp.asarray(X))
    expected = module.eval()(torch.tensor(X))
    for mine, theirs in zip(*(x if isinstance(x, tuple) else (x,) for x in (out, expected)), strict=True):
        np.testing.assert_allclose(mine, theirs.detach(), rtol=1e-6, atol=1e-6)


def test_a_write_that_narrows_is_no_plain_operator():
    """``float32 += float64`` stays float32; the plain sum would not."""
    assert not make_plain(exported(of(lambda m, x: m.one(x).add_(x.double()))))
    assert not make_plain(exported(of(lambda m, x: m.one(x).add_(x.double()[0]))))
