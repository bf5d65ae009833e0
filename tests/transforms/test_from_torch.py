"""from_torch: small torch models, whole: values, gradients, buffers, modes, shapes, randomness, errors."""

import pickle
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close
from torch import nn

import purenn
import stateful
import transforms
from purenn.tree import flatten


class Aliases(nn.Module):
    """In-place writes through views, a counter, a lifted constant, tied and frozen weights, BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.one.bias.requires_grad_(False)
        self.register_buffer("table", torch.ones(4), persistent=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls.data += 1
        y = torch.relu_(self.norm(self.conv(x))).mean((2, 3))
        y[:, 0] = y[:, 0] * 2
        y = y + torch.tensor([1.0, 2, 3, 4]) + self.table
        with torch.no_grad():
            scale = y.mean()
        return self.two(self.one(y)) * scale


class Round(torch.autograd.Function):
    """Rounds; its gradient is that of the identity within one."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.round(x) * factor

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g * ctx.factor
        g[x.abs() >= 1] = 0.0
        return g, None


class Twice(torch.autograd.Function):
    """The newer style, with two results."""

    @staticmethod
    def forward(x, y):
        return x * 2, x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g, h):
        return g * 3 + h, None


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        y = Round.apply(self.linear(x), 2.0)
        a, b = Twice.apply(y, x)
        return a + b


class Flow(nn.Module):
    """cond, while_loop, scan and map, and an attention block with strides."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x):
        from torch._higher_order_ops.map import map as over_rows
        from torch._higher_order_ops.scan import scan

        x = x * self.weight
        (a,) = torch.cond(x.sum() > 0, lambda x: (x.sin(),), lambda x: (x.cos(),), (x,))
        c, ys = scan(lambda c, x: (c + x, c * x), torch.zeros(3), x, dim=0)
        d = over_rows(lambda x, y: x * y, x, torch.ones(3))
        strided = torch.as_strided(x.t(), (3, 2), (1, 2))
        return a, c, ys, d, strided


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3, max_norm=1.0, padding_idx=0)
        self.lstm = nn.LSTM(3, 4, 2)
        self.attend = nn.MultiheadAttention(4, 2)
        self.norm = nn.InstanceNorm1d(4, track_running_stats=True)
        self.average = nn.BatchNorm1d(4, momentum=None)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.weighted = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    def forward(self, index):
        y = self.lstm(self.embed(index))[0]
        y = self.attend(y, y, y)[0]
        y = self.average(self.norm(y.transpose(1, 2))).transpose(1, 2)
        return self.weighted(self.spectral(y))


class Whole(nn.Module):
    """What torch.export cannot take by itself: packed sequences, losses and layers that look at values."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4, 0.0, batch_first=True), 1)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, (_, c) = self.lstm(packed)
        packed, h = self.gru(packed._replace(data=torch.tanh(packed.data)))
        y, ends = nn.utils.rnn.pad_packed_sequence(packed, True, padding_value=-1.0, total_length=6)
        y = self.encoder(y, torch.ones(6, 6).triu(1).bool())
        targets = torch.ones(3, 1, dtype=torch.long)
        loss = nn.functional.ctc_loss(y.log_softmax(-1).transpose(0, 1), targets, lengths, targets[:, 0])
        return y, ends, c, h, loss, nn.functional.gaussian_nll_loss(y, h[-1][:, None], y.exp())


