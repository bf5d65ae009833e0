"""scan: like layers in one compiled body, declared or found, against the same layers written out."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from table import KEY, WIDTH, Net, X, pure

import purenn
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree
from purenn.layering import assembled, layer_names, named_arrays, names, stack_name
from transforms import scan


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.25)

    def forward(self, x, scale=1.0):
        return x + scale * self.drop(self.norm(self.lin(x)))


class Deep(nn.Module):
    """Layers in a ModuleList, called in a loop."""

    def __init__(self, make=Block):
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList([make() for _ in range(3)])
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def pure_deep():
    blocks = L.Sequential(*[pure() for _ in range(3)])
    return purenn.compose(
        lambda m, x: m.head(m.blocks(m.stem(x))), stem=L.Linear(WIDTH, WIDTH), blocks=blocks, head=L.Linear(WIDTH, 2)
    )


class Late(nn.Module):
    """Only part of a Sequential is alike, and it stands deep inside."""

    def __init__(self):
        super().__init__()
        self.net = nn.Module(
            purenn.compose(lambda m, x: m.body(x), body=L.Sequential(L.Linear(WIDTH, WIDTH), *[pure()] * 3))
        )

    def forward(self, x):
        return self.net(x)


FOUND = {"loop": (Deep, "blocks.*"), "sequence": (pure_deep, "blocks.*"), "late": (Late, "net.body.[1-3]")}
found = pytest.mark.parametrize(("make", "where"), FOUND.values(), ids=FOUND)


def against(model, plain, tol=1e-5):
    """One training call and its gradient, with noise, beside the plain model's; gives the arrays."""
    trees = model.init(KEY)
    state = purenn.state_dict(model, *trees)
    mine = purenn.load_state_dict(plain, state)
    assert list(state) == list(purenn.state_dict(plain, *mine))
    equal(state, purenn.state_dict(plain, *plain.init(KEY)))
    equal(purenn.load_state_dict(model, state), trees)

    def step(model):
        fn = transforms.value_and_grad(model, lambda m, x: (m(x) ** 2).mean())
        return jax.jit(lambda params, buffers: fn(params, buffers, X, rng=KEY))

    (value, after), grads = step(model)(*trees)
    (expected, expected_after), expected_grads = step(plain)(*mine)
    close(value, expected, tol)
    assert jax.tree.structure(after) == jax.tree.structure(trees[1])
    close(purenn.state_dict(model, trees[0], after), purenn.state_dict(plain, mine[0], expected_after), tol)
    close(purenn.state_dict(model, grads, after), purenn.state_dict(plain, expected_grads, expected_after), tol)
    return trees


@pytest.mark.parametrize("stacked", [True, False])
@found
def test_layers_that_are_found_are_those_of_the_model(make, where, stacked):
    params, _ = against(scan(make(), where=where, stacked=stacked), make())
    assert any(":" in path for path in tree.flatten(params)) is stacked


@found
def test_the_layers_are_compiled_once_and_captured_by_name(make, where):
    model, plain = scan(make(), where=where), make()
    trees = model.init(KEY)
    text = str(jax.make_jaxpr(lambda p, b: model.apply(p, b, X, rng=KEY, train=True))(*trees))
    assert text.count("= scan[") == 1
    mine = purenn.load_state_dict(plain, purenn.state_dict(model, *trees))
    mode = {"rng": KEY, "train": True}
    (_, taken), _ = transforms.capture(model, "*").apply(*trees, X, **mode)
    (_, expected), _ = transforms.capture(plain, "*").apply(*mine, X, **mode)
    assert set(taken) == set(expected)
    close({path: taken[path] for path in expected}, expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: scan(layer, 3, stacked=False),
        lambda layer: scan(layer, 3, unroll=2),
        lambda layer: scan(transforms.remat(layer), 3),
        lambda layer: transforms.remat(scan(layer, 3)),
    ],
    ids=["apart", "unroll", "remat inside", "remat around"],
)
def test_layers_that_are_declared_are_a_sequential(wrap):
    against(wrap(pure()), L.Sequential(*[pure()] * 3))


def test_frozen_layers_are_frozen_inside_and_around():
    plain = transforms.freeze(L.Sequential(*[pure()] * 3), "*.body.*")
    against(scan(transforms.freeze(pure(), "body.*"), 3), plain)
    against(transforms.freeze(scan(pure(), 3), "*.body.*"), plain)
    against(scan(transforms.remat(transforms.freeze(pure(), "body.*")), 3), plain)


