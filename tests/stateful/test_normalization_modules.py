"""What torch's module database does not say of normalisation and of embeddings."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import inspect
import pickle
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close
from test_torch_modules import run
from torch.testing._internal.common_modules import FunctionInput, ModuleInput

import stateful as nn
from purenn import layers as L

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((4, 6, 5, 3)).astype(np.float32)
INDEX = torch.tensor([[1, 2, 4], [4, 6, 3]])

# classes that the database lacks: constructor arguments and inputs
SAMPLES = [
    ("SyncBatchNorm", (6,), {}, (X,)),
    ("SyncBatchNorm", (6, 1e-3, None, True, True), {"bias": False}, (X[..., 0],)),
    ("SyncBatchNorm", (6,), {"affine": False, "track_running_stats": False}, (X,)),
    ("CrossMapLRN2d", (3,), {}, (X,)),
    ("CrossMapLRN2d", (4, 0.5, 0.6, 2), {}, (X,)),
    ("EmbeddingBag", (7, 3), {}, (INDEX,)),
    ("EmbeddingBag", (7, 3), {"mode": "max", "padding_idx": -3}, (INDEX,)),
    ("EmbeddingBag", (7, 3, None, 2.0, False, "sum"), {}, (INDEX[0], torch.tensor([0, 0, 2]), torch.rand(3))),
    ("EmbeddingBag", (7, 3), {"include_last_offset": True}, (INDEX[0], torch.tensor([0, 2, 3]))),
    ("GroupNorm", (2, 6), {"bias": False}, (X,)),
    ("InstanceNorm1d", (6,), {"affine": True, "bias": False}, (X[..., 0],)),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "args", "kwargs", "given"), SAMPLES, ids=lambda x: x if isinstance(x, str) else "")
def test_equals_torch(name, args, kwargs, given, training):
    given = [torch.tensor(x, requires_grad=True) if isinstance(x, np.ndarray) else x for x in given]
    sample = ModuleInput(FunctionInput(*args, **kwargs), FunctionInput(*given))
    run(SimpleNamespace(module_cls=getattr(torch.nn, name)), sample, training)


@pytest.mark.parametrize(
    "name",
    ["BatchNorm1d", "SyncBatchNorm", "InstanceNorm3d", "GroupNorm", "LayerNorm", "RMSNorm", "LocalResponseNorm",
     "CrossMapLRN2d", "EmbeddingBag", "Embedding"],
)  # fmt: skip
def test_signatures_are_torchs(name):
    for ours, theirs in ((getattr(nn, name), getattr(torch.nn, name)),
                         (getattr(getattr(nn, name), "from_pretrained", None),
                          getattr(getattr(torch.nn, name), "from_pretrained", None))):  # fmt: skip
        if ours is not None:
            mine = [(p.name, p.default, p.kind) for p in inspect.signature(ours).parameters.values()]
            expected = [(p.name, p.default, p.kind) for p in inspect.signature(theirs).parameters.values()]
            assert [entry for entry in mine if entry[0] != "axis_name"] == expected


PURE = [
    (L.GroupNorm(2, 6), X), (L.InstanceNorm2d(6, affine=True, track_running_stats=True), X), (L.RMSNorm(3), X),
    (L.SyncBatchNorm(6), X), (L.CrossMapLRN2d(3), X), (L.EmbeddingBag(7, 3, mode="max"), np.int32(INDEX)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "x"), PURE, ids=lambda x: type(x).__name__)
def test_layer_module_and_object_agree_under_jit_and_over_an_ensemble(layer, x):
    module = nn.Sequential(layer)[0]
    assert type(module) is getattr(nn, type(layer).__name__)
    params, buffers = module.split()
    expected = layer.apply(params, buffers, x, train=True)
    assert_close(jax.jit(lambda *state: module.apply(*state, x, train=True))(params, buffers), expected)
    assert_close((module(x), module.split()[1]), expected)
    members = jax.vmap(layer.init)(jax.random.split(KEY, 3))
    out, after = jax.vmap(lambda *state: module.apply(*state, x, train=True), axis_size=3)(*members)
    one = jax.tree.map(lambda a: a[1], members)
    assert_close(jax.tree.map(lambda a: a[1], (out, after)), layer.apply(*one, x, train=True))


def pair(name, *args, **kwargs):
    return getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)


@pytest.mark.parametrize(
    ("name", "args", "changes"),
    [
        ("BatchNorm2d", (6,), {"momentum": None}), ("BatchNorm2d", (6,), {"eps": 0.5, "momentum": 0.7}),
        ("BatchNorm2d", (6,), {"track_running_stats": False}), ("BatchNorm2d", (6,), {"running_mean": None, "running_var": None}),
        ("InstanceNorm2d", (6, 1e-5, 0.3, True, True), {"track_running_stats": False}),
        ("InstanceNorm2d", (6, 1e-5, 0.3, True, True), {"momentum": None}), ("GroupNorm", (2, 6), {"num_groups": 3, "eps": 0.1}),
        ("LocalResponseNorm", (2,), {"size": 3, "alpha": 0.5, "k": 2.0}), ("RMSNorm", (3,), {"eps": 0.3}),
        ("CrossMapLRN2d", (3,), {"size": 5, "beta": 0.1}),
    ],
)  # fmt: skip
def test_what_is_changed_after_construction_counts_as_in_torch(name, args, changes):
    ours, theirs = pair(name, *args)
    for module in (ours, theirs):
        for attribute, value in changes.items():
            setattr(module, attribute, value)
    for training in (True, True, False, True):
        assert_close(ours.train(training)(X), theirs.train(training)(torch.tensor(X)))
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value.float() if value.dtype.is_floating_point else value, what=key)
    assert repr(ours) == repr(theirs)


# ------------------------------------------------------------------------------------------------- convert_sync_batchnorm


def test_batch_norms_are_converted_and_keep_their_arrays():
    def build(lib):
        shared = lib.BatchNorm2d(6)
        return lib.Sequential(lib.Conv2d(6, 6, 1), shared, lib.Sequential(lib.BatchNorm2d(6, momentum=None)), shared)

    net = build(nn).eval()
    weights = net.state_dict()
    held = net[1]
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net, axis_name="data")
    assert converted is net
    assert repr(net) == repr(build(torch.nn)).replace("BatchNorm2d", "SyncBatchNorm")
    assert net[1] is net[3]  # torch leaves the second name as it was
    assert net[1].axis_name == "data"
    assert not net[1].training
    jax.tree.map(np.testing.assert_array_equal, net.state_dict(), weights)
    held.weight = 2 * held.weight  # the same array still
    np.testing.assert_array_equal(net[1].weight, held.weight)
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3, affine=False, dtype=jnp.float16))
    assert type(alone) is nn.SyncBatchNorm
    assert alone.weight is None
    assert alone.running_var.dtype == jnp.float16
    with pytest.raises(ValueError, match=r"^LazyBatchNorm1d\.convert_sync_batchnorm: lazy modules must know"):
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.LazyBatchNorm1d())


def test_a_converted_module_takes_statistics_over_the_axis():
    net = nn.Sequential(nn.BatchNorm2d(6), nn.BatchNorm2d(6, momentum=0.5))
    params, buffers = net.split()
    out, after = net.apply(params, buffers, X, train=True)
    nn.SyncBatchNorm.convert_sync_batchnorm(net, axis_name="data")
    run = jax.vmap(lambda x: net.apply(params, buffers, x, train=True), axis_name="data")
    parts, parts_after = run(X.reshape(2, 2, 6, 5, 3))
    assert_close(parts.reshape(X.shape), out)
    assert_close(jax.tree.map(lambda a: a[0], parts_after), after)


# ------------------------------------------------------------------------------------------------------------ embeddings


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_from_pretrained_takes_a_table(name):
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    bag = getattr(nn, name).from_pretrained(jnp.asarray(table), padding_idx=-1)
    assert bag.padding_idx == 3
    assert bag.split()[0] == {}  # frozen
    np.testing.assert_array_equal(bag.weight, table)
    assert list(getattr(nn, name).from_pretrained(table, False).split()[0]) == ["weight"]
    assert pickle.loads(pickle.dumps(bag)).weight.shape == (4, 3)
    theirs = getattr(torch.nn, name).from_pretrained(torch.tensor(table), padding_idx=-1)
    assert repr(bag) == repr(theirs)
    index = np.array([[0, 1], [2, 3]])
    assert_close(bag(jnp.asarray(index)), theirs(torch.tensor(index)))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: nn.EmbeddingBag.from_pretrained(jnp.ones(3)), ValueError, "from_pretrained: embeddings must be 2-D, got embeddings.shape=(3,)."),
        (lambda: nn.EmbeddingBag(4, 3, _weight=jnp.ones((3, 3))), ValueError, "EmbeddingBag: _weight must be (num_embeddings, embedding_dim), got _weight.shape=(3, 3)."),
        (lambda: nn.EmbeddingBag(4, 3)(jnp.ones(3, int)), ValueError, "embedding_bag: offsets must be given for a 1-D input"),
        (lambda: setattr(nn.GroupNorm(2, 6), "num_groups", 4), ValueError, "GroupNorm: num_channels must be divisible by num_groups"),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()
