"""torch's idioms of initialisation: what is written into a parameter in place, done to its promise."""

import copy
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree

KEY = jax.random.key(0)
nn.manual_seed(0)
torch.manual_seed(0)


def initialise(init, net):
    """Lines as they stand in torch's model files; the same for both worlds."""
    init.xavier_uniform_(net.fc.weight, gain=2.0)
    net.fc.bias.data.zero_()
    net.fc.bias.data[:2].fill_(1.0)
    net.embed.weight.data.normal_(0, 0.02)
    net.embed.weight.data[0].zero_()
    net.embed.weight.data[1:30] *= 100
    init.trunc_normal_(net.scale, std=0.02)
    init.constant_(net.norm.weight, 3.0)
    net.norm.bias.data.copy_(net.norm.weight.data)
    net.rnn.bias_hh_l0.data = net.rnn.bias_ih_l0.data * 0
    net.norm.bias.data.add_(1.0).mul_(2.0).sub_(1.0, alpha=3).div_(5.0).clamp_(max=0.9)
    net.rnn.weight_hh_l0.data.uniform_(-0.5, 0.5)
    init.orthogonal_(net.rnn.weight_ih_l0.data)
    for name, p in net.rnn.named_parameters():
        if "bias" in name:
            init.constant_(p, 0.0)
    for p in net.fc.parameters():
        p.requires_grad = False


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(30, 40)
        self.embed = nn.Embedding(50, 30)
        self.head = nn.Linear(30, 50, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(6)
        self.rnn = nn.LSTM(3, 5)
        self.scale = nn.Parameter(jnp.empty((20, 20)))
        initialise(nn.init, self)
        self.drawn = [path for path, cell in self._named_cells() if cell.drawn]
        self.count = sum(p.size for p in self.parameters())


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(30, 40)
        self.embed = torch.nn.Embedding(50, 30)
        self.head = torch.nn.Linear(30, 50, bias=False)
        self.head.weight = self.embed.weight
        self.norm = torch.nn.LayerNorm(6)
        self.rnn = torch.nn.LSTM(3, 5)
        self.scale = torch.nn.Parameter(torch.empty(20, 20))
        initialise(torch.nn.init, self)
        self.count = sum(p.numel() for p in self.parameters())


def assert_alike(ours, theirs):
    """The same numbers where they are fixed, the same spread where they are drawn."""
    for name, value in theirs.items():
        a, b = np.asarray(ours[name]), value.detach().numpy()
        if np.ptp(b) == 0:
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)
        else:
            assert abs(a.std() / b.std() - 1) < 4 / math.sqrt(b.size), name
            assert ((a == 0) == (b == 0)).mean() > 0.99, name


def test_idioms_of_torch_give_torchs_numbers_and_draw_nothing():
    ours, theirs = Net(), TorchNet()
    assert ours.drawn == ["norm.weight", "rnn.bias_ih_l0"]  # copied from
    assert ours.count == theirs.count
    assert_alike(ours.state_dict(), theirs.state_dict())
    assert ours.head.weight is ours.embed.weight
    assert list(ours.split()[1]["fc"]) == ["weight", "bias"]


def test_init_gives_what_the_object_gives():
    params, buffers = jax.jit(Net().init)(KEY)
    ours = tree.flatten(tree.combine(params, buffers))
    assert_alike(ours, {name: value for name, value in TorchNet().state_dict().items() if name in ours})


def test_changed_promises_copy_and_pickle():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        for name, value in twin.state_dict().items():
            np.testing.assert_array_equal(value, net.state_dict()[name], err_msg=name)


def test_for_each_reads_promises():
    def weights_init(m):
        if isinstance(m, nn.Linear):
            m.weight.data.normal_(0.0, 0.02)
            m.bias.data.fill_(7)

    net = nn.Sequential(nn.Linear(3, 400), nn.ReLU(), nn.Linear(400, 3)).for_each(weights_init)
    assert not any(cell.drawn for _, cell in net._named_cells())
    np.testing.assert_array_equal(net[0].bias, np.full(400, 7.0))
    assert 0.018 < float(net[0].weight.std()) < 0.022


def test_an_array_that_was_read_leads_back_to_its_parameter():
    net = nn.Linear(30, 40)
    before = net.weight
    for p in net.parameters():
        if p.ndim > 1:
            after = nn.init.normal_(p, std=100.0)
    assert after is net.weight
    assert float(after.std()) > 50 > float(before.std())
    np.testing.assert_array_equal(nn.init.eye_(net.weight), np.eye(40, 30))
    assert float(net.init(KEY)[0]["weight"].std()) < 1
    norm = nn.BatchNorm1d(3)
    nn.init.constant_(norm.running_mean, 2.0)
    np.testing.assert_array_equal(norm.running_mean, [2.0, 2.0, 2.0])


def test_drawn_parameters_change_too():
    net = nn.Linear(4, 3)
    cell = net._parameters["weight"]
    before = net.weight
    cell[0].zero_()
    cell[1:] += 1
    cell.data[2, 3].normal_(100.0, 1e-3)
    want = np.array(before)
    want[0], want[1:] = 0, want[1:] + 1
    np.testing.assert_array_equal(np.delete(net.weight, 11), np.delete(want, 11))
    assert 99 < net.weight[2, 3] < 101
    np.testing.assert_array_equal(net.init(KEY)[0]["weight"][0], 0)


