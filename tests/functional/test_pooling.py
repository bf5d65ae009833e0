"""What the laws cannot say of pooling: ties, NaN, padding, randomness, and the whole space of options."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify
from oracle import assert_close

import purenn.functional as F
from purenn.checks import checked

NAN, INF = float("nan"), float("inf")


def assert_like_torch(name, x, *args, **kwargs):
    """Values, indices and gradient of one array argument."""
    x = np.asarray(x, np.float32)
    expected_x = torch.from_numpy(x).requires_grad_()
    expected = getattr(TF, name)(expected_x, *args, **kwargs)
    values = lambda out: out[0] if isinstance(out, tuple) else out  # noqa: E731
    weights = 1 + np.arange(values(expected).numel(), dtype=np.float32).reshape(values(expected).shape)

    def scalar(x):
        out = getattr(F, name)(x, *args, **kwargs)
        return (values(out) * weights).sum(), out

    # as one program, which compiles many times quicker than operation by operation; a law says that they are equal
    gradient, result = jax.jit(jax.grad(scalar, has_aux=True))(jnp.asarray(x))
    assert_close(result, expected, what=f"{name}{args}{kwargs}")
    (values(expected) * torch.from_numpy(weights)).sum().backward()
    assert_close(gradient, expected_x.grad, what=f"gradient of {name}{args}{kwargs}")


def relued(*shape):
    """Numbers of which most are equal: every second one 0, the others 1 or 2."""
    return np.maximum(np.random.default_rng(0).integers(-3, 3, shape), 0).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("max_pool1d", (2, 3, 17), (5, 2, 2)),
        ("max_pool2d", (2, 3, 12, 13), (3, 2, 1)),
        ("max_pool2d", (2, 3, 12, 13), (3, 2, 1, 2, True)),
        ("max_pool2d", (2, 3, 12, 13), ((2, 3), 1, 1, 1, False, True)),
        ("max_pool3d", (1, 2, 6, 7, 8), (3, 2, 1)),
        ("adaptive_max_pool2d", (2, 3, 12, 13), (5, True)),
        ("adaptive_max_pool3d", (2, 3, 4, 6, 8), ((2, 3, 4),)),
    ],
)
def test_at_ties_the_gradient_goes_to_the_first_maximum(name, shape, args):
    assert_like_torch(name, relued(*shape), *args)


@pytest.mark.parametrize("indices", [False, True])
def test_nan_is_the_maximum_and_the_last_nan_is_its_place(indices):
    x = relued(2, 3, 9, 9)
    x[np.random.default_rng(1).random(x.shape) < 0.2] = NAN
    assert_like_torch("max_pool2d", x, 3, 2, 1, return_indices=indices)
    assert_like_torch("max_pool2d", x, 4, 1, 2, return_indices=indices)
    assert_like_torch("adaptive_max_pool2d", x, (4, 2), return_indices=indices)
    assert_like_torch("max_pool1d", x[0], 4, return_indices=indices)


@pytest.mark.parametrize("padding", [0, 1])
def test_minus_infinity_is_larger_than_padding(padding):
    x = np.full((1, 1, 5, 5), -INF, np.float32)
    x[..., 4] = 1
    assert_like_torch("max_pool2d", x, 3, 2, padding, 1, True, True)
    assert_like_torch("max_pool2d", x, 3, 2, padding)
    assert_like_torch("adaptive_max_pool2d", x, 3, return_indices=True)


def test_infinities_stay_in_their_window():
    x = relued(1, 1, 7, 7)
    x[0, 0, 0, 0], x[0, 0, 6, 6] = INF, NAN
    assert_like_torch("avg_pool2d", x, 2)
    assert_like_torch("adaptive_avg_pool2d", x, 4)


def test_integers_pool_as_they_are():
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 6, 6))
    for dtype in ("int8", "int16", "uint8"):
        y, expected = (
            F.max_pool2d(jnp.asarray(x, dtype), 3, 1, 1),
            TF.max_pool2d(torch.from_numpy(x.astype(dtype)), 3, 1, 1),
        )
        assert y.dtype == dtype
        assert_close(y, expected)


def test_half_precision_is_summed_in_single():
    x = jnp.full((1, 1, 64, 64), 1.0078125, jnp.bfloat16)
    for y in (F.avg_pool2d(x, 64), F.avg_pool2d(x, 63, 1), F.adaptive_avg_pool2d(x, 3), F.lp_pool2d(x, 1, 64) / 4096):
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y.astype(jnp.float32), 1.0078125)


def test_double_precision():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).standard_normal((2, 3, 7, 7))
        for name, args in (("avg_pool2d", (3, 2, 1)), ("max_pool2d", (3, 2, 1, 1, False, True)), ("lp_pool2d", (2, 3))):
            result = getattr(F, name)(jnp.asarray(x), *args)
            assert_close(result, getattr(TF, name)(torch.from_numpy(x), *args), "float64")


@pytest.mark.parametrize("p", [1, 2, 3, -1, 0.5, 1.5, INF, -INF])
def test_powers_of_zero_and_of_negative_sums(p):
    assert_like_torch("lp_pool1d", [[0.0, 0, 1, 0, -1, 0.5, 2, 3, 1, -1]], p, 2)


def test_elements_with_one_place_all_get_its_gradient():
    index, weights = np.array([[1, 1, 2]]), np.array([1.0, 10, 100, 1000], np.float32)
    x = torch.tensor([[1.0, 2, 3]], requires_grad=True)
    (TF.max_unpool1d(x, torch.from_numpy(index), 2, 1) * torch.from_numpy(weights)).sum().backward()
    gradient = jax.grad(lambda x: (F.max_unpool1d(x, jnp.asarray(index), 2, 1) * weights).sum())(jnp.ones((1, 3)))
    assert_close(gradient, x.grad)


def test_unpooling_undoes_pooling():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 6, 8)))
    y, index = F.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(F.max_pool2d(jnp.abs(F.max_unpool2d(y, index, 2)), 2), jnp.abs(y))


def test_an_index_out_of_range_inside_a_trace():
    x, index = jnp.ones((1, 2, 2)), jnp.array([[[0, 4], [1, 2]]])
    unpool = jax.jit(lambda x, index: F.max_unpool1d(x, index, 2))
    np.testing.assert_array_equal(unpool(x, index), [[[NAN] * 4, [0, 1, 1, 0]]])
    np.testing.assert_array_equal(unpool(x, -1 - index)[0, 0], [NAN] * 4)
    with pytest.raises(checkify.JaxRuntimeError, match=r"max_unpool1d: indices must lie in \[0, 4\)"):
        checked(unpool)(x, index)


@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.PRNGKey(3)], ids=["typed", "raw"])
def test_fractional_windows_follow_the_key(key):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 9, 10)))
    y, index = F.fractional_max_pool2d(x, 2, 5, return_indices=True, rng=key)
    np.testing.assert_array_equal(F.fractional_max_pool2d(x, 2, 5, rng=key), y)
    np.testing.assert_array_equal(F.fractional_max_pool2d_with_indices(x, 2, 5, rng=key)[1], index)
    np.testing.assert_array_equal(
        jnp.take_along_axis(x.reshape(2, 3, 90), index.reshape(2, 3, 25), -1), y.reshape(2, 3, 25)
    )
    assert (F.fractional_max_pool2d(x, 2, 5, rng=jax.random.key(4)) != y).any()
    assert F.fractional_max_pool3d(x, (1, 2, 2), (2, 4, 4), rng=key).shape == (2, 2, 4, 4)


def test_fractional_windows_are_drawn_evenly():
    # windows of length 1 over a row whose elements are their positions; α = 4.5, so that u decides the second start
    rows = jnp.broadcast_to(jnp.arange(10.0), (4000, 1, 10, 10))
    starts = F.fractional_max_pool2d(rows, 1, (1, 3), rng=jax.random.key(0))[:, 0, 0]
    expected = [np.floor((1 + u) * 4.5) - np.floor(u * 4.5) for u in (np.arange(1000) + 0.5) / 1000]
    np.testing.assert_array_equal(starts[:, (0, 2)], np.broadcast_to([0.0, 9.0], (4000, 2)))
    assert abs(float(starts[:, 1].mean()) - np.mean(expected)) < 0.03


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_fractional_windows_are_torchs_to_the_last_element(dtype):
    # positions as values: any window that starts elsewhere shows
    x = torch.arange(60 * 50).reshape(1, 1, 60, 50).expand(30, 4, -1, -1)
    u = torch.rand(30, 4, 2, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    arrays = jnp.asarray(x.numpy(), dtype), jnp.asarray(u.float().numpy(), dtype)
    for kernel, size in (((2, 3), (37, 21)), ((1, 1), (59, 23)), ((7, 2), (1, 2))):
        _, index = F.fractional_max_pool2d(arrays[0] * 0, kernel, size, return_indices=True, _random_samples=arrays[1])
        zeros = torch.zeros(x.shape, dtype=u.dtype)
        _, expected = TF.fractional_max_pool2d(zeros, kernel, size, return_indices=True, _random_samples=u)
        np.testing.assert_array_equal(index, expected)


POOLS = [f"{kind}pool{n}d" for kind in ("max_", "adaptive_max_", "fractional_max_") for n in (1, 2, 3)]


@pytest.mark.parametrize("name", [name for name in POOLS if hasattr(F, name)])
def test_signatures_behind_boolean_dispatch_are_torchs(name):
    mine = inspect.signature(getattr(F, name)).parameters.values()
    torchs = inspect.signature(getattr(TF, f"{name}_with_indices")).parameters.values()
    assert [(p.name, p.default) for p in mine if p.name != "rng"] == [(p.name, p.default) for p in torchs]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_pooling_takes_torchs_names(rank):
    x = relued(2, 3, 6, 6, 6)[..., *[0] * (3 - rank)]
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}
    expected = getattr(TF, f"avg_pool{rank}d")(input=torch.from_numpy(x.copy()), **options)
    assert_close(getattr(F, f"avg_pool{rank}d")(input=jnp.asarray(x), **options), expected)


@st.composite
def pooled(draw, dilated):
    """The arguments of one pooling call: rank, input of few different numbers, options."""
    rank = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 14, 8)[rank - 1])) for _ in range(rank))
    lead = draw(st.sampled_from([(2,), (2, 3), (0, 1)]))
    kernel = tuple(draw(st.integers(1, 7)) for _ in range(rank))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.none() | st.tuples(*[st.integers(1, 4)] * rank)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        options["dilation"] = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    x = np.random.default_rng(draw(st.integers(0, 99))).integers(-3, 4, lead + shape).astype(np.float32)
    return rank, x, options


def like_torch_or_refused(name, x, **options):
    """Equal to torch where it answers; a ValueError where it refuses."""
    try:
        getattr(TF, name)(torch.from_numpy(x), **options)
    except RuntimeError:
        with pytest.raises(ValueError, match=name):
            getattr(F, name)(jnp.asarray(x), **options)
    else:
        assert_like_torch(name, x, **options)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(pooled(dilated=True), st.booleans())
def test_max_pooling_over_all_options(call, indices):
    rank, x, options = call
    reach = zip(x.shape[-rank:], options["padding"], options["dilation"], strict=True)
    if not any(p and d >= n + p for n, p, d in reach):  # else a window may hold padding alone: torch's index is junk
        like_torch_or_refused(f"max_pool{rank}d", x, return_indices=indices, **options)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(pooled(dilated=False), st.booleans(), st.sampled_from([None, None, 3, -2]))
def test_average_pooling_over_all_options(call, count_include_pad, divisor):
    rank, x, options = call
    divisors = {} if rank == 1 else {"divisor_override": divisor}
    like_torch_or_refused(f"avg_pool{rank}d", x, count_include_pad=count_include_pad, **options, **divisors)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 3), st.sampled_from(["avg", "max", "indices"]))
def test_adaptive_pooling_over_all_sizes(data, rank, kind):
    sizes = st.tuples(*[st.integers(1, (60, 20, 9)[rank - 1])] * rank)
    shape, output_size = data.draw(sizes), data.draw(sizes)
    x = np.random.default_rng(0).integers(-3, 4, (2, 3, *shape)).astype(np.float32)
    options = {"return_indices": kind == "indices"} if kind != "avg" else {}
    assert_like_torch(f"adaptive_{'avg' if kind == 'avg' else 'max'}_pool{rank}d", x, output_size, **options)
