"""ParameterList and ParameterDict: torch's lists and dicts of parameters."""

import copy
import pickle
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import stateful as nn

VALUES = [np.ones((2, 3), np.float32), np.zeros(1, np.float32), 3, None, np.ones((), np.float32)]


def pair(name, values):
    """The same container in both worlds."""

    def make(world, array, value):
        if isinstance(value, dict):
            return type(value)((key, make(world, array, entry)) for key, entry in value.items())
        return array(value) if isinstance(value, np.ndarray) else value

    ours = make(nn, jnp.asarray, values) if isinstance(values, dict) else [make(nn, jnp.asarray, v) for v in values]
    theirs = (
        make(torch, torch.tensor, values) if isinstance(values, dict) else [make(0, torch.tensor, v) for v in values]
    )
    return getattr(nn, name)(ours), getattr(torch.nn, name)(theirs)


def assert_same(ours, theirs):
    assert repr(ours) == repr(theirs)
    assert len(ours) == len(theirs)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
    ]
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


def test_a_list_is_torchs():
    ours, theirs = pair("ParameterList", VALUES)
    assert_same(ours, theirs)
    assert_same(ours[1:], theirs[1:])
    assert_same(ours[::-2], theirs[::-2])
    for params, array in ((ours, jnp.asarray), (theirs, torch.tensor)):
        params.append(array([1.0])).extend([array([2.0, 3.0]), 4])
        params += (array([[5.0]]),)
        params[0] = array([7.0])
        params[-1] = array([8.0, 9.0])
        params[2] = None
    assert_same(ours, theirs)
    assert isinstance(ours[0], jax.Array)
    assert [type(x) is type(None) for x in ours] == [x is None for x in theirs]
    assert "0" not in dir(ours)
    for index in (9, -10):
        with pytest.raises(IndexError, match=f"index {index} is out of range"):
            ours[index]
    assert_same(nn.ParameterList(), torch.nn.ParameterList())
    for same in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_same(same, theirs)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_is_torchs(kind):
    ours, theirs = pair("ParameterDict", kind(zip("dacbe", VALUES, strict=True)))
    assert_same(ours, theirs)
    for params, array in ((ours, jnp.asarray), (theirs, torch.tensor)):
        params["z"] = array([1.0])
        params.update([("y", array([2.0])), ("a", array([3.0, 4.0]))])
        assert params.setdefault("z", 0) is not None
        params.setdefault("x", array([5.0]))
        assert params.get("nothing", 6) == 6
        assert params.pop("c") == 3
        assert params.popitem()[0] == "x"
        del params["y"]
        params |= type(params)({"w": array([1.0])})
    assert_same(ours, theirs)
    assert list(ours) == list(theirs) == [k for k, _ in ours.items()] == list(ours.keys())
    assert list(reversed(ours)) == list(reversed(theirs))
    assert len(list(ours.values())) == len(theirs)
    assert "a" in ours
    assert "c" not in ours
    assert_same(ours.copy(), theirs.copy())
    assert_same(ours | nn.ParameterDict({"v": jnp.ones(1)}), theirs | torch.nn.ParameterDict({"v": torch.ones(1)}))
    assert_same(ours.fromkeys("ab", 1), theirs.fromkeys("ab", 1))
    ours.clear()
    theirs.clear()
    assert_same(ours, theirs)
    with pytest.raises(KeyError):
        ours["a"]
    with pytest.raises(KeyError, match="the ParameterDict is empty"):
        ours.popitem()


def test_printed_dtypes_are_torchs():
    for ours, theirs in (
        (jnp.float16, torch.float16),
        (jnp.bfloat16, torch.bfloat16),
        (jnp.complex64, torch.complex64),
    ):
        for name, wrap in (("ParameterDict", lambda x: {"a": x}), ("ParameterList", lambda x: [x])):
            a, b = (
                getattr(nn, name)(wrap(jnp.ones(2, ours))),
                getattr(torch.nn, name)(wrap(torch.ones(2, dtype=theirs))),
            )
            assert repr(a) == repr(b)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList([jnp.ones(3), nn.Parameter(jnp.zeros(3), requires_grad=False)])
        self.named = nn.ParameterDict({"shift": jnp.ones(3)})

    def forward(self, x):
        for scale in self.scales:
            x = x * (1 + scale)
        return x + self.named["shift"] * len(self.scales)


def test_entries_are_this_calls_arrays():
    net = Net()
    params, buffers = net.split()
    assert list(buffers) == ["scales"]  # the frozen one
    np.testing.assert_array_equal(net(jnp.ones(3)), jnp.full(3, 4.0))
    grads = jax.jit(jax.grad(lambda p: net.apply(p, buffers, jnp.ones(3))[0].sum()))(params)
    np.testing.assert_array_equal(grads["scales"]["0"], jnp.ones(3))
    np.testing.assert_array_equal(grads["named"]["shift"], jnp.full(3, 2.0))
    out = jax.vmap(lambda s: net.apply({**params, "named": {"shift": s}}, buffers, jnp.ones(3))[0])(jnp.eye(3))
    np.testing.assert_array_equal(out, 2 + 2 * jnp.eye(3))
    net.init(jax.random.key(0))


def test_what_is_read_from_a_parameter_ties_it():
    layer = nn.Linear(2, 2)
    for tied in (
        nn.ParameterList([layer.weight]),
        nn.ParameterDict({"w": layer.weight}),
        nn.ParameterList([layer.weight])[:],
    ):
        layer.weight = layer.weight + 1
        entry = tied[0] if isinstance(tied, nn.ParameterList) else tied["w"]
        np.testing.assert_array_equal(entry, layer.weight)
    both = nn.Sequential(layer)
    both.extra = nn.ParameterList([layer.bias])
    assert [n for n, _ in both.named_parameters()] == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: nn.ParameterList(jnp.ones(2)),
            TypeError,
            r"^ParameterList\.extend: values must be iterable, and no array",
        ),
        (lambda: nn.ParameterList(3), TypeError, r"^ParameterList\.extend: values must be iterable, and no array"),
        (lambda: nn.ParameterDict(3), TypeError, r"^ParameterDict\.update: parameters must be a dict or pairs"),
        (
            lambda: nn.ParameterDict([3]),
            TypeError,
            r"^ParameterDict\.update: an element .* pair, got type\(parameters\[0\]\)",
        ),
        (
            lambda: nn.ParameterDict([(1, 2, 3)]),
            ValueError,
            r"^ParameterDict\.update: .* got len\(parameters\[0\]\)=3\.",
        ),
        (lambda: nn.ParameterDict({1: jnp.ones(1)}), TypeError, "^ParameterDict: a name must be a string"),
        (lambda: nn.ParameterDict()(1), RuntimeError, "^ParameterDict should not be called"),
        (lambda: nn.ParameterList()(1), RuntimeError, "^ParameterList should not be called"),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
