"""Pure layers, each with its torch twin, and laws over the table here and those of the `cases_layers_*` files."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import importlib
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from layer_case import Case
from oracle import TOLERANCE, assert_close
from scipy import stats

import purenn
from purenn import layers as L
from purenn import tree
from purenn.layers.conv import tuple_of

KEY = jax.random.key(0)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def conv(rank, *args, shape=None, **kwargs):
    shape = shape or (2, args[0], *(6, 5, 4)[:rank])
    return Case(f"Conv{rank}d", args, kwargs, shape)


CASES = [
    Case("Identity", ()),
    Case("Linear", (3, 5)),
    Case("Linear", (3, 5), {"bias": False}, (3,)),
    Case("Linear", (3, 1), {}, (2, 4, 3)),
    Case("Linear", (3, 5), {}, (0, 3)),
    *(
        conv(rank, *args, **kwargs)
        for rank in (1, 2, 3)
        for args, kwargs in [
            ((4, 6, 3), {}),
            ((4, 6, 3), {"bias": False, "stride": 2, "padding": 1}),
            ((4, 6, 3), {"groups": 2, "dilation": 2}),
            ((4, 8, 2), {"groups": 4, "padding": "same"}),
            ((4, 2, 4), {"padding": "same", "dilation": 2}),
            ((4, 2, 3), {"padding": "valid"}),
            ((4, 2, 3), {"padding": 2, "padding_mode": "reflect"}),
            ((4, 2, 3), {"padding": 1, "padding_mode": "replicate", "stride": 2}),
            ((4, 2, 3), {"padding": 3, "padding_mode": "circular"}),
            ((4, 2, 4), {"padding": "same", "padding_mode": "circular"}),
            ((4, 2, 3), {"padding": "valid", "padding_mode": "reflect"}),
        ]
        if rank < 3 or kwargs in ({}, {"padding": "same", "dilation": 2}, {"padding": 2, "padding_mode": "reflect"})
    ),
    conv(2, 3, 4, (3, 1), stride=(1, 2), padding=(0, 3), dilation=(2, 1)),
    conv(2, 3, 4, (2, 5), padding=(1, 2), padding_mode="reflect"),
    conv(2, 3, 4, [3, 2]),
    conv(2, 3, 4, 3, shape=(3, 6, 6)),
    conv(2, 3, 4, 3, shape=(0, 3, 6, 6)),
    conv(1, 3, 4, 1, shape=(3, 6)),
    conv(3, 2, 4, (1, 2, 3), padding=(1, 0, 2)),
    *(
        Case(f"BatchNorm{rank}d", (3,), kwargs, (4, 3, 5, 4, 2)[: 2 + rank])
        for rank in (1, 2, 3)
        for kwargs in [
            {}, {"eps": 0.1, "momentum": 0.3}, {"affine": False}, {"track_running_stats": False}, {"momentum": None},
            {"affine": False, "track_running_stats": False}, {"bias": False}, {"momentum": 0.0},
        ]
    ),
    Case("BatchNorm1d", (3,), {}, (4, 3)),
    Case("BatchNorm1d", (3,), {"momentum": None}, (6, 3)),
    Case("LayerNorm", (3,), {}),
    Case("LayerNorm", ([4, 3],), {"eps": 0.1}),
    Case("LayerNorm", ((4, 3),), {"elementwise_affine": False}, (2, 4, 3)),
    Case("LayerNorm", (3,), {"bias": False}, (2, 4, 3)),
    Case("Embedding", (7, 3), {}, (4, 2)),
    Case("Embedding", (7, 3), {"padding_idx": 2}, (5,)),
    Case("Embedding", (7, 3), {"padding_idx": -1}, (40,)),
    Case("Embedding", (7, 3), {"max_norm": 1.0}, (4, 2)),
    Case("Embedding", (7, 3), {"max_norm": 0.5, "norm_type": 1.0}, (9,)),
    Case("Embedding", (7, 3), {"scale_grad_by_freq": True}, (30,)),
    Case("Embedding", (7, 3), {}, ()),
    *(Case(name, (0.3,), {}, (4, 3, 5, 2, 2)[: rank + 2], seeded=True)
      for name, rank in (("Dropout", 0), ("Dropout1d", 1), ("Dropout2d", 2), ("Dropout3d", 3), ("AlphaDropout", 0),
                         ("FeatureAlphaDropout", 2))),
    Case("Dropout", (), {"p": 0.0}),
    Case("Dropout", (), {"p": 1.0, "inplace": True}),
    Case("Dropout2d", (), {"p": 1.0}, (4, 3, 5, 2)),
    Case("AlphaDropout", (0.0,)),
]  # fmt: skip
HERE = pathlib.Path(__file__).parent
CASES += [x for path in sorted(HERE.glob("cases_layers_*.py")) for x in importlib.import_module(path.stem).CASES]
each = pytest.mark.parametrize("case", CASES, ids=str)


def state_of(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def pair(case):
    """The twins with the same numbers: torch's, stirred so that no weight is a constant."""
    torch.manual_seed(0)
    twin = case.theirs()
    with torch.no_grad():
        for array in [*twin.parameters(), *twin.buffers()]:
            if array.is_floating_point():
                array.add_(0.1 * torch.rand_like(array))
    layer = case.ours()
    return layer, *purenn.load_state_dict(layer, state_of(twin)), twin


