"""What the laws cannot say of attention: its other implementations, dropped weights, masks of every shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close

import purenn.functional as F
from purenn.functional import attention

INF = float("inf")


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def both(arrays, mask=None, **options):
    """Value and gradients of ours and of torch's, the mask's too where it is floating."""
    arrays = [*arrays, *([] if mask is None or mask.dtype == bool else [mask])]
    fixed = [] if mask is None or mask.dtype != bool else [mask]
    theirs = [torch.from_numpy(x.copy()).requires_grad_() for x in arrays]
    extra = {k: w for k, w in options.items() if k != "implementation"}
    expected = TF.scaled_dot_product_attention(*theirs, *map(torch.from_numpy, fixed), **extra)
    weight = np.cos(np.arange(expected.numel(), dtype=np.float32)).reshape(expected.shape)
    (expected * torch.from_numpy(weight)).sum().backward()

    def loss(*xs):
        out = F.scaled_dot_product_attention(*xs, *fixed, **options)
        return (out * weight).sum(), out

    gradients, out = jax.jit(jax.grad(loss, tuple(range(len(arrays))), has_aux=True))(*map(jnp.asarray, arrays))
    return (out, *gradients), (expected, *(x.grad for x in theirs))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(attention, "_BLOCK", 2)


MASKS = {
    "none": None,
    "bool": np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool),
    "column": np.array([[1], [0], [1]], bool),
    "row": np.array([[0, 1, -INF, 2, -INF]], np.float32),
    "heads": np.where(np.arange(30).reshape(2, 1, 3, 5) % 7 < 4, 0.5, -INF).astype(np.float32),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_blocks_equal_torch_whatever_the_mask(small_blocks, mask):
    assert_close(*both(draw((2, 4, 3, 8), (2, 4, 5, 8), (2, 4, 5, 6)), mask, implementation="chunked"))


@pytest.mark.parametrize(("L", "S"), [(5, 3), (3, 5), (4, 4)])
def test_causal_blocks_of_grouped_heads_equal_torch(small_blocks, L, S):
    arrays = draw((4, L, 8), (2, S, 8), (2, S, 6))
    assert_close(*both(arrays, is_causal=True, enable_gqa=True, implementation="chunked"))


def test_blocks_broadcast_leading_axes(small_blocks):
    assert_close(*both(draw((4, 3, 8), (2, 4, 5, 8), (2, 1, 5, 8)), implementation="chunked"))


def test_blocks_have_higher_derivatives(small_blocks):
    arrays = [jnp.asarray(x) for x in draw((3, 2), (5, 2), (5, 2))]
    hessians = [
        jax.hessian(lambda q, f=name: jnp.sin(F.scaled_dot_product_attention(q, *arrays[1:], implementation=f)).sum())
        for name in ("xla", "chunked")
    ]
    assert_close(jax.jit(hessians[1])(arrays[0]), np.asarray(jax.jit(hessians[0])(arrays[0])))


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_large_scores_stay_finite(small_blocks, implementation):
    # whole numbers, so that scores of a hundred thousand are exact in both
    q, k, v = draw((3, 4), (5, 4), (5, 4))
    assert_close(*both((np.round(300 * q), np.round(300 * k), v), implementation=implementation))


def test_long_sequences_are_never_squared():
    x = jax.ShapeDtypeStruct((1, 4096, 8), jnp.float32)
    attend = jax.grad(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True).sum(), (0, 1, 2))
    memory = jax.jit(attend).lower(x, x, x).compile().memory_analysis()
    scores = 4 * 4096**2
    assert memory.temp_size_in_bytes < scores / 4
    plain = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, implementation="xla")  # noqa: E731
    assert jax.jit(plain).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes >= scores


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_dropped_weights(monkeypatch, implementation):
    monkeypatch.setattr(attention, "_BLOCK", 32)
    # values of one hot rows show the weights themselves
    q, k, v = jnp.zeros((200, 4)), jnp.zeros((50, 4)), jnp.eye(50)
    attend = lambda p, **kw: F.scaled_dot_product_attention(q, k, v, None, p, implementation=implementation, **kw)  # noqa: E731
    weights = np.asarray(attend(0.3, rng=jax.random.key(0)))
    kept = weights > 0
    np.testing.assert_allclose(weights[kept], 1 / 50 / 0.7, rtol=1e-5)
    assert abs(kept.mean() - 0.7) < 4 * (0.3 * 0.7 / kept.size) ** 0.5
    assert_close(attend(0.3, rng=jax.random.key(0)), weights)
    assert (np.asarray(attend(0.3, rng=jax.random.key(1)) > 0) != kept).any()
    assert (attend(1.0) == 0).all()


def test_blocks_drop_the_same_weights_in_every_derivative(small_blocks):
    arrays = [jnp.asarray(x) for x in draw((3, 4), (5, 4), (5, 4))]
    tangents = [jnp.asarray(x) for x in draw((3, 4), (5, 4), (5, 4), seed=1)]

    def f(*xs):
        out = F.scaled_dot_product_attention(*xs, dropout_p=0.4, rng=jax.random.key(0), implementation="chunked")
        return jnp.sin(out).sum()

    f = jax.jit(f)
    _, forward = jax.jvp(f, arrays, tangents)
    reverse = sum(jnp.vdot(g, t) for g, t in zip(jax.grad(f, (0, 1, 2))(*arrays), tangents, strict=True))
    assert_close(forward, np.asarray(reverse))
    step = [1e-2 * t for t in tangents]
    ahead, behind = (f(*(x + sign * s for x, s in zip(arrays, step, strict=True))) for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / 2e-2, forward, rtol=2e-3)


@pytest.mark.parametrize("raw", [False, True])
def test_dropped_weights_are_the_ones_returned(raw):
    x, w = jnp.asarray(draw((6, 1, 4))[0]), jnp.asarray(draw((12, 4))[0])
    rng = jax.random.PRNGKey(0) if raw else jax.random.key(0)
    call = lambda **kw: F.multi_head_attention_forward(  # noqa: E731
        x, x, x, 4, 1, w, None, None, None, False, 0.5, jnp.eye(4), None, rng=rng, **kw
    )
    out, weights = call()
    assert (weights == 0).any()
    v = x[:, 0] @ w[8:].T
    assert_close(out[:, 0], np.asarray(weights[0] @ v))
    _, whole = call(training=False)
    assert_close(whole.sum(-1), np.ones((1, 6), np.float32))


def test_self_attention_is_projected_by_one_product():
    x, w = jnp.ones((3, 2, 4)), jnp.ones((12, 4))
    call = lambda x, y: F.multi_head_attention_forward(  # noqa: E731
        x, y, y, 4, 2, w, None, None, None, False, 0.0, jnp.eye(4), None, need_weights=False
    )[0]
    products = [
        str(jax.make_jaxpr(f)(x)).count("dot_general") for f in (lambda x: call(x, x), lambda x: call(x, x + 0))
    ]
    assert products == [4, 6]
    assert_close(call(x, x), np.asarray(call(x, x + 0)))


class TestFusedKernel:
    """What surrounds it, with XLA's implementation in its place."""

    @pytest.fixture
    def called(self, monkeypatch):
        calls = []
        original = jax.nn.dot_product_attention

        def fused(query, key, value, *, mask, scale, is_causal, implementation):
            calls.append(implementation)
            return original(query, key, value, mask=mask, scale=scale, is_causal=is_causal)

        monkeypatch.setattr(jax.nn, "dot_product_attention", fused)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(attention, "_is_ampere", lambda: True)
        return calls

    @pytest.mark.parametrize("rank", [2, 3, 4])
    @pytest.mark.parametrize(("mask", "is_causal"), [(None, False), (None, True), ("bool", False), ("heads", False)])
    def test_equals_the_plain_one(self, called, rank, mask, is_causal):
        shapes = [(2, 4, 6, 8), (2, 4, 4, 8), (2, 4, 4, 8)]
        q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in draw(*(shape[4 - rank :] for shape in shapes)))
        if mask is not None:
            mask = jnp.tri(6, 4, -2, dtype=bool) if mask == "bool" else jnp.arange(24).reshape(6, 4) % 5 < 2
            mask = mask[None, None] if rank == 4 else mask
        call = lambda name: F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, implementation=name)  # noqa: E731
        out = call(None)
        assert called == ["cudnn"]
        assert out.dtype == jnp.bfloat16
        assert_close(out, np.asarray(call("xla").astype(jnp.float32)), dtype="bfloat16")
        if mask is not None:
            assert (out[..., ~np.asarray(mask).any(-1).reshape(-1), :] == 0).all()

    def test_serves_grouped_heads(self, called):
        q, k = jnp.ones((2, 4, 6, 8), jnp.float16), jnp.ones((2, 2, 6, 8), jnp.float16)
        assert F.scaled_dot_product_attention(q, k, k, enable_gqa=True).shape == q.shape
        assert called == ["cudnn"]

    def test_is_passed_over_for_what_it_cannot_do(self, called):
        x = jnp.ones((1, 2, 6, 8))
        half = x.astype(jnp.float16)
        F.scaled_dot_product_attention(x, x, x)
        F.scaled_dot_product_attention(half, half, half, jnp.zeros((6, 6)))
        F.scaled_dot_product_attention(half, half, half, dropout_p=0.5, rng=jax.random.key(0))
        F.scaled_dot_product_attention(half, half, half[..., :4])
        assert called == []


@pytest.mark.parametrize(("capability", "able"), [("9.0", True), ("7.5", False), ("gfx90a", False), (None, False)])
def test_only_recent_nvidia_gpus_have_the_fused_kernel(monkeypatch, capability, able):
    device = type("Device", (), {} if capability is None else {"compute_capability": capability})()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert attention._is_ampere() is able


@st.composite
def masks(draw):
    axes = [draw(st.sampled_from((1, n))) for n in (2, 2, 3, 4)]
    shape = axes[draw(st.integers(0, 2)) :]
    kind = draw(st.sampled_from(("bool", "float")))
    bits = np.array(draw(st.lists(st.booleans(), min_size=48, max_size=48)))[: int(np.prod(shape))].reshape(shape)
    return bits if kind == "bool" else np.where(bits, np.float32(0.7), -INF).astype(np.float32)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(mask=masks(), implementation=st.sampled_from(("xla", "chunked")))
def test_every_mask_shape_equals_torch(mask, implementation):
    arrays = draw((2, 2, 3, 4), (2, 2, 4, 4), (2, 2, 4, 4))
    assert_close(*both(arrays, mask, implementation=implementation))