def test_what_a_call_leaves_as_it_is_is_not_copied():
    model = scan(transforms.freeze(pure(), "*.weight"), 3)
    jaxpr = jax.make_jaxpr(lambda p, b: model.apply(p, b, X))(*model.init(KEY))
    (loop,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert len(loop.outvars) == 1  # the output alone: statistics stay in evaluation, weights always
    buffers = model.init(KEY)[1]
    assert model.apply(*model.init(KEY), X)[1]["0:3"]["body"]["weight"].shape == buffers["0:3"]["body"]["weight"].shape


def test_members_of_layers_and_layers_of_members():
    layer = L.Linear(WIDTH, WIDTH)
    for model in (transforms.ensemble(scan(layer, 3), 2), scan(transforms.ensemble(layer, 2, in_axes=0), 3)):
        params, buffers = model.init(KEY)
        state = purenn.state_dict(model, params, buffers)
        assert list(state) == [f"{i}.{name}" for i in range(3) for name in ("weight", "bias")]
        assert {x.shape for x in state.values()} == {(2, WIDTH, WIDTH), (2, WIDTH)}
        equal(purenn.load_state_dict(model, state), (params, buffers))
        module = nn.Module(model)
        module.load_state_dict(state)
        equal(module.state_dict(), state)
    nested = scan(scan(layer, 2), 3)
    against(nested, L.Sequential(*[L.Sequential(layer, layer)] * 3))


def test_further_inputs_go_to_all_layers():
    layer = purenn.compose(lambda m, x, y, scale=1.0: m.a(x) * scale + y, a=L.Linear(WIDTH, WIDTH))
    params, buffers = scan(layer, 3).init(KEY)
    out, _ = scan(layer, 3).apply(params, buffers, X, X, scale=2.0)
    x = X
    for i in range(3):
        x, _ = layer.apply(jax.tree.map(lambda a, i=i: a[i], params["0:3"]), {}, x, X, scale=2.0)
    close(out, x)

    class Scaled(Deep):
        def forward(self, x):
            scale = jnp.float32(0.5)
            for block in self.blocks:
                x = block(x, scale=scale)
            return x

    plain = Scaled()
    against(scan(plain, where="blocks.*"), plain)


def test_several_inputs_and_outputs_and_layers_called_twice():
    layer = purenn.compose(lambda m, xs: (m.a(xs[0]) + xs[1], xs[0]), a=L.Linear(WIDTH, WIDTH))
    model, plain = scan(layer, 3), L.Sequential(*[layer] * 3)
    out, _ = model.apply(*model.init(KEY), (X, X))
    close(out, plain.apply(*plain.init(KEY), (X, X))[0])

    class Twice(Deep):
        def forward(self, x):
            for _ in range(2):
                for block in self.blocks:
                    x = block(x)
            return x

    plain, model = Twice(), scan(Twice(), where="blocks.*")
    out, after = model.apply(*model.init(KEY), X)
    expected, _ = plain.apply(*plain.init(KEY), X)
    close(out, expected)
    _, after = model.apply(*model.init(KEY), X, rng=KEY, train=True)
    assert (after["blocks"]["0:3"]["norm"]["num_batches_tracked"] == 2).all()


def test_a_layer_called_by_itself_is_itself():
    model = scan(pure_deep(), where="blocks.*")
    params, buffers = model.init(KEY)
    bound = purenn.bind(model, params, buffers, KEY, True)
    plain = purenn.bind(pure_deep(), *pure_deep().init(KEY), KEY, True)
    close(bound.blocks["1"](X), plain.blocks["1"](X))
    assert (bound.buffers["blocks"]["0:3"]["norm"]["num_batches_tracked"] == jnp.array([0, 1, 0])).all()


@pytest.mark.parametrize("make", [Deep, pure_deep])
def test_the_arrays_of_single_layers_are_computed_where_they_are_read(make):
    model = scan(make(), where="blocks.*")
    params, buffers = model.init(KEY)
    primitives = [eqn.primitive.name for eqn in jax.make_jaxpr(lambda p: model.apply(p, buffers, X)[0])(params).eqns]
    assert primitives.count("slice") == 3 * 3  # the statistics of three layers, and no weight
    plain = purenn.load_state_dict(make(), purenn.state_dict(model, params, buffers))[0]["blocks"]["1"]
    first = next(iter(plain))  # the name of its linear layer

    def read(params):
        return getattr(purenn.bind(model, params, buffers).blocks[1 if make is Deep else "1"], first).weight

    equal(read(params), plain[first]["weight"])
    grads = jax.grad(lambda params: (read(params) ** 2).sum())(params)["blocks"]["0:3"][first]["weight"]
    equal(grads, jnp.zeros((3, WIDTH, WIDTH)).at[1].set(2 * plain[first]["weight"]))


def test_layers_of_any_kind_are_given_arrays_when_they_run_alone():
    """Late arrays never reach code that does not know of them: a layer without children, and one that is a view."""
    for wrap in (transforms.remat, lambda layer: transforms.freeze(layer, "bias")):
        plain = purenn.compose(lambda m, x: m.blocks(x), blocks=L.Sequential(*[wrap(L.Linear(WIDTH, WIDTH))] * 2))
        bound = purenn.bind(scan(plain, where="blocks.*"), *scan(plain, where="blocks.*").init(KEY))
        close(bound.blocks["1"](X), purenn.bind(plain, *plain.init(KEY)).blocks["1"](X))
        assert bound.blocks["1"].weight.shape == (WIDTH, WIDTH)


def test_it_trains_and_becomes_a_module():
    module = nn.Module(scan(Deep(), where="blocks.*"))
    trainer = transforms.train_step(module, lambda m, x: (m(x) ** 2).mean(), optax.adam(1e-2))
    state = trainer.init(KEY)
    losses = []
    for _ in range(4):
        state, metrics = trainer.step(state, X)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    module.update(state.params, state.buffers)
    plain = Deep()
    plain.load_state_dict(module.state_dict())
    close(plain.eval()(X), module.eval()(X))


def test_part_of_a_state_dict():
    model = scan(pure(), 3)
    state = purenn.state_dict(model, *model.init(KEY))
    part = {name: x for name, x in state.items() if name != "1.body.weight"}
    params, _ = purenn.load_state_dict(model, part, strict=False, rng=jax.random.key(1))
    fresh = model.init(jax.random.key(1))[0]["0:3"]["body"]["weight"][1]
    equal(params["0:3"]["body"]["weight"], jnp.stack([state["0.body.weight"], fresh, state["2.body.weight"]]))
    with pytest.raises(ValueError, match=r"missing: 1\.body\.weight \(4, 4\)"):
        purenn.load_state_dict(model, part)
    module = nn.Module(model)
    before = np.asarray(module.state_dict()["1.body.weight"])
    assert module.load_state_dict(part, strict=False).missing_keys == ["1.body.weight"]
    equal(module.state_dict()["1.body.weight"], before)
    equal(module.state_dict()["2.body.weight"], state["2.body.weight"])


def test_names_of_stacks():
    assert stack_name(["0", "1", "2"]) == "0:3"
    assert stack_name(["3"]) == "3:4"
    assert stack_name(["a", "b"]) == "a|b"
    assert stack_name(["a"]) == "a|"
    assert stack_name(["0", "2"]) == "0|2"
    for layers in (["0", "1"], ["7"], ["a", "b"], ["a"], ["0", "2"], ["00", "01"]):
        assert layer_names(stack_name(layers)) == layers
    leaves = tree.flatten(purenn.structure(purenn.compose(lambda m: 0, net=scan(scan(L.Linear(2, 2), 2), 3))))
    assert [*names(leaves)][:5] == [
        "net.0.0.weight",
        "net.0.0.bias",
        "net.0.1.weight",
        "net.0.1.bias",
        "net.1.0.weight",
    ]
    arrays = {path: np.arange(np.prod(leaf.shape)).reshape(leaf.shape) for path, leaf in leaves.items()}
    named = named_arrays(arrays, leaves)
    assert named["net.2.1.bias"].tolist() == [10, 11]
    equal(assembled(named, leaves, named.__getitem__), arrays)


class Between(Deep):
    def forward(self, x):
        for block in self.blocks:
            x = block(x) + 1
        return x


class Skips(Deep):
    def forward(self, x):
        return self.blocks[2](self.blocks[0](x))


class Stops(Deep):
    def forward(self, x):
        return self.head(self.blocks[1](self.blocks[0](x)))


class Keeps(Deep):
    def forward(self, x):
        kept = []
        for block in self.blocks:
            x = block(x)
            kept.append(x)
        return jnp.stack(kept)


class Other(Deep):
    def forward(self, x):
        for i, block in enumerate(self.blocks):
            x = block(x, scale=float(i))
        return x


def unlike():
    net = Deep()
    net.blocks[1].drop.p = 0.5
    return net


def run(model):
    return model.apply(*model.init(KEY), X)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: scan(pure()), ValueError, "scan: either n or where must be given, got n=None and where=None. scan(layer, 12), or scan(model, where='blocks.*')."),
        (lambda: scan(pure(), 2, "*"), ValueError, "scan: either n or where must be given, got n=2 and where='*'."),
        *((lambda n=n: scan(pure(), n), ValueError, f"scan: n must be a positive integer, got n={n!r}.") for n in (0, -1, 2.0, True)),
        (lambda: scan(pure(), 2, unroll=0), ValueError, "scan: unroll must be a positive integer, got unroll=0."),
        (lambda: scan(L.Linear, 2), TypeError, "scan: model must be a model, not a class, got model='Linear'."),
        (lambda: scan(pure(), 2).init(None), ValueError, "scan.init: rng must be given, got rng=None."),
        (lambda: scan(pure(), 2).apply({}, {}, X, rng=0), TypeError, "scan.apply: rng must be one PRNG key, got type(rng)='int'."),
        (lambda: scan(pure(), 2).apply(*scan(pure(), 2).init(KEY)), ValueError, "scan: an input must be given, got inputs=0. The first one goes through the layers."),
        (lambda: scan(pure(), 2).apply(*L.Sequential(pure(), pure()).init(KEY), X), ValueError, "scan: params must hold the stacked layers, got unknown=['0', '1']. They come from init, or from purenn.load_state_dict."),
        (lambda: scan(pure(), 2, stacked=False).apply({"0": {}}, {}, X), ValueError, "scan: params must hold the layers, got given=['0'] and layers=['0', '1']."),
        (lambda: run(scan(L.Linear(WIDTH, 5), 2)), ValueError, "scan: a layer must give the shapes and dtypes it is given, got its input='float32[6, 4]' and its output='float32[6, 5]'. Scan layers whose output can be their input."),
        (lambda: scan(transforms.freeze(Deep(), "head.*"), where="blocks.*"), ValueError, "scan: model must have children that can be seen, got type(model)='Frozen'. Transforms hide them: apply scan first, and the others around it."),
        (lambda: scan(Deep(), where="tail.*"), ValueError, "scan: where must match something, got where='tail.*'."),
        (lambda: scan(unlike(), where="blocks.*"), ValueError, "scan: layers of one parent must be alike, got differ=['blocks.0', 'blocks.1']. Choose fewer with where"),
        (lambda: scan(pure(), where=["body", "head", "norm"]), ValueError, "scan: layers of one parent must be alike, got differ=['body', 'norm']."),
        (lambda: run(scan(Between(), where="blocks.*")), ValueError, "scan: what a layer gives must go to the next one as it is, got layer='blocks.0'. Capture it: transforms.capture(model, path)."),
        (lambda: run(scan(Keeps(), where="blocks.*")), (ValueError, TypeError), "scan: what a layer gives must go to the next one as it is, got layer='blocks.0'."),
        (lambda: run(scan(Skips(), where="blocks.*")), ValueError, "scan: layers must be called one after the other, each on what the one before gave, got layers=['blocks.0', 'blocks.1', 'blocks.2']."),
        (lambda: run(scan(Other(), where="blocks.*")), ValueError, "scan: further inputs must be the same for all layers, got layers=['blocks.0', 'blocks.1']."),
        (lambda: run(scan(Stops(), where="blocks.*")), ValueError, "scan: what a layer gives must go to the next one as it is, got layer='blocks.1'."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()


def test_errors_inside_carry_the_whole_path():
    layer = L.Sequential({"a": L.Linear(WIDTH, WIDTH), "b": L.Linear(7, WIDTH)})
    for model in (
        purenn.compose(lambda m, x: m.blocks(x), blocks=scan(layer, 3)),
        scan(purenn.compose(lambda m, x: m.blocks(x), blocks=L.Sequential(*[layer] * 3)), where="blocks.*"),
    ):
        with pytest.raises(ValueError) as caught:
            run(model)
        assert [note for note in caught.value.__notes__ if note.startswith("in ")] == ["in blocks.0:3.b"]


def test_alike_modules():
    assert Net().likeness() == Net().likeness()
    assert Net().eval().likeness() != Net().likeness()
    other = Net()
    other.note = {"table": [np.ones(2)]}
    same = Net()
    same.note = {"table": [np.ones(2)]}
    assert other.likeness() == same.likeness() != Net().likeness()