def weights_like(out):
    return np.cos(np.arange(out.numel())).astype(np.float32).reshape(out.shape)


# ------------------------------------------------------------------------------------------------------------- the laws


def test_the_table_is_complete():
    # a family with laws of its own has its table beside them
    others = [importlib.import_module(path.stem) for path in HERE.glob("test_layers_*.py")]
    own = {case.name for module in others for case in getattr(module, "CASES", [])}
    assert {case.name for case in CASES} | own | {"Sequential"} == set(L.__all__)
    assert len({str(case) for case in CASES}) == len(CASES)


@each
def test_keys_order_shapes_and_dtypes_of_the_state_are_torchs(case):
    layer = case.ours()
    state = purenn.state_dict(layer, *layer.init(KEY))
    theirs = case.theirs().state_dict()
    assert list(state) == list(theirs)
    assert [x.shape for x in state.values()] == [tuple(x.shape) for x in theirs.values()]
    for name, x in state.items():
        assert str(x.dtype) == str(theirs[name].dtype).removeprefix("torch.").replace("int64", "int32")
    assert {name for name, _ in case.theirs().named_parameters()} == set(tree.flatten(layer.init(KEY)[0]))


MODES = [
    (case, train)
    for case in CASES
    for train in (False, True)
    # the others do not look at the mode; what is drawn has laws of its own
    if not train or case.name.startswith(("Batch", "Instance", "Sync")) or ("Dropout" in case.name and not case.seeded)
]


@pytest.mark.parametrize(
    ("case", "train"), MODES, ids=lambda x: str(x) if isinstance(x, Case) else ["eval", "train"][x]
)
def test_forward_gradients_and_buffers_are_torchs(case, train):
    layer, params, buffers, twin = pair(case)
    xs = case.inputs()
    txs = [torch.tensor(x).long() if x.dtype == np.int32 else torch.tensor(x, requires_grad=True) for x in xs]
    weights = weights_like(twin.eval()(*(tx.clone() for tx in txs)))
    twin.train(train)

    def loss(params, buffers, *xs):
        out, buffers = layer.apply(params, buffers, *xs, train=train)
        return (out * weights).sum(), (out, buffers)

    floating = [i for i, x in enumerate(xs) if x.dtype == np.float32]
    step = jax.jit(jax.grad(loss, (0, *(i + 2 for i in floating)), has_aux=True))
    for _ in range(2):  # the second call starts from the buffers of the first
        expected = twin(*(tx.clone() for tx in txs))
        (grads, *input_grads), (got, buffers) = step(params, buffers, *xs)
        assert_close(got, expected, what=str(case))
        state = purenn.state_dict(layer, params, buffers)
        for name, tensor in twin.state_dict().items():
            if not case.kwargs.get("max_norm"):  # torch renormalises the table in place: docs/differences.md
                assert_close(state[name], tensor, what=name)
    if not expected.requires_grad:
        return
    (expected * torch.tensor(weights)).sum().backward()
    for i, gx in zip(floating, input_grads, strict=True):
        assert_close(gx, txs[i].grad, what=f"{case}: input {i}")
    for name, parameter in twin.named_parameters():
        assert_close(tree.flatten(grads)[name], parameter.grad, what=f"{case}: {name}")


