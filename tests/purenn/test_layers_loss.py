"""Pure losses with weights, the adaptive softmax and fractional pooling: laws for layers with targets and buffers."""

import inspect
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import purenn
from purenn import layers as L
from purenn import tree

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, YES = RNG.standard_normal((4, 3)).astype(np.float32), RNG.integers(0, 2, (4, 3)).astype(np.float32)
LABELS, WEIGHT = np.array([0, 2, 1, 2], np.int32), np.array([0.5, 1.0, 2.0], np.float32)
IMAGE, SAMPLES = (RNG.uniform(size=size).astype(np.float32) for size in ((2, 3, 8, 7), (2, 3, 2)))
VOLUME, SAMPLES3 = (RNG.uniform(size=size).astype(np.float32) for size in ((1, 2, 6, 5, 7), (1, 2, 3)))


@dataclass(frozen=True)
class Case:
    """A layer, how it is made in both worlds, and its inputs."""

    name: str
    inputs: tuple
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)

    def __str__(self):
        return f"{self.name}-{'-'.join(self.kwargs)}"


CASES = [
    Case("NLLLoss", (X, LABELS)),
    Case("NLLLoss", (X, LABELS), (), {"weight": WEIGHT, "ignore_index": 2}),
    Case("CrossEntropyLoss", (X, LABELS), (), {"weight": WEIGHT, "label_smoothing": 0.1}),
    Case("CrossEntropyLoss", (X, abs(X)), (), {"reduction": "none"}),
    Case("LinearCrossEntropyLoss", (X, LABELS), (3, 4), {"bias": True, "ignore_index": 1}),
    Case("LinearCrossEntropyLoss", (X, LABELS), (3, 3), {"weight": WEIGHT, "reduction": "sum"}),
    Case("BCELoss", (abs(X) % 1, YES), (), {"weight": WEIGHT}),
    Case("BCEWithLogitsLoss", (X, YES), (), {"weight": WEIGHT, "pos_weight": WEIGHT + 1}),
    Case("MultiLabelSoftMarginLoss", (X, YES), (), {"weight": WEIGHT}),
    Case("MultiMarginLoss", (X, LABELS), (), {"p": 2, "margin": 0.5, "weight": WEIGHT}),
    Case("AdaptiveLogSoftmaxWithLoss", (X, LABELS), (3, 4, [1, 2]), {"div_value": 1.5, "head_bias": True}),
    Case("FractionalMaxPool2d", (IMAGE,), (2,), {"output_size": (3, 4), "_random_samples": SAMPLES}),
    Case("FractionalMaxPool3d", (VOLUME,), (2, 3), {"_random_samples": SAMPLES3}),
]
each = pytest.mark.parametrize("case", CASES, ids=str)


def to_torch(x):
    return torch.tensor(x).long() if x.dtype == np.int32 else torch.tensor(x)


def pair(case):
    given = {key: to_torch(value) if isinstance(value, np.ndarray) else value for key, value in case.kwargs.items()}
    return getattr(L, case.name)(*case.args, **case.kwargs), getattr(torch.nn, case.name)(*case.args, **given)


@each
def test_outputs_and_gradients_are_torchs_and_vmap_is_the_batch(case):
    layer, twin = pair(case)
    params, buffers = purenn.load_state_dict(layer, twin.state_dict())
    tx, *rest = map(to_torch, case.inputs)
    expected = twin(tx.requires_grad_(), *rest)
    first = expected[0] if isinstance(expected, tuple) else expected

    @jax.jit
    @jax.value_and_grad
    def run(both):
        out, after = layer.apply(both[0], buffers, both[1], *case.inputs[1:])
        assert after.keys() == buffers.keys()
        return (out[0] if isinstance(out, tuple) else out).sum()

    x = jnp.asarray(case.inputs[0])
    value, (gradients, gx) = run((params, x))
    first.sum().backward()
    assert_close(value, first.sum(), scale=10.0)
    assert_close(gx, tx.grad)
    named = tree.flatten(gradients)
    for name, parameter in twin.named_parameters():
        assert_close(named[name], parameter.grad, what=name)
    assert len(named) == len(list(twin.parameters()))
    each = jax.vmap(lambda x: layer.apply(params, buffers, x, *case.inputs[1:])[0])(jnp.stack([x, x]))
    for a, b in zip(jax.tree.leaves(each), expected if isinstance(expected, tuple) else [expected], strict=True):
        assert_close(a[1], b)


@each
def test_state_and_arguments_are_torchs(case):
    layer, twin = pair(case)
    state = purenn.state_dict(layer, *layer.init(KEY))
    theirs = twin.state_dict()
    assert [(key, x.shape) for key, x in state.items()] == [(key, tuple(x.shape)) for key, x in theirs.items()]
    assert hash(layer) == hash(pair(case)[0])
    assert layer == pair(case)[0]
    mine, other = inspect.signature(type(layer)).parameters, inspect.signature(type(twin)).parameters
    for name, argument in mine.items():
        assert name == "dtype" or argument.default == other[name].default
    assert set(mine) == set(other) - {"device"}


def test_a_target_that_is_no_class_is_nan_inside_a_trace():
    layer = L.AdaptiveLogSoftmaxWithLoss(3, 6, [2, 4])
    params, _ = layer.init(KEY)
    out = jax.jit(lambda target: layer.apply(params, {}, X, target)[0].output)(np.int32([0, 6, -1, 5]))
    np.testing.assert_array_equal(np.isnan(out), [False, True, True, False])


def test_the_adaptive_softmax_keeps_its_dtype_and_sums_to_one():
    layer = L.AdaptiveLogSoftmaxWithLoss(3, 6, [2, 4], div_value=1.0, dtype=jnp.bfloat16)
    bound = purenn.bind(layer, *layer.init(KEY))
    assert bound(X.astype(jnp.bfloat16), LABELS).loss.dtype == jnp.bfloat16
    wide = L.AdaptiveLogSoftmaxWithLoss(3, 6, [2, 4], div_value=1.0)
    bound = purenn.bind(wide, *wide.init(KEY))
    np.testing.assert_allclose(jnp.exp(wide.log_prob(bound, X)).sum(-1), 1.0, rtol=1e-5)
    assert wide.predict(bound, X).shape == (4,)