def test_a_promise_behaves_as_its_array():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)
            w = self.fc.weight
            self.same = [w.shape, w.ndim, w.size, len(w), w.dtype == jnp.float32, w.requires_grad_(True) is not w]
            self.total = float(w.sum() + (w * 0).sum() - 0 * (1 - w)[0, 0] + 0 * len(list(w)))
            self.row = nn.Parameter(w[0])
            self.kept = nn.Parameter(w)
            self.product = float((w @ jnp.ones(4)).sum() + (-w).sum() + (w > 5).sum() + abs(w[0] * w[0]).min() * 0)
            with pytest.raises(AttributeError, match="object has no attribute 'numel'"):
                w.numel()

    net = Reads()
    assert net.same == [(3, 4), 2, 12, 3, True, False]
    np.testing.assert_allclose(net.total, net.fc.weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(net.product, 0, atol=1e-5)
    np.testing.assert_array_equal(net.row, net.fc.weight[0])
    np.testing.assert_array_equal(net.kept, net.fc.weight)


def test_a_promise_kept_in_a_list_is_the_array_of_the_call():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.regularised = [self.fc.weight]

        def forward(self, x):
            return sum(jnp.asarray(w).sum() for w in self.regularised)

    net = Keeps()
    params, buffers = net.split()
    grads = jax.grad(lambda p: net.apply(p, buffers, 0)[0])(params)
    np.testing.assert_array_equal(grads["fc"]["weight"], np.ones((2, 3)))
    np.testing.assert_allclose(net(0), net.fc.weight.sum(), rtol=1e-6)


def test_what_a_whole_model_draws_can_be_initialised():
    def halve(m):
        for p in m.parameters(recurse=False):
            p.data.mul_(0.0)

    net = nn.Module(transforms.ensemble(L.Linear(2, 3), 4))
    net.for_each(halve)
    np.testing.assert_array_equal(net.weight, np.zeros((4, 3, 2)))


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda m: nn.init.xavier_uniform_(m.bias), ValueError, "xavier_uniform: shape must have at least 2 numbers"),
        (lambda m: nn.init.normal_(m.weight, 0, 1, 3), ValueError, "normal: generator must be None"),
        (lambda m: nn.init.normal_(m.weight, 0, 1, None, 5), TypeError, "too many positional arguments"),
        (lambda m: nn.init.zeros_(m.weight * 2), TypeError, "Arrays do not change in place"),
        (lambda m: m._parameters["weight"].copy_(jnp.ones(7)), ValueError,
         r"copy_: src must broadcast to the shape of what it is copied to, got src.shape=\(7,\) and shape=\(2, 3\)"),
        (lambda m: m._parameters["weight"].copy_(jnp.ones((4, 2, 3))), ValueError, "copy_: src must broadcast to the"),
    ],
)  # fmt: skip
def test_bad_use_is_refused_and_changes_nothing(act, error, words):
    net = nn.Linear(3, 2)
    before = net.weight, net.bias
    with pytest.raises(error, match=words):
        act(net)
    assert net.weight is before[0]
    assert net.bias is before[1]


def test_parameters_are_not_initialised_during_a_call():
    class Resets(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            nn.init.zeros_(self.fc.weight)
            return self.fc(x)

    with pytest.raises(RuntimeError, match=r"nn\.init: parameters stay as they are during a call"):
        Resets()(jnp.ones(3))


# ---------------------------------------------------------------- the other change that ported code needs


class Drops(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=self.training, rng=self.rng())


def test_rng_is_not_asked_for_in_evaluation():
    x = jnp.ones(64)
    np.testing.assert_array_equal(Drops().apply({}, {}, x)[0], x)
    np.testing.assert_array_equal(jax.jit(Drops().eval())(x), x)
    np.testing.assert_array_equal(nn.jit(Drops().eval())(x), x)
    net = Drops()
    assert 10 < int((net(x) == 0).sum()) < 54
    assert not np.array_equal(net(x), net(x))
    with pytest.raises(ValueError, match="Drops: rng must be given where random numbers are drawn"):
        net.apply({}, {}, x, train=True)
    with pytest.raises(RuntimeError, match="called as an object inside jit draws random numbers"):
        jax.jit(net)(x)


class Listed(nn.Module):
    """Modules in a plain list that are children under names of their own, as graph attention networks are written."""

    def __init__(self):
        super().__init__()
        self.heads = [nn.Linear(3, 2) for _ in range(2)]
        for i, head in enumerate(self.heads):
            self.add_module(f"head_{i}", head)
        self.others = [nn.Linear(3, 2)]

    def forward(self, x):
        return sum(head(x) for head in [*self.heads, *self.others])


def test_a_plain_list_gives_no_second_names():
    net = Listed()
    assert list(net.state_dict())[::2] == ["head_0.weight", "head_1.weight", "others.0.weight"]
    assert "heads" not in repr(net)
    params, buffers = net.init(KEY)
    assert sorted(params) == ["head_0", "head_1", "others"]
    x = jnp.ones((1, 3))
    want = sum(x @ params[n]["weight"].T + params[n]["bias"] for n in ("head_0", "head_1"))
    want += x @ params["others"]["0"]["weight"].T + params["others"]["0"]["bias"]
    np.testing.assert_allclose(net.apply(params, buffers, x)[0], want, rtol=1e-6)
    assert net(x).shape == (1, 2)
    net.heads.append(nn.Linear(3, 2))
    assert "heads.2.weight" in net.state_dict()
