"""Interpolation over shapes and options, and what of sampling the laws cannot say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close

import purenn.functional as F

RANK = {"linear": 1, "bilinear": 2, "bicubic": 2, "lanczos": 2, "trilinear": 3}


@st.composite
def calls(draw):
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "area", *RANK]))
    rank = RANK.get(mode) or draw(st.sampled_from([1, 3]))
    shape = (1, 2, *draw(st.tuples(*[st.integers(1, 9 if rank < 3 else 4)] * rank)))
    options = {"mode": mode, "antialias": mode == "lanczos"}
    if draw(st.booleans()):
        options["size"] = draw(st.tuples(*[st.integers(2, 20 if rank < 3 else 6)] * rank))
    else:
        options["scale_factor"] = draw(st.tuples(*[st.sampled_from([1.0, 2.0, 2.3, 3.7])] * rank))
        options["recompute_scale_factor"] = draw(st.booleans())
    if mode in ("linear", "bilinear", "trilinear", "bicubic"):
        options["align_corners"] = draw(st.sampled_from([None, False, True]))
    if mode in ("bilinear", "bicubic"):
        options["antialias"] = draw(st.booleans())
    if options["antialias"]:  # torch repeats one row where the result is one element wide: not asked for here
        shape = (*shape[:-1], max(shape[-1], 2))
    return shape, options


def both(f, x, weight):
    """The value of ``f`` and the gradient of its weighted sum, compiled as one."""

    def call(x, weight):
        value, pullback = jax.vjp(f, x)
        return value, pullback(weight)[0]

    return jax.jit(call)(x, weight)


@given(calls())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_size_and_options_equal_torch(call):
    shape, options = call
    x = np.random.default_rng(len(str(call))).standard_normal(shape).astype(np.float32)
    tensor = torch.from_numpy(x).requires_grad_()
    expected = torch.nn.functional.interpolate(tensor, **options)
    weight = np.cos(np.arange(expected.numel(), dtype=np.float32)).reshape(expected.shape)
    expected.backward(torch.from_numpy(weight))
    y, gradient = both(lambda x: F.interpolate(x, **options), x, weight)
    assert_close(y, expected, what="value")
    assert_close(gradient, tensor.grad, what="gradient")


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_the_gradient_is_gathers_too(mode):
    x = jnp.ones((1, 1, 6, 6))
    gradient = jax.make_jaxpr(jax.grad(lambda x: (F.interpolate(x, scale_factor=2.0, mode=mode) ** 2).sum()))(x)
    assert "scatter" not in str(gradient)


def test_an_infinite_element_stays_where_it_is():
    x = jnp.zeros((1, 1, 40)).at[0, 0, 20].set(jnp.inf)
    y = F.interpolate(x, size=57, mode="linear")
    assert 1 <= np.sum(~np.isfinite(y)) <= 3
    assert np.isfinite(F.interpolate(x, size=57)).sum() >= 55


def test_a_long_signal_needs_no_matrix():
    y = F.interpolate(jnp.arange(200_000.0).reshape(1, 1, -1), scale_factor=2.0, mode="linear")
    assert y.shape == (1, 1, 400_000)
    np.testing.assert_allclose(y[0, 0, 1000:1004], [499.75, 500.25, 500.75, 501.25])


def test_a_given_factor_enters_the_coordinates_also_when_the_size_stays():
    x = jnp.arange(4.0).reshape(1, 1, 4)
    np.testing.assert_array_equal(F.interpolate(x, scale_factor=1.2).ravel(), [0, 0, 1, 2])
    np.testing.assert_array_equal(F.interpolate(x, scale_factor=1.2, recompute_scale_factor=True), x)
    # torch does so for small images alone when they are two-dimensional: here rank and size change nothing
    np.testing.assert_array_equal(F.interpolate(x[:, :, None], scale_factor=(1, 1.2)).ravel(), [0, 0, 1, 2])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_antialias_of_a_single_column_is_that_of_any_column(mode):
    x = jnp.cos(jnp.arange(6.0)).reshape(1, 1, 6, 1)
    wide = torch.from_numpy(np.repeat(np.asarray(x), 3, axis=3))
    expected = torch.nn.functional.interpolate(wide, size=(9, 3), mode=mode, antialias=True)[..., :1]
    assert_close(F.interpolate(x, size=(9, 1), mode=mode, antialias=True), expected)


def test_bytes_equal_torch_in_every_bit():
    rng = np.random.default_rng(0)
    for size, mode, antialias in [((5, 19), "bilinear", True), ((23, 4), "bicubic", False), ((9, 9), "lanczos", True)]:
        x = rng.integers(0, 256, (2, 3, 11, 13)).astype(np.uint8)
        expected = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode=mode, antialias=antialias)
        options = {"mode": mode, "antialias": antialias}
        y = jax.jit(lambda x, size=size, options=options: F.interpolate(x, size, **options))(x)
        assert y.dtype == jnp.uint8
        np.testing.assert_array_equal(y, expected.numpy())


def test_area_may_be_empty_as_adaptive_pooling_may():
    assert F.interpolate(jnp.ones((1, 2, 3, 3)), (0, 2), mode="area").shape == (1, 2, 0, 2)


def test_interpolation_has_second_derivatives_under_vmap():
    loss = lambda x: (F.interpolate(x[None, None], size=5, mode="linear") ** 3).sum()  # noqa: E731
    x = jnp.arange(1.0, 7).reshape(2, 3)
    hessian = jax.jit(jax.vmap(jax.hessian(loss)))(x)
    np.testing.assert_allclose(hessian, jax.jit(jax.vmap(jax.jacfwd(jax.jacfwd(loss))))(x), rtol=1e-5)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_a_nan_place_gives_nan_and_an_infinite_one_no_other_element(mode, padding_mode):
    grid = jnp.array([[[[jnp.nan, 0.0], [0.0, jnp.nan], [0.1, 0.2], [1e20, 0.0]]]])
    y = F.grid_sample(jnp.ones((1, 2, 3, 3)), grid, mode, padding_mode)
    np.testing.assert_array_equal(np.isnan(y[0, 0, 0]), [True, True, False, False])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_sampling_in_half_precision_is_that_of_float32_rounded(mode, dtype):
    rng = np.random.default_rng(1)
    x, grid = (
        jnp.asarray(rng.standard_normal((1, 2, 5, 4)), dtype),
        jnp.asarray(rng.uniform(-1, 1, (1, 6, 6, 2)), dtype),
    )
    y = F.grid_sample(x, grid, mode)
    assert y.dtype == dtype
    assert_close(y, np.asarray(F.grid_sample(x.astype("float32"), grid.astype("float32"), mode)), dtype=dtype)


def test_align_corners_is_false_when_left_out():
    x, grid = jnp.arange(12.0).reshape(1, 1, 3, 4), jnp.linspace(-1, 1, 10).reshape(1, 1, 5, 2)
    np.testing.assert_array_equal(F.grid_sample(x, grid), F.grid_sample(x, grid, align_corners=False))
    theta = jnp.ones((1, 2, 3))
    np.testing.assert_array_equal(F.affine_grid(theta, (1, 1, 3, 3)), F.affine_grid(theta, (1, 1, 3, 3), False))


def test_a_half_precision_theta_gives_a_half_precision_grid_and_a_single_place_is_the_middle():
    grid = F.affine_grid(jnp.ones((2, 2, 3), "bfloat16"), (2, 1, 1, 3), align_corners=True)
    assert grid.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(grid[0, 0, :, 0], "float32"), [0, 1, 2])


def test_unshuffle_undoes_shuffle():
    x = jnp.arange(72.0).reshape(1, 8, 3, 3)
    np.testing.assert_array_equal(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), x)
