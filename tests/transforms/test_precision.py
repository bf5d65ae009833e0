"""precision: which dtype is where; loss scaling: the same scale as torch's, and a skipped step that changes nothing."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree
from transforms.casting import computes_in

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 3)), jnp.float32)
Y = jnp.array([0, 1, 1, 0, 1, 0])
BATCH = (X, Y)
HALF, FULL = jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)


@pytest.fixture(autouse=True, scope="module")
def quick(quick_compilation):
    """These are about dtypes, not speed."""


def net():
    return purenn.compose(
        lambda m, x: m.head(m.look(F.relu(m.norm(m.body(x))))),
        body=L.Linear(3, 8),
        norm=L.BatchNorm1d(8),
        look=lambda x: x,
        head=L.Linear(8, 2),
    )


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def dtypes(arrays):
    return {path: array.dtype for path, array in tree.flatten(arrays).items()}


def seen(model, *args, train=True):
    """The dtypes of weights and inputs that each call meets, by path."""
    met = {}

    def note(paths, args, kwargs, out):
        met[paths[0]] = tuple(leaf.dtype for leaf in jax.tree.leaves((args, kwargs, out)))

    with purenn.calling.intercepted(purenn.recording.Recording(note)):
        jax.eval_shape(lambda *a: model.apply(*a, rng=KEY, train=train), *model.init(KEY), *args)
    return met


# ------------------------------------------------------------------------------------------------------- where is which


def test_weights_are_kept_in_float32_and_computed_with_in_less():
    model = transforms.precision(net())
    params, buffers = model.init(KEY)
    equal((params, buffers), net().init(KEY))
    out, after = model.apply(params, buffers, X, train=True)
    assert out.dtype == FULL
    assert dtypes(after) == dtypes(buffers)
    met = seen(transforms.precision(net(), output=None), X)
    assert met["body"][1] == met["look"][0] == met["head"][1] == met[""][1] == HALF
    grads = jax.grad(lambda p: model.apply(p, buffers, X, train=True)[0].sum())(params)
    assert set(dtypes(grads).values()) == {FULL}


def test_the_numbers_are_those_of_casting_by_hand():
    model = transforms.precision(net())
    params, buffers = model.init(KEY)
    half = {**tree.cast(params, HALF), "norm": params["norm"]}  # a normaliser's weights stay in float32
    got, same = jax.jit(model.apply)(params, buffers, X)
    out, after = jax.jit(lambda x: net().apply(half, buffers, x))(X.astype(HALF))
    np.testing.assert_allclose(got, out.astype(FULL), atol=2**-9)  # XLA does not round before a cast back
    equal(same, after)


def test_reduce_says_what_normalisers_keep_their_weights_in():
    for reduce, dtype in ((jnp.float32, FULL), (jnp.bfloat16, HALF), (jnp.float16, jnp.dtype(jnp.float16))):
        model = transforms.precision(net(), reduce=reduce)
        bound = purenn.bind(model, *model.init(KEY))
        assert bound.norm.weight.dtype == dtype
        assert bound.body.weight.dtype == HALF


@pytest.mark.parametrize(
    "layer",
    [L.LayerNorm(8), L.RMSNorm(8), L.GroupNorm(2, 8), L.InstanceNorm1d(8, affine=True), L.BatchNorm1d(8)],
    ids=lambda layer: type(layer).__name__,
)
def test_statistics_are_taken_in_float32(layer):
    """Of numbers whose sum bfloat16 cannot hold: next to one rounding of the output, the result is float32's."""
    x = 64 + jax.random.normal(KEY, (4, 8, 8) if isinstance(layer, (L.GroupNorm, L.InstanceNorm1d)) else (64, 8))
    x = x.astype(HALF)
    model = transforms.precision(layer)
    out = model.apply(*model.init(KEY), x, train=True)[0]
    wide = layer.apply(*layer.init(KEY), x.astype(FULL), train=True)[0]
    np.testing.assert_allclose(out, wide, rtol=2**-8, atol=2**-8)


