"""Lazy modules: they learn the size of their input, and become the plain classes."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import copy
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

import purenn
import stateful as nn

KEY = jax.random.key(0)
SHAPE = (2, 4, 6, 5, 3)
RANKS = (1, 2, 3)
CASES = [
    ("LazyLinear", (3,), {}, (2, 6)),
    *((f"LazyConv{rank}d", (6, 3), {"groups": 2, "stride": 2}, SHAPE[: rank + 2]) for rank in RANKS),
    *((f"LazyConvTranspose{rank}d", (6, 3), {"groups": 2, "bias": False}, SHAPE[: rank + 2]) for rank in RANKS),
    *((f"LazyBatchNorm{rank}d", (), {"momentum": 0.3}, SHAPE[: rank + 2]) for rank in RANKS),
    *((f"LazyInstanceNorm{rank}d", (), {}, SHAPE[: rank + 2]) for rank in RANKS),
]
each = pytest.mark.parametrize(("name", "args", "kwargs", "shape"), CASES, ids=[case[0] for case in CASES])
VARIANTS = [
    ("LazyLinear", (3, False), {}, (6,)),
    ("LazyConv2d", (4, 3), {"padding_mode": "circular", "padding": 1, "bias": False}, SHAPE[1:4]),
    ("LazyBatchNorm1d", (), {"affine": False}, (4, 3)),
    ("LazyBatchNorm1d", (), {"bias": False, "track_running_stats": False}, (4, 3)),
    ("LazyInstanceNorm1d", (), {"affine": False}, SHAPE[:3]),
    ("LazyInstanceNorm2d", (), {"affine": False, "track_running_stats": False}, SHAPE[:4]),
]


def inputs(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.filterwarnings("ignore:input's size:UserWarning")  # torch's InstanceNorm without arrays keeps 0 features
@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), CASES + VARIANTS, ids=str)
def test_equals_torch(name, args, kwargs, shape):
    sample = ModuleInput(FunctionInput(*args, **kwargs), FunctionInput(torch.tensor(inputs(shape), requires_grad=True)))
    run(SimpleNamespace(module_cls=getattr(torch.nn, name)), sample, True)


@each
def test_is_what_torchs_is_before_and_after_the_first_call(name, args, kwargs, shape):
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    signatures = [list(inspect.signature(getattr(lib, name)).parameters.values()) for lib in (nn, torch.nn)]
    assert [[(p.name, p.default, p.kind) for p in signature] for signature in signatures[:1]] == [
        [(p.name, p.default, p.kind) for p in signature] for signature in signatures[1:]
    ]
    assert isinstance(ours, getattr(nn, name.removeprefix("Lazy")))
    x = inputs(shape)
    for lazy in (True, False):
        assert repr(ours) == repr(theirs)
        assert ours.has_uninitialized_params() if lazy else not hasattr(ours, "has_uninitialized_params")
        mine, expected = ours.state_dict(), theirs.state_dict()
        assert list(mine) == list(expected)
        for key in mine:
            lazy_there = isinstance(expected[key], torch.nn.parameter.UninitializedTensorMixin)
            assert isinstance(mine[key], (nn.UninitializedParameter, nn.UninitializedBuffer)) == lazy_there
            assert not lazy_there or repr(mine[key]) == repr(expected[key])
        ours(x), theirs(torch.tensor(x))
    assert type(ours) is getattr(nn, name.removeprefix("Lazy"))


@each
def test_draws_what_the_plain_class_would_have_drawn(name, args, kwargs, shape):
    nn.manual_seed(5)
    lazy = getattr(nn, name)(*args, **kwargs)
    lazy(inputs(shape))
    if "InstanceNorm" in name:
        kwargs = {"affine": True, "track_running_stats": True}
    nn.manual_seed(5)
    plain = getattr(nn, name.removeprefix("Lazy"))(shape[1], *args, **kwargs)
    plain(inputs(shape))
    jax.tree.map(np.testing.assert_array_equal, lazy.split(), plain.split())


@each
def test_a_state_dict_completes_it(name, args, kwargs, shape):
    plain = getattr(torch.nn, name)(*args, **kwargs)
    x = inputs(shape)
    plain(torch.tensor(x))
    lazy = getattr(nn, name)(*args, **kwargs)
    lazy.load_state_dict(plain.state_dict())
    assert repr(lazy) == repr(plain)
    assert type(lazy) is getattr(nn, name.removeprefix("Lazy"))
    assert_close(lazy.eval()(x), plain.eval()(torch.tensor(x)))
    params, buffers = lazy.split()
    assert_close(lazy.apply(params, buffers, x)[0], lazy(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)
        self.bn = nn.LazyBatchNorm2d()
        self.head = nn.LazyLinear(2)

    def forward(self, x, fail=False):
        x = self.head(self.bn(self.conv(x)).reshape(len(x), -1))
        if fail:
            raise ArithmeticError
        return x


X = inputs((3, 2, 5, 5))
NAMES = "['conv.weight', 'conv.bias', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var', 'head.weight', 'head.bias']"
REMEDY = "Call the module once on an input, or load a state_dict."


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda net: net.init(KEY), ValueError, f"Net.init: lazy modules must know the shapes of their arrays, got without={NAMES}. {REMEDY}"),
        (lambda net: net.split(), ValueError, f"Net.split: lazy modules must know the shapes of their arrays, got without={NAMES}. {REMEDY}"),
        (lambda net: net.update({}, {}), ValueError, "Net.update: lazy modules must know the shapes of their arrays"),
        (lambda net: purenn.structure(net), ValueError, "Net.structure: lazy modules must know the shapes of their arrays"),
        (lambda net: net.apply({}, {}, X), ValueError, f"LazyConv2d.apply: lazy modules must know the shapes of their arrays, got without=['conv.weight', 'conv.bias']. {REMEDY}"),
        (lambda net: nn.jit(net)(X), RuntimeError, f"lazy module: its arrays have no shape yet. {REMEDY}"),
        (lambda net: net.head.weight.shape, RuntimeError, f"lazy module: its arrays have no shape yet. {REMEDY}"),
        (lambda net: jnp.asarray(net.head.weight), RuntimeError, f"lazy module: its arrays have no shape yet. {REMEDY}"),
        (lambda net: setattr(net.head, "weight", jnp.ones((2, 3))), RuntimeError, f"lazy module: its arrays have no shape yet. {REMEDY}"),
        (lambda net: net.load_state_dict(Net().state_dict()), RuntimeError, f"lazy module: its arrays have no shape yet. {REMEDY}"),
        (lambda net: net.conv(X[0, 0]), ValueError, "LazyConv2d: input must be 4-D, or 3-D without a batch, got input.shape=(5, 5)."),
        (lambda net: net.bn(X[0]), ValueError, "LazyBatchNorm2d: input must be 4-D, got input.shape=(2, 5, 5)."),
        (lambda net: net.head(jnp.float32(1)), ValueError, "LazyLinear: input must have an axis, got input.shape=()."),
        (lambda net: nn.LazyConv1d(4, 1, groups=2)(jnp.ones((1, 3, 2))), ValueError, "Conv1d: in_channels must be divisible by groups, got in_channels=3 and groups=2."),
        (lambda net: nn.LazyConv1d(3, 1, groups=2), ValueError, "Conv1d: out_channels must be divisible by groups"),
    ],
)  # fmt: skip
def test_refusals_name_the_remedy(call, kind, words):
    net = Net()
    before = repr(net)
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        call(net)
    assert repr(net) == before


def test_what_fails_leaves_it_lazy():
    net = Net()
    before = repr(net)
    with pytest.raises(ArithmeticError):
        net(X, fail=True)
    with pytest.raises(RuntimeError, match=r"^BatchNorm2d\.\w+ would keep a tracer"):
        jax.jit(net)(X)
    state = Net()
    state(X)
    wrong = dict(state.state_dict()) | {"head.weight": jnp.ones((3, 36)), "more": jnp.ones(1)}
    with pytest.raises(
        ValueError, match=r"2 problems:\n +unexpected: more\n +mismatched: head\.weight: shape \(3, 36\)"
    ):
        net.load_state_dict(wrong)
    assert repr(net) == before
    assert net.head.has_uninitialized_params()
    net(X)
    assert repr(net) == repr(state)


def test_shapes_alone_are_enough():
    net = Net().eval()
    out = jax.eval_shape(net, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert out.shape == (3, 2)
    params, buffers = net.init(KEY)
    assert net.apply(params, buffers, X, train=True)[0].shape == (3, 2)


def test_what_was_chosen_before_counts_after():
    net = Net().half().eval()
    net.conv.requires_grad_(False)
    net.head.out_features = 5
    net.conv.register_forward_hook(lambda module, args, out: 2 * out)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(nn.LazyLinear(3))))
    assert type(twin) is nn.LazyLinear
    out = net(jnp.asarray(X, jnp.float16))
    assert out.dtype == jnp.float16
    assert out.shape == (3, 5)
    params, buffers = net.split()
    assert list(params) == ["bn", "head"]
    assert buffers["conv"]["weight"].dtype == jnp.float16
    assert not net.conv.training


def test_one_used_twice_and_one_not_used():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = nn.LazyLinear(3)
            self.idle = nn.LazyLinear(2)

        def forward(self, x):
            return self.b(self.a(x))

    net = Shared()
    net(jnp.ones((2, 3)))
    assert net.a is net.b
    assert type(net.a) is nn.Linear
    assert type(net.idle) is nn.LazyLinear
    half = Shared()
    half.load_state_dict({"b.weight": np.ones((3, 3)), "b.bias": np.ones(3)}, strict=False)
    assert type(half.a) is nn.Linear


def test_hooks_before_and_a_direct_forward():
    lazy = nn.LazyLinear(3)
    lazy.register_forward_pre_hook(lambda module, args: (args[0][:, :2],))
    lazy(jnp.ones((4, 5)))
    assert lazy.in_features == 2  # of what forward is given
    direct = nn.LazyLinear(3)
    assert direct.forward(jnp.ones((4, 5))).shape == (4, 3)
    assert type(direct) is nn.Linear


def test_unbatched_instances_have_their_channels_first():
    norm = nn.LazyInstanceNorm1d()
    norm(jnp.asarray(inputs((4, 6))))
    assert norm.num_features == 4  # torch takes the length, and fails


def test_incomplete_state_dicts():
    lazy = nn.LazyLinear(3)
    missing, unexpected = lazy.load_state_dict({"bias": np.arange(3.0)}, strict=False)
    assert (missing, unexpected) == (["weight"], [])
    assert type(lazy) is nn.LazyLinear
    lazy(jnp.ones((1, 2)))
    np.testing.assert_array_equal(lazy.bias, np.arange(3.0))
    with pytest.raises(ValueError, match=r"mismatched: weight: shape \(3,\)"):
        nn.LazyLinear(3).load_state_dict({"weight": np.ones(3), "bias": np.ones(3)})
