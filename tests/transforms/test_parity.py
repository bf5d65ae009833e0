"""parity: right ports pass, and faults of the kind that ports have are found, placed and named."""

import re

import jax.numpy as jnp
import pytest
import torch

import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L

torch.manual_seed(0)
T = torch.nn


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


class Custom(nn.Module):
    """A module of torch's parameters with a forward of its own."""

    def __init__(self, like, forward):
        super().__init__()
        for name, parameter in like.named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().numpy()))
        self.body = forward

    def forward(self, *args, **kwargs):
        return self.body(self, *args, **kwargs)


def lstm(order):
    """An LSTM that reads torch's weights with the gates in another order."""

    def forward(m, x):
        mix = lambda w: jnp.concatenate([jnp.split(w, 4)[i] for i in order])  # noqa: E731
        weights = [mix(getattr(m, n)) for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
        zeros = jnp.zeros((1, x.shape[1], 4), x.dtype)
        return F.lstm(x, (zeros, zeros), weights, True, 1, 0.0, False, False, False)[0]

    return forward


class TorchLSTM(T.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


def same_padded(m, x):
    return F.conv2d(jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), m.weight, m.bias, stride=2)


def normal(x, deviation):
    return (x - x.mean(-1, keepdims=True)) / deviation


X, IMAGE, TOKENS = torch.randn(4, 6), torch.randn(2, 3, 8, 8), torch.randn(5, 2, 3)
IDS = torch.randint(0, 7, (2, 5))

# torch's module, ours with a fault, the input, and words of the cause
FAULTS = {
    "eps of layer norm": (lambda: T.LayerNorm(6), lambda t: nn.LayerNorm(6, eps=1e-6), X, "eps: 1e-06 here, 1e-05"),
    "eps of batch norm": (lambda: T.BatchNorm1d(6), lambda t: nn.BatchNorm1d(6, eps=1e-3), X, "eps: 0.001 here"),
    "eps of group norm": (lambda: T.GroupNorm(3, 6), lambda t: nn.GroupNorm(3, 6, eps=1e-6), X, "eps: 1e-06 here"),
    "groups": (lambda: T.GroupNorm(3, 6), lambda t: nn.GroupNorm(2, 6), X, "num_groups: 2 here"),
    "gelu": (T.GELU, lambda t: nn.GELU("tanh"), X, "approximate: tanh here, none in torch"),
    "activation": (T.ReLU, lambda t: nn.SiLU(), X, "activation: silu here, ReLU() in torch"),
    "slope": (T.LeakyReLU, lambda t: nn.LeakyReLU(0.2), X, "negative_slope: 0.2 here"),
    "momentum": (lambda: T.BatchNorm1d(6), lambda t: nn.BatchNorm1d(6, momentum=0.9), X, "moves 9 times as far"),
    "transposed linear": (
        lambda: T.Linear(6, 6), lambda t: Custom(t, lambda m, x: x @ m.weight + m.bias), X, "transpose: weight has",
    ),
    "no bias": (lambda: T.Linear(6, 4), lambda t: Custom(t, lambda m, x: x @ m.weight.T), X, "bias: left out here"),
    "flipped kernel": (
        lambda: T.Conv2d(3, 4, 3, padding=1),
        lambda t: Custom(t, lambda m, x: F.conv2d(x, m.weight[..., ::-1, ::-1], m.bias, padding=1)),
        IMAGE, "flip: the kernel of weight runs backwards here",
    ),
    "SAME": (
        lambda: T.Conv2d(3, 4, 3, stride=2, padding=1), lambda t: Custom(t, same_padded), IMAGE,
        "padding: SAME, uneven on the right",
    ),
    "reflection": (
        lambda: T.Conv2d(3, 4, 3, padding=1), lambda t: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        IMAGE, "padding: reflect here",
    ),
    "count_include_pad": (
        lambda: T.AvgPool2d(3, 2, 1), lambda t: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE,
        "count_include_pad: False here, True in torch",
    ),
    "align_corners": (
        lambda: T.Upsample(scale_factor=2, mode="bilinear"),
        lambda t: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGE, "align_corners: True here",
    ),
    "nearest": (
        lambda: T.Upsample(size=5), lambda t: nn.Upsample(size=5, mode="nearest-exact"), IMAGE,
        "mode: nearest-exact here",
    ),
    "softmax": (lambda: T.Softmax(-1), lambda t: nn.Softmax(0), X, "dim: 0 here, -1 in torch"),
    "gate order": (lambda: TorchLSTM(3, 4), lambda t: Custom(t, lstm([1, 0, 2, 3])), TOKENS, None),
    "layout": (
        lambda: T.ReLU(), lambda t: Custom(t, lambda m, x: x.transpose(1, 0, 2)), TOKENS.abs(), "layout: axes are",
    ),
    "half precision": (
        lambda: T.Linear(6, 4),
        lambda t: Custom(t, lambda m, x: F.linear(x, m.weight, m.bias).astype(jnp.bfloat16).astype(x.dtype)),
        X, "dtype: computed in bfloat16 here",
    ),
    "scaled embedding": (
        lambda: T.Embedding(7, 4), lambda t: Custom(t, lambda m, i: F.embedding(i, m.weight) * 2), IDS,
        "scale: times the square root of 4 here",
    ),
    "unbiased variance": (
        lambda: T.LayerNorm(6),
        lambda t: Custom(
            t, lambda m, x: normal(x, (x.var(-1, ddof=1, keepdims=True) + 1e-5) ** 0.5) * m.weight + m.bias
        ),
        X, "variance: unbiased here",
    ),
    "eps outside of the root": (
        lambda: T.LayerNorm(6),
        lambda t: Custom(t, lambda m, x: normal(x, x.std(-1, keepdims=True) + 1e-5) * m.weight + m.bias),
        X, "eps: added to the deviation here",
    ),
    "one plus weight": (
        lambda: T.LayerNorm(6), lambda t: Custom(t, lambda m, x: F.layer_norm(x, (6,), 1 + m.weight, m.bias)), X,
        "weight: 1 + weight here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_placed_and_named(fault):
    make, port, x, words = FAULTS[fault]
    torch_module = T.Sequential(T.Identity(), make())
    ours = nn.Sequential(nn.Identity(), port(torch_module[1]))
    found = transforms.parity(torch_module, ours, (x,))
    assert not found
    assert found.place == "1"
    if fault == "gate order":
        assert found.cause == "gate order: figo here, ifgo in torch"
    else:
        assert words in found.cause
    assert f"the first place is 1, perhaps because of {found.cause}" in " ".join(str(found).split())
    with refused(AssertionError, "parity: "):
        found.check()


class Attends(T.Module):
    def __init__(self, torch_like=True):
        super().__init__()
        self.attn = T.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x, mask):
        return self.attn(x, x, x, key_padding_mask=mask, need_weights=False)[0]


class OurAttends(nn.Module):
    def __init__(self, mask_of=lambda mask: mask):
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
        self.mask_of = mask_of

    def forward(self, x, mask):
        return self.attn(x, x, x, key_padding_mask=self.mask_of(mask), need_weights=False)[0]


MASK = torch.tensor([[False, False, True], [False, True, True]])


def test_a_mask_that_the_parent_turns_around_is_the_parents_fault():
    args = (torch.randn(2, 3, 4), MASK)
    assert transforms.parity(Attends(), OurAttends(), args)
    found = transforms.parity(Attends(), OurAttends(lambda mask: ~mask), args)
    assert found.place == ""
    assert found.cause == "what the model gives to attn"


def test_a_mask_that_means_the_opposite_is_named():
    class Turned(nn.MultiheadAttention):
        def forward(self, *args, key_padding_mask=None, **kwargs):
            return super().forward(*args, key_padding_mask=~key_padding_mask, **kwargs)

    ours = OurAttends()
    ours.attn = Turned(4, 2, batch_first=True)
    found = transforms.parity(Attends(), ours, (torch.randn(2, 3, 4), MASK))
    assert found.place == "attn"
    assert found.cause == "mask polarity: True means the opposite here"


def test_a_wrong_wire_is_the_forward_of_its_parent():
    class Block(T.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = T.Linear(6, 6), T.Linear(6, 6)

        def forward(self, x):
            return x + self.b(self.a(x))

    class Wrong(nn.Module):
        def __init__(self, wire):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
            self.wire = wire

        def forward(self, x):
            return self.wire(self, x)

    assert transforms.parity(Block(), Wrong(lambda m, x: x + m.b(m.a(x))), (X,))
    found = transforms.parity(T.Sequential(Block()), nn.Sequential(Wrong(lambda m, x: m.b(m.a(x)))), (X,))
    assert (found.place, found.cause) == ("0", "its own forward, as all modules in it agree")
    found = transforms.parity(T.Sequential(Block()), nn.Sequential(Wrong(lambda m, x: x + m.b(F.relu(m.a(x))))), (X,))
    assert (found.place, found.cause) == ("0", "what 0 gives to 0.b")


def test_a_gradient_that_stops_is_found_though_outputs_agree():
    import jax

    stopped = Custom(T.Linear(6, 4), lambda m, x: F.linear(x, jax.lax.stop_gradient(m.weight), m.bias))
    found = transforms.parity(T.Sequential(T.Linear(6, 4)), nn.Sequential(stopped), (X,))
    assert [row.kind for row in found.wrong] == ["gradient", "step"]
    assert found.cause == "the gradient of 0.weight, though all outputs agree"


def networks(n):
    return n.Sequential(
        n.Conv2d(3, 4, 3, padding=1, stride=2), n.BatchNorm2d(4), n.ReLU(), n.Dropout(0.5), n.Flatten(), n.Linear(64, 5)
    )


def test_a_right_port_agrees_in_everything():
    original = networks(T)
    before = {name: value.clone() for name, value in original.state_dict().items()}
    found = transforms.parity(original, networks(nn), (IMAGE,)).check()
    assert found
    assert {row.kind for row in found.rows} == {"output", "gradient", "step", "training output", "buffer"}
    assert {row.name for row in found.rows if row.kind == "output"} == {"", "0", "1", "2", "3", "4", "5"}
    assert max(row.error for row in found.rows) < 1e-12
    assert f"{len(found.rows)} comparisons agree to 1e-06" in str(found)
    assert original.training  # nothing of the original has changed
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    converted = transforms.parity(original, transforms.from_torch(original, (IMAGE,)), (IMAGE,))
    assert converted
    assert {row.kind for row in converted.rows} == {row.kind for row in found.rows}
    assert not converted.notes  # its dropout is passed over too


def test_randomness_in_training_is_noted():
    class Noisy(T.Module):
        def forward(self, x):
            return T.functional.dropout(x, 0.5, self.training)

    noisy = Custom(T.Identity(), lambda m, x: F.dropout(x, 0.5, m.training, rng=m.rng() if m.training else None))
    found = transforms.parity(T.Sequential(T.Linear(6, 4), Noisy()), nn.Sequential(nn.Linear(6, 4), noisy), (X,))
    assert found
    assert found.notes == ("A training forward draws random numbers: it was not compared.",)


def test_parity_refuses():
    with refused(TypeError, "parity: torch_module must be a torch.nn.Module, got type(torch_module)='Linear'."):
        transforms.parity(L.Linear(3, 2), L.Linear(3, 2), (X,))
    with refused(TypeError, "parity: model must be a model, not a class, got model='Linear'. Call it."):
        transforms.parity(T.Linear(3, 2), L.Linear, (X,))
    with refused(ValueError, "mismatched: weight: shape (4, 6), the model has (5, 6)"):
        transforms.parity(T.Linear(6, 4), L.Linear(6, 5), (X,))