class Mixed(nn.Module):
    """Arguments and results in nests; complex numbers, Fourier, places and order."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, pair, *, scale=1.0, options=None):
        x, y = pair
        z = torch.view_as_complex(torch.view_as_real(torch.fft.rfft(x @ self.weight)) * scale)
        best, index = torch.topk(z.abs(), 2)
        spread = torch.zeros(x.shape[0], 3).scatter_add(1, index, best)
        return {"a": [spread, torch.linalg.solve(y, x.T[:2])], "b": torch.fft.irfft(z, n=5), "n": None, "k": 3}


MODELS = {
    "aliases": (Aliases, lambda: (torch.randn(5, 3, 6, 6),), {}),
    "custom": (Custom, lambda: (torch.randn(4, 3),), {}),
    "flow": (Flow, lambda: (torch.randn(2, 3),), {}),
    "recurrent": (Recurrent, lambda: (torch.randint(0, 5, (6, 2)),), {}),
    "whole": (Whole, lambda: (torch.randn(3, 5, 3), torch.tensor([2, 5, 3])), {}),
    "mixed": (Mixed, lambda: ((torch.randn(3, 4), torch.eye(2) * 2),), {"scale": 2.0}),
}
_converted: dict = {}


def converted(name):
    """The torch module in evaluation, its model and arguments; converted once for all tests."""
    if name not in _converted:
        torch.manual_seed(0)
        cls, args, kwargs = MODELS[name]
        module, args = cls().eval(), args()
        _converted[name] = module, transforms.from_torch(module, args, kwargs), args, kwargs
    return _converted[name]


def as_numpy(tree):
    return jax.tree.map(lambda x: x.numpy() if isinstance(x, torch.Tensor) else x, tree,
                        is_leaf=lambda x: isinstance(x, torch.Tensor))  # fmt: skip


def tensors(out):
    return [x for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor)]


def total(leaves):
    """A number that depends on every floating result."""
    amount = 0.0
    for x in leaves:
        module, amount_of = (torch, float) if isinstance(x, torch.Tensor) else (jnp, float)
        amount = amount + module.cos(x * amount_of(1)).sum()
    return amount


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_equal_torch(name):
    module, model, args, kwargs = converted(name)
    params, buffers = model.init()

    def loss(params):
        out, _after = model.apply(params, buffers, *as_numpy(args), **kwargs)
        leaves = [x for x in jax.tree.leaves(out) if hasattr(x, "dtype")]
        return total([x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]), leaves

    gradients, leaves = jax.jit(jax.grad(loss, has_aux=True))(params)
    module.zero_grad()
    expected = tensors(module(*args, **kwargs))
    assert_close([x for x in leaves if x.ndim or len(leaves) == len(expected)][: len(expected)], expected)
    total([x for x in expected if x.is_floating_point()]).backward()
    trained = {path: p for path, p in module.named_parameters() if p.requires_grad}
    assert set(flatten(gradients)) == set(trained)
    for path, gradient in flatten(gradients).items():
        assert_close(gradient, trained[path].grad, scale=5.0, what=path)


def test_what_reads_past_the_ends_of_packed_sequences_is_refused():
    class Sum(nn.Module):
        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
            return packed.batch_sizes[1] if lengths.shape[0] == 1 else packed.data.sum(0)

    with pytest.raises(NotImplementedError, match=r"functions of each step alone, got operator=.aten\.sum\.dim"):
        transforms.from_torch(Sum(), (torch.ones(4, 2, 3), torch.tensor([4, 2])))
    with pytest.raises((NotImplementedError, ValueError), match="from_torch: batch_sizes must not be read, got step=1"):
        transforms.from_torch(Sum(), (torch.ones(4, 1, 3), torch.tensor([4])))


def test_recurrent_layers_take_any_number_of_steps():
    net = nn.GRU(2, 3, bidirectional=True).eval()
    model = transforms.from_torch(net, (torch.ones(4, 2, 2),), dynamic_shapes=({0: torch.export.Dim("t")},))
    x = torch.randn(6, 2, 2)
    out, _ = model.apply(*model.init(), x.numpy())
    assert_close(out, net(x), scale=5.0)


def test_an_embedded_while_loop_runs():
    class Loop(nn.Module):
        def forward(self, x):
            from torch._higher_order_ops import while_loop

            return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), x))

    model = transforms.from_torch(Loop(), (torch.ones(2),))
    (count, out), _ = jax.jit(lambda x: model.apply({}, {}, x))(jnp.ones(2))
    assert int(count) == 3
    np.testing.assert_array_equal(out, 8 * np.ones(2))


@pytest.mark.parametrize("name", ["aliases", "recurrent"])
def test_training_moves_the_buffers_as_torch_does(name):
    module, model, args, kwargs = converted(name)
    fresh = type(module)().train()
    fresh.load_state_dict(module.state_dict())
    params, buffers = model.init()
    loaded = transforms.to_torch(params, buffers, model)
    fresh.load_state_dict(loaded)
    out, after = jax.jit(lambda p, b: model.apply(p, b, *as_numpy(args), train=True, **kwargs))(params, buffers)
    assert_close(out, fresh(*args, **kwargs), scale=5.0)
    expected = {path: b for path, b in fresh.named_buffers() if path in flatten(after)}
    assert expected
    for path, value in expected.items():
        assert_close(flatten(after)[path], value, scale=5.0, what=path)


def test_names_order_and_kinds_are_torchs():
    module, model, _, _ = converted("aliases")
    params, buffers = model.init()
    assert "one.bias" in flatten(buffers)
    assert "two.weight" not in flatten(params)
    assert "table" in flatten(buffers)
    state = transforms.to_torch(params, buffers, model)
    assert set(state) == set(module.state_dict())
    assert state["calls"].dtype == torch.int64
    assert torch.equal(state["two.weight"], module.one.weight)
    assert [*purenn.state_dict(model, params, buffers)] == [
        path for path in module.state_dict() if path != "two.weight"
    ]
    assert repr(model).startswith("from_torch(Aliases: 12 arrays")


def test_a_module_adapts_it_with_torchs_tree():
    _, model, args, _ = converted("aliases")
    module = stateful.Module(model)
    module.eval()
    out, _ = model.apply(*model.init(), *as_numpy(args))
    assert_close(module(*as_numpy(args)), np.asarray(out))
    assert module.conv.weight.shape == (4, 3, 3, 3)
    assert int(module.calls) == int(model.init()[1]["calls"]) + 1


def test_the_structure_of_results_is_kept():
    _, model, args, kwargs = converted("mixed")
    out, _ = model.apply(*model.init(), *as_numpy(args), **kwargs)
    assert list(out) == ["a", "b", "n", "k"]
    assert isinstance(out["a"], list)
    assert out["n"] is None
    assert out["k"] == 3


class Pair(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


@dataclass
class Batch:
    x: torch.Tensor
    mask: torch.Tensor | None = None


torch.export.register_dataclass(Batch)


def test_arguments_and_results_may_be_of_the_users_classes():
    class Swap(nn.Module):
        def forward(self, pair, batch):
            return Pair(pair.b, pair.a + batch.x)

    one = torch.ones(2)
    model = transforms.from_torch(Swap(), (Pair(one, 2 * one), Batch(3 * one)))
    a, b = jnp.ones(2), 2 * jnp.ones(2)
    for batch in (Batch(3 * b), {"x": 3 * b}):
        out, _ = model.apply({}, {}, Pair(a, b), batch)
        assert type(out).__name__ == "Pair"
        np.testing.assert_array_equal(out.b, 7 * np.ones(2))
    with pytest.raises(TypeError, match="Swap: batch must be a dict, as it was at conversion"):
        model.apply({}, {}, Pair(a, b), a)


def test_it_pickles_and_needs_no_torch():
    _, model, args, kwargs = converted("mixed")
    content = pickle.dumps(model)
    assert b"torch._C" not in content
    again = pickle.loads(content)
    out, _ = again.apply(*again.init(), *as_numpy(args), **kwargs)
    first, _ = model.apply(*model.init(), *as_numpy(args), **kwargs)
    assert_close(out["b"], np.asarray(first["b"]))


def test_lengths_vary_where_torch_says_so():
    class Free(nn.Module):
        def forward(self, x):
            half = x[:, : x.shape[1] // 2].reshape(x.shape[0] * 2, -1)
            return half.view(-1, 1, half.shape[1]).expand(-1, 3, -1) + torch.arange(half.shape[1]) * x.shape[0]

    auto = torch.export.Dim.AUTO
    model = transforms.from_torch(Free(), (torch.randn(4, 8),), dynamic_shapes={"x": {0: auto, 1: auto}})
    x = np.random.default_rng(0).standard_normal((6, 12)).astype(np.float32)
    assert_close(jax.jit(lambda x: model.apply({}, {}, x)[0])(x), Free()(torch.from_numpy(x)))
    shape = jax.export.symbolic_shape("a,4*b")
    exported = jax.export.export(jax.jit(lambda x: model.apply({}, {}, x)[0]))(jax.ShapeDtypeStruct(shape, x.dtype))
    assert_close(exported.call(x), Free()(torch.from_numpy(x)))


def test_dropout_draws_from_the_key():
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    model = transforms.from_torch(net, (torch.ones(50, 20),))
    x = jnp.ones((50, 20))
    one, two, same = (model.apply({}, {}, x, rng=jax.random.key(seed), train=True)[0] for seed in (0, 1, 0))
    np.testing.assert_array_equal(one, same)
    assert np.any(np.asarray(one) != np.asarray(two))
    assert abs(float(jnp.mean(one)) - 1) < 0.3
    assert set(np.unique(one)) == {0.0, 4.0}  # each layer has a key of its own
    np.testing.assert_array_equal(model.apply({}, {}, x)[0], x)
    with pytest.raises(ValueError, match="dropout: rng must be given when training"):
        model.apply({}, {}, x, train=True)


def test_uncovered_operators_are_all_listed_with_their_places():
    class Bessel(nn.Module):
        def forward(self, x):
            y = torch.special.bessel_j0(x)
            return y + torch.special.airy_ai(x)

    with pytest.raises(NotImplementedError) as caught:
        transforms.from_torch(Bessel(), (torch.ones(3),))
    text = str(caught.value)
    assert "every operator must be covered, Bessel uses 2 operators that are not" in text
    assert "aten.special_bessel_j0.default\n        " in text
    assert "test_from_torch.py" in text
    assert "y = torch.special.bessel_j0(x)" in text
    assert "aten.special_airy_ai.default" in text
    assert "transforms.register_op" in text


def test_an_operator_can_be_added():
    from transforms.torch_ops import OPERATORS

    class Bessel(nn.Module):
        def forward(self, x):
            return torch.special.bessel_y0(x)

    transforms.register_op("aten.special_bessel_y0.default")(lambda self: self + 1)
    try:
        model = transforms.from_torch(Bessel(), (torch.ones(3),))
        np.testing.assert_array_equal(model.apply({}, {}, jnp.ones(3))[0], 2 * np.ones(3))
    finally:
        del OPERATORS["aten.special_bessel_y0.default"]


@pytest.mark.parametrize(
    ("call", "kind", "rule"),
    [
        (lambda m, p, b, x, y: m.apply(p, b, (x, y)), None, None),
        (lambda m, p, b, x, y: m.apply(p, b, pair=(x, y)), None, None),
        (lambda m, p, b, x, y: m.apply(p, b, (x, y), scale=3.0), ValueError, r"kwargs\['scale'\] must be 2.0, as at"),
        (lambda m, p, b, x, y: m.apply(p, b, (x, y), other=3), ValueError, "kwargs must have the keys it had"),
        (lambda m, p, b, x, y: m.apply(p, b), TypeError, r"pair\[0\] must be given, as at conversion"),
        (lambda m, p, b, x, y: m.apply(p, b, (x, y), x), TypeError, "the number of arguments must be that of the"),
        (lambda m, p, b, x, y: m.apply(p, b, x), TypeError, "pair must be a tuple, as it was at conversion"),
        (lambda m, p, b, x, y: m.apply(p, b, (x, y, x)), ValueError, "pair must have as many items as at conversion"),
        (
            lambda m, p, b, x, y: m.apply(p, b, (x[1:], y)),
            ValueError,
            r"pair\[0\] must have the shape it had .*\(3, 4\)",
        ),
        (lambda m, p, b, x, y: m.apply(p, b, (x[0], y)), ValueError, r"pair\[0\] must have the shape it had"),
        (lambda m, p, b, x, y: m.apply(p, b, (x.astype(int), y)), TypeError, r"pair\[0\] must be of the kind it had"),
        (lambda m, p, b, x, y: m.apply(p, b, (torch.ones(3, 4), y)), TypeError, "must be an array, not torch's"),
        (lambda m, p, b, x, y: m.apply({}, b, (x, y)), ValueError, "params and buffers must hold every array"),
    ],
)
def test_arguments_unlike_the_conversions_are_refused(call, kind, rule):
    _, model, ((x, y),), _ = converted("mixed")
    given = model, *model.init(), x.numpy(), y.numpy()
    if kind is None:
        call(*given)
        return
    with pytest.raises(kind, match=rule):
        call(*given)


def test_lengths_outside_the_range_or_unequal_are_refused():
    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    n = torch.export.Dim("n", min=3, max=9)
    model = transforms.from_torch(Add(), (torch.ones(4), torch.ones(4)), dynamic_shapes={"x": {0: n}, "y": {0: n}})
    assert model.apply({}, {}, jnp.ones(5), y=jnp.ones(5))[0].shape == (5,)
    with pytest.raises(ValueError, match="axis 0 of x must be in the range of the conversion, 3 to 9"):
        model.apply({}, {}, jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match="axis 0 of y must equal an axis of x, as at conversion"):
        model.apply({}, {}, jnp.ones(4), jnp.ones(5))


def test_what_is_no_module_or_tuple_is_refused():
    with pytest.raises(TypeError, match=r"from_torch: module must be a torch.nn.Module"):
        transforms.from_torch(lambda x: x, ())
    with pytest.raises(TypeError, match="from_torch: args must be a tuple"):
        transforms.from_torch(nn.ReLU(), torch.ones(3))
    with pytest.raises(TypeError, match="from_torch: kwargs must be a dict"):
        transforms.from_torch(nn.ReLU(), (torch.ones(3),), 3)


def test_a_training_mode_that_cannot_be_exported_is_named_when_asked_for():
    class Undecided(nn.Module):
        def forward(self, x):
            if self.training and x.sum() > 0:
                return x
            return -x

    model = transforms.from_torch(Undecided(), (torch.ones(3),))
    np.testing.assert_array_equal(model.apply({}, {}, jnp.ones(3))[0], -np.ones(3))
    assert repr(model).endswith("evaluation only)")
    with pytest.raises(ValueError, match="train must be False, as torch cannot export the training mode"):
        model.apply({}, {}, jnp.ones(3), train=True)


def test_narrowing_is_reported_once_by_name():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
            self.register_buffer("big", torch.tensor([2**40, 1]))
            self.register_buffer("small", torch.tensor([3, 1]))

        def forward(self, x):
            return x * self.scale.float() + self.big[1] + self.small[0]

    with pytest.warns(UserWarning, match=r"scale \(float64\), big \(int64\)") as seen:
        model = transforms.from_torch(Wide(), (torch.ones(3),))
    assert len(seen) == 1
    assert model.narrowed == {"scale": "float64 -> float32", "big": "int64 -> int32", "small": "int64 -> int32"}
    assert int(model.init()[1]["big"][0]) == 2**31 - 1


def test_a_write_into_a_parameter_is_reported():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            with torch.no_grad():
                self.weight.mul_(2)
            return x * self.weight

    with pytest.warns(UserWarning, match="from_torch: Writes writes into parameter weight"):
        model = transforms.from_torch(Writes(), (torch.ones(3),))
    np.testing.assert_array_equal(model.apply(*model.init(), jnp.ones(3))[0], 2 * np.ones(3))


def test_quantised_dtypes_and_as_strided_with_gaps_are_refused():
    from transforms.torch_dtypes import numpy_dtype

    class Gaps(nn.Module):
        def forward(self, x):
            return torch.as_strided(x[:, ::2], (2, 2), (1, 1))

    with pytest.raises(TypeError, match="from_torch: a dtype must be one that JAX has, got dtype='quint8'"):
        numpy_dtype(torch.quint8)
    with pytest.raises(NotImplementedError, match="from_torch: as_strided must be of a tensor without gaps"):
        transforms.from_torch(Gaps(), (torch.ones(4, 4),))


def test_a_custom_function_that_writes_or_gives_another_shape_is_refused():
    class Dirty(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g.sum()

    class Run(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function.apply(x)

    with pytest.raises(NotImplementedError, match=r"must not write into its inputs .mark_dirty., got Dirty"):
        transforms.from_torch(Run(Dirty), (torch.ones(3),))
    model = transforms.from_torch(Run(Wrong), (torch.ones(3),))
    with pytest.raises(ValueError, match="the backward of a custom function must give a gradient of the input's shape"):
        jax.grad(lambda x: model.apply({}, {}, x)[0].sum())(jnp.ones(3))
