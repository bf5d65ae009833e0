"""summary: the modules of a model, and what they cost; flops: what XLA counts."""

import re

import jax
import jax.numpy as jnp
import pytest

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L

SHAPE = jax.ShapeDtypeStruct((8, 3), jnp.float32)
X = jnp.ones((8, 3))


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def forward(m, x):
    x = F.relu(m.norm(m.body(x)))
    return m.head(m.drop(m.drop(x)))


def pure():
    parts = {"body": L.Linear(3, 4), "norm": L.BatchNorm1d(4), "drop": L.Dropout(0.5), "head": L.Linear(4, 2)}
    return purenn.compose(forward, **parts)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return forward(self, x)


def linear_flops(n, inputs, outputs):
    """The product, and the addition of the bias."""
    return 2 * n * inputs * outputs + n * outputs


@pytest.mark.parametrize("make", [pure, Net], ids=["pure", "module"])
def test_rows_are_the_modules_in_the_order_of_their_calls(make):
    report = transforms.summary(make(), SHAPE, train=True)
    assert [row.path for row in report.rows] == ["", "body", "norm", "drop", "head"]
    assert [row.kind for row in report.rows[1:]] == ["Linear", "BatchNorm1d", "Dropout", "Linear"]
    assert [row.calls for row in report.rows] == [1, 1, 1, 2, 1]
    assert [row.params for row in report.rows] == [34, 16, 8, 0, 10]
    assert [row.buffers for row in report.rows] == [9, 0, 9, 0, 0]
    assert report["body"].output == jax.ShapeDtypeStruct((8, 4), jnp.float32)
    assert report["body"].flops == linear_flops(8, 3, 4)
    assert report["head"].flops == linear_flops(8, 4, 2)
    assert report.total.flops >= sum(row.flops for row in report.rows[1:])
    assert report["drop"].activation_bytes == 2 * 8 * 4 * 4
    assert report.total.activation_bytes == (2 + 2) * 8 * 4 * 4 + 8 * 2 * 4
    assert report.param_bytes == 34 * 4
    assert report.buffer_bytes == 9 * 4


def test_pure_and_module_cost_the_same():
    rows = [transforms.summary(make(), SHAPE, train=True).rows[1:] for make in (pure, Net)]
    assert rows[0] == rows[1]


def test_the_whole_costs_what_xla_says_of_it():
    model = pure()
    params, buffers = jax.eval_shape(model.init, jax.random.key(0))
    lowered = jax.jit(lambda *args: model.apply(*args)).lower(params, buffers, SHAPE)
    assert transforms.summary(model, SHAPE).total.flops == pytest.approx(lowered.cost_analysis()["flops"], rel=0.01)


def test_nothing_is_drawn_or_allocated():
    class Counting:
        shapes = 0

        def init(self, rng):
            assert isinstance(rng, jax.core.Tracer)
            return {"w": jax.random.normal(rng, (1 << 20, 1 << 20))}, {}  # four terabytes

        def apply(self, params, buffers, x, rng=None, train=False):
            Counting.shapes += 1
            return x @ params["w"], buffers

    report = transforms.summary(Counting(), jax.ShapeDtypeStruct((1, 1 << 20), jnp.float32))
    assert report.param_bytes == 1 << 42
    assert report.total.flops == 1 << 41
    assert Counting.shapes == 2
    net = Net()
    transforms.summary(net, SHAPE)
    assert not any(cell.drawn for cell in net.body._parameters.values())


def test_activations_that_are_passed_on_count_once():
    report = transforms.summary(L.Sequential(L.Linear(3, 4), L.Dropout(0.5), L.Identity()), SHAPE)
    assert report.total.activation_bytes == 8 * 4 * 4


def test_what_is_kept_for_the_backward_pass_shrinks_with_remat():
    def deep(wrap):
        parts = [part for _ in range(4) for part in (L.Linear(3, 64), jnp.tanh, L.Linear(64, 3))]
        return wrap(L.Sequential(*parts))

    plain = transforms.summary(deep(lambda model: model), SHAPE)
    lean = transforms.summary(deep(transforms.remat), SHAPE)
    assert plain.saved_bytes > 4 * 2 * 8 * 64 * 4 > 8 * 3 * 4 >= lean.saved_bytes
    assert lean.total.flops == plain.total.flops


def test_transforms_show_their_modules():
    inner = L.Sequential(L.Linear(3, 4), jnp.tanh)
    report = transforms.summary(transforms.ensemble(inner, 5), SHAPE)
    assert [(row.path, row.kind) for row in report.rows] == [("", "Ensemble"), ("0", "Linear"), ("1", "tanh")]
    assert report["0"].output.shape == report.total.output.shape == (5, 8, 4)
    assert report["0"].flops == 5 * linear_flops(8, 3, 4)
    assert report.total.activation_bytes == 2 * 5 * 8 * 4 * 4
    frozen = transforms.summary(transforms.freeze(inner, "0.weight"), SHAPE)
    assert (frozen.total.params, frozen.total.buffers) == (4, 12)
    assert frozen["0"].kind == "Linear"


