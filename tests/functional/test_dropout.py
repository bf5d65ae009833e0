"""Laws of the operations that draw: dropout's kin, rrelu and gumbel_softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_dropout import SHAPES

import purenn.functional as F

KEY = jax.random.key(7)
PLAIN = ("dropout", "dropout1d", "dropout2d", "dropout3d")
FLOOR = -1.7580993408473766  # where selu saturates
each = pytest.mark.parametrize("name", SHAPES)


def draw(name, x, p=0.5, rng=KEY, **options):
    return getattr(F, name)(x, p, True, rng=rng, **options)


def dropped_value(name, p):
    """What a dropped number becomes, and what multiplies and shifts a kept one."""
    if name in PLAIN:
        return 0.0, 1 / (1 - p), 0.0
    a = 1 / np.sqrt((1 - p) * (1 + p * FLOOR**2))
    b = -a * p * FLOOR
    return a * FLOOR + b, a, b


def assert_frequency(count, n, p):
    """A binomial count within five standard deviations."""
    assert abs(count - n * p) <= 5 * np.sqrt(n * p * (1 - p)), f"{count} of {n}, expected {n * p:.0f}"


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@each
def test_each_number_is_kept_and_scaled_or_dropped_with_probability_p(name, p):
    shape = {"dropout1d": (100, 100, 1), "dropout2d": (100, 100, 1, 1), "dropout3d": (100, 100, 1, 1, 1)}.get(
        name, (100, 100)
    )
    x = jax.random.normal(jax.random.key(1), shape)
    y, (low, a, b) = draw(name, x, p), dropped_value(name, p)
    dropped = np.isclose(y, low, atol=1e-6)
    np.testing.assert_allclose(y[~dropped], a * x[~dropped] + b, rtol=1e-5, atol=1e-6)
    assert_frequency(dropped.sum(), x.size, p)


@pytest.mark.parametrize(
    ("name", "shape", "channel_axes"),
    [
        ("dropout1d", (40, 50, 6), 2),
        ("dropout1d", (40, 6), 1),
        ("dropout2d", (20, 30, 2, 3), 2),
        ("dropout3d", (20, 30, 2, 1, 3), 2),
        ("dropout3d", (40, 2, 3, 1), 1),
        ("feature_alpha_dropout", (20, 30, 4), 2),
        ("feature_alpha_dropout", (20, 30), 2),
    ],
)
def test_a_channel_shares_one_draw_and_no_two_channels_do(name, shape, channel_axes):
    channels = np.prod(shape[:channel_axes])
    y = np.asarray(draw(name, jnp.ones(shape), 0.3)).reshape(channels, -1)
    dropped = np.isclose(y, dropped_value(name, 0.3)[0], atol=1e-6)
    assert (dropped == dropped[:, :1]).all()
    assert_frequency(dropped[:, 0].sum(), channels, 0.3)


@pytest.mark.filterwarnings("ignore:dropout")
@pytest.mark.parametrize(
    ("name", "shape", "channel_axes"), [("dropout2d", (30, 20, 5), 2), ("dropout2d", (30, 20), 2),
                                        ("dropout3d", (300, 2, 3), 1), ("dropout3d", (300, 1, 2, 3, 1, 1), 1)],
)  # fmt: skip
def test_deprecated_ranks_are_read_as_torch_reads_them(name, shape, channel_axes):
    y = np.asarray(draw(name, jnp.ones(shape))).reshape(np.prod(shape[:channel_axes]), -1)
    assert (y == y[:, :1]).all()
    assert_frequency((y[:, 0] == 0).sum(), len(y), 0.5)


@each
def test_the_same_rng_draws_the_same_and_another_another(name):
    x = jnp.ones((8, 16, 1, 1, 1)[: max(2, len(SHAPES[name]))])
    y = draw(name, x)
    assert (y == draw(name, x)).all()
    assert (y == jax.jit(lambda x, k: draw(name, x, rng=k))(x, KEY)).all()
    assert (y != draw(name, x, rng=jax.random.key(8))).any()
    assert (draw(name, x, rng=jax.random.key_data(KEY)) == y).all()  # a raw key is the same key
    assert (draw(name, x, rng=np.asarray(jax.random.key_data(KEY))) == y).all()
    assert (draw(name, x, inplace=True) == y).all()


@each
def test_vmap_over_rngs_draws_a_mask_for_each(name):
    x = jnp.ones((8, 16, 1, 1, 1)[: max(2, len(SHAPES[name]))])
    keys = jax.random.split(KEY, 3)
    ys = jax.vmap(lambda k: draw(name, x, rng=k))(keys)
    assert (ys == jnp.stack([draw(name, x, rng=k) for k in keys])).all()
    assert (ys[0] != ys[1]).any()
    assert (ys[1] != ys[2]).any()


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize(("name", "shape"), [("alpha_dropout", (400, 400)), ("feature_alpha_dropout", (400, 400))])
def test_alpha_dropout_keeps_mean_0_and_variance_1(name, shape, p):
    y = np.asarray(draw(name, jax.random.normal(jax.random.key(1), shape), p), np.float64)
    assert abs(y.mean()) <= 5 / np.sqrt(y.size)
    assert abs(y.var() - 1) <= 5 * np.sqrt(((y**2).var()) / y.size)


@each
def test_p_0_keeps_and_p_1_zeroes_everything_without_rng(name):
    x = jax.random.normal(KEY, SHAPES[name])
    f = getattr(F, name)
    for kept in (f(x, 0.0, True), f(x, 0.9, False), f(x, 1.0, False)):
        assert (kept == x).all()
    assert (f(x, 1.0, True) == 0).all()
    assert (jax.grad(lambda x: f(x, 1.0, True).sum())(x) == 0).all()
    for dtype in ("int32", "bool", "complex64"):
        assert f(x.astype(dtype), 0.0, True).dtype == dtype
        assert f(x.astype(dtype), 1.0, True).dtype == dtype


@each
def test_the_gradient_is_the_mask(name):
    x = jax.random.normal(KEY, SHAPES[name])
    low, a, _ = dropped_value(name, 0.25)
    y, gradient = draw(name, x, 0.25), jax.grad(lambda x: draw(name, x, 0.25).sum())(x)
    np.testing.assert_allclose(gradient, np.where(np.isclose(y, low, atol=1e-6), 0, a), rtol=1e-6)
    _, tangent = jax.jvp(lambda x: draw(name, x, 0.25), (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(tangent, gradient, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@each
def test_a_draw_keeps_its_dtype_and_its_mask(name, dtype):
    x = jnp.ones(SHAPES[name])
    y, reference = draw(name, x.astype(dtype)), draw(name, x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype("float32"), reference, rtol=1e-2)
    assert draw(name, x[:0]).shape == x[:0].shape


def test_x64_draws_the_same_mask():
    mask = draw("dropout", jnp.ones((8, 16)))
    with jax.enable_x64(True):
        y = draw("dropout", jnp.ones((8, 16), "float64"))
        assert y.dtype == "float64"
        assert (np.asarray(y) == np.asarray(mask)).all()


def test_a_dropped_infinity_is_0_and_leaves_the_gradient_finite():
    x = jnp.array([jnp.inf, jnp.nan] * 8)
    y, gradient = jax.value_and_grad(lambda x: jnp.where(jnp.isfinite(draw("dropout", x)), 1.0, 0.0).sum())(x)
    assert y > 0
    assert jnp.isfinite(gradient).all()


def test_rrelu_draws_its_slopes_uniformly():
    slopes = -np.asarray(F.rrelu(-jnp.ones((200, 200)), 0.125, 0.5, True, rng=KEY), np.float64)
    assert slopes.min() >= 0.125
    assert slopes.max() <= 0.5
    # moments of the uniform distribution; its fourth central one is width**4 / 80
    width, n = 0.375, slopes.size
    assert abs(slopes.mean() - 0.3125) <= 5 * width / np.sqrt(12 * n)
    assert abs(slopes.var() - width**2 / 12) <= 5 * width**2 * np.sqrt((1 / 80 - 1 / 144) / n)
    # each tenth holds a tenth
    for count in np.histogram(slopes, 10, (0.125, 0.5))[0]:
        assert_frequency(count, n, 0.1)


def test_rrelu_draws_only_below_zero_and_its_gradient_is_the_slope():
    x = jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0, jnp.inf])
    y = F.rrelu(x, training=True, rng=KEY)
    gradient = jax.grad(lambda x: F.rrelu(x, training=True, rng=KEY)[:5].sum())(x)
    assert (y[2:] == x[2:]).all()
    np.testing.assert_allclose(gradient[:2], y[:2] / x[:2], rtol=1e-6)
    assert ((gradient[:3] >= 1 / 8) & (gradient[:3] < 1 / 3)).all()
    assert (gradient[3:5] == 1).all()
    assert (F.rrelu_(x, training=True, rng=KEY) == y).all()
    assert (F.rrelu(x, training=True, rng=jax.random.key(8)) != y).any()
    assert F.rrelu(x.astype("bfloat16"), training=True, rng=KEY).dtype == "bfloat16"
    np.testing.assert_allclose(F.rrelu(x[:2], 0.5, 0.5, True, rng=KEY), x[:2] / 2)


def test_gumbel_softmax_draws_categories_by_their_probability():
    probabilities = np.array([0.1, 0.2, 0.3, 0.4])
    logits = jnp.log(jnp.asarray(probabilities, jnp.float32))
    keys = jax.random.split(KEY, 20_000)
    for hard, tau in ((False, 1.0), (True, 0.3)):
        y = jax.jit(jax.vmap(lambda k, hard=hard, tau=tau: F.gumbel_softmax(logits, tau, hard, rng=k)))(keys)
        np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-5)
        counts = np.bincount(np.asarray(y.argmax(-1)), minlength=4)
        for count, p in zip(counts, probabilities, strict=True):
            assert_frequency(count, len(keys), p)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_hard_gumbel_softmax_is_one_hot_with_the_gradient_of_the_soft_one(dim):
    logits = jax.random.normal(jax.random.key(1), (3, 4))
    weights = jnp.cos(jnp.arange(12.0)).reshape(3, 4)

    def scalar(logits, hard):
        return (F.gumbel_softmax(logits, 0.7, hard, dim=dim, rng=KEY) * weights).sum()

    soft, hard = (F.gumbel_softmax(logits, 0.7, h, dim=dim, rng=KEY) for h in (False, True))
    np.testing.assert_allclose(hard, np.asarray(soft == soft.max(dim, keepdims=True)), atol=1e-6)
    np.testing.assert_array_equal(jax.grad(scalar)(logits, True), jax.grad(scalar)(logits, False))
    assert (jax.jit(lambda x, k: F.gumbel_softmax(x, 0.7, dim=dim, rng=k))(logits, KEY) - soft).max() < 1e-6


def test_gumbel_softmax_of_a_scalar_of_nothing_and_of_halves():
    for hard in (False, True):
        assert F.gumbel_softmax(jnp.array(2.0), hard=hard, rng=KEY) == 1
        assert F.gumbel_softmax(jnp.ones((0, 3)), hard=hard, rng=KEY).shape == (0, 3)
        for dtype in ("bfloat16", "float16"):
            y = F.gumbel_softmax(jnp.ones((5, 3), dtype), hard=hard, rng=KEY)
            assert y.dtype == dtype
            np.testing.assert_allclose(y.astype("float32").sum(-1), 1, rtol=1e-2)
    assert F.gumbel_softmax(jnp.ones((3, 0)), rng=KEY).shape == (3, 0)
    assert jnp.isnan(F.gumbel_softmax(jnp.ones(3), 0.0, rng=KEY)).all()  # as torch