@each
def test_defaults_and_arguments_are_torchs(case):
    ours = list(inspect.signature(getattr(L, case.name)).parameters.values())
    theirs = inspect.signature(getattr(torch.nn, case.name)).parameters
    # torch has the bias of the norms of channels last, and no named axes
    norm = case.name.startswith(("Batch", "Instance", "Sync", "Group"))
    skip = {"dtype", "axis_name"} | ({"bias"} if norm else set())
    for mine in ours:
        if mine.name in skip:
            continue
        name = case.renamed.get(mine.name, mine.name)
        assert name in theirs
        assert mine.default == theirs[name].default
    ordered = [case.renamed.get(p.name, p.name) for p in ours if p.name not in skip]
    missing = (
        {"device", "dtype", "bias", "_weight", "_freeze", "args", "kwargs"}
        if case.name != "Linear"
        else {"device", "dtype"}
    )
    assert [name for name in ordered if name not in missing] == [name for name in theirs if name not in missing]


@each
def test_structure_and_init_agree(case):
    layer = case.ours()
    params, buffers = layer.init(KEY)
    leaves = tree.flatten(purenn.structure(layer))
    arrays = tree.flatten(params) | tree.flatten(buffers)
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in leaves.items()} == {
        path: (x.shape, x.dtype) for path, x in arrays.items()
    }
    assert {path for path, leaf in leaves.items() if leaf.trainable} == set(tree.flatten(params))
    assert jax.eval_shape(layer.init, KEY)[0].keys() == params.keys()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "case", [c for c in CASES if "dtype" in inspect.signature(getattr(L, c.name)).parameters][::8], ids=str
)
def test_halves_keep_their_dtype(case, dtype):
    layer = case.ours(dtype=dtype)
    params, buffers = layer.init(KEY)
    assert all(x.dtype == dtype for x in jax.tree.leaves(params))
    xs = [x if x.dtype == jnp.int32 else x.astype(dtype) for x in map(jnp.asarray, case.inputs())]
    run = jax.jit(lambda params, buffers, xs: layer.apply(params, buffers, *xs, train=True))
    out, after = run(params, buffers, xs)
    assert out.dtype == dtype
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, buffers)
    wide = jax.tree.map(lambda a: a.astype("float32") if a.dtype == dtype else a, (params, buffers, xs))
    assert_close(out, run(*wide)[0], dtype)


# ------------------------------------------------------------------------------------------------- initial distributions


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("Linear", (100, 300), {}), ("Linear", (300, 50), {}), ("Conv1d", (20, 60, 9), {}), ("Conv2d", (16, 64, 3), {}),
        ("Conv2d", (32, 64, 5), {"groups": 4}), ("Conv3d", (8, 32, 3), {}), ("ConvTranspose1d", (60, 20, 9), {}),
        ("ConvTranspose2d", (64, 32, 5), {"groups": 4}), ("Bilinear", (20, 30, 40), {}), ("Embedding", (200, 50), {}),
        ("Embedding", (200, 50), {"padding_idx": 3}),
    ],
    ids=str,
)  # fmt: skip
def test_initial_distributions_are_torchs(name, args, kwargs):
    torch.manual_seed(0)
    biases = [getattr(torch.nn, name)(*args, **kwargs) for _ in range(8)]
    ours = [getattr(L, name)(*args, **kwargs).init(jax.random.key(seed))[0] for seed in range(8)]
    for leaf in ours[0]:
        a = np.concatenate([np.ravel(p[leaf]) for p in ours])
        b = np.concatenate([getattr(m, leaf).detach().numpy().ravel() for m in biases])
        assert stats.ks_2samp(a[:40000], b[:40000]).pvalue > 1e-3
        if name != "Embedding":
            assert abs(np.abs(a).max() / np.abs(b).max() - 1) < 0.03
    if kwargs.get("padding_idx"):
        assert (ours[0]["weight"][3] == 0).all()
        assert (ours[0]["weight"] == 0).all(1).sum() == 1


@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm2d", "SyncBatchNorm", "LayerNorm", "RMSNorm"])
def test_initial_constants_are_torchs(name):
    layer = getattr(L, name)(5)
    state = purenn.state_dict(layer, *layer.init(KEY))
    for key, tensor in getattr(torch.nn, name)(5).state_dict().items():
        np.testing.assert_array_equal(state[key], tensor.numpy())


