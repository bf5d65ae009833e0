"""find_nonfinite: the first module, forward or backward, whichever transform the model has gone through."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import purenn
import stateful as nn
import transforms
from purenn import layers as L
from purenn.calling import through

KEY = jax.random.key(0)
X = jnp.ones((4, 3))


def model():
    """Its root of zero has an infinite slope; its root of a negative number is none."""
    return purenn.compose(
        lambda m, x: m.last(m.root(m.first(x))), first=L.Linear(3, 2, bias=False), root=jnp.sqrt, last=L.Linear(2, 1)
    )


def ones(wrapped):
    params, buffers = wrapped.init(KEY)
    return jax.tree.map(jnp.ones_like, params), jax.tree.map(jnp.ones_like, buffers)


WRAPS = {
    "plain": lambda m: m,
    "module": nn.Module,
    "remat": transforms.remat,
    "ensemble": lambda m: transforms.ensemble(m, 2),
    "precision": transforms.precision,
    "freeze": lambda m: transforms.freeze(m, "last.*"),
}


@pytest.mark.parametrize("name", WRAPS)
def test_the_first_module_is_named_forward_and_backward(name):
    wrapped = WRAPS[name](model())
    arrays = ones(wrapped)
    n = 16 if name == "ensemble" else 8
    assert transforms.find_nonfinite(wrapped, *arrays, X) is None
    assert transforms.find_nonfinite(wrapped, *arrays, -X) == ("root", "output", n)
    assert transforms.find_nonfinite(wrapped, *arrays, X * jnp.inf) == ("first", "output", n)
    assert transforms.find_nonfinite(wrapped, *arrays, X * 0) == ("root", "input gradient", n)


def test_params_and_the_loss_itself_are_looked_at():
    params, buffers = ones(model())
    broken = {**params, "last": {**params["last"], "bias": jnp.array([jnp.nan])}}
    found = transforms.find_nonfinite(model(), broken, buffers, X)
    assert found == ("last.bias", "param", 1)
    assert str(found) == "last.bias itself (1 numbers)"
    args = (model(), params, buffers, X, jnp.zeros(4))
    assert transforms.find_nonfinite(*args, loss=lambda m, x, y: jnp.log(-m(x)[0, 0] + y[0])) == ("", "loss", 1)
    found = transforms.find_nonfinite(*args, loss=lambda m, x, y: (jnp.sqrt(m(x)[:, 0] * y).sum(), {"aux": x}))
    assert found == ("", "output gradient", 4)
    assert str(found) == "the gradient of the output of the model (4 numbers)"


def test_a_gradient_of_a_param_alone_is_found():
    whole = purenn.compose(
        lambda m, x: m.scale(x) + m.first(x),
        scale=purenn.compose(lambda m, x: x.sum(-1) * jnp.sqrt(m.s), s=purenn.param(jnp.zeros(()))),
        first=L.Linear(3, 1),
    )
    found = transforms.find_nonfinite(whole, *whole.init(KEY), X)
    assert found == ("scale.s", "param gradient", 1)
    assert str(found) == "the gradient of scale.s (1 numbers)"


def test_noise_and_inputs_of_every_kind():
    net = purenn.compose(
        lambda m, x, mode: m.head(m.drop(x["a"])) / (mode == "up"), drop=L.Dropout(), head=L.Linear(3, 2)
    )
    params, buffers = net.init(KEY)
    assert transforms.find_nonfinite(net, params, buffers, {"a": X}, mode="up", rng=KEY, train=True) is None
    ids = L.Sequential(L.Embedding(4, 3), jnp.log)
    found = transforms.find_nonfinite(ids, *ids.init(KEY), jnp.array([1, 2]))
    assert found[:2] == ("1", "output")
    assert str(found).startswith("the output of 1 (")


class Layers:
    """Like layers in one compiled body."""

    def __init__(self, layer, names):
        self.layer, self.names = layer, names

    def init(self, rng):
        drawn = [self.layer.init(jax.random.fold_in(rng, i))[0] for i, _ in enumerate(self.names)]
        return purenn.tree.stack(drawn), {}

    def apply(self, params, buffers, x, rng=None, train=False):
        def run(x, params):
            return self.layer.apply(params, {}, x)[0]

        def lift(region):
            def scanned(given, x, params):
                def step(x, item):
                    taken, x = region(item[0], x, item[1])
                    return x, taken

                x, taken = jax.lax.scan(step, x, (given, params))
                return taken, x

            return scanned

        return through(run, lift, x, params, names=self.names), buffers


@pytest.mark.parametrize("nested", [False, True])
def test_the_layer_is_named_where_layers_share_a_body(nested):
    layer = purenn.compose(lambda m, x: 1 + m.root(x * m.w), w=purenn.param(jnp.ones(())), root=jnp.sqrt)
    layers = Layers(layer, ["a", "b", "c"])
    if nested:
        layers = Layers(layers, ["x", "y"])
    prefix, shape = ("y.", (2, 3)) if nested else ("", (3,))
    weights = np.ones(shape, np.float32)
    place = (1, 1) if nested else 1
    weights[place] = -1
    assert transforms.find_nonfinite(layers, {"w": jnp.asarray(weights)}, {}, X) == (f"{prefix}b.root", "output", 12)
    weights[place] = 0
    found = transforms.find_nonfinite(layers, {"w": jnp.asarray(weights)}, {}, X)
    assert found == (f"{prefix}b.root", "input gradient", 12)


def test_a_loop_of_the_models_own():
    def wire(m, x):
        return m.last(jax.lax.scan(lambda h, _: (m.root(m.cell(h)), None), x, None, length=3)[0])

    net = purenn.compose(wire, cell=L.Linear(3, 3, bias=False), root=jnp.sqrt, last=L.Linear(3, 1))
    arrays = ones(net)
    assert transforms.find_nonfinite(net, *arrays, X) is None
    assert transforms.find_nonfinite(net, *arrays, -X)[:2] == ("root", "output")
    assert transforms.find_nonfinite(net, *arrays, 0 * X)[:2] == ("root", "output gradient")  # of another turn
    with pytest.raises(checkify.JaxRuntimeError, match=r"^checked: the output of root must"):
        transforms.checked(net).apply(*arrays, -X)


def test_what_is_no_model_is_refused():
    with pytest.raises(
        TypeError, match=re.escape("find_nonfinite: model must have init and apply, got type(model)='int'.")
    ):
        transforms.find_nonfinite(3, {}, {}, X)