def test_layers_of_a_scan_share_its_cost():
    report = transforms.summary(transforms.scan(L.Linear(3, 3), 4), SHAPE)
    assert [(row.path, row.kind) for row in report.rows] == [("", "Scan"), *((str(i), "Linear") for i in range(4))]
    assert [row.params for row in report.rows] == [48, 12, 12, 12, 12]
    assert report["2"].flops == pytest.approx(linear_flops(8, 3, 3), rel=0.2)
    assert report.total.flops == pytest.approx(4 * linear_flops(8, 3, 3), rel=0.2)
    assert report.total.activation_bytes == 4 * 8 * 3 * 4


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(2)])
        self.unused = nn.Linear(3, 7)

    def forward(self, x, scale=1.0, name="none"):
        for block in self.blocks:
            x = block(x)
        return {"out": x * scale, "name": name, "shift": x + 1}


def test_containers_unused_modules_inputs_by_name_and_trees_of_outputs():
    report = transforms.summary(Deep(), X, scale=2.0, name="test")
    paths = ["", "blocks", "blocks.0", "blocks.0.0", "blocks.0.1", "blocks.1", "blocks.1.0", "blocks.1.1", "unused"]
    assert [row.path for row in report.rows] == paths
    assert report["blocks"].output is None
    assert report["blocks"].params == 24
    assert report["blocks"].flops == sum(report[f"blocks.{i}"].flops for i in (0, 1)) > 0
    assert (report["unused"].calls, report["unused"].flops, report["unused"].params) == (0, 0, 28)
    assert report.total.output["name"] == "test"


def test_random_calls_need_no_key_of_their_own():
    assert transforms.summary(L.Dropout(0.5), X, train=True).total.flops > 0
    noisy = purenn.compose(lambda m, x: x + jax.random.normal(m.rng(), x.shape))
    transforms.summary(noisy, X, rng=jax.random.key(0))
    with refused(ValueError, "Composed: rng must be given where random numbers are drawn"):
        transforms.summary(noisy, X)


def test_printed_it_is_a_table():
    text = str(transforms.summary(Deep(), SHAPE))
    lines = text.splitlines()
    assert [word.strip() for word in lines[1].strip("┃").split("┃")] == [
        *("module", "kind", "output", "params", "buffers", "FLOPs", "activations")
    ]
    assert re.search(r"\(model\) +│ Deep +│ 'none', f32\[8, 3\], f32\[8, 3\]", text)
    assert re.search(r"│ +0 +│ Linear +│ f32\[8, 3\] +│ +12 │ +0 │ +168 │ +96 B │", text)
    assert re.search(r"│ +unused +│ Linear +│ - +│ +28 │", text)
    assert "params 208 B, buffers 0 B; kept for the backward pass" in lines[-1]
    short = str(transforms.summary(Deep(), SHAPE, depth=1))
    assert len(short.splitlines()) == len(lines) - 6
    assert "16 GiB" in str(transforms.summary(L.Linear(1 << 16, 1 << 16), jax.ShapeDtypeStruct((1, 1 << 16), "f")))


def test_errors():
    with refused(TypeError, "summary: model must have init and apply"):
        transforms.summary(len, X)
    for depth in (-1, 1.5, True):
        with refused(ValueError, f"summary: depth must be a number of levels or None, got depth={depth}."):
            transforms.summary(pure(), SHAPE, depth=depth)
    with refused(ValueError, "summary: path must be that of a module, got path='tail' and known=['', 'body', "):
        transforms.summary(pure(), SHAPE)["tail"]


# ---------------------------------------------------------------------------------------------------------------- flops


def test_flops_multiply_loops_of_known_length():
    w = jnp.ones((3, 3))

    def loop(x):
        return jax.lax.scan(lambda c, _: (c @ w, None), x, length=7)[0]

    assert transforms.flops(loop, X) == 7 * 2 * 8 * 3 * 3
    assert transforms.flops(jax.jit(lambda x: jax.checkpoint(loop)(x)), SHAPE) == 7 * 2 * 8 * 3 * 3
    twice = jax.lax.scan
    nested = transforms.flops(lambda x: twice(lambda c, _: (loop(c), None), x, length=2)[0], X)
    assert nested == 2 * 7 * 2 * 8 * 3 * 3
    unknown = transforms.flops(lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ w, x), X)
    assert 2 * 8 * 3 * 3 <= unknown < 4 * 8 * 3 * 3


def test_flops_of_a_frozen_backbone():
    """The step costs the forward pass, and the backward pass of the head."""
    model = L.Sequential(*[L.Linear(64, 64) for _ in range(8)], L.Linear(64, 10))
    frozen = transforms.freeze(model, ["[0-7].*"])
    counts = []
    for one in (model, frozen):
        fn = transforms.value_and_grad(one, lambda m, x: m(x).sum())
        params, buffers = jax.eval_shape(one.init, jax.random.key(0))
        counts.append(transforms.flops(fn, params, buffers, jax.ShapeDtypeStruct((16, 64), jnp.float32)))
    forward = transforms.summary(model, jax.ShapeDtypeStruct((16, 64), jnp.float32)).total.flops
    assert counts[0] == pytest.approx(3 * forward, rel=0.1)
    assert counts[1] <= 1.15 * (forward + 2 * linear_flops(16, 64, 10))