def test_empty_layers_initialise():
    for layer in (
        L.Linear(0, 3),
        L.Linear(3, 0),
        L.Conv2d(0, 3, 2),
        L.Conv1d(3, 0, 2),
        L.Embedding(0, 3),
        L.BatchNorm1d(0),
    ):
        params, _ = layer.init(KEY)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


# ------------------------------------------------------------------------------------------------------------- dropout


SHAPES = {
    "Dropout": (20000,), "Dropout1d": (400, 50, 4), "Dropout2d": (200, 50, 4, 2), "Dropout3d": (200, 50, 2, 2, 2),
    "AlphaDropout": (20000,), "FeatureAlphaDropout": (200, 50, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_dropout_in_training_has_torchs_values_and_frequencies(name):
    x = jnp.ones(SHAPES[name])
    y = np.asarray(getattr(L, name)(0.3).apply({}, {}, x, rng=KEY, train=True)[0])
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(0.3)(torch.ones(SHAPES[name])).numpy()
    values, counts = np.unique(y, return_counts=True)
    torch_values, torch_counts = np.unique(theirs, return_counts=True)
    np.testing.assert_allclose(values, torch_values, rtol=1e-6)
    np.testing.assert_allclose(counts / y.size, torch_counts / y.size, atol=0.03)
    if x.ndim > 1:  # whole channels
        assert (y == y[:, :, *([slice(0, 1)] * (x.ndim - 2))]).all()
    np.testing.assert_array_equal(getattr(L, name)(0.3).apply({}, {}, x)[0], x)


@pytest.mark.parametrize("name", SHAPES)
def test_probabilities_are_refused_outside_0_to_1(name):
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"^{name}: p must be a probability, between 0 and 1, got p={p}\\."):
            getattr(L, name)(p)


# ------------------------------------------------------------------------------------------------------------ Sequential


def test_sequential_is_torchs():
    ours = L.Sequential(
        L.Linear(3, 4), jnp.tanh, L.Sequential(L.Linear(4, 4), L.BatchNorm1d(4)), L.Dropout(), L.Linear(4, 2)
    )
    nn = torch.nn
    twin = nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Dropout(), nn.Linear(4, 2)
    )
    assert list(purenn.state_dict(ours, *ours.init(KEY))) == list(twin.state_dict())
    params, buffers = purenn.load_state_dict(ours, state_of(twin))
    x = np.ones((4, 3), np.float32)
    out, _ = ours.apply(params, buffers, jnp.asarray(x))
    assert_close(out, twin.eval()(torch.tensor(x)))


