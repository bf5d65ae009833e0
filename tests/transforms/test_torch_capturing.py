"""What torch.export is helped over: Python of other libraries, classes it does not know, attributes that change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import transforms
from transforms.torch_faithful import _difference

X = np.cos(np.arange(6, dtype=np.float32)).reshape(2, 3)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 3)
        self.seen, self.count = [], 0


def converted(module, *args):
    model = transforms.from_torch(module, args)
    return lambda *args, train=False: model.apply(*model.init(), *args, train=train)[0]


def test_numpy_inside_a_forward_is_followed_by_torchs_compiler():
    class Mixed(Base):
        def forward(self, x):
            return torch.from_numpy(np.sin(x.numpy())) + self.line(x)

    module = Mixed()
    out = converted(module, torch.tensor(X))(jnp.asarray(X))
    np.testing.assert_allclose(out, module(torch.tensor(X)).detach(), rtol=1e-5, atol=1e-6)


def test_attributes_that_a_forward_changes_are_as_they_were():
    class Remembers(Base):
        def forward(self, x):
            self.count += 1
            self.last = self.line(x)
            self.seen.append(self.last)
            return self.last * self.count

    module = Remembers()
    run = converted(module, torch.tensor(X))
    assert (module.count, module.seen, hasattr(module, "last"), module.training) == (0, [], False, True)
    expected = module(torch.tensor(X)).detach()
    for train in (False, True):  # both modes were exported from the same state
        np.testing.assert_allclose(run(jnp.asarray(X), train=train), expected, rtol=1e-5, atol=1e-6)


class Cache:
    """Not known to torch: a list of layers that hold tensors, and a number."""

    def __init__(self, layers):
        self.layers, self.length = layers, len(layers)


class Layer:
    def __init__(self, keys):
        self.keys, self.name = keys, "k"


def test_objects_that_hold_tensors_go_in_and_come_out_by_their_attributes():
    class Cached(Base):
        def forward(self, x, cache):
            layers = [Layer(torch.cat([layer.keys, self.line(x)])) for layer in cache.layers]
            return {"cache": Cache(layers), "length": x * cache.length}

    module = Cached()
    run = converted(module, torch.tensor(X), Cache([Layer(torch.ones(1, 3)), Layer(torch.zeros(1, 3))]))
    layers = [{"keys": jnp.ones((1, 3))}, {"keys": jnp.zeros((1, 3))}]
    out = run(jnp.asarray(X), {"layers": layers})
    again = module(torch.tensor(X), Cache([Layer(torch.ones(1, 3)), Layer(torch.zeros(1, 3))]))
    for mine, theirs in zip(out["cache"].layers, again["cache"].layers, strict=True):
        np.testing.assert_allclose(mine["keys"], theirs.keys.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out["length"], 2 * X)
    assert Cache not in torch.utils._pytree.SUPPORTED_NODES


def test_an_error_says_what_torch_said_of_which_line():
    class Branches(Base):
        def forward(self, x):
            return self.line(x) if x.sum() > 0 else -x

    with pytest.raises(
        ValueError, match=r"module must be one that torch\.export takes, got module='Branches'"
    ) as caught:
        transforms.from_torch(Branches(), (torch.tensor(X),))
    text = str(caught.value)
    assert "torch said: GuardOnDataDependentSymNode: Could not guard on data-dependent expression" in text
    assert "test_torch_capturing.py" in text
    assert ": return self.line(x) if x.sum() > 0 else -x). What values decide must be written with torch.where" in text


def test_an_error_of_the_forward_itself_is_told():
    with pytest.raises(ValueError, match=r"torch said: RuntimeError: bilinear\(\): input2 size does not match"):
        transforms.from_torch(nn.Bilinear(3, 3, 1), (torch.ones(2, 3), torch.ones(2, 4)))


class OneWay(torch.autograd.Function):
    """Its backward decides by values, which torch.export cannot follow."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g if g.sum() > 0 else -g


def test_a_backward_that_cannot_be_exported_is_missed_by_who_differentiates_only():
    class Net(nn.Module):
        def forward(self, x):
            return OneWay.apply(x)

    run = converted(Net(), torch.tensor(X))
    np.testing.assert_allclose(run(jnp.asarray(X)), 2 * X)
    with pytest.raises(ValueError, match=r"backward of a custom function must be one that torch\.export takes"):
        jax.grad(lambda x: run(x).sum())(jnp.asarray(X))


def test_a_write_without_gradients_leaves_the_gradient_of_the_tensor():
    class Rescales(Base):
        def forward(self, x):
            y = self.line(x)
            with torch.no_grad():
                self.line.weight.mul_(2).add_(1)
                y.clamp_(min=-0.2)
            return (y * self.line(x)).sum()

    module = Rescales()
    with pytest.warns(UserWarning, match=r"writes into parameter line\.weight"):
        model = transforms.from_torch(module, (torch.tensor(X),))
    params, buffers = model.init()
    grads = jax.grad(lambda params: model.apply(params, buffers, jnp.asarray(X))[0])(params)
    weight = module.line.weight.detach().clone().requires_grad_()
    y = nn.functional.linear(torch.tensor(X), weight, module.line.bias)
    y = y + (y.clamp(min=-0.2) - y).detach()
    (y * nn.functional.linear(torch.tensor(X), weight + (weight + 1).detach(), module.line.bias)).sum().backward()
    np.testing.assert_allclose(grads["line"]["weight"], weight.grad, rtol=1e-5, atol=1e-6)


def test_a_forward_that_does_something_else_while_it_is_exported_is_refused():
    class Asks(Base):
        def forward(self, x, factor=None):
            x = self.line(x)
            return x * 2 if torch.compiler.is_compiling() else x

    message = (
        "from_torch: the program that torch.export makes must compute what the module does, got module='Asks' and "
        "output=0 and difference=1.0"
    )
    with pytest.raises(ValueError, match=message):
        transforms.from_torch(Asks(), (torch.tensor(X),))


def test_what_the_proof_runs_leaves_no_trace():
    class Counts(Base):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x):
            self.n += 1
            x += 1
            return self.line(x) * self.n + torch.rand(()) * 0

    module, x, state = Counts(), torch.tensor(X), torch.random.get_rng_state()
    transforms.from_torch(module, (x,))
    assert module.n == 0
    np.testing.assert_array_equal(x, X)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("ours", "error"),
    [
        ([1.0, 2.0], None),
        ([1.0, 2.0 + 1e-6], None),
        ([1.0, 2.1], pytest.approx(0.05)),
        ([1.0, np.nan], "numbers that are not finite"),
        ([1.0], "(2,) torch.float64 and (1,) torch.float64"),
    ],
)
def test_what_counts_as_another_number(ours, error):
    theirs = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert _difference(theirs, torch.tensor(ours, dtype=torch.float64)) == error
    assert _difference(torch.tensor([1, 2]), torch.tensor([1, 3])) == "1 numbers of 2"
