"""transforms: from a model to a model and to the functions of training, on pure models and on Modules alike."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import itertools
import pickle
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
from transforms.training import TrainState
from transforms.viewing import BoundView

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 3)), jnp.float32)
Y = jnp.array([0, 1, 1, 0, 1, 0])
BATCH = (X, Y)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def forward(m, x):
    return m.head(m.drop(F.relu(m.norm(m.body(x)))))


def pure():
    return purenn.compose(
        forward, body=L.Linear(3, 8), norm=L.BatchNorm1d(8), drop=L.Dropout(0.25), head=L.Linear(8, 2)
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return forward(self, x)


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(3, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.drop = torch.nn.Dropout(0.25)
        self.head = torch.nn.Linear(8, 2)


class Opaque:
    """A model without any base class."""

    def init(self, rng):
        return pure().init(rng)

    def apply(self, params, buffers, x, rng=None, train=False):
        return pure().apply(params, buffers, x, rng=rng, train=train)


def small():
    return purenn.compose(lambda m, x: m.norm(m.body(x)), body=L.Linear(3, 8), norm=L.BatchNorm1d(8))


MODELS = {"pure": pure, "module": Net, "adapted": lambda: nn.Module(pure()), "opaque": Opaque}
NAMES = list(Torch().state_dict())
each = pytest.mark.parametrize("make", [pure, Net], ids=["pure", "module"])
each_kind = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)  # where little is compiled


def loss(m, batch):
    x, y = batch
    logits = m(x)
    return F.cross_entropy(logits, y), {"accuracy": (logits.argmax(-1) == y).mean()}


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def run(model):
    """One training call, compiled."""
    return jax.jit(lambda params, buffers, rng=KEY: model.apply(params, buffers, X, rng=rng, train=True))


def copies(trees):
    return jax.tree.map(np.array, trees)


# -------------------------------------------------------------------------------------------------------- value_and_grad


@each
def test_value_and_grad_is_jaxs_over_apply(make):
    model = make()
    params, buffers = model.init(KEY)

    def by_hand(params):
        logits, after = model.apply(params, buffers, X, rng=KEY, train=True)
        return F.cross_entropy(logits, Y), after

    (value, after), grads = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(params)
    fn = transforms.value_and_grad(model, loss)
    ((got, metrics), buffers_after), got_grads = jax.jit(lambda *args: fn(*args, rng=KEY))(params, buffers, BATCH)
    close((got, buffers_after, got_grads), (value, after, grads))
    assert set(metrics) == {"accuracy"}


def test_value_and_grad_in_evaluation_and_with_several_inputs():
    model = L.Sequential(L.Linear(3, 2), L.BatchNorm1d(2), L.Dropout())
    params, buffers = model.init(KEY)
    fn = transforms.value_and_grad(model, lambda m, x, y: F.cross_entropy(m(x), y))
    (value, same), _ = fn(params, buffers, X, Y, train=False)
    close(value, F.cross_entropy(model.apply(params, buffers, X)[0], Y))
    equal(same, buffers)


def test_a_loss_reads_children_and_calls_twice():
    def twice(m, x):
        return (m(x) ** 2).sum() + (m(x + 1) ** 2).sum() + (m.body.weight**2).sum()

    for model in (small(), nn.Module(small())):
        params, buffers = model.init(KEY)
        fn = transforms.value_and_grad(model, twice)
        (_, after), grads = jax.jit(lambda p, b, fn=fn: fn(p, b, X, rng=KEY))(params, buffers)
        assert int(after["norm"]["num_batches_tracked"]) == 2
        assert jax.tree.structure(grads) == jax.tree.structure(params)


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (lambda m, x: m(x), ValueError, "value_and_grad: the loss must be a scalar, got its shape=(6, 2). Reduce it, for example with .mean()."),
        (lambda m, x: (m(x), {}), ValueError, "value_and_grad: the loss must be a scalar, got its shape=(6, 2)."),
        (lambda m, x: m(x).argmax(), TypeError, "value_and_grad: the loss must be floating, got its dtype='int32'."),
        (lambda m, x: 1, TypeError, "value_and_grad: the loss must be floating, got its dtype='int32'."),
        (lambda m, x: None, TypeError, "value_and_grad: the loss must return a number, or a tuple that begins with one, got its type='NoneType'."),
    ],
)  # fmt: skip
def test_losses_that_are_refused(bad, kind, words):
    model = L.Linear(3, 2)
    with refused(kind, words):
        transforms.value_and_grad(model, bad)(*model.init(KEY), X)


def test_randomness_without_a_key_is_refused_in_a_loss():
    params, buffers = pure().init(KEY)
    with refused(ValueError, "drop: rng must be given where random numbers are drawn, got rng=None."):
        jax.eval_shape(transforms.value_and_grad(pure(), loss), params, buffers, BATCH)


# ------------------------------------------------------------------------------------------------------------ train_step


@each
def test_train_step_is_the_hand_written_one(make):
    model = make()
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    trainer = transforms.train_step(model, loss, optimizer)
    state = trainer.init(KEY)
    params, buffers = model.init(KEY)
    equal((state.params, state.buffers), (params, buffers))
    opt_state = optimizer.init(params)
    gradients = jax.jit(lambda *args: transforms.value_and_grad(model, loss)(*args[:-1], rng=args[-1]))
    for i in range(2):
        rng = jax.random.fold_in(state.rng, i)
        ((value, _), buffers), grads = gradients(params, buffers, BATCH, rng)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, metrics = trainer.step(state, BATCH)
        close(metrics["loss"], value)
        close((state.params, state.buffers, state.opt_state), (params, buffers, opt_state))
    assert isinstance(state, TrainState)
    assert int(state.step) == 2
    assert set(metrics) == {"loss", "accuracy"}


def test_one_run_from_one_seed_however_the_model_is_written():
    runs = []
    for model in (pure(), Net(), nn.Module(pure())):
        trainer = transforms.train_step(model, loss, optax.sgd(0.1, momentum=0.9))
        state = trainer.init(KEY)
        values = []
        for _ in range(2):
            state, metrics = trainer.step(state, BATCH)
            values.append(float(metrics["loss"]))
        runs.append((values, purenn.state_dict(model, state.params, state.buffers)))
    for values, arrays in runs[1:]:
        np.testing.assert_allclose(values, runs[0][0], rtol=1e-5)
        assert list(arrays) == NAMES
        close(arrays, runs[0][1])


@each
def test_a_step_is_traced_once_and_leaks_nothing(make):
    traces = []

    def counting(m, batch):
        traces.append(1)
        return loss(m, batch)

    with jax.checking_leaks():
        trainer = transforms.train_step(make(), counting, optax.sgd(0.1, momentum=0.9))
        state = trainer.init(KEY)
        for _ in range(3):
            state, _ = trainer.step(state, BATCH)
    assert len(traces) == 1


@each
def test_init_and_step_have_shapes_without_numbers(make):
    trainer = transforms.train_step(make(), loss, optax.adam(1e-3))
    shapes = jax.eval_shape(trainer.init, KEY)
    after, metrics = jax.eval_shape(trainer.step, shapes, BATCH)
    assert jax.tree.map(lambda s: (s.shape, s.dtype), after) == jax.tree.map(lambda s: (s.shape, s.dtype), shapes)
    assert metrics["loss"].shape == ()
    close(jax.jit(trainer.init)(KEY).params, trainer.init(KEY).params)


def test_what_the_caller_gives_survives_donation():
    params, buffers = small().init(KEY)
    before = copies((params, buffers))
    trainer = transforms.train_step(small(), loss, optax.adam(1e-2))
    for given in ((params, buffers), (jax.tree.map(np.array, params), jax.tree.map(np.array, buffers))):
        state = trainer.init(KEY, *given)
        first, _ = trainer.step(state, BATCH)
        trainer.step(first, BATCH)
        equal(given, before)
        with pytest.raises(RuntimeError, match=r"deleted|donated"):
            np.asarray(state.params["body"]["weight"])
    fresh = trainer.init(KEY, buffers=buffers)
    trainer.step(fresh, BATCH)
    equal(buffers, before[1])


def test_without_donation_the_old_state_stays():
    trainer = transforms.train_step(small(), loss, optax.adam(1e-2), donate=False)
    state = trainer.init(KEY)
    before = copies(state.params)
    a, _ = trainer.step(state, BATCH)
    b, _ = trainer.step(state, BATCH)
    equal((a.params, state.params), (b.params, before))


def test_values_in_the_model_survive_donation():
    scale = jnp.ones(2)
    model = purenn.compose(
        lambda m, x: m.a(x) * m.s + m.t, a=L.Linear(3, 2), s=purenn.param(scale), t=purenn.buffer(scale)
    )
    trainer = transforms.train_step(model, lambda m, b: (m(b[0]) ** 2).mean(), optax.sgd(0.1))
    for _ in range(2):
        trainer.step(trainer.step(trainer.init(KEY), BATCH)[0], BATCH)
    equal(scale, np.ones(2))


@pytest.mark.parametrize(
    "optimizer",
    [optax.contrib.dog(), optax.contrib.prodigy(), optax.contrib.cocob(), optax.contrib.schedule_free_sgd(0.1), optax.noisy_sgd(0.1, key=1)],
    ids=["dog", "prodigy", "cocob", "schedule_free", "noisy"],
)  # fmt: skip
def test_optimizers_that_keep_the_params_themselves_can_be_donated(optimizer):
    trainer = transforms.train_step(L.Linear(3, 2), lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer)
    state = trainer.init(KEY)
    for _ in range(2):
        state, metrics = trainer.step(state, BATCH)
    assert np.isfinite(metrics["loss"])


def test_one_array_given_twice_can_be_donated():
    w = jnp.ones((3, 3))
    model = purenn.compose(lambda m, x: m.a(m.b(x)), a=L.Linear(3, 3, bias=False), b=L.Linear(3, 3, bias=False))
    trainer = transforms.train_step(model, lambda m, b: (m(b[0]) ** 2).mean(), optax.sgd(0.1))
    state, _ = trainer.step(trainer.init(KEY, {"a": {"weight": w}, "b": {"weight": w}}), BATCH)
    assert (state.params["a"]["weight"] != state.params["b"]["weight"]).any()
    equal(w, np.ones((3, 3)))


def test_raw_keys_train_alike():
    trainer = transforms.train_step(pure(), loss, optax.sgd(0.1))
    a, _ = trainer.step(trainer.init(KEY), BATCH)
    b, _ = trainer.step(trainer.init(jax.random.PRNGKey(0)), BATCH)
    equal(a.params, b.params)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.train_step(L.Linear, loss, optax.sgd(1)), TypeError, "train_step: model must be a model, not a class, got model='Linear'. Call it."),
        (lambda: transforms.train_step(jnp.tanh, loss, optax.sgd(1)), TypeError, "train_step: model must have init and apply, got type(model)="),
        (lambda: transforms.train_step(L.Linear(3, 2), loss, 0.1), TypeError, "train_step: optimizer must be optax's, got type(optimizer)='float'. For example optax.adam(1e-3)."),
        (lambda: transforms.train_step(L.Linear(3, 2), loss, optax.sgd), TypeError, "train_step: optimizer must be optax's, got type(optimizer)='function'."),
        (lambda: transforms.train_step(pure(), loss, optax.sgd(1)).init(None), ValueError, "train_step.init: rng must be given, got rng=None."),
        (lambda: transforms.train_step(pure(), loss, optax.sgd(1)).init(0), TypeError, "train_step.init: rng must be one PRNG key, got type(rng)='int'."),
        (lambda: transforms.value_and_grad(L.Linear, loss), TypeError, "value_and_grad: model must be a model, not a class, got model='Linear'."),
        (lambda: transforms.ensemble(L.Linear, 2), TypeError, "ensemble: model must be a model, not a class, got model='Linear'."),
        (lambda: transforms.ensemble(pure(), 2).apply(*pure().init(KEY), X), ValueError, "ensemble: params must have the members as first axis, got n=2 and shapes={"),
        (lambda: transforms.remat(3), TypeError, "remat: model must have init and apply, got type(model)='int'."),
        (lambda: transforms.freeze(L.Linear, "*"), TypeError, "freeze: model must be a model, not a class, got model='Linear'."),
        *((lambda n=n: transforms.ensemble(pure(), n), ValueError, f"ensemble: n must be a positive integer, got n={n!r}.") for n in (0, -1, 2.0, True, "2")),
        (lambda: transforms.ensemble(pure(), 2).init(None), ValueError, "ensemble.init: rng must be given, got rng=None."),
        (lambda: transforms.ensemble(pure(), 2).apply({}, {}, X, rng=0), TypeError, "ensemble.apply: rng must be one PRNG key, got type(rng)='int'."),
        (lambda: transforms.remat(pure(), "everything"), ValueError, "remat: policy must be one of jax.checkpoint_policies, got policy='everything'. Known: everything_saveable, nothing"),
        (lambda: transforms.remat(pure(), "save_only_these_names"), ValueError, "remat: policy must be one of jax.checkpoint_policies, got policy='save_only_these_names'."),
        (lambda: transforms.remat(pure(), 3), TypeError, "remat: policy must be a name, a function or None, got type(policy)='int'."),
        (lambda: transforms.freeze(pure(), "tail.*"), ValueError, "freeze: where must match something, got where='tail.*'. Its paths are like"),
        (lambda: transforms.freeze(pure(), "body"), ValueError, "freeze: where must match something, got where='body'. Did you mean 'body.*'?"),
        (lambda: transforms.freeze(pure(), "norm.running_mean"), ValueError, "freeze: where must match something, got where='norm.running_mean'."),
        (lambda: transforms.freeze(L.Dropout(), "*"), ValueError, "freeze: where must match something, got where='*'. The tree has no leaves."),
        (lambda: transforms.freeze(pure(), "body.*").apply(*pure().init(KEY), X), ValueError, "freeze: buffers must hold the frozen arrays, got missing=['body.bias', 'body.weight']. params and buffers come from the frozen model's own init."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        (lambda v: (v, [1]), TypeError, "train_step: the loss must give a value, or a value and a dict of metrics, got its length=2 and type(metrics)='list'."),
        (lambda v: (v, {}, {}), TypeError, "train_step: the loss must give a value, or a value and a dict of metrics, got its length=3 and type(metrics)='dict'."),
        (lambda v: (v,), TypeError, "train_step: the loss must give a value, or a value and a dict of metrics, got its length=1 and type(metrics)='NoneType'."),
        (lambda v: (v, {"loss": v, "b": v}), ValueError, "train_step: no metric may be called 'loss', got metrics=['loss', 'b']. That is the value."),
    ],
)  # fmt: skip
def test_metrics_that_are_refused(result, kind, words):
    trainer = transforms.train_step(L.Linear(3, 2), lambda m, b: result(m(b[0]).mean()), optax.sgd(0.1))
    with refused(kind, words):
        trainer.step(trainer.init(KEY), BATCH)


# ---------------------------------------------------------------------------------------------------------------- freeze


def test_unfreeze_undoes_freeze_whole_or_in_part():
    frozen = transforms.freeze(pure(), ["body.*", "norm.weight"])
    assert transforms.unfreeze(frozen) == pure()
    assert transforms.unfreeze(frozen, "body.*") == transforms.freeze(pure(), "norm.weight")
    with refused(ValueError, "unfreeze: where must match something, got where='head.*'."):
        transforms.unfreeze(frozen, "head.*")
    with refused(
        TypeError,
        "unfreeze: model must be what freeze gave, got type(model)='Remat'. Undo transforms from the outermost inwards.",
    ):
        transforms.unfreeze(transforms.remat(frozen))


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (Opaque, "body.*"),
        (pure, ["*.bias", "norm.weight"]),
        (Net, lambda path, leaf: len(leaf.shape) == 2),
        (pure, "*"),
    ],
)
def test_a_frozen_model_is_the_model(make, where):
    model = make()
    frozen = transforms.freeze(model, where)
    params, buffers = model.init(KEY)
    chosen = tree.selected(params, where)
    fp, fb = frozen.init(KEY)
    assert set(tree.flatten(fp)) == set(tree.flatten(params)) - set(chosen)
    assert set(tree.flatten(fb)) == set(tree.flatten(buffers)) | set(chosen)
    assert list(purenn.state_dict(frozen, fp, fb)) == NAMES
    equal(purenn.state_dict(frozen, fp, fb), purenn.state_dict(model, params, buffers))
    out, after = run(frozen)(fp, fb)
    expected, expected_after = run(model)(params, buffers)
    after = tree.reorder(after, fb)
    close(out, expected)
    assert jax.tree.structure(after) == jax.tree.structure(fb)
    close(purenn.state_dict(frozen, fp, after), purenn.state_dict(model, params, expected_after))
    equal(purenn.load_state_dict(frozen, purenn.state_dict(model, params, buffers)), (fp, fb))


@each
def test_frozen_leaves_get_no_gradient_no_optimizer_state_and_stay(make):
    frozen = transforms.freeze(make(), ["body.*", "norm.weight"])
    trainer = transforms.train_step(frozen, loss, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)))
    state = trainer.init(KEY)
    before = TrainState(*copies((state.params, state.buffers)), None, None, None)
    names = ["norm.bias", "head.weight", "head.bias"]
    assert set(tree.flatten(state.params)) == set(names)
    assert len(jax.tree.leaves(state.opt_state)) == 1 + 2 * len(names)
    for _ in range(2):
        state, _ = trainer.step(state, BATCH)
    after = tree.flatten(state.buffers)
    for path in ("body.weight", "body.bias", "norm.weight"):
        equal(after[path], tree.flatten(before.buffers)[path])
    assert int(after["norm.num_batches_tracked"]) == 2  # statistics move, as in torch
    for path, leaf in tree.flatten(state.params).items():
        assert (leaf != tree.flatten(before.params)[path]).all()


@pytest.fixture
def full_compilation(quick_compilation):
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.usefixtures("full_compilation")
@pytest.mark.parametrize("adapt", [lambda m: m, nn.Module], ids=["pure", "module"])
def test_frozen_leaves_cost_nothing_in_the_step(adapt):
    def wire(m, x):
        return m.head(F.relu(m.two(F.relu(m.one(x)))))

    model = adapt(purenn.compose(wire, one=L.Linear(256, 512), two=L.Linear(512, 512), head=L.Linear(512, 64)))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    batch = jnp.ones((128, 256)), jnp.zeros(128, jnp.int32)

    def value(m, batch):
        return F.cross_entropy(m(batch[0]), batch[1])

    def flops(fn, *args):
        return jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]

    def cost(model):
        trainer = transforms.train_step(model, value, optimizer)
        return trainer.step.lower(jax.eval_shape(trainer.init, KEY), batch).compile().cost_analysis()["flops"]

    def head(params, h):
        return F.cross_entropy(F.linear(h, params["weight"], params["bias"]), batch[1])

    params, buffers = model.init(KEY)
    h = jnp.ones((128, 512))
    forward = flops(lambda p: value(purenn.bind(model, p, buffers), batch), params)
    head_backward = flops(jax.grad(head), params["head"], h) - flops(head, params["head"], h)
    frozen = cost(transforms.freeze(model, ["one.*", "two.*"]))
    assert frozen <= 1.15 * (forward + head_backward)
    assert cost(model) > 2 * frozen  # the law can fail


def test_frozen_models_show_their_children():
    frozen = transforms.freeze(pure(), "body.*")
    params, buffers = frozen.init(KEY)
    bound = purenn.bind(frozen, params, buffers)
    assert isinstance(bound, BoundView)
    assert bound.body.weight is buffers["body"]["weight"]
    assert bound.head.weight is params["head"]["weight"]
    close(bound.body(X), F.linear(X, **buffers["body"]))
    inner = purenn.compose(lambda m, x: m.net.head(m.net.body(x)), net=frozen)
    params, buffers = inner.init(KEY)
    out, after = inner.apply(params, buffers, X)
    assert out.shape == (6, 2)
    assert list(tree.flatten(after)) == list(tree.flatten(buffers))


def test_freezing_twice_is_freezing_both():
    once = transforms.freeze(pure(), ["body.*", "head.bias"])
    twice = transforms.freeze(transforms.freeze(pure(), "body.*"), "head.bias")
    for a, b in zip(once.init(KEY), twice.init(KEY), strict=True):
        equal(a, b)
    equal(once.apply(*once.init(KEY), X), twice.apply(*twice.init(KEY), X))
    with refused(ValueError, "freeze: where must match something, got where='body.weight'."):
        transforms.freeze(transforms.freeze(pure(), "body.*"), "body.weight")


# -------------------------------------------------------------------------------------------------------------- ensemble


@each
def test_member_i_is_the_model_with_its_key(make):
    model = make()
    both = transforms.ensemble(model, 3)
    params, buffers = both.init(KEY)
    close(jax.jit(both.init)(KEY), (params, buffers))
    out, after = run(both)(params, buffers)
    assert out.shape == (3, 6, 2)
    one = run(model)
    for i in range(3):
        mine = model.init(jax.random.fold_in(KEY, i))
        equal(jax.tree.map(lambda a, i=i: a[i], (params, buffers)), mine)
        expected = one(*mine, jax.random.fold_in(KEY, i))
        close(jax.tree.map(lambda a, i=i: a[i], (out, after)), expected)
    state = purenn.state_dict(both, params, buffers)
    assert list(state) == NAMES
    assert all(x.shape[0] == 3 for x in state.values())
    equal(purenn.load_state_dict(both, state), (params, buffers))


def test_ensemble_axes():
    both = transforms.ensemble(L.Linear(3, 2), 2, in_axes=0)
    params, buffers = both.init(KEY)
    xs = jnp.stack([X, -X])
    out, _ = both.apply(params, buffers, xs)
    close(out, [F.linear(x, *(params[k][i] for k in ("weight", "bias"))) for i, x in enumerate(xs)])
    scaled = transforms.ensemble(
        purenn.compose(lambda m, x, s, t=1: m.a(x) * s * t, a=L.Linear(3, 2)), 2, in_axes=(None, 0)
    )
    params, buffers = scaled.init(KEY)
    out, _ = scaled.apply(params, buffers, X, jnp.array([0.0, 1.0]), t=2.0)
    assert (out[0] == 0).all()
    assert (out[1] != 0).all()


def test_ensembles_of_models_without_arrays():
    drop = transforms.ensemble(L.Dropout(), 4)
    assert drop.init(KEY) == ({}, {})
    out, _ = drop.apply({}, {}, jnp.ones(50), rng=KEY, train=True)
    assert out.shape == (4, 50)
    assert len({row.tobytes() for row in np.asarray(out)}) == 4
    assert transforms.ensemble(L.Identity(), 2).apply({}, {}, X)[0].shape == (2, 6, 3)


def test_an_ensemble_trains():
    members = transforms.ensemble(L.Sequential(L.Linear(3, 8), jnp.tanh, L.Linear(8, 2)), 4)
    trainer = transforms.train_step(
        members, lambda m, b: jax.vmap(F.cross_entropy, (0, None))(m(b[0]), b[1]).sum(), optax.adam(0.05)
    )
    state = trainer.init(KEY)
    state, first = trainer.step(state, BATCH)
    for _ in range(30):
        state, last = trainer.step(state, BATCH)
    assert float(last["loss"]) < 0.6 * float(first["loss"])


# ----------------------------------------------------------------------------------------------------------------- remat


@pytest.mark.parametrize("policy", [None, "dots_saveable", jax.checkpoint_policies.nothing_saveable])
def test_remat_changes_no_number(policy):
    model = Net() if policy is None else pure()
    again = transforms.remat(model, policy)
    params, buffers = model.init(KEY)
    equal(again.init(KEY), (params, buffers))
    fn, fn_again = (transforms.value_and_grad(m, loss) for m in (model, again))
    (out, after), grads = jax.jit(lambda p, b: fn(p, b, BATCH, rng=KEY))(params, buffers)
    (out2, after2), grads2 = jax.jit(lambda p, b: fn_again(p, b, BATCH, rng=KEY))(params, buffers)
    close((out2, after2, grads2), (out, after, grads), 1e-5)
    assert list(purenn.state_dict(again, params, after2)) == NAMES


def test_remat_computes_again_and_a_policy_says_what_is_kept():
    def sines(m, x):
        for _ in range(4):
            x = jnp.sin(m.a(x))
        return x

    model = purenn.compose(sines, a=L.Linear(3, 3))
    params, buffers = model.init(KEY)

    def operations(model, name):
        text = str(jax.make_jaxpr(jax.grad(lambda p: model.apply(p, buffers, X)[0].sum()))(params))
        return text.count(f" {name}")

    assert operations(model, "sin") == 4
    assert operations(transforms.remat(model), "sin") > 4
    assert operations(transforms.remat(model), "dot_general") > operations(
        transforms.remat(model, "dots_saveable"), "dot_general"
    )


def test_remat_passes_flags_strings_and_none():
    def wire(m, x, mode, flag=False, mask=None, scale=1):
        assert mode == "up"
        assert flag is True
        assert mask is None
        assert scale == 2
        return m.a(x) * scale

    again = transforms.remat(purenn.compose(wire, a=L.Linear(3, 2)))
    params, buffers = again.init(KEY)
    out, _ = again.apply(params, buffers, np.asarray(X), "up", flag=True, mask=None, scale=2)
    close(out, 2 * F.linear(X, **params["a"]))


# --------------------------------------------------------------------------------------------------------------- nesting


WRAPS = {
    "freeze": lambda model: transforms.freeze(model, "body.*"),
    "ensemble": lambda model: transforms.ensemble(model, 2),
    "remat": transforms.remat,
}


def nested(model, order):
    for name in order:
        model = WRAPS[name](model)
    return model


@pytest.fixture(scope="module")
def reference():
    """What the three give in one order, on the pure model."""
    model = nested(pure(), ("freeze", "remat", "ensemble"))
    params, buffers = model.init(KEY)
    return params, buffers, jax.jit(lambda p, b: model.apply(p, b, X, rng=KEY, train=True))(params, buffers)


@pytest.mark.parametrize("order", list(itertools.permutations(WRAPS)), ids="-".join)
def test_transforms_nest_in_any_order_and_become_modules_again(order, reference):
    model = nested(Net(), order)
    module = nn.Module(model)
    params, buffers, expected = reference
    for either in (model, module):
        equal(either.init(KEY), (params, buffers))
        state = purenn.state_dict(either, params, buffers)
        assert list(state) == NAMES
    assert set(tree.flatten(params)) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    close(jax.jit(lambda p, b: module.apply(p, b, X, rng=KEY, train=True))(params, buffers), expected)
    assert list(module.state_dict()) == NAMES
    module.load_state_dict(state)
    equal(module.state_dict(), state)
    shapes = jax.eval_shape(lambda *args: model.apply(*args, X), params, buffers)
    assert shapes[0].shape == (2, 6, 2)


def test_a_nested_module_runs_trains_and_takes_its_arrays_back(reference):
    module = nn.Module(nested(Net(), ("remat", "freeze", "ensemble")))
    trainer = transforms.train_step(module, lambda m, b: (m(b[0]) ** 2).mean(), optax.sgd(0.1))
    state, _ = trainer.step(trainer.init(KEY), BATCH)
    module.update(state.params, state.buffers)
    equal(module.state_dict()["body.weight"], reference[1]["body"]["weight"])
    close(module.eval()(X), module.apply(state.params, state.buffers, X)[0])


@each_kind
@pytest.mark.parametrize("name", WRAPS)
def test_each_transform_becomes_a_module_with_torchs_names_in_order(make, name):
    module = nn.Module(WRAPS[name](make()))
    assert list(module.state_dict()) == NAMES


def test_part_of_a_node_frozen_keeps_torchs_order_in_a_module():
    frozen = transforms.freeze(pure(), ["*.weight"])
    assert list(purenn.state_dict(frozen, *frozen.init(KEY))) == NAMES
    assert list(nn.Module(frozen).state_dict()) == NAMES


def test_transformed_models_are_children():
    for name, wrap in WRAPS.items():
        model = purenn.compose(lambda m, x: m.net(x), net=wrap(pure()))
        params, buffers = model.init(KEY)
        out, after = jax.eval_shape(lambda p, b, m=model: m.apply(p, b, X, rng=KEY, train=True), params, buffers)
        assert out.shape[-2:] == (6, 2), name
        assert jax.tree.structure(after) == jax.tree.structure(buffers)
        assert list(purenn.state_dict(model, params, buffers)) == [f"net.{path}" for path in NAMES]


@pytest.mark.parametrize(
    "wrap", [*WRAPS.values(), lambda m: WRAPS["remat"](WRAPS["freeze"](m)), nn.Module], ids=[*WRAPS, "both", "Module"]
)
def test_errors_inside_carry_the_whole_path(wrap):
    broken = purenn.compose(forward, body=L.Linear(3, 8), norm=L.LayerNorm(8), drop=L.Identity(), head=L.Linear(7, 2))
    model = purenn.compose(lambda m, x: m.outer(x), outer=purenn.compose(lambda m, x: m.net(x), net=wrap(broken)))
    params, buffers = model.init(KEY)
    with refused(ValueError, "linear: the last axis of input") as caught:
        model.apply(params, buffers, X)
    assert [note for note in caught.value.__notes__ if note.startswith("in ")] == ["in outer.net.head"]


def test_transformed_models_are_values():
    for name, wrap in WRAPS.items():
        model = wrap(L.Sequential({"body": L.Linear(3, 2)}))
        model.init(KEY)
        assert model == wrap(L.Sequential({"body": L.Linear(3, 2)})), name
        assert hash(pickle.loads(pickle.dumps(model))) == hash(model)
        assert pickle.loads(pickle.dumps(model)) == model
        params, _ = jax.jit(lambda model, key: model.init(key), static_argnums=0)(model, KEY)
        assert jax.tree.structure(params) == jax.tree.structure(model.init(KEY)[0])


def test_transforms_leave_a_module_as_it_is():
    net = Net()
    before = {name: (x, np.array(x)) for name, x in net.state_dict().items()}
    for wrap in WRAPS.values():
        model = wrap(net)
        jax.eval_shape(lambda p, b, m=model: m.apply(p, b, X, rng=KEY, train=True), *model.init(KEY))
    for name, x in net.state_dict().items():
        assert x is before[name][0]
        equal(x, before[name][1])
    assert net.training