def test_sequential_with_names_and_without_layers():
    named = L.Sequential({"z": L.Linear(3, 2), "a": L.Linear(2, 1)})
    assert list(named.init(KEY)[0]) == ["z", "a"]
    assert repr(named).startswith(
        "Sequential(z=Linear(in_features=3, out_features=2, bias=True, dtype=None), a=Linear("
    )
    x = jnp.ones(3)
    for empty in (L.Sequential(), L.Sequential({})):
        assert empty.init(KEY) == ({}, {})
        assert empty.apply({}, {}, x)[0] is x
        assert repr(empty) == "Sequential()"


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: L.Sequential(L.Linear), TypeError, "Sequential: 0 must be a model, not a class, got 0='Linear'. Call it."),
        (lambda: L.Sequential(L.Linear(1, 1), None), TypeError, "Sequential: 1 must be a model or a function, got type(1)='NoneType'."),
        (lambda: L.Sequential(purenn.param(jnp.ones(1))), TypeError, "Sequential: 0 must be a model or a function, got type(0)='Leaf'."),
        (lambda: L.Sequential([L.Linear(1, 1)]), TypeError, "Sequential: 0 must be a model, a function, purenn.param(...) or purenn.buffer(...), got type(0)='list'."),
        (lambda: L.Sequential({"a.b": L.Identity()}), ValueError, "Sequential: a name must be non-empty and without a dot, got name='a.b'."),
        (lambda: L.Sequential({"rng": L.Identity()}), ValueError, "Sequential: a child must not be called buffers, params, rng, training or begin"),
        (lambda: L.Linear(3.0, 2), TypeError, "Linear: in_features must be an integer, got in_features=3.0."),
        (lambda: L.Linear(3, -2), ValueError, "Linear: out_features must not be negative, got out_features=-2."),
        (lambda: L.Linear(True, 2), TypeError, "Linear: in_features must be an integer, got in_features=True."),
        (lambda: L.Conv2d("3", 2, 1), TypeError, "Conv2d: in_channels must be an integer, got in_channels='3'."),
        (lambda: L.Conv2d(3, 4, 1, groups=2), ValueError, "Conv2d: in_channels must be divisible by groups, got in_channels=3 and groups=2."),
        (lambda: L.Conv1d(4, 3, 1, groups=2), ValueError, "Conv1d: out_channels must be divisible by groups, got out_channels=3 and groups=2."),
        (lambda: L.Conv3d(4, 3, 1, groups=0), ValueError, "Conv3d: groups must be positive, got groups=0."),
        (lambda: L.Conv2d(3, 4, 1, padding_mode="mirror"), ValueError, "Conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got padding_mode='mirror'."),
        (lambda: L.Conv2d(3, 4, 1, padding="full"), ValueError, "Conv2d: padding must be numbers, 'same' or 'valid', got padding='full'."),
        (lambda: L.Conv2d(3, 4, 1, stride=(1, 2), padding="same"), ValueError, "Conv2d: stride must be 1 with padding='same', got stride=(1, 2)."),
        (lambda: L.BatchNorm1d(2.5), TypeError, "BatchNorm1d: num_features must be an integer, got num_features=2.5."),
        (lambda: L.BatchNorm2d(3).apply(*L.BatchNorm2d(3).init(KEY), jnp.ones((2, 3, 4))), ValueError, "BatchNorm2d: input must be 4-D, got input.shape=(2, 3, 4)."),
        (lambda: L.BatchNorm1d(3).apply(*L.BatchNorm1d(3).init(KEY), jnp.ones(3)), ValueError, "BatchNorm1d: input must be 2-D or 3-D, got input.shape=(3,)."),
        (lambda: L.LayerNorm((3, -1)), ValueError, "LayerNorm: normalized_shape[1] must not be negative, got normalized_shape[1]=-1."),
        (lambda: L.LayerNorm("ab"), TypeError, "LayerNorm: normalized_shape[0] must be an integer, got normalized_shape[0]='a'."),
        (lambda: L.Embedding(5, 3, padding_idx=5), ValueError, "Embedding: padding_idx must be one of the rows, got padding_idx=5 and num_embeddings=5."),
        (lambda: L.Embedding(5, 3, padding_idx=-6), ValueError, "Embedding: padding_idx must be one of the rows, got padding_idx=-6 and num_embeddings=5."),
        (lambda: L.Embedding(-5, 3), ValueError, "Embedding: num_embeddings must not be negative, got num_embeddings=-5."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call()


def test_torch_refuses_them_too():
    nn = torch.nn
    for call in (
        lambda: nn.Conv2d(3, 4, 1, groups=2), lambda: nn.Conv1d(4, 3, 1, groups=2), lambda: nn.Conv3d(4, 3, 1, groups=0),
        lambda: nn.Conv2d(3, 4, 1, padding_mode="mirror"), lambda: nn.Conv2d(3, 4, 1, padding="full"),
        lambda: nn.Conv2d(3, 4, 1, stride=(1, 2), padding="same"), lambda: nn.Embedding(5, 3, padding_idx=5),
        lambda: nn.Embedding(5, 3, padding_idx=-6), lambda: nn.Dropout(1.1), lambda: nn.BatchNorm2d(3)(torch.ones(2, 3, 4)),
        lambda: nn.BatchNorm1d(3)(torch.ones(3)), lambda: nn.Linear(3, -2),
    ):  # fmt: skip
        with pytest.raises((ValueError, RuntimeError, TypeError, AssertionError)):
            call()


def test_sizes_may_be_numpys():
    size = np.int64(3)
    assert L.Conv2d(size, size, size, padding=size) == L.Conv2d(3, 3, 3, padding=3)
    assert repr(L.LayerNorm(size)) == repr(L.LayerNorm(3))
    assert L.Linear(size, size) == L.Linear(3, 3)
    assert tuple_of(2, size) == (3, 3)
    assert L.Conv2d(3, 3, 3).kernel_size == L.Conv2d(3, 3, [3, 3]).kernel_size == (3, 3)


def test_tolerances_stand_in_the_oracle():
    assert TOLERANCE["float32"] <= 1e-5
