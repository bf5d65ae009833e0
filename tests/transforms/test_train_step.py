"""train_step's options, eval_step, param_groups and metrics (its numbers without options: test_transforms.py)."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re
import warnings

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

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)), jnp.float32)
Y = jnp.array([0, 1] * 4)
BATCH = (X, Y)


@pytest.fixture(autouse=True, scope="module")
def quick(quick_compilation):
    """These are about numbers, not speed."""


def net():
    return purenn.compose(
        lambda m, x: m.head(F.relu(m.norm(m.body(x)))), body=L.Linear(3, 8), norm=L.LayerNorm(8), head=L.Linear(8, 2)
    )


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def with_logits(m, batch):
    logits = m(batch[0])
    return F.cross_entropy(logits, batch[1]), logits


def accuracy(logits, batch):
    return (logits.argmax(-1) == batch[1]).mean()


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def train(trainer, steps=2, batch=BATCH):
    state = trainer.init(KEY)
    for _ in range(steps):
        state, metrics = trainer.step(state, batch)
    return state, metrics


# ------------------------------------------------------------------------------------------------- accumulate, ema, state


def test_accumulating_is_the_large_batch():
    expected, metrics = train(transforms.train_step(net(), loss, optax.adam(0.1)))
    for choice in (4, {"n": 2, "weight": lambda batch: batch[1].shape[0]}):
        state, got = train(transforms.train_step(net(), loss, optax.adam(0.1), accumulate=choice))
        close((state.params, got["loss"]), (expected.params, metrics["loss"]))
    shared = X, Y, jnp.ones(2)
    given = transforms.train_step(
        net(), lambda m, b: loss(m, b) * b[2].mean(), optax.adam(0.1), accumulate={"n": 2, "in_axes": (0, 0, None)}
    )
    close(train(given, batch=shared)[0].params, expected.params)


def test_the_average_is_that_of_the_params_after_each_step():
    trainer = transforms.train_step(net(), loss, optax.sgd(0.1), ema={"decay": 0.5, "debias": False})
    state = trainer.init(KEY)
    average = transforms.start_average(state.params)
    for _ in range(3):
        state, _ = trainer.step(state, BATCH)
        average = transforms.update_average(average, state.params, 0.5)
    close(state.ema, average)
    evaluate = transforms.eval_step(net(), loss, ema=True)
    mean = transforms.read_average(average, state.params)
    close(evaluate(state, BATCH)["loss"].mean, loss(purenn.bind(net(), mean, {}), BATCH))


@jax.custom_vjp
def steep(x, slope):
    """``x``, with a gradient that is the slope more."""
    del slope
    return x


steep.defvjp(lambda x, slope: (x, slope), lambda slope, g: (g + slope, jnp.zeros_like(slope)))


def spoilt(m, batch):
    """What is added to the loss, and to its gradient, need not be finite."""
    return steep(loss(m, batch), batch[3]) + batch[2]


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    model = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Linear(4, 2))
    options = {"ema": 0.9, "donate": False}
    trainer = transforms.train_step(model, spoilt, optax.adam(0.1), skip_nonfinite=True, **options)
    plain = transforms.train_step(model, spoilt, optax.adam(0.1), **options)
    state = trainer.init(KEY)
    bad = [(x, y) for x in (0.0, jnp.inf, jnp.nan) for y in (0.0, jnp.inf, jnp.nan)][1:]
    for of_loss, of_gradient in bad:
        after, metrics = trainer.step(state, (*BATCH, jnp.float32(of_loss), jnp.float32(of_gradient)))
        assert metrics["nonfinite"]
        assert int(after.step) == 1
        equal(jax.tree.leaves(after._replace(step=0, rng=0)), jax.tree.leaves(state._replace(step=0, rng=0)))
    fine = (*BATCH, jnp.float32(3e38), jnp.float32(0))
    (one, metrics), (two, _) = trainer.step(state, fine), plain.step(state, fine)
    assert set(metrics) == {"loss", "nonfinite"}
    assert not metrics["nonfinite"]
    close(one._replace(rng=0), two._replace(rng=0))
    assert trainer.step._cache_size() == 1


def test_large_gradients_are_finite_and_others_are_not():
    large = {"a": jnp.full((3,), 3e38), "n": jnp.arange(2), "c": jnp.ones(2, jnp.complex64)}
    assert transforms.scaling.all_finite(large)
    for wrong in (jnp.array([1, jnp.inf]), jnp.array([-jnp.inf], jnp.float16), jnp.array([jnp.nan * 1j])):
        assert not transforms.scaling.all_finite({**large, "b": wrong})
    assert transforms.scaling.all_finite({})


def test_a_scaled_loss_is_lost_only_where_no_smaller_scale_helps():
    scaling = transforms.LossScaling(init_scale=2.0)
    trainer = transforms.train_step(L.Linear(3, 2), spoilt, optax.sgd(0.1), loss_scale=scaling, skip_nonfinite=True)
    state, seen = trainer.init(KEY), []
    for of_loss, of_gradient in ((0, jnp.inf), (0, jnp.inf), (0, 0), (jnp.inf, 0)):
        before = np.asarray(state.params["weight"])
        state, metrics = trainer.step(state, (*BATCH, jnp.float32(of_loss), jnp.float32(of_gradient)))
        moved = bool((before != state.params["weight"]).any())
        seen.append((float(metrics["loss_scale"]), bool(metrics["overflow"]), bool(metrics["nonfinite"]), moved))
    assert seen == [
        (2, True, False, False),
        (1, True, True, False),
        (0.5, False, False, True),
        (0.5, False, True, False),
    ]


def test_a_state_costs_nothing_for_what_is_not_used():
    state = jax.eval_shape(transforms.train_step(net(), loss, optax.sgd(0.1)).init, KEY)
    assert state.ema is None
    assert state.loss_scale is None
    assert len(jax.tree.leaves(state)) == 6 + 2


def test_everything_at_once_on_a_module():
    trainer = transforms.train_step(
        nn.Module(net()), with_logits, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), accumulate=2,
        precision={"compute": jnp.float16, "where": ["body", "head"]}, ema=0.9, metrics={"accuracy": accuracy},
    )  # fmt: skip
    _, metrics = train(trainer, 12)
    assert set(metrics) == {"loss", "accuracy", "loss_scale", "overflow"}
    assert float(metrics["loss"]) < 0.6
    assert trainer.step._cache_size() == 1


# ------------------------------------------------------------------------------------------------------------- optimizers


OPTIMIZERS = {
    "lbfgs": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(4)),
    "momo": optax.contrib.momo(),
    "plateau": optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=1)),
    "polyak": optax.polyak_sgd(),
    "sam": optax.contrib.sam(optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.1)), opaque_mode=True),
    "hyperparameters": optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(0.1, 0.01, 10)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_get_what_they_ask_for_and_nothing_is_traced_again(name):
    trainer = transforms.train_step(net(), loss, OPTIMIZERS[name])
    state = trainer.init(KEY)
    values = []
    for _ in range(4):
        state, metrics = trainer.step(state, BATCH)
        values.append(float(metrics["loss"]))
    assert values[-1] < values[0]
    assert trainer.step._cache_size() == 1


def test_a_line_search_by_hand():
    optimizer, model = OPTIMIZERS["backtracking"], net()

    def value(params):
        return loss(purenn.bind(model, params, {}), BATCH)

    @jax.jit
    def step(params, opt_state):
        v, grads = jax.value_and_grad(value)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params, value=v, grad=grads, value_fn=value)
        return optax.apply_updates(params, updates), opt_state

    params, _ = model.init(KEY)
    params, opt_state = step(params, optimizer.init(params))
    params, _ = step(params, opt_state)
    # over micro-batches: the search is over the whole batch all the same
    close(train(transforms.train_step(model, loss, optimizer, accumulate=2))[0].params, params, 1e-4)


# --------------------------------------------------------------------------------------------------------------- donation


def test_a_donation_that_cannot_be_used_is_an_error_here():
    with pytest.raises(UserWarning, match="donated buffers were not usable"):
        jax.jit(lambda x: x.sum(), donate_argnums=0)(jnp.ones(8))


def test_every_part_of_the_state_is_donated():
    options = {"ema": 0.9, "precision": jnp.float16, "accumulate": 2, "skip_nonfinite": True}
    trainer = transforms.train_step(net(), loss, optax.adam(0.1), **options)
    state = trainer.init(KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.step(state, BATCH)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state._replace(rng=None)))


def test_arrays_that_share_memory_can_be_donated():
    array = jnp.ones((3, 3))
    alias = jax.device_put(array, jax.devices()[0])
    assert alias is not array

    class Tied:
        def init(self, rng):
            return {"a": array, "b": alias, "c": array}, {}

        def apply(self, params, buffers, x, rng=None, train=False):
            return x @ params["a"] @ params["b"] @ params["c"], buffers

    trainer = transforms.train_step(Tied(), lambda m, b: (m(b[0]) ** 2).mean(), optax.sgd(0.1))
    state, _ = train(trainer)
    assert np.isfinite(state.params["a"]).all()


def test_weights_that_modules_share_are_one_leaf_and_donated():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3, bias=False)
            self.b = nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = Twins()
    trainer = transforms.train_step(model, lambda m, b: (m(b[0]) ** 2).mean(), optax.adam(0.1))
    state = trainer.init(KEY, *model.split())
    assert len(jax.tree.leaves(state.params)) == 1
    for _ in range(2):
        state, _ = trainer.step(state, BATCH)


def test_a_step_that_changes_the_state_is_refused():
    class Growing:
        def init(self, rng):
            return {"w": jnp.ones(3)}, {"seen": jnp.zeros(3)}

        def apply(self, params, buffers, x, rng=None, train=False):
            return x * params["w"], {"seen": x.astype(jnp.bfloat16)}

    trainer = transforms.train_step(Growing(), lambda m, b: m(b[0]).mean(), optax.sgd(0.1))
    with refused(
        ValueError,
        "train_step: a step must keep the shapes and dtypes of the state, got state.buffers['seen']=('float32[3]', 'bfloat16[8, 3]'). Cast what changes where it is computed.",
    ):
        trainer.step(trainer.init(KEY), BATCH)


# ---------------------------------------------------------------------------------------------------------------- metrics


def test_metrics_are_functions_of_what_the_loss_gives():
    expected = accuracy(purenn.bind(net(), *net().init(KEY))(X), BATCH)
    both = {"accuracy": accuracy}, lambda logits, batch: {"accuracy": accuracy(logits, batch)}
    for metrics, n in zip(both, (1, 2), strict=True):
        trainer = transforms.train_step(net(), with_logits, optax.sgd(0.1), metrics=metrics, accumulate=n)
        close(trainer.step(trainer.init(KEY), BATCH)[1]["accuracy"], expected)
    evaluate = transforms.eval_step(net(), with_logits, metrics=both[0])
    close(float(evaluate(net().init(KEY), BATCH)["accuracy"]), expected)


def test_evaluation_over_batches_of_any_size_is_that_over_all():
    model = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Dropout(0.5), L.Linear(4, 2))
    arrays = model.init(KEY)
    evaluate = transforms.eval_step(model, lambda m, b: (loss(m, b), {"right": (m(b[0]).argmax(-1) == b[1]).sum()}))
    pieces = [(X[:5], Y[:5]), (X[5:7], Y[5:7]), (X[7:], Y[7:])]
    total = transforms.aggregate(evaluate(arrays, piece) for piece in pieces)
    whole = evaluate(arrays, BATCH)
    close(total["loss"], whole["loss"].mean)
    assert int(total["right"]) == int(whole["right"])
    state = transforms.train_step(model, loss, optax.sgd(0.1)).init(KEY)
    equal(evaluate(state, BATCH), whole)


def test_metrics_weigh_what_they_say():
    model = L.Linear(3, 2)
    targets = jnp.array([0, -100, 1, 0, -100, -100, 1, 1])

    def ignoring(m, batch):
        return {"loss": transforms.weighted(F.cross_entropy(m(batch[0]), batch[1]), (batch[1] != -100).sum())}

    arrays = model.init(KEY)
    evaluate = transforms.eval_step(model, ignoring)
    pieces = [(X[i : i + 2], targets[i : i + 2]) for i in range(0, 8, 2)]
    total = transforms.aggregate(evaluate(arrays, piece) for piece in pieces)
    close(total["loss"], F.cross_entropy(model.apply(*arrays, X)[0], targets))
    nothing = evaluate(arrays, (X[:1], jnp.array([-100])))
    assert np.isnan(float(nothing["loss"]))
    by_weight = transforms.eval_step(model, loss, weight=lambda batch: (batch[1] != -100).sum())
    close(transforms.aggregate(by_weight(arrays, piece) for piece in pieces)["loss"], total["loss"])
    flags = transforms.aggregate([{"bad": jnp.array(False)}, {"bad": jnp.array(True)}])
    assert bool(flags["bad"]) is True


def test_evaluation_may_draw():
    model = L.FractionalMaxPool2d(2, 3)
    evaluate = transforms.eval_step(model, lambda m, x: m(x).mean())
    x = jnp.ones((2, 1, 6, 6))
    assert float(evaluate(({}, {}), x, KEY)["loss"]) == 1.0


# ----------------------------------------------------------------------------------------------------------- param_groups


def params_of(model):
    return model.init(KEY)[0]


def test_groups_have_their_own_optimizers():
    params = params_of(net())
    optimizer = transforms.param_groups(
        {"*.bias": optax.sgd(1.0), ("norm.weight",): optax.sgd(2.0)}, rest=optax.sgd(3.0)
    )
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    rates = {path: -float(leaf.ravel()[0]) for path, leaf in tree.flatten(updates).items()}
    assert rates == {
        "body.weight": 3,
        "body.bias": 1,
        "norm.weight": 2,
        "norm.bias": 1,
        "head.weight": 3,
        "head.bias": 1,
    }


def test_groups_are_torchs():
    """AdamW without decay on norms and biases, and a rate of its own for the head."""
    optimizer = transforms.param_groups(
        [
            {"params": ("*.bias", "norm.*weight"), "weight_decay": 0.0},
            {"params": lambda path, leaf: path == "head.weight", "learning_rate": 0.3},
            {"params": "rest"},
        ],
        optax.adamw, learning_rate=0.1, weight_decay=0.2,
    )  # fmt: skip
    trainer = transforms.train_step(net(), loss, optimizer)
    state = trainer.init(KEY)
    model = torch.nn.ModuleDict(
        {"body": torch.nn.Linear(3, 8), "norm": torch.nn.LayerNorm(8), "head": torch.nn.Linear(8, 2)}
    )
    model.load_state_dict(
        {name: torch.tensor(np.asarray(a)) for name, a in purenn.state_dict(net(), state.params, {}).items()}
    )
    named = dict(model.named_parameters())
    plain = [named[name] for name in ("body.bias", "norm.bias", "norm.weight", "head.bias")]
    theirs = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": [named["head.weight"]], "lr": 0.3}, {"params": [named["body.weight"]]}],
        lr=0.1, weight_decay=0.2,
    )  # fmt: skip
    x, y = torch.tensor(np.asarray(X)), torch.tensor(np.asarray(Y)).long()
    for _ in range(3):
        state, _ = trainer.step(state, BATCH)
        theirs.zero_grad()
        out = model["head"](torch.relu(model["norm"](model["body"](x))))
        torch.nn.functional.cross_entropy(out, y).backward()
        theirs.step()
    got = tree.flatten(state.params)
    for name, value in named.items():
        np.testing.assert_allclose(got[name], value.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_groups_under_clipping_schedules_and_freezing():
    layerwise = transforms.param_groups(
        {"body.*": optax.adam(optax.cosine_decay_schedule(0.1, 10)), "head.*": optax.adam(0.2), "rest": optax.lbfgs()}
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), transforms.param_groups({"head.*": optax.adam(0.1)}))
    frozen = transforms.freeze(net(), ["body.*", "norm.*"])
    state, _ = train(transforms.train_step(frozen, loss, optimizer))
    assert set(tree.flatten(state.params)) == {"head.weight", "head.bias"}
    assert len(jax.tree.leaves(state.opt_state)) == 1 + 2 * 2
    assert isinstance(layerwise, optax.GradientTransformationExtraArgs)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.param_groups({"*.bias": optax.sgd(1.0)}).init(params_of(net())), ValueError, "param_groups: each param must be in a group, got in none=['body.weight', 'norm.weight', 'head.weight']. Give the others an optimizer with rest=, or a group 'rest'."),
        (lambda: transforms.param_groups({"*.bias": optax.sgd(1.0), "body.*": optax.sgd(1.0)}, rest=optax.sgd(1.0)).init(params_of(net())), ValueError, "param_groups: a param must be in one group, got param='body.bias' and groups=('*.bias', 'body.*'). Let their globs not overlap."),
        (lambda: transforms.param_groups({"tail.*": optax.sgd(1.0)}, rest=optax.sgd(1.0)).init(params_of(net())), ValueError, "param_groups: where must match something, got where='tail.*'."),
        (lambda: transforms.param_groups({"rest": optax.sgd(1.0)}, rest=optax.sgd(1.0)), ValueError, "param_groups: one group must be the rest, at most, got groups=['rest', 'rest']."),
        (lambda: transforms.param_groups({"*": 0.1}), TypeError, "param_groups: each group must have optax's optimizer, got where='*' and its type='float'. optax.adam(1e-3)"),
        (lambda: transforms.param_groups([{"params": "*"}]), TypeError, "param_groups: a group must be a pair (where, optimizer), got group={'params': '*'}. Dicts of options want the optimizer's function"),
        (lambda: transforms.param_groups([{"params": "*"}], learning_rate=0.1), TypeError, "param_groups: options must come with the optimizer's function, got options=['learning_rate']."),
        (lambda: transforms.param_groups([("*", 1)], optax.sgd), TypeError, "param_groups: with an optimizer's function, a group must be a dict with the entry 'params', got group=('*', 1)."),
        (lambda: transforms.param_groups([{"params": "*"}], optax.sgd(0.1)), TypeError, "param_groups: optimizer must be a function, got type(optimizer)='GradientTransformationExtraArgs'. optax.adamw, uncalled."),
        (lambda: transforms.param_groups([{"params": "*", "lr": 0.1}], optax.sgd), TypeError, "param_groups: options must be those of the optimizer, got unknown=['lr'] and known=['learning_rate', 'momentum',"),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), accumulate=0), ValueError, "train_step: accumulate must be a positive integer, got accumulate=0."),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), accumulate={"weight": len}), TypeError, "train_step: accumulate must be a number of micro-batches or options of transforms.accumulate, n among them, got accumulate={"),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), accumulate={"n": 2, "where": "*"}), TypeError, "train_step: accumulate must be a number of micro-batches"),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), ema=2.0), ValueError, "train_step: decay must lie in [0, 1), got decay=2.0."),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), ema={"rate": 2}), TypeError, "train_step: ema must be a decay, or options decay and debias, got ema={'rate': 2}."),
        (lambda: transforms.train_step(net(), loss, optax.sgd(1.0), metrics=3), TypeError, "train_step: metrics must be a function, a dict of functions, or None, got type(metrics)='int'."),
        (lambda: transforms.eval_step(L.Linear, loss), TypeError, "eval_step: model must be a model, not a class, got model='Linear'."),
        (lambda: transforms.eval_step(net(), loss)(3, BATCH), TypeError, "eval_step: state must be a TrainState or (params, buffers), got type(state)="),
        (lambda: transforms.eval_step(net(), loss, ema=True)(net().init(KEY), BATCH), TypeError, "eval_step: state must be a TrainState, got type(state)='tuple'."),
        (lambda: transforms.eval_step(net(), loss, ema=True)(transforms.train_step(net(), loss, optax.sgd(1.0)).init(KEY), BATCH), ValueError, "eval_step: state must have an average, got state.ema=None. train_step(..., ema=0.999)"),
        (lambda: transforms.eval_step(net(), lambda m, b: loss(m, (b[0], b[1][:8])))(net().init(KEY), (X, jnp.concatenate([Y, Y]))), ValueError, "eval_step: the arrays of a batch must have one first axis, to be counted, got shapes=[(8, 3), (16,)]. Say what it weighs: eval_step(..., weight="),
        (lambda: transforms.eval_step(net(), lambda m, b: [loss(m, b)])(net().init(KEY), BATCH), ValueError, "eval_step: the loss must be a scalar, got its shape=(1,). Reduce it, for example with .mean()."),
        (lambda: transforms.aggregate([]), ValueError, "aggregate: metrics must not be empty, got batches=0."),
        (lambda: transforms.aggregate([{"a": 1.0}, {"b": 1.0}]), ValueError, "aggregate: all batches must have the same metrics, got one=['a'] and another=['b']."),
        (lambda: transforms.aggregate([{"a": 1.0}, {"a": 1}]), ValueError, "aggregate: all batches must have the same metrics, got one=['a'] and another=['a']."),
        (lambda: weighed_twice(), ValueError, "train_step: with accumulate's weight, no metric may have its own, got metrics=['a']. Give its mean: micro-batches are weighed already."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


def weighed_twice():
    trainer = transforms.train_step(
        net(), lambda m, b: (loss(m, b), {"a": transforms.weighted(1.0, 2)}), optax.sgd(0.1),
        accumulate={"n": 2, "weight": lambda b: 1.0},
    )  # fmt: skip
    trainer.step(trainer.init(KEY), BATCH)
