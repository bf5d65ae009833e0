"""Calls inside a model: their places, interceptors, and the regions that jax's transformations make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenn
import stateful as nn
import transforms
from purenn import layers as L
from purenn.calling import Interceptor, called, intercepted, join, shared, through
from purenn.recording import Recording

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 3)), jnp.float32)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def net():
    return purenn.compose(
        lambda m, x: m.head(m.norm(m.body(x))),
        body=L.Sequential(L.Linear(3, 8), jnp.tanh),
        norm=L.BatchNorm1d(8),
        head=L.Linear(8, 2),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), jnp.tanh)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


class Opaque:
    """A model without any base class."""

    def init(self, rng):
        return net().init(rng)

    def apply(self, params, buffers, x, rng=None, train=False):
        return net().apply(params, buffers, x, rng=rng, train=train)


INSIDE = ["body.0", "body.1", "body", "norm", "head"]
MODELS = {
    "pure": net,
    "module": Net,
    "opaque": Opaque,
    "adapted": lambda: nn.Module(net()),
    "adapted opaque": lambda: nn.Module(Opaque()),
    "frozen": lambda: transforms.freeze(net(), "body.*"),
    "remat": lambda: transforms.remat(net()),
    "both": lambda: transforms.remat(transforms.freeze(Net(), "body.*")),
    "ensemble": lambda: transforms.ensemble(net(), 2),
}


def shapes(model):
    """What is recorded in one call: {path: shape}."""
    record = Recording(lambda paths, args, kwargs, out: out)

    def run(params, buffers):
        with intercepted(record):
            model.apply(params, buffers, X, rng=KEY, train=True)

    jax.eval_shape(run, *model.init(KEY))
    assert all(len(paths) == 1 for paths in record.calls)
    return {paths[0]: [out.shape for out in outs] for paths, outs in record.calls.items()}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_call_is_seen_once_at_its_absolute_path(make):
    model = make()
    assert [path for path in shapes(model) if path] == INSIDE
    around = purenn.compose(
        lambda m, x: m.outer(x), outer=purenn.compose(lambda m, x: m.net(x), net=L.Sequential(model))
    )
    seen = shapes(around)
    assert list(seen) == [*(f"outer.net.0.{path}" for path in INSIDE), "outer.net.0", "outer.net", "outer", ""]
    assert all(len(calls) == 1 for calls in seen.values())
    module = nn.Sequential(nn.Module(around))
    assert list(shapes(module)) == [f"0.{path}" if path else "0" for path in seen] + [""]


@pytest.mark.parametrize("name", ["pure", "module", "adapted", "frozen", "both"])
def test_a_child_that_is_called_past_its_parent_has_its_whole_path(name):
    frozen_twice = transforms.freeze(transforms.freeze(Net(), "head.*"), "body.*")
    model = frozen_twice if name == "both" else MODELS[name]()
    around = purenn.compose(
        lambda m, x: m.outer.net.head(m.outer["net"]["norm"](m.outer.net.body(x))),
        outer=purenn.compose(lambda m, x: x, net=model),
    )
    assert list(shapes(around)) == [f"outer.net.{path}" for path in INSIDE] + [""]


def test_children_of_a_placed_model_can_be_walked_and_written():
    counter = purenn.compose(lambda m, x: x, count=purenn.buffer(jnp.zeros(())))
    around = purenn.compose(
        lambda m, x: (setattr(m.net.tick, "count", m.net.tick.count + 1), [layer(x) for layer in m.net])[1],
        net=transforms.freeze(purenn.compose(lambda m, x: x, tick=counter, body=L.Linear(3, 3)), "body.bias"),
    )
    params, buffers = around.init(KEY)
    out, after = around.apply(params, buffers, X)
    assert len(out) == 2
    assert float(after["net"]["tick"]["count"]) == 1
    with pytest.raises(AttributeError, match=r"has no child 'tail'; its children are: tick, body\."):
        purenn.bind(around, params, buffers).net.tail  # noqa: B018


def test_errors_of_a_child_called_past_its_parent_carry_the_whole_path():
    around = purenn.compose(lambda m, x: m.net.head(x), net=transforms.freeze(net(), "body.*"))
    with pytest.raises(ValueError) as caught:
        around.apply(*around.init(KEY), X)
    assert caught.value.__notes__ == ["in net.head"]


class Doubled(Interceptor):
    """Doubles what one child gives."""

    def __init__(self, path):
        self.path = path

    def call(self, paths, run, args, kwargs):
        out = run(*args, **kwargs)
        return 2 * out if self.path in paths else out


def test_an_interceptor_replaces_what_a_child_gives_and_the_last_one_stands_nearest():
    model = net()
    params, buffers = model.init(KEY)
    record = Recording(lambda paths, args, kwargs, out: out)
    with intercepted(Doubled("head")), intercepted(record), intercepted(Doubled("head")):
        out, _ = model.apply(params, buffers, X)
    plain, _ = model.apply(params, buffers, X)
    equal(out, 4 * plain)
    equal(record.calls["head",][0], 2 * plain)
    equal(model.apply(params, buffers, X)[0], plain)  # and it is gone


def test_without_an_interceptor_the_program_is_what_it_was():
    model = transforms.remat(transforms.ensemble(net(), 2))
    arrays = model.init(KEY)

    def program():
        return str(jax.make_jaxpr(lambda p, b: model.apply(p, b, X, train=True))(*arrays))

    before = program()
    with intercepted(Doubled("head")):
        assert program() != before
    with intercepted(Interceptor()):
        assert program() == before
    assert program() == before


def test_an_exception_takes_the_interceptor_away():
    model = net()
    record = Recording(lambda paths, args, kwargs, out: out)
    with pytest.raises(ValueError), intercepted(record):
        model.apply(*model.init(KEY), jnp.ones((6, 4)))
    assert record.calls == {}
    model.apply(*model.init(KEY), X)
    assert record.calls == {}


@pytest.mark.parametrize("name", ["remat", "ensemble"])
def test_what_is_recorded_inside_a_region_comes_out(name):
    model = MODELS[name]()
    params, buffers = model.init(KEY)
    inner = net()

    @jax.jit
    def run(params, buffers):
        record = Recording(lambda paths, args, kwargs, out: {"out": out, "inputs": len(args), "none": None})
        with intercepted(record):
            out, _ = model.apply(params, buffers, X)
        assert record.calls["body",][0]["inputs"] == 1
        return out, record.calls["body",][0]["out"]

    _, body = run(params, buffers)
    if name == "remat":
        params, buffers = (jax.tree.map(lambda a: a[None], tree) for tree in (params, buffers))
        body = body[None]
    expected = [purenn.bind(inner, *(jax.tree.map(lambda a, i=i: a[i], t) for t in (params, buffers))).body(X)
                for i in range(len(body))]  # fmt: skip
    np.testing.assert_allclose(body, jnp.stack(expected), rtol=1e-5, atol=1e-6)


def test_gradients_flow_through_what_is_recorded():
    model = transforms.remat(net())
    params, buffers = model.init(KEY)

    def value(params):
        record = Recording(lambda paths, args, kwargs, out: out if paths == ("body",) else None)
        with intercepted(record):
            model.apply(params, buffers, X)
        (body,) = record.calls["body",]
        return (body**2).sum()

    def by_hand(params):
        return (jnp.tanh(X @ params["body"]["0"]["weight"].T + params["body"]["0"]["bias"]) ** 2).sum()

    for grads in (jax.grad(value)(params), jax.jit(jax.grad(value))(params)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, jax.grad(by_hand)(params)
        )


def test_a_scan_over_like_layers_gives_each_its_own():
    layer = L.Sequential(L.Linear(3, 3), jnp.tanh)
    names = ["a", "b", "c"]
    arrays = [layer.init(jax.random.fold_in(KEY, i))[0] for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
    record = Recording(lambda paths, args, kwargs, out: out)

    class Layers:
        """Scans; in one, twice."""

        def init(self, rng):
            return {}, {}

        def apply(self, params, buffers, x, rng=None, train=False):
            def run(x, params):
                return layer.apply(params, {}, x)[0]

            def lift(region):
                def scanned(given, x, stacked):
                    def step(x, item):
                        taken, x = region(item[0], x, item[1])
                        return x, taken

                    x, taken = jax.lax.scan(step, x, (given, stacked))
                    return taken, x

                return scanned

            return through(run, lift, x, stacked, names=names), buffers

    twice = purenn.compose(lambda m, x: m.layers(m.layers(x)), layers=Layers())
    with intercepted(record):
        out, _ = twice.apply({}, {}, X)
    assert set(record.calls) == {
        ("",), ("layers",), *((f"layers.{n}{part}",) for n in names for part in ("", ".0", ".1")),
    }  # fmt: skip
    x = X
    for call in range(2):
        for name, params in zip(names, arrays, strict=True):
            x, _ = layer.apply(params, {}, x)
            np.testing.assert_allclose(record.calls[f"layers.{name}",][call], x, rtol=1e-6, atol=1e-6)
            equal(record.calls[f"layers.{name}",], record.calls[f"layers.{name}.1",])
    np.testing.assert_allclose(out, x, rtol=1e-6, atol=1e-6)


def test_paths_of_layers_that_share_a_body():
    assert join("", "") == ""
    assert join("a", "") == join("", "a") == "a"
    assert join("a.b", "c") == "a.b.c"
    both = shared(("x", "y"), ["0", "1", "2"])
    assert both == ("x.0", "x.1", "x.2", "y.0", "y.1", "y.2")
    assert both[1::3] == ("x.1", "y.1")


def test_called_gives_inputs_as_they_are():
    assert called("a", lambda *args, **kwargs: (args, kwargs), (1, "b"), {"c": None}) == ((1, "b"), {"c": None})