def test_a_wider_reduce_takes_the_statistics_in_it():
    with jax.enable_x64(True):
        model = transforms.precision(L.LayerNorm(8), jnp.float32, output=None, reduce=jnp.float64)
        params, buffers = model.init(KEY)
        x = 1e4 + jax.random.normal(KEY, (5, 8), jnp.float32)
        out, _ = model.apply(params, buffers, x)
        expected = F.layer_norm(x.astype(jnp.float64), (8,))
        assert out.dtype == FULL
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
        assert np.abs(np.asarray(F.layer_norm(x, (8,))) - np.asarray(expected)).max() > 1e-5


@pytest.mark.parametrize(
    "where", ["body", "body.*", lambda path, leaf: path.startswith("body"), ["body.weight", "body.bias"]]
)
def test_where_names_modules_and_leaves(where):
    model = transforms.precision(net(), where=where)
    met = seen(model, X)
    assert met["body"][1] == HALF
    assert met["norm"][1] == FULL
    assert met["head"] == (FULL, FULL)
    bound = purenn.bind(model, *model.init(KEY))
    assert (bound.body.weight.dtype, bound.head.weight.dtype) == (HALF, FULL)


def test_children_that_a_loss_calls_are_cast_to_as_well():
    for wrap in (lambda m: m, nn.Module):
        model = transforms.precision(wrap(net()), where="body")
        m = purenn.bind(model, *model.init(KEY))
        hidden = m.body(X)
        assert hidden.dtype == HALF
        assert m.head(hidden).dtype == FULL
        assert m["head"](hidden).dtype == FULL
        assert m.training is False
    listed = transforms.precision(L.Sequential(L.Linear(3, 3), L.Linear(3, 3)), where="0")
    layers = list(purenn.bind(listed, *listed.init(KEY)))
    assert [layer(X).dtype for layer in layers] == [HALF, FULL]


def test_inputs_of_any_structure_are_cast_and_the_rest_is_left():
    def wire(m, x, ids, mode, state=None):
        assert mode == "up"
        assert state["h"].dtype == HALF
        assert ids.dtype == jnp.int32
        return {"y": m.a(x), "ids": ids, "mode": 3}

    model = transforms.precision(purenn.compose(wire, a=L.Linear(3, 2)))
    out, _ = model.apply(*model.init(KEY), np.asarray(X), Y, "up", state={"h": X})
    assert (out["y"].dtype, out["ids"].dtype, out["mode"]) == (FULL, jnp.int32, 3)


def test_buffers_keep_float32_whatever_a_model_puts_there():
    def wire(m, x):
        m.last = x.sum(0)
        return m.a(x + m.table)

    model = transforms.precision(
        purenn.compose(wire, a=L.Linear(3, 2), table=purenn.buffer(jnp.ones(3)), last=purenn.buffer(jnp.zeros(3)))
    )
    params, buffers = model.init(KEY)
    _, after = model.apply(params, buffers, X)
    assert dtypes(after) == dtypes(buffers) == {"table": FULL, "last": FULL}


def test_frozen_weights_are_cast_and_come_back_bit_for_bit():
    for wrap in (lambda m: m, lambda m: transforms.ensemble(m, 2)):
        model = transforms.precision(wrap(transforms.freeze(net(), "body.*")))
        params, buffers = model.init(KEY)
        assert purenn.bind(model, params, buffers)._bound is not None
        _, after = jax.jit(lambda p, b, model=model: model.apply(p, b, X, train=True))(params, buffers)
        equal(after["body"], buffers["body"])
        assert list(tree.flatten(model.apply(params, buffers, X)[1])) == list(tree.flatten(buffers))


def test_kept_dtypes_are_those_of_param():
    model = transforms.precision(L.Linear(3, 2, dtype=jnp.bfloat16))
    params, buffers = model.init(KEY)
    assert set(dtypes(params).values()) == {FULL}
    assert {leaf.dtype for leaf in tree.flatten(purenn.structure(model)).values()} == {FULL}
    lean = transforms.precision(net(), param=jnp.bfloat16, where="head")
    kept = dtypes(lean.init(KEY)[0])
    assert (kept["head.weight"], kept["body.weight"]) == (HALF, FULL)
    equal(nn.Module(model).load_state_dict(purenn.state_dict(model, params, buffers)).missing_keys, [])
    assert dtypes(transforms.precision(net(), None, None, None, None).init(KEY)[0]) == dtypes(net().init(KEY)[0])


