"""capture and patch: activations by path, out of a model and back in, under every transformation."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import KEY, MODELS, WIDTH, Net, X, pure

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from transforms.capturing import capture, patch
from transforms.stacked_layers import Scan

CHILDREN = ["body", "norm", "drop", "head"]


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


WRAPS = {
    "plain": pure,
    "module": Net,
    "opaque": MODELS["opaque"],
    "frozen": lambda: transforms.freeze(pure(), "body.*"),
    "remat": lambda: transforms.remat(pure()),
    "ensemble": lambda: transforms.ensemble(pure(), 2),
    "scan": lambda: transforms.scan(pure(), 3),
    "scan of remat": lambda: transforms.scan(transforms.remat(Net()), 3),
    "ensemble of scan": lambda: transforms.ensemble(transforms.scan(pure(), 3), 2),
    "scan of scan": lambda: transforms.scan(transforms.scan(pure(), 2), 3),
    "nested": lambda: purenn.compose(
        lambda m, x: m.b(m.a(x)), a=transforms.scan(pure(), 3), b=nn.Module(transforms.remat(pure()))
    ),
}
each = pytest.mark.parametrize("make", WRAPS.values(), ids=WRAPS)


def arrays(model):
    return *model.init(KEY), X


@each
def test_what_is_captured_put_back_in_changes_nothing(make):
    model = make()
    captured, patched = capture(model, "*"), patch(model)
    params, buffers = model.init(KEY)
    plain = jax.jit(lambda p, b: model.apply(p, b, X, rng=KEY, train=True))(params, buffers)
    (out, taken), after = jax.jit(lambda p, b: captured.apply(p, b, X, rng=KEY, train=True))(params, buffers)
    again = jax.jit(lambda p, b, t: patched.apply(p, b, t, X, rng=KEY, train=True))(params, buffers, taken)
    equal((out, after), plain)
    equal(again, plain)
    assert "" not in taken
    assert {path.rpartition(".")[2] for path in taken} >= set(CHILDREN)


@each
def test_captured_values_are_those_of_the_layers_one_by_one(make):
    """Each activation is what it is in the same model written out, layer by layer and member by member."""
    model = make()
    (_, taken), _ = capture(model, "*head").apply(*arrays(model))
    patched = patch(model)
    for path, value in taken.items():
        out, _ = patched.apply(*model.init(KEY), {path: 0 * value}, X)
        plain, _ = model.apply(*model.init(KEY), X)
        assert (np.asarray(jax.tree.leaves(out)[0]) != np.asarray(plain)).any(), path


def unrolled():
    return L.Sequential(*[pure()] * 3)


def test_layers_of_a_scan_have_names_of_their_own():
    scanned, plain = transforms.scan(pure(), 3), unrolled()
    state = purenn.state_dict(scanned, *scanned.init(KEY))
    mode = {"rng": KEY, "train": True}
    for where in ("*", "1.norm", ["0", "2.drop"], lambda path, out: path.startswith("2.")):
        (out, taken), _ = capture(scanned, where).apply(*scanned.init(KEY), X, **mode)
        (expected_out, expected), _ = capture(plain, where).apply(*purenn.load_state_dict(plain, state), X, **mode)
        assert set(taken) == set(expected)
        close((out, taken), (expected_out, expected))


def test_patches_of_single_layers_of_a_scan():
    scanned, plain = transforms.scan(pure(), 3), unrolled()
    pair = purenn.load_state_dict(plain, purenn.state_dict(scanned, *scanned.init(KEY)))
    for values in (
        {"1.norm": jnp.ones((6, WIDTH))},
        {"0.head": lambda h: 2 * h, "2.head": lambda h: h + 1, "2": lambda h: -h},
        {"0.body": lambda h: 0 * h, "1.body": jnp.full((6, WIDTH), 2.0)},
    ):
        out, _ = jax.jit(lambda p, b, v=values: patch(scanned).apply(p, b, v, X))(*scanned.init(KEY))
        expected, _ = patch(plain).apply(*pair, values, X)
        close(out, expected)


def test_a_scan_inside_a_scan_and_members_inside_layers():
    inner = transforms.scan(pure(), 2)
    model, plain = transforms.scan(inner, 2), L.Sequential(*[L.Sequential(*[pure()] * 2)] * 2)
    pair = purenn.load_state_dict(plain, purenn.state_dict(model, *model.init(KEY)))
    (_, taken), _ = capture(model, "*").apply(*model.init(KEY), X)
    (_, expected), _ = capture(plain, "*").apply(*pair, X)
    assert set(taken) == set(expected)
    close({path: taken[path] for path in expected}, expected)
    values = {"1.0.body": lambda h: 3 * h, "0.1.norm": jnp.ones((6, WIDTH))}
    close(
        patch(model).apply(*model.init(KEY), values, X)[0],
        patch(plain).apply(*pair, values, X)[0],
    )
    members = transforms.scan(transforms.ensemble(L.Linear(WIDTH, WIDTH), 2, in_axes=0), 3)
    xs = jnp.stack([X, -X])
    (_, taken), _ = capture(members, "*").apply(*members.init(KEY), xs)
    out, _ = patch(members).apply(*members.init(KEY), taken, xs)
    equal(out, members.apply(*members.init(KEY), xs)[0])
    assert taken["2"].shape == (2, 6, WIDTH)


def test_members_are_patched_one_by_one():
    model = transforms.ensemble(pure(), 2)
    params, buffers = model.init(KEY)
    value = jnp.stack([jnp.zeros((6, WIDTH)), jnp.ones((6, WIDTH))])
    out, _ = patch(model).apply(params, buffers, {"drop": value}, X)
    head = params["head"]
    close(out, [F.linear(v, w, b) for v, w, b in zip(value, head["weight"], head["bias"], strict=True)])


def test_gradients_with_respect_to_an_activation():
    model = pure()
    params, buffers = model.init(KEY)
    (_, taken), _ = capture(model, "norm").apply(params, buffers, X)
    patched = patch(model)

    def value(norm):
        return (patched.apply(params, buffers, {"norm": norm}, X)[0] ** 2).sum()

    def by_hand(norm):
        return (F.linear(F.relu(norm), **params["head"]) ** 2).sum()

    expected = jax.grad(by_hand)(taken["norm"])
    for gradient in (jax.grad(value), jax.jit(jax.grad(value))):
        close(gradient(taken["norm"]), expected)


def test_gradients_go_through_what_is_captured():
    scanned = capture(transforms.scan(transforms.remat(pure()), 3), "1.head")

    def value(model, arrays):
        (_, taken), _ = model.apply(*arrays, X)
        return (taken["1.head"] ** 2).sum()

    plain = capture(unrolled(), "1.head")
    pair = scanned.init(KEY)
    stacked = jax.jit(jax.grad(lambda p: value(scanned, (p, pair[1]))))(pair[0])
    params, buffers = purenn.load_state_dict(plain, purenn.state_dict(scanned, *pair))
    apart = jax.grad(lambda p: value(plain, (p, buffers)))(params)
    for i in range(3):
        close(jax.tree.map(lambda a, i=i: a[i], stacked["0:3"]), apart[str(i)])


def test_under_jit_vmap_scan_and_grad_of_the_user():
    model = capture(pure(), "norm")
    params, buffers = model.init(KEY)

    def norm(x):
        return model.apply(params, buffers, x)[0][1]["norm"]

    expected = norm(X)
    close(jax.jit(norm)(X), expected)
    close(jax.vmap(lambda x: norm(x[None])[0])(X), expected)
    close(jax.lax.scan(lambda c, x: (c, norm(x[None])[0]), 0, X)[1], expected)
    close(jax.grad(lambda x: norm(x).sum())(X), jax.grad(lambda x: norm(x)[:, :].sum())(X))
    assert jax.eval_shape(norm, X).shape == (6, WIDTH)


def test_a_child_called_again_has_a_name_for_each_call():
    model = purenn.compose(lambda m, x: m.a(m.a(m.a(x))), a=L.Linear(WIDTH, WIDTH))
    params, buffers = model.init(KEY)
    (out, taken), _ = capture(model, "a").apply(params, buffers, X)
    assert list(taken) == ["a", "a:1", "a:2"]
    equal(taken["a:2"], out)
    changed, _ = patch(model).apply(params, buffers, {"a:1": jnp.zeros_like(X)}, X)
    close(changed, jnp.broadcast_to(params["a"]["bias"], (6, WIDTH)))
    twice = purenn.compose(lambda m, x: m.a(m.a(x)), a=transforms.scan(L.Linear(WIDTH, WIDTH), 2))
    params, buffers = twice.init(KEY)
    (out, taken), _ = capture(twice, "a.*").apply(params, buffers, X)
    assert set(taken) == {"a.0", "a.1", "a.0:1", "a.1:1"}
    equal(taken["a.1:1"], out)
    changed, _ = patch(twice).apply(params, buffers, {"a.1:1": jnp.zeros_like(X), "a.0": X}, X)
    assert (changed == 0).all()
    changed, _ = patch(twice).apply(params, buffers, {"a.0:1": jnp.zeros_like(X)}, X)
    close(changed, jnp.broadcast_to(params["a"]["0:2"]["bias"][1], (6, WIDTH)))


def test_captured_values_are_those_that_a_patch_gave_and_the_other_way_round():
    model = pure()
    trees = model.init(KEY)
    values = {"body": lambda h: 2 * h}
    (_, inner), _ = capture(patch(model), "body").apply(*trees, values, X)
    (_, plain), _ = capture(model, "body").apply(*trees, X)
    equal(inner["body"], 2 * plain["body"])
    (_, outer), _ = patch(capture(model, "body")).apply(*trees, values, X)
    equal(outer["body"], plain["body"])


def test_off_the_program_is_the_same_and_on_it_has_no_equation_more():
    """Captured values are results that the program has anyway."""
    for model in (pure(), transforms.scan(pure(), 3), transforms.ensemble(Net(), 2)):
        trees = model.init(KEY)

        def program(model, trees=trees, *first):
            return jax.make_jaxpr(lambda p, b: model.apply(p, b, *first, X, rng=KEY, train=True))(*trees)

        before = str(program(model))
        on = program(capture(model, "*"))
        assert str(program(model)) == before
        assert str(program(patch(model), trees, {})) == before
        plain = program(model)
        if not isinstance(model, Scan):  # the captured layers are taken apart after it
            assert [str(e.primitive) for e in on.eqns] == [str(e.primitive) for e in plain.eqns]
        assert len(on.jaxpr.outvars) > len(plain.jaxpr.outvars)


def test_several_transforms_around_and_a_module_again():
    model = transforms.freeze(transforms.ensemble(capture(pure(), "head"), 2), "body.*")
    params, buffers = model.init(KEY)
    (out, taken), _ = jax.jit(lambda p, b: model.apply(p, b, X))(params, buffers)
    equal(out, taken["head"])
    module = nn.Module(capture(Net(), "head")).eval()
    out, taken = module(X)
    equal(out, taken["head"])
    outer = purenn.compose(lambda m, x: m.net(x)[1]["head"], net=capture(pure(), "head"))
    (again, taken), _ = capture(outer, "net.head").apply(*outer.init(KEY), X)
    equal(again, taken["net.head"])


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: capture(pure(), "tail").apply(*arrays(pure())), ValueError, "capture: where must match something, got where='tail'. Its paths are like "),
        (lambda: capture(pure(), ["head", "tail"]).apply(*arrays(pure())), ValueError, "capture: where must match something, got where='tail'."),
        (lambda: patch(pure()).apply(*arrays(pure())), TypeError, "patch: the first input must be a dict of values by path, got its type='"),
        (lambda: patch(pure()).apply(*pure().init(KEY)), TypeError, "patch: the first input must be a dict of values by path, got its type=None."),
        (lambda: patch(pure()).apply(*pure().init(KEY), {"tail": X, "head": X}, X), ValueError, "patch: a path must be that of a child that is called, got unknown=['tail']. Paths are those that capture gives."),
        (lambda: patch(pure()).apply(*pure().init(KEY), {"head": X[0]}, X), ValueError, "patch: a value must have the structure, shapes and dtypes of the output it replaces, got path='head' and value='float32[4]' and output='float32[6, 4]'."),
        (lambda: patch(pure()).apply(*pure().init(KEY), {"head": lambda h: h > 0}, X), ValueError, "patch: a value must have the structure, shapes and dtypes of the output it replaces, got path='head' and value='bool[6, 4]'"),
        (lambda: patch(transforms.scan(pure(), 3)).apply(*transforms.scan(pure(), 3).init(KEY), {"3.head": X}, X), ValueError, "patch: a path must be that of a child that is called, got unknown=['3.head']."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()
