"""parametrize and its cases, tie, ema, merge: numbers, names, nesting, errors (the laws: test_transform_laws.py)."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re
from dataclasses import dataclass

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

TP = torch.nn.utils.parametrizations
KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
Y = jnp.array([0, 1, 2, 3, 0])


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def close(a, b, tol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def net():
    return L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Linear(4, 4))


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def shown(model, params, buffers):
    """The plain weights, flat."""
    return tree.flatten(transforms.merge(model, params, buffers)[1])


# ------------------------------------------------------------------------------------------------------------ with torch


CHANGES = {
    "norms": (
        lambda m: transforms.spectral_norm(transforms.weight_norm(transforms.spectral_norm(m, "2.weight"), ["0.weight", "2.bias"]), "0.weight"),
        lambda m: (TP.spectral_norm(m[2]), TP.weight_norm(m[0]), TP.weight_norm(m[2], "bias"), TP.spectral_norm(m[0])),
    ),
    "orthogonal": (
        lambda m: transforms.orthogonal(transforms.orthogonal(m, "2.weight"), "0.weight", use_trivialization=False),
        lambda m: (TP.orthogonal(m[0], use_trivialization=False), TP.orthogonal(m[2])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_state_dicts_go_both_ways_and_a_training_step_is_torchs(name):
    wrap, change = CHANGES[name]
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4))
    change(theirs)
    model = wrap(net())
    params, buffers = purenn.load_state_dict(model, theirs.state_dict(), strict=True)
    assert list(purenn.state_dict(model, params, buffers)) == list(theirs.state_dict())
    theirs.load_state_dict(
        {k: torch.tensor(np.asarray(v)) for k, v in purenn.state_dict(model, *model.init(KEY)).items()}, strict=True
    )
    params, buffers = model.init(KEY)
    trainer = transforms.train_step(model, loss, optax.sgd(0.1))
    state, metrics = trainer.step(trainer.init(KEY, params, buffers), (X, Y))
    value = torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(np.asarray(Y)).long())
    value.backward()
    close(metrics["loss"], value.detach().numpy())
    with torch.no_grad():
        for p in theirs.parameters():
            p -= 0.1 * p.grad
    expected = {k: v.numpy() for k, v in theirs.state_dict().items()}
    close(purenn.state_dict(model, state.params, state.buffers), expected, 1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 3, 3)])
@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_maps_are_torchs(name, shape):
    raw = np.random.default_rng(2).standard_normal(shape).astype(np.float32) / 2
    kept = torch.nn.Module()
    kept.weight = torch.nn.Parameter(torch.tensor(raw))
    TP.orthogonal(kept, orthogonal_map=name, use_trivialization=False)
    with torch.no_grad():
        kept.parametrizations.weight.original.copy_(torch.tensor(raw))
    p = transforms.Orthogonal(name, use_trivialization=False).fit(purenn.param(raw))
    c = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    (kept.weight * torch.tensor(c)).sum().backward()
    grad = jax.grad(lambda r: (p.apply({}, {}, r)[0] * c).sum())(raw)
    close(p.apply({}, {}, raw)[0], kept.weight.detach().numpy())
    close(grad, kept.parametrizations.weight.original.grad.numpy(), 1e-4)
    Q = np.linalg.qr(np.random.default_rng(4).standard_normal((*shape[:-2], max(shape[-2:]), min(shape[-2:]))))[
        0
    ].astype(np.float32)
    Q = Q if shape[-2] >= shape[-1] else np.swapaxes(Q, -1, -2)
    free = transforms.Orthogonal(name).fit(purenn.param(raw))
    model = transforms.parametrize(purenn.compose(lambda m: m.weight, weight=purenn.param(raw)), "weight", free)
    close(shown(model, *model.from_plain({"weight": Q}, {}, KEY))["weight"], Q)


def test_unitary_matrices():
    raw = (np.random.default_rng(2).standard_normal((3, 3, 2)) @ [1, 1j]).astype(np.complex64)
    p = transforms.Orthogonal(use_trivialization=False).fit(purenn.param(raw))
    Q, _ = p.apply({}, {}, raw)
    np.testing.assert_allclose(Q.conj().T @ Q, np.eye(3), atol=1e-5)


# ------------------------------------------------------------------------------------------------------------------ lora


def test_lora_is_the_frozen_weight_and_a_product():
    model = transforms.lora(net(), ["0.weight", "2.weight"], rank=2, alpha=6)
    params, buffers = model.init(KEY)
    assert sorted(tree.flatten(params)) == [
        "0.bias",
        "0.lora_A.weight",
        "0.lora_B.weight",
        "1.bias",
        "1.weight",
        "2.bias",
        "2.lora_A.weight",
        "2.lora_B.weight",
    ]
    plain = tree.flatten(net().init(KEY)[0])
    equal(shown(model, params, buffers), plain)  # B is 0
    params["0"]["lora_B"]["weight"] = jnp.ones((4, 2))
    W = buffers["0"]["weight"] + 3 * jnp.ones((4, 2)) @ params["0"]["lora_A"]["weight"]
    close(shown(model, params, buffers)["0.weight"], W)
    names = list(purenn.state_dict(model, params, buffers))
    assert names[:4] == ["0.weight", "0.bias", "0.lora_A.weight", "0.lora_B.weight"]
    scale = transforms.LoRA(rank=4, alpha=6, rslora=True).scaling
    assert scale == 3


def test_lora_dropout_drops_whole_features_in_training_alone():
    layer = transforms.lora(L.Linear(64, 2, bias=False), rank=2, dropout=0.5)
    params, buffers = layer.init(KEY)
    params = jax.tree.map(jnp.ones_like, params)
    buffers = jax.tree.map(jnp.zeros_like, buffers)
    eye = jnp.eye(64)
    run = jax.jit(lambda rng: layer.apply(params, buffers, eye, rng=rng, train=True)[0][:, 0])
    out = np.asarray(run(KEY))
    assert set(out) == {0.0, 4.0}
    assert 16 < (out == 0).sum() < 48
    assert (out != run(jax.random.key(1))).any()
    equal(layer.apply(params, buffers, eye)[0][:, 0], 2 * np.ones(64))
    with refused(ValueError, "rng must be given where random numbers are drawn, got rng=None."):
        layer.apply(params, buffers, eye, train=True)


def test_lora_of_a_convolution_and_of_everything_else_frozen():
    model = L.Sequential(L.Conv2d(3, 4, 2), L.BatchNorm2d(4))
    tuned = transforms.lora(transforms.freeze(model, "*"), rank=1)
    params, buffers = tuned.init(KEY)
    assert {k: v.shape for k, v in tree.flatten(params).items()} == {
        "0.lora_A.weight": (1, 3, 2, 2),
        "0.lora_B.weight": (4, 1, 1, 1),
    }
    frozen, plain, state = transforms.merge(tuned, params, buffers)
    assert plain == {}
    equal(purenn.state_dict(frozen, plain, state), purenn.state_dict(model, *model.init(KEY)))


def test_lora_on_integers():
    model = transforms.lora(transforms.quantize(net(), bits=4), rank=2)
    params, buffers = model.init(KEY)
    assert "0.weight_packed" in tree.flatten(buffers)
    assert "0.lora_A.weight" in tree.flatten(params)
    trainer = transforms.train_step(model, loss, optax.sgd(0.1))
    state, _ = trainer.step(trainer.init(KEY, params, buffers), (X, Y))
    equal(state.buffers["0"], buffers["0"])
    assert (state.params["0"]["lora_B"]["weight"] != 0).any()


# -------------------------------------------------------------------------------------------------------------- quantize


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group_size", [None, 3])
@pytest.mark.parametrize("symmetric", [True, False])
def test_integers_are_within_half_a_step_of_the_weights(bits, group_size, symmetric):
    w = np.random.default_rng(0).standard_normal((5, 3, 3)).astype(np.float32) + 0.3
    w[1] = 0
    model = transforms.quantize(purenn.compose(lambda m: m.w, w=purenn.param(w)), None, bits, group_size, symmetric)
    params, buffers = model.init(KEY)
    assert params == {}
    scale = np.repeat(np.asarray(buffers["w_scale"]), group_size or 9, 1).reshape(w.shape)
    got = shown(model, params, buffers)
    assert (np.abs(got["w"] - w) <= 0.5001 * scale + 1e-6).all()
    equal(got["w"][1], np.zeros((3, 3)))
    kept = buffers["w_packed" if bits == 4 else "w"]
    assert (kept.dtype, kept.shape) == ((jnp.uint8, (5, 5)) if bits == 4 else (jnp.int8, w.shape))
    assert ("w_zero_point" in buffers) is not symmetric
    assert buffers["w_scale"].shape == (5, 9 // (group_size or 9))
    once = jnp.max(jnp.abs(got["w"] - w)) / jnp.max(jnp.abs(w))
    assert once < (0.02 if bits == 8 else 0.2)


def test_every_integer_of_four_bits_comes_back():
    q = jnp.arange(-8, 8, dtype=jnp.int8).reshape(2, 8)
    p = transforms.Quantize(4, symmetric=False).fit(purenn.param(q.astype(jnp.float32)))
    packed, scale, zero = p.right_inverse(None, q.astype(jnp.float32) + jnp.array([[8], [-8]]) * 0)
    back, _ = p.apply({}, {}, packed, scale, zero)
    close(back, q.astype(jnp.float32), 0.3)
    p = transforms.Quantize(4).fit(purenn.param(jnp.zeros((1, 15))))
    values = jnp.arange(-7.0, 8.0)[None]
    equal(p.apply({}, {}, *p.right_inverse(None, values))[0], values)


def test_a_quantised_model_keeps_integers_only_and_half_precision():
    model = transforms.quantize(L.Linear(6, 4, dtype=jnp.bfloat16))
    params, buffers = model.init(KEY)
    assert buffers["weight"].dtype == jnp.int8
    out, after = jax.jit(model.apply)(params, buffers, jnp.ones((2, 6), jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    equal(after, buffers)
    assert tree.nbytes(buffers) == 24 + 4 * 4


# ----------------------------------------------------------------------------------------------------------------- prune


def test_pruning_is_of_the_least_and_stays_in_training():
    params, buffers = net().init(KEY)
    model = transforms.prune(net(), "*.weight", 0.5)
    kept, state = model.from_plain(params, buffers)
    w = np.abs(np.asarray(params["0"]["weight"]))
    equal(state["0"]["weight_mask"], (w > np.sort(w.ravel())[5]).astype(np.float32))
    trainer = transforms.train_step(model, loss, optax.adam(0.1))
    run, _ = trainer.step(trainer.init(KEY, kept, state), (X, Y))
    assert int((shown(model, run.params, run.buffers)["0.weight"] == 0).sum()) == 6
    rows = transforms.prune(net(), "0.weight", 1, dim=0, n=1)
    _, state = rows.from_plain(params, buffers)
    assert int(state["0"]["weight_mask"].sum(1).argmin()) == w.sum(1).argmin()
    drawn = transforms.prune(net(), "0.weight", 3, "random")
    masks = [drawn.from_plain(params, buffers, jax.random.key(i))[1]["0"]["weight_mask"] for i in (0, 1)]
    assert [int((m == 0).sum()) for m in masks] == [3, 3]
    assert (masks[0] != masks[1]).any()


# ------------------------------------------------------------------------------------------------------------------- tie


def test_tied_params_have_one_gradient_and_survive_donation():
    def wire(m, x):
        return m.head(m.embed(x))

    model = purenn.compose(wire, embed=L.Embedding(7, 4), head=L.Linear(4, 7, bias=False))
    tied = transforms.tie(model, "head.weight", "embed.weight")
    params, buffers = tied.init(KEY)
    assert list(tree.flatten(params)) == ["embed.weight"]
    x = jnp.array([0, 1, 2])
    plain = transforms.merge(tied, params, buffers)[1]
    assert plain["head"]["weight"] is plain["embed"]["weight"]

    def value(m, batch):
        return (m(batch) ** 2).sum()

    grad = transforms.value_and_grad(tied, value)(params, buffers, x)[1]["embed"]["weight"]
    both = transforms.value_and_grad(model, value)(plain, {}, x)[1]
    close(grad, both["embed"]["weight"] + both["head"]["weight"])
    trainer = transforms.train_step(tied, value, optax.adam(0.1))
    state = trainer.init(KEY)
    for _ in range(2):
        state, _ = trainer.step(state, x)
    equal(tied.from_plain(*transforms.merge(tied, state.params, state.buffers)[1:]), (state.params, {}))
    frozen = transforms.tie(transforms.freeze(model, "*"), "embed.weight", "head.weight")
    params, buffers = frozen.init(KEY)
    assert list(tree.flatten(buffers)) == ["embed.weight"]
    _, after = frozen.apply(params, buffers, x, train=True)
    equal(after, buffers)


# ------------------------------------------------------------------------------------------------------------------- ema


@pytest.mark.parametrize("debias", [False, True])
def test_averages(debias):
    decay = 0.8
    params = {"w": jnp.array([1.0, -2.0])}
    module = torch.nn.Module()
    module.w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    theirs = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))
    average = transforms.start_average(params)
    update = jax.jit(lambda a, p: transforms.update_average(a, p, decay, debias))
    seen = []
    for i in range(4):
        now = np.array([i + 1.0, 3.0 - i], np.float32)
        seen.append(now)
        with torch.no_grad():
            module.w.copy_(torch.tensor(now))
        theirs.update_parameters(module)
        average = update(average, {"w": jnp.asarray(now)})
    weights = (1 - decay) * decay ** np.arange(3, -1, -1)
    expected = (
        (weights[:, None] * np.array(seen)).sum(0) / weights.sum() if debias else theirs.module.w.detach().numpy()
    )
    close(transforms.read_average(average, params)["w"], expected)
    assert int(average.updates) == 4


def test_a_model_averages_in_training_and_shows_it_in_evaluation():
    model = transforms.ema(net(), lambda n: jnp.minimum(0.9, (1 + n) / (10 + n)))
    trainer = transforms.train_step(model, loss, optax.sgd(0.5))
    state = trainer.init(KEY)
    average = transforms.start_average(state.params)
    for _ in range(3):
        average = transforms.update_average(average, state.params, model.decay)
        state, _ = trainer.step(state, (X, Y))
    close(state.buffers["averaged"], average.mean)
    assert int(state.buffers["n_averaged"]) == 3
    plain, params, buffers = transforms.merge(model, state.params, state.buffers)
    assert plain == net()
    close(model.apply(state.params, state.buffers, X)[0], net().apply(average.mean, buffers, X)[0])
    half = transforms.ema(L.Linear(3, 2, dtype=jnp.bfloat16), 0.999)
    params, buffers = half.init(KEY)
    assert buffers["averaged"]["weight"].dtype == jnp.float32
    assert transforms.merge(half, params, buffers)[1]["weight"].dtype == jnp.bfloat16


# --------------------------------------------------------------------------------------------------------------- nesting


def test_they_nest_with_the_other_transforms():
    normed = transforms.weight_norm(net(), "*.weight", dim=0)
    params, buffers = normed.init(KEY)
    both = transforms.ensemble(transforms.spectral_norm(net(), ["0.weight"]), 2)
    arrays = both.init(KEY)
    out, after = jax.jit(lambda p, b: both.apply(p, b, X, train=True))(*arrays)
    for i in range(2):
        one = jax.tree.map(lambda a, i=i: a[i], arrays)
        expected = jax.jit(lambda p, b: both.model.apply(p, b, X, train=True))(*one)
        close(jax.tree.map(lambda a, i=i: a[i], (out, after)), expected)
    again = transforms.remat(normed)
    close(again.apply(params, buffers, X)[0], normed.apply(params, buffers, X)[0])
    frozen = transforms.freeze(normed, "*.original0")
    fp, fb = frozen.init(KEY)
    assert "0.parametrizations.weight.original0" in tree.flatten(fb)
    close(frozen.apply(fp, fb, X)[0], normed.apply(params, buffers, X)[0])
    stacked = transforms.scan(transforms.spectral_norm(L.Linear(3, 3), "weight"), 2)
    sp, sb = stacked.init(KEY)
    out, after = jax.jit(lambda p, b: stacked.apply(p, b, X, train=True))(sp, sb)
    assert jax.tree.structure(after) == jax.tree.structure(sb)
    unrolled = L.Sequential(*[transforms.spectral_norm(L.Linear(3, 3), "weight")] * 2)
    state = purenn.state_dict(stacked, sp, sb)
    close(out, unrolled.apply(*purenn.load_state_dict(unrolled, state), X, train=True)[0])


def test_a_bound_model_shows_the_computed_weight():
    model = transforms.parametrize(net(), "0.weight", jnp.exp)
    params, buffers = model.init(KEY)
    bound = purenn.bind(model, params, buffers)
    close(bound["0"].weight, jnp.exp(params["0"]["parametrizations"]["weight"]["original"]))


@dataclass(frozen=True)
class Shifted(transforms.Parametrization):
    """With an array of its own that is trained, and a buffer that counts."""

    def children(self):
        return {"shift": purenn.param(jnp.zeros(())), "calls": purenn.buffer(0)}

    def forward(self, m, x):
        if m.training:
            m.calls = m.calls + 1
        return x + m.shift

    def right_inverse(self, m, weight):
        return weight - m.shift


def test_own_arrays_and_chains():
    model = transforms.parametrize(net(), "0.weight", Shifted(), Shifted())
    params, buffers = model.init(KEY)
    own = params["0"]["parametrizations"]["weight"]
    own["1"]["shift"] = jnp.float32(2)
    close(shown(model, params, buffers)["0.weight"], own["original"] + 2)
    _, after = model.apply(params, buffers, X, train=True)
    assert [int(after["0"]["parametrizations"]["weight"][i]["calls"]) for i in "01"] == [1, 1]
    plain = net().init(jax.random.key(1))
    close(shown(model, *model.from_plain(*plain, KEY)), tree.flatten(plain[0]))
    module = nn.Module(model)
    assert list(module.state_dict()) == list(purenn.state_dict(model, params, buffers))


def test_calls_are_traced_once_and_leak_nothing():
    model = transforms.lora(transforms.spectral_norm(net(), "0.weight"), "2.weight", dropout=0.1)
    params, buffers = model.init(KEY)
    traces = []

    @jax.jit
    def run(params, buffers, rng):
        traces.append(1)
        return model.apply(params, buffers, X, rng=rng, train=True)

    with jax.checking_leaks():
        for i in range(3):
            _, buffers = run(params, buffers, jax.random.key(i))
    assert len(traces) == 1


# ---------------------------------------------------------------------------------------------------------------- errors

EMBED = L.Sequential(L.Embedding(4, 3), L.Linear(3, 4), L.Linear(3, 4))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: transforms.parametrize(net(), "0.weight", 3), TypeError, "parametrize: a parametrization must be one, or a function of the weight, got p='int'. Subclass transforms.Parametrization, and call it."),
        (lambda: transforms.parametrize(net(), "0.weight", Shifted), TypeError, "parametrize: a parametrization must be one, or a function of the weight, got p='Shifted'."),
        (lambda: transforms.parametrize(net(), "0.weight", jnp.sum), ValueError, "parametrize: a parametrization must keep the shape and dtype of the weight, got path='0.weight' and shape=(4, 3) and dtype='float32' and computed shape=() and"),
        (lambda: transforms.parametrize(net(), "1.running_mean", jnp.exp), ValueError, "parametrize: where must match something, got where='1.running_mean'."),
        (lambda: transforms.parametrize(transforms.remat(transforms.parametrize(net(), "0.weight", jnp.exp)), "0.weight", jnp.exp), ValueError, "parametrize: a weight must be claimed once, got path='0.weight'. Another transform inside the model computes it already: merge that first, or chain both there."),
        (lambda: transforms.parametrize(transforms.tie(net(), "0.bias", "2.bias"), "2.bias", jnp.exp), ValueError, "parametrize: where must match something, got where='2.bias'."),
        (lambda: transforms.tie(transforms.parametrize(net(), "0.bias", jnp.exp), "0.bias", "2.bias"), ValueError, "tie: where must match something, got where='0.bias'."),
        (lambda: transforms.weight_norm(transforms.spectral_norm(net(), "0.weight"), "0.weight"), ValueError, "weight_norm: WeightNorm, which takes several arrays, must be the first of its weight, got path='0.weight' and parametrizations=['SpectralNorm', 'WeightNorm']."),
        (lambda: transforms.prune(transforms.prune(net(), "0.weight", 1), "0.weight", 1), ValueError, "prune: no two parametrizations of one weight may keep an array under one name, got path='0.weight' and parametrizations=['Prune', 'Prune']. Merge the first before the second."),
        (lambda: transforms.prune(purenn.compose(lambda m: 0, w=purenn.param(jnp.ones(2)), w_orig=purenn.param(jnp.ones(2))), "w", 1), ValueError, "prune: the names of the arrays that a weight comes from must be free, got path='w' and taken=['w_orig']. Another transform claims them."),
        (lambda: transforms.parametrize(net(), "0.weight", jnp.exp).apply(*net().init(KEY), X), ValueError, "parametrize: params and buffers must hold what the weights are computed from, got missing=['0.parametrizations.weight.original']. params and buffers come from the parametrised model's own init or from_plain."),
        (lambda: transforms.parametrize(net(), "0.weight", Shifted()).from_plain({}, {}), ValueError, "from_plain: params and buffers must hold the weights, got missing=['0.weight']."),
        (lambda: transforms.parametrize(net(), "0.weight", jnp.exp).from_plain(*net().init(KEY)), NotImplementedError, "Through: it has no right_inverse: no weight can be given to it."),
        (lambda: transforms.lora(net()).from_plain(*net().init(KEY)), ValueError, "LoRA.init: rng must be given, got rng=None."),
        (lambda: transforms.merge(net(), {}, {}), TypeError, "merge: model must be what parametrize, one of its cases, tie or ema gave, got type(model)='Sequential'. Undo transforms from the outermost inwards."),
        (lambda: transforms.merge(transforms.precision(transforms.lora(net())), {}, {}), TypeError, "merge: model must be what parametrize, one of its cases, tie or ema gave, got type(model)='Precision'."),
        (lambda: transforms.unfreeze(transforms.lora(transforms.freeze(net(), "*"))), TypeError, "unfreeze: model must be what freeze gave, got type(model)='Parametrized'."),
        (lambda: transforms.weight_norm(net(), "0.bias", dim=1), IndexError, "weight_norm: dim must be an axis of the weight, got dim=1 and shape=(4,)."),
        (lambda: transforms.spectral_norm(net(), "0.weight", 0), ValueError, "spectral_norm: n_power_iterations must be positive, got n_power_iterations=0."),
        (lambda: transforms.orthogonal(net(), "0.weight", "qr"), ValueError, "orthogonal: orthogonal_map must be one of matrix_exp, cayley, householder, or None, got orthogonal_map='qr'."),
        (lambda: transforms.orthogonal(net(), "0.bias"), ValueError, "orthogonal: the weight must have two axes or more, got shape=(4,). Choose the matrices of the model."),
        (lambda: transforms.Orthogonal("householder").fit(purenn.param(jnp.eye(2, dtype=jnp.complex64))), ValueError, "orthogonal: householder must be given real weights, got orthogonal_map='householder' and dtype='complex64'. Take matrix_exp or cayley."),
        (lambda: transforms.orthogonal(net(), "0.weight").from_plain({"0": {"weight": jnp.ones((3, 3))}}, {}, KEY), ValueError, "orthogonal: the matrix must have the shape of the weight, got its shape=(3, 3) and shape=(4, 3)."),
        (lambda: transforms.orthogonal(net(), "0.weight", "cayley", use_trivialization=False).from_plain(*net().init(KEY)), NotImplementedError, "orthogonal: cayley without use_trivialization has no right_inverse."),
        (lambda: transforms.lora(net(), rank=-1), ValueError, "lora: rank must be a whole number, got rank=-1."),
        (lambda: transforms.lora(net(), dropout=1.0), ValueError, "lora: dropout must lie in [0, 1), got dropout=1.0."),
        (lambda: transforms.lora(net(), "*.bias"), ValueError, "lora: the weight must have two axes or more, got shape=(4,). Choose the matrices of the model; where=None does."),
        (lambda: transforms.quantize(net(), bits=2), ValueError, "quantize: bits must be 8 or 4, got bits=2."),
        (lambda: transforms.quantize(net(), group_size=0), ValueError, "quantize: group_size must be a positive integer or None, got group_size=0."),
        (lambda: transforms.quantize(net(), group_size=2), ValueError, "quantize: group_size must divide a row of the weight, got group_size=2 and numbers in a row=3 and shape=(4, 3)."),
        (lambda: transforms.quantize(net(), "*.bias"), ValueError, "quantize: the weight must be floating, with two axes or more and no empty one, got shape=(4,) and dtype='float32'."),
        (lambda: transforms.prune(net(), "0.weight", 0.5, "least"), ValueError, "prune: method must be magnitude or random, got method='least'."),
        (lambda: transforms.prune(net(), "0.weight", 13), ValueError, "prune: amount must be at most what there is to prune, got amount=13 and size=12."),
        (lambda: transforms.prune(net(), "0.weight", 1, dim=2), IndexError, "prune: dim must be an axis of the weight, got dim=2 and shape=(4, 3)."),
        (lambda: transforms.prune(net(), "0.weight", None), TypeError, "prune: amount must be a fraction or a whole number, got amount=None."),
        (lambda: transforms.prune(net(), "0.weight", -1), ValueError, "prune: amount must lie in [0, 1], or be a count, got amount=-1."),
        (lambda: transforms.tie(EMBED, "0.weight"), ValueError, "tie: two paths or more must be given, got paths=('0.weight',)."),
        (lambda: transforms.tie(EMBED, "0.weight", 1), TypeError, "tie: a path must be a string, got path=1."),
        (lambda: transforms.tie(EMBED, "0.weight", "1.wait"), ValueError, "tie: where must match something, got where='1.wait'. Its paths are like '1.weight'"),
        (lambda: transforms.tie(EMBED, "0.weight", "1.bias"), ValueError, "tie: tied params must have one shape and dtype, and be trained or frozen alike, got shape, dtype, trained={'0.weight': ((4, 3), 'float32', True), '1.bias': ((4,), 'float32', True)}."),
        (lambda: transforms.tie(EMBED, "0.weight", "1.weight").apply({}, {}, X), ValueError, "tie: params and buffers must hold the tied array, got missing='0.weight'."),
        (lambda: transforms.ema(net(), 1.0), ValueError, "ema: decay must lie in [0, 1), got decay=1.0."),
        (lambda: transforms.ema(net(), "slow"), TypeError, "ema: decay must be a number or a function of the count, got decay='slow'."),
        (lambda: transforms.ema(net(), len, debias=True), TypeError, "ema: decay must be a number with debias=True, got decay=<built-in function len>. A decay that begins small needs no correction."),
        (lambda: transforms.ema(transforms.ema(net(), 0.9), 0.9), ValueError, "ema: the model must not have these names itself, got names=['n_averaged', 'averaged']. One model keeps one average."),
        (lambda: transforms.ema(net(), 0.9).apply(*net().init(KEY), X), ValueError, "ema: buffers must hold the average, got missing=['averaged', 'n_averaged']. params and buffers come from the averaging model's own init or from_plain."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


def block():
    return L.Sequential(L.Linear(4, 4), L.Linear(4, 4))


def adapted():
    return transforms.lora(block(), rank=2)


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda: transforms.ensemble(adapted(), 2), lambda: transforms.ensemble(block(), 2)),
        (
            lambda: transforms.remat(transforms.checked(adapted())),
            lambda: transforms.remat(transforms.checked(block())),
        ),
        (lambda: transforms.scan(adapted(), 2), lambda: transforms.scan(block(), 2)),
        (lambda: transforms.freeze(adapted(), "1.*"), lambda: transforms.freeze(block(), "1.*")),
        (lambda: transforms.freeze(adapted(), "*"), lambda: transforms.freeze(block(), "*")),
        (lambda: transforms.freeze(adapted(), "*lora_A*"), block),
        (
            lambda: transforms.freeze(transforms.ensemble(transforms.scan(adapted(), 2), 2), ["*.0.lora*", "*.bias"]),
            lambda: transforms.freeze(transforms.ensemble(transforms.scan(block(), 2), 2), ["*.0.weight", "*.bias"]),
        ),
        (
            lambda: transforms.freeze(transforms.tie(block(), "0.bias", "1.bias"), "0.bias"),
            lambda: transforms.freeze(block(), ["0.bias", "1.bias"]),
        ),
    ],
)
def test_merge_reaches_through_what_stands_around(wrap, expected):
    model, plain = wrap(), expected()
    arrays = jax.tree.map(lambda a: a + 1, model.init(KEY))
    x = jnp.ones((5, 4))
    merged, *theirs = transforms.merge(model, *arrays)
    assert merged == plain
    assert jax.tree.map(jnp.shape, tuple(theirs)) == jax.tree.map(jnp.shape, plain.init(KEY))
    close(merged.apply(*theirs, x)[0], model.apply(*arrays, x)[0], 1e-4)


def test_errors_name_the_weight():
    with refused(ValueError, "orthogonal: the matrix must have the shape") as caught:
        transforms.orthogonal(net(), "0.weight").from_plain({"0": {"weight": jnp.ones((3, 3))}}, {}, KEY)
    assert caught.value.__notes__ == ["in 0.weight"]
