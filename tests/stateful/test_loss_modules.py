"""What torch's module database lacks of losses: attributes, buffers, names, refusals, and the adaptive softmax."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import copy
import inspect
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import stateful as nn
from purenn import layers as L

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3)).astype(np.float32)
Y = RNG.standard_normal((4, 3)).astype(np.float32)
Z = RNG.standard_normal((4, 3)).astype(np.float32)
SIGNS = np.array([1, -1, 1, -1], np.float32)
LABELS = np.array([0, 2, 1, 2], np.int32)
WEIGHT = np.array([0.5, 1.0, 2.0], np.float32)
OTHER = np.array([2.0, 0.1, 1.0], np.float32)
WEIGHTED = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
]


def tensors(arrays):
    return [torch.tensor(x).long() if x.dtype == np.int32 else torch.tensor(x) for x in arrays]


def inputs_of(name):
    if name in ("CrossEntropyLoss", "MultiMarginLoss", "NLLLoss"):
        return X, LABELS
    return (abs(X) % 1 if name == "BCELoss" else X), (Y > 0).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "kwargs", "inputs", "change"),
    [
        ("L1Loss", {}, (X, Y), {"reduction": "sum"}), ("MSELoss", {}, (X, Y), {"reduction": "none"}),
        ("SmoothL1Loss", {"beta": 0.5}, (X, Y), {"beta": 2.0}), ("HuberLoss", {}, (X, Y), {"delta": 0.3}),
        ("KLDivLoss", {"reduction": "batchmean"}, (X, Y), {"log_target": True}),
        ("PoissonNLLLoss", {}, (X, abs(Y)), {"full": True, "reduction": "sum"}),
        ("GaussianNLLLoss", {"eps": 0.1}, (X, Y, abs(Z)), {"full": True}),
        ("HingeEmbeddingLoss", {}, (X[:, 0], SIGNS), {"margin": 0.1}),
        ("CosineEmbeddingLoss", {}, (X, Y, SIGNS), {"margin": 0.5}),
        ("MarginRankingLoss", {"margin": 0.2}, (X[:, 0], Y[:, 0], SIGNS), {"margin": 1.0}),
        ("SoftMarginLoss", {}, (X[:, 0], SIGNS), {"reduction": "none"}),
        ("MultiLabelMarginLoss", {}, (X, LABELS[:, None] * np.int32([1, 0, 0]) - np.int32([0, 1, 1])), {}),
        ("TripletMarginLoss", {"swap": True}, (X, Y, Z), {"p": 1.0}),
        ("TripletMarginWithDistanceLoss", {}, (X, Y, Z), {"margin": 0.5, "swap": True}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_attributes_can_be_read_and_changed_as_in_torch(name, kwargs, inputs, change):
    ours, theirs = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
    for options in ({}, change):
        for key, value in options.items():
            assert getattr(ours, key) == getattr(theirs, key)
            setattr(ours, key, value)
            setattr(theirs, key, value)
        assert repr(ours) == repr(theirs)
        expected = theirs(*tensors(inputs))
        for call in (nn.jit(ours), pickle.loads(pickle.dumps(ours)), lambda *x: ours.apply({}, {}, *x)[0]):
            assert_close(call(*inputs), expected, what=name)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_weight_is_a_buffer_and_may_come_later(name):
    ours, theirs, inputs = (
        getattr(nn, name)(weight=WEIGHT),
        getattr(torch.nn, name)(weight=torch.tensor(WEIGHT)),
        inputs_of(name),
    )
    late, plain = getattr(nn, name)(), getattr(torch.nn, name)()
    assert late.weight is None
    assert_close(late(*inputs), plain(*tensors(inputs)), what=name)
    late.weight = jnp.asarray(WEIGHT)
    layer = getattr(L, name)(weight=WEIGHT)
    params, buffers = layer.init(jax.random.key(0))
    assert (params, list(buffers)) == ({}, ["weight"])
    for module in (ours, late, copy.deepcopy(ours), nn.Sequential(layer)[0]):
        assert type(module) is type(ours)
        assert repr(module) == repr(theirs)
        assert list(module.state_dict()) == list(theirs.state_dict())
        assert list(module.parameters()) == []
        assert_close(module(*inputs), theirs(*tensors(inputs)), what=name)
    each = jax.vmap(lambda w: layer.apply({}, {"weight": w}, *inputs)[0])(np.stack([WEIGHT, OTHER]))
    ours.weight, theirs.weight = jnp.asarray(OTHER), torch.tensor(OTHER)
    ours.reduction = theirs.reduction = "sum"
    assert_close(jax.jit(ours)(*inputs), theirs(*tensors(inputs)), what=name)
    assert_close(each[1], getattr(torch.nn, name)(weight=torch.tensor(OTHER))(*tensors(inputs)), what=name)
    assert (late(*inputs) == each[0]).all()
    late.weight = None
    assert_close(late(*inputs), plain(*tensors(inputs)), what=name)
    assert late.state_dict() == {}


@pytest.mark.parametrize("name", [*WEIGHTED, "LinearCrossEntropyLoss", "AdaptiveLogSoftmaxWithLoss", "NLLLoss2d"])
def test_signatures_are_torchs(name):
    cls = getattr(nn, name)
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters
    mine = inspect.signature(cls.__init__).parameters
    assert [(p.name, p.default, p.kind) for p in mine.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]
    if name != "NLLLoss2d":
        pure = list(inspect.signature(getattr(L, name)).parameters)
        assert [p for p in pure if p != "dtype"] == [p for p in theirs if p not in ("self", "device", "dtype")]


def test_pure_losses_compare_and_hash_by_their_weights():
    a, b = L.CrossEntropyLoss(WEIGHT), L.CrossEntropyLoss(jnp.asarray(WEIGHT))
    assert a == b
    assert hash(a) == hash(b)
    assert a != L.CrossEntropyLoss(OTHER)
    assert a != L.CrossEntropyLoss()
    assert pickle.loads(pickle.dumps(a)) == a
    assert jax.jit(lambda loss, x: loss.apply(*loss.init(jax.random.key(0)), x, LABELS)[0], static_argnums=0)(a, X) > 0


def test_both_weights_of_bce_with_logits():
    args = {"weight": WEIGHT, "pos_weight": OTHER}
    ours = nn.BCEWithLogitsLoss(**args)
    theirs = torch.nn.BCEWithLogitsLoss(**{key: torch.tensor(value) for key, value in args.items()})
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "pos_weight"]
    inputs = inputs_of("BCEWithLogitsLoss")
    assert_close(ours(*inputs), theirs(*tensors(inputs)))
    ours.load_state_dict({"weight": OTHER, "pos_weight": WEIGHT})
    np.testing.assert_array_equal(ours.pos_weight, WEIGHT)


@pytest.mark.parametrize("name", ["L1Loss", "CrossEntropyLoss", "KLDivLoss"])
def test_older_spellings_warn_where_they_stand(name):
    for older, reduction in (({"size_average": False}, "sum"), ({"reduce": False}, "none"), ({"reduce": True}, "mean")):
        with pytest.warns(UserWarning, match=f"{name}: size_average and reduce are deprecated") as caught:
            loss = getattr(nn, name)(**older)
        assert loss.reduction == reduction
        assert caught[0].filename == __file__ or name in WEIGHTED


def test_nll_loss_2d_is_an_old_name():
    with pytest.warns(FutureWarning, match="NLLLoss2d is deprecated. Use NLLLoss instead.") as caught:
        loss = nn.NLLLoss2d(WEIGHT, ignore_index=2, reduction="sum")
    assert caught[0].filename == __file__
    assert isinstance(loss, nn.NLLLoss)
    assert loss(X, LABELS) == nn.NLLLoss(WEIGHT, ignore_index=2, reduction="sum")(X, LABELS)


def test_a_distance_may_be_a_module():
    ours, theirs = (
        library.TripletMarginWithDistanceLoss(distance_function=library.PairwiseDistance(1.0))
        for library in (nn, torch.nn)
    )
    assert repr(ours) == repr(theirs)
    assert_close(ours(X, Y, Z), theirs(*tensors((X, Y, Z))))
    function = nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: abs(a - b).sum(-1))
    np.testing.assert_allclose(function(X, Y, Z), ours(X, Y, Z), rtol=1e-5)


def test_poissons_input_has_the_name_of_its_option():
    loss = nn.PoissonNLLLoss()
    assert loss(log_input=X, target=abs(Y)) == loss(X, abs(Y))


def test_linear_cross_entropy_honours_a_replaced_map():
    kwargs = {"out_features": (2,), "bias": True, "label_smoothing": 0.1, "reduction": "sum"}
    ours, theirs = nn.LinearCrossEntropyLoss(3, 4, weight=np.ones(4, np.float32), **kwargs), None
    theirs = torch.nn.LinearCrossEntropyLoss(3, 4, weight=torch.ones(4), **kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "linear.weight", "linear.bias"]
    ours.linear, theirs.linear = nn.Linear(3, 8, bias=False), torch.nn.Linear(3, 8, bias=False)
    theirs.load_state_dict({key: torch.tensor(np.asarray(value)) for key, value in ours.state_dict().items()})
    target = np.array([[0, 3], [1, 2], [3, 3], [2, 0]], np.int32)
    assert_close(ours(X, target), theirs(*tensors((X, target))))


# ----------------------------------------------------------------------------------------------------- adaptive softmax


ADAPTIVE = (8, 20, [4, 10, 15])


def adaptive(**kwargs):
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(*ADAPTIVE, **kwargs)
    ours = nn.AdaptiveLogSoftmaxWithLoss(*ADAPTIVE, **kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("kwargs", [{}, {"div_value": 2.0, "head_bias": True}], ids=str)
def test_adaptive_softmax_is_torchs(kwargs):
    ours, theirs = adaptive(**kwargs)
    x = RNG.standard_normal((24, 8)).astype(np.float32)
    target = np.arange(24, dtype=np.int32) % 20
    params, buffers = ours.split()
    layer = L.AdaptiveLogSoftmaxWithLoss(*ADAPTIVE, **kwargs)
    tx = torch.tensor(x, requires_grad=True)
    expected = theirs(tx, torch.tensor(target).long())
    expected.loss.backward()
    for apply in (ours.apply, layer.apply):
        step = jax.jit(jax.value_and_grad(lambda p, x, apply=apply: apply(p, buffers, x, target)[0].loss, (0, 1)))
        loss, (grads, gx) = step(params, x)
        assert_close(loss, expected.loss)
        assert_close(gx, tx.grad)
        mine = nn.module.flatten(grads)
        for name, parameter in theirs.named_parameters():
            assert_close(mine[name], parameter.grad, what=name)
    assert_close(ours(x, target).output, expected.output)
    assert_close(ours(x[3], target[3]), theirs(tx[3], torch.tensor(3)))
    assert_close(ours.log_prob(x), theirs.log_prob(tx))
    np.testing.assert_array_equal(ours.predict(8 * x), theirs.predict(8 * tx))
    assert_close(ours.apply(params, buffers, x, method="log_prob")[0], theirs.log_prob(tx))
    ensemble = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    assert_close(jax.vmap(lambda p: layer.apply(p, {}, x, target)[0].loss)(ensemble)[0], expected.loss)


def test_attributes_and_children_of_the_adaptive_softmax():
    ours, theirs = adaptive()
    for name in ("cutoffs", "shortlist_size", "n_clusters", "head_size", "in_features", "n_classes", "div_value"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert isinstance(ours.tail, nn.ModuleList)
    before = ours.log_prob(np.ones((1, 8), np.float32))
    ours.tail[0][1] = nn.Linear(2, 6, bias=False)
    after = ours.log_prob(np.ones((1, 8), np.float32))
    changed = np.asarray(before != after)[0]
    assert changed[4:10].all()
    assert not changed[[*range(4), *range(10, 20)]].any()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: nn.HuberLoss(delta="1"), TypeError, "HuberLoss: delta must be a number, got type"),
        (lambda: nn.TripletMarginLoss(0.0), ValueError, r"TripletMarginLoss: margin must be positive, got margin=0\.0"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=-1), ValueError, "TripletMarginWithDistanceLoss: margin must"),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "MultiMarginLoss: p must be 1 or 2, got p=3"),
        (lambda: nn.MultiMarginLoss(weight=X), ValueError, r"MultiMarginLoss: weight must be 1-D, got weight\.shape="),
        (lambda: nn.LinearCrossEntropyLoss(3, 4, weight=WEIGHT), ValueError, r"LinearCrossEntropyLoss: weight must be \(4,\)"),
        (lambda: L.LinearCrossEntropyLoss(3, 4, label_smoothing=2), ValueError, "LinearCrossEntropyLoss: label_smoothing"),
        (lambda: L.LinearCrossEntropyLoss(3, 4.0), TypeError, "LinearCrossEntropyLoss: num_classes must be an integer"),
        (lambda: nn.L1Loss(reduction="all")(X, Y), ValueError, "l1_loss: reduction must be"),
        *((lambda c=c: L.AdaptiveLogSoftmaxWithLoss(8, 20, c), ValueError, "AdaptiveLogSoftmaxWithLoss: cutoffs must rise")
          for c in ([], [5, 5], [9, 3], [0, 4], [4, 20])),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [2.5]), TypeError, r"AdaptiveLogSoftmaxWithLoss: cutoffs\[0\] must be"),
        (lambda: adaptive()[0](np.ones((3, 8)), LABELS), ValueError, "AdaptiveLogSoftmaxWithLoss: input_ and target_ must"),
        (lambda: adaptive()[0](np.ones((1, 8)), np.int32([20])), IndexError, r"AdaptiveLogSoftmaxWithLoss: target_ must lie in"),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with warnings.catch_warnings(), pytest.raises(kind, match=f"^{words}"):
        call()