def test_in_float32_it_adds_nothing_to_the_program():
    plain, model = net(), transforms.precision(net(), jnp.float32)

    def program(model):
        return str(jax.make_jaxpr(lambda p, b: model.apply(p, b, X, train=True))(*model.init(KEY)))

    assert program(model) == program(plain)
    assert program(transforms.precision(net())) != program(plain)


def test_two_precisions_share_a_model_but_no_weight():
    both = transforms.precision(transforms.precision(net(), jnp.float16, where="head"), where="body")
    bound = purenn.bind(both, *both.init(KEY))
    assert (bound.body.weight.dtype, bound.head.weight.dtype) == (HALF, jnp.float16)
    assert computes_in(both, jnp.float16)
    assert not computes_in(transforms.precision(net()), jnp.float16)
    with refused(
        ValueError,
        "precision: a weight must be chosen once, got chosen twice=['head.bias', 'head.weight']. Say it in one place",
    ):
        transforms.precision(transforms.precision(net(), where="head"), jnp.float16)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.precision(net(), jnp.int32), TypeError, "precision: compute must be a floating dtype or None, got compute='int32'. For example jnp.bfloat16."),
        (lambda: transforms.precision(net(), output="float7"), TypeError, "precision: output must be a floating dtype or None, got output='float7'."),
        (lambda: transforms.precision(net(), where="tail"), ValueError, "precision: where must match something, got where='tail'."),
        (lambda: transforms.precision(net(), where="norm.running_mean"), ValueError, "precision: where must match something, got where='norm.running_mean'."),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), precision={"comput": 1}), TypeError, "train_step: precision must be a dtype or options of transforms.precision, got unknown=['comput'] and known=['compute',"),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


def test_layers_of_one_compiled_body_must_be_chosen_alike():
    from test_nonfinite import Layers

    layers = Layers(L.Linear(3, 3), ["a", "b"])
    layers.structure = lambda: {
        name: {leaf: purenn.param(jnp.ones((3, 3) if leaf == "weight" else 3)) for leaf in ("weight", "bias")}
        for name in ("a", "b")
    }
    model = transforms.casting.Precision(layers, frozenset({"a.weight", "a.bias"}), HALF, None, None, FULL)
    with (
        refused(
            ValueError,
            "precision: layers that share one compiled body must have one dtype, got a='bfloat16' and b='float32'.",
        ),
        model.around(),
    ):
        layers.apply(*layers.init(KEY), X)


def test_modules_of_layers_that_are_kept_stacked_are_cast_to():
    layer = purenn.compose(lambda m, x: m.b(m.a(x)), a=L.Linear(3, 3), b=L.Linear(3, 3))
    model = transforms.precision(transforms.scan(layer, 3), where="*.a")
    assert model.entries["1.a"] == HALF
    assert model.entries["1.b"] == FULL
    params, buffers = model.init(KEY)
    np.testing.assert_allclose(
        model.apply(params, buffers, X)[0], transforms.scan(layer, 3).apply(params, buffers, X)[0], atol=2e-2
    )


# --------------------------------------------------------------------------------------------------------- loss scaling


def overflowing(m, batch):
    """The gradients overflow where the batch says so."""
    x, y, scale = batch
    return F.cross_entropy(m(x), y) * scale


def test_a_step_that_overflows_changes_nothing_but_the_scale():
    scaling = transforms.LossScaling(init_scale=2.0**10, growth_interval=2)
    trainer = transforms.train_step(
        net(), overflowing, optax.adam(0.1), precision=jnp.float16, loss_scale=scaling, ema=0.9, donate=False
    )
    good, bad = (X, Y, jnp.float32(1)), (X, Y, jnp.float32(jnp.inf))
    state = trainer.init(KEY)
    one, metrics = trainer.step(state, good)
    assert not metrics["overflow"]
    assert float(metrics["loss_scale"]) == 2.0**10
    two, metrics = trainer.step(one, bad)
    assert metrics["overflow"]
    for name in ("params", "buffers", "opt_state", "ema"):
        equal(getattr(two, name), getattr(one, name))
    assert (int(two.step), int(two.loss_scale.skipped)) == (2, 1)
    assert float(two.loss_scale.scale) == 2.0**9
    three, metrics = trainer.step(two, good)
    assert not metrics["overflow"]
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (three.params, two.params)), strict=True))
    assert int(three.buffers["norm"]["num_batches_tracked"]) == 2
    assert int(three.ema.updates) == 2
    four, _ = trainer.step(three, good)
    assert float(four.loss_scale.scale) == 2.0**10
    assert trainer.step._cache_size() == 1


def test_the_scale_moves_as_torchs_does():
    options = {"init_scale": 2.0**15, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    scaler = torch.amp.GradScaler("cpu", **options)
    scaling = transforms.LossScaling(**options)
    state = scaling.init()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for finite in (True, True, False, True, False, False, *[True] * 140):
        scaler.scale(weight.sum() * (1.0 if finite else float("inf"))).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        state = scaling.update(state, jnp.array(finite))
        assert float(state.scale) == scaler.get_scale()
    assert int(state.skipped) == 3
    assert np.isfinite(state.scale)


def test_scaled_gradients_are_the_gradients():
    """A power of two changes no bit, where nothing underflows."""
    plain = transforms.train_step(net(), loss, optax.sgd(0.1))
    with_scale = transforms.train_step(net(), loss, optax.sgd(0.1), loss_scale=True, accumulate=1)
    a, one = plain.step(plain.init(KEY), BATCH)
    b, two = with_scale.step(with_scale.init(KEY), BATCH)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7),
        (a.params, one["loss"]),
        (b.params, two["loss"]),
    )
    assert set(two) - set(one) == {"loss_scale", "overflow"}


def test_small_gradients_of_float16_survive_by_the_scale():
    model = L.Linear(3, 1, bias=False)
    tiny = 2.0**-26  # float16 ends at 2^-24

    def value(m, x):
        return (m(x) * tiny).sum()

    moved = {}
    for scaled in (False, True):
        trainer = transforms.train_step(model, value, optax.sgd(1.0), precision=jnp.float16, loss_scale=scaled)
        state = trainer.init(KEY, {"weight": jnp.zeros((1, 3))})
        moved[scaled] = trainer.step(state, jnp.ones((1, 3)))[0].params["weight"]
    equal(moved[False], jnp.zeros((1, 3)))
    equal(moved[True], jnp.full((1, 3), -tiny))


def test_the_loss_is_scaled_where_the_model_computes_in_float16():
    for model, precision, scaled in (
        (net(), None, False),
        (net(), jnp.bfloat16, False),
        (net(), jnp.float16, True),
        (net(), {"compute": jnp.float16, "where": "body"}, True),
        (transforms.remat(transforms.precision(net(), jnp.float16)), None, True),
    ):
        trainer = transforms.train_step(model, loss, optax.sgd(0.1), precision=precision)
        assert (jax.eval_shape(trainer.init, KEY).loss_scale is not None) is scaled


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.LossScaling(init_scale=0), ValueError, "LossScaling: init_scale must be positive, got init_scale=0."),
        (lambda: transforms.LossScaling(growth_factor=0.5), ValueError, "LossScaling: growth_factor must be at least 1, got growth_factor=0.5."),
        (lambda: transforms.LossScaling(backoff_factor=2), ValueError, "LossScaling: backoff_factor must lie in (0, 1], got backoff_factor=2."),
        (lambda: transforms.LossScaling(growth_interval=0), ValueError, "LossScaling: growth_interval must be at least 1, got growth_interval=0."),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), loss_scale=2.0), TypeError, "train_step: loss_scale must be a LossScaling, a bool or None, got loss_scale=2.0."),
        (lambda: shapes(net(), {"compute": jnp.float16, "output": None}), TypeError, "train_step: a scaled loss must be float32, got its dtype='float16'. Compute it from float32 outputs: precision(..., output=jnp.float32)."),
        (lambda: shapes(net(), {"compute": jnp.float16, "param": jnp.float16}), TypeError, "train_step: with a scaled loss, params must be float32, got body.bias='float16'. Keep them so: precision(..., param=jnp.float32)."),
        (lambda: shapes(net(), jnp.float16, lambda m, b: (loss(m, b), {"overflow": 1})), ValueError, "train_step: no metric may have a name of the step's own, got metrics=['overflow']."),
    ],
)  # fmt: skip
def test_refusals_of_scaling(call, kind, words):
    with refused(kind, words):
        call()


def shapes(model, precision, loss=loss):
    trainer = transforms.train_step(model, loss, optax.sgd(0.1), precision=precision)
    return jax.eval_shape(trainer.step, jax.eval_shape(trainer.init, KEY), BATCH)
