"""What the laws over the table do not say of conv.py and fold.py: random shapes and options, precision, programs."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import TOLERANCE, assert_close

import purenn.functional as F
from purenn.functional import _convolve, conv

SHORT = settings(max_examples=10, deadline=None, derandomize=True, database=None)


@contextlib.contextmanager
def spelled_out(yes):
    """Kernels as on the CPU, where sums are spelled out, or as on accelerators, where each is one convolution."""
    with pytest.MonkeyPatch.context() as patch:
        if not yes:
            patch.setattr(_convolve, "_is_spelled_out", lambda x: False)
            for name in ("correlate", "scatter"):
                plain = getattr(_convolve, name).__wrapped__  # unjitted: no trace is remembered from before
                patch.setattr(_convolve, name, plain)
                patch.setattr(conv, name, plain)
        yield


def check(name, arrays, *options, scale=1.0, **named):
    """Value and gradients of ours and torch's, for a random cotangent."""
    f = lambda *xs: getattr(F, name)(*xs, *options, **named)  # noqa: E731
    tensors = [torch.from_numpy(x).requires_grad_() for x in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of the copy that an odd amount of padding costs it
        expected = getattr(TF, name)(*tensors, *options, **named)
    c = np.random.default_rng(1).standard_normal(expected.shape).astype(arrays[0].dtype)
    torchs = torch.autograd.grad(expected, tensors, torch.from_numpy(c))
    out, *ours = jax.jit(value_and_gradients(f))(jnp.asarray(c), *arrays)
    assert_close(out, expected, scale=scale, what="value")
    for i, (x, y) in enumerate(zip(ours, torchs, strict=True)):
        assert_close(x, y, scale=scale, what=f"gradient of argument {i}")


def value_and_gradients(f):
    def call(cotangent, *arrays):
        out, pull = jax.vjp(f, *arrays)
        return out, *pull(cotangent)

    return call


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


def per_axis(rank, low, high):
    return st.tuples(*[st.integers(low, high)] * rank)


@st.composite
def layers(draw):
    """Rank, groups, channels, kernel, stride, dilation and batch of some convolution."""
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    into, out = (groups * draw(st.integers(1, 3)) for _ in range(2))
    kernel, stride, dilation = (draw(per_axis(rank, 1, 3)) for _ in range(3))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    return rank, groups, into, out, kernel, stride, dilation, batch


@pytest.mark.parametrize("cpu", [True, False])
@SHORT
@given(layers(), st.data())
def test_conv_equals_torch(cpu, layer, data):
    rank, groups, into, out, kernel, stride, dilation, batch = layer
    padding = data.draw(st.one_of(per_axis(rank, 0, 2), st.sampled_from(["same", "valid"])))
    stride = (1,) * rank if padding == "same" else stride
    size = [d * (k - 1) + 1 + data.draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)]
    arrays = normal((*batch, into, *size), (out, into // groups, *kernel), (out,))
    with spelled_out(cpu):
        check(f"conv{rank}d", arrays, stride, padding, dilation, groups)


@pytest.mark.parametrize("cpu", [True, False])
@SHORT
@given(layers(), st.data())
def test_conv_transpose_equals_torch(cpu, layer, data):
    rank, groups, into, out, kernel, stride, dilation, batch = layer
    size = data.draw(per_axis(rank, 1, 4))
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    full = [
        s * (n - 1) + d * (k - 1) + 1 + e for s, n, d, k, e in zip(stride, size, dilation, kernel, extra, strict=True)
    ]
    padding = tuple(data.draw(st.integers(0, min(3, (n - 1) // 2))) for n in full)
    arrays = normal((*batch, into, *size), (into, out // groups, *kernel), (out,))
    with spelled_out(cpu):
        check(f"conv_transpose{rank}d", arrays, stride, padding, extra, groups, dilation)


@SHORT
@given(per_axis(2, 1, 3), per_axis(2, 1, 3), per_axis(2, 0, 2), per_axis(2, 1, 3), per_axis(2, 0, 4), st.booleans())
def test_unfold_and_fold_equal_torch(kernel, dilation, padding, stride, more, batched):
    size = tuple(d * (k - 1) + 1 + m for k, d, m in zip(kernel, dilation, more, strict=True))
    out = [(m + 2 * p) // s + 1 for m, p, s in zip(more, padding, stride, strict=True)]
    batch = (2,) * batched
    image, columns = normal((*batch, 3, *size), (*batch, 3 * kernel[0] * kernel[1], out[0] * out[1]))
    check("unfold", [image], kernel, dilation, padding, stride)
    check("fold", [columns], size, kernel, dilation, padding, stride)


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize(
    ("x", "w", "groups"), [((2, 5, 4), (40, 5, 1), 1), ((1, 4, 9, 9), (4, 1, 6, 6), 4), ((1, 66, 5), (66, 2, 2), 33)]
)
def test_kernels_beyond_what_is_spelled_out(cpu, x, w, groups):
    with spelled_out(cpu):
        check(f"conv{len(x) - 2}d", normal(x, w), groups=groups)


def test_same_puts_the_odd_zero_at_the_end():
    x, w = jnp.arange(1.0, 5.0)[None], jnp.ones((1, 1, 2))
    np.testing.assert_array_equal(F.conv1d(x, w, padding="same"), [[3, 5, 7, 4]])


def test_scatter_is_the_transpose_of_conv():
    x, y, w = map(jnp.asarray, normal((1, 2, 7, 6), (1, 3, 3, 3), (3, 2, 3, 2)))
    (back,) = jax.linear_transpose(lambda x: F.conv2d(x, w, stride=2), x)(y)
    assert_close(F.conv_transpose2d(y, w, stride=2, output_padding=(0, 0)), np.asarray(back))


@pytest.mark.parametrize("cpu", [True, False])
def test_complex_integer_and_double(cpu):
    x, w = normal((2, 4, 5, 5), (4, 2, 2, 2))
    z, v = x + 1j * x[::-1], w - 1j * w[::-1]
    n, m = (np.round(3 * a).astype(np.int32) for a in (x, w))
    with spelled_out(cpu), jax.enable_x64():
        for name in ("conv2d", "conv_transpose2d"):
            f, g = getattr(F, name), getattr(TF, name)
            assert_close(f(z, v, stride=2, groups=2), g(*map(torch.from_numpy, (z, v)), stride=2, groups=2))
            ours, theirs = f(n, m, groups=2), g(*(torch.from_numpy(a).long() for a in (n, m)), groups=2)
            np.testing.assert_array_equal(ours, theirs)
            check(name, [x.astype("float64"), w.astype("float64")], stride=2, groups=2, scale=1e-8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("name", "x", "w", "options"),
    [
        ("conv2d", (2, 300, 9, 9), (4, 300, 3, 3), {}),
        ("conv2d", (2, 300, 9, 9), (4, 300, 1, 1), {}),
        ("conv2d", (8, 4, 32, 32), (4, 1, 5, 5), {"groups": 4}),
        ("conv2d", (4, 64, 16, 16), (4, 32, 3, 3), {"groups": 2}),
        ("conv3d", (2, 40, 6, 6, 6), (4, 40, 3, 3, 3), {}),
        ("conv_transpose2d", (2, 300, 9, 9), (300, 4, 3, 3), {"stride": 2}),
        ("conv_tbc", (40, 3, 300), (3, 300, 4), {}),
    ],
)
def test_half_precision_accumulates_in_float32(name, x, w, options, dtype):
    # Sums of positive numbers: kept in half precision, they would stop growing and be wrong by far more than rounding.
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.uniform(0, 1, shape) / 8, dtype) for shape in (x, w)]
    rest = (jnp.zeros(w[-1], dtype),) if name == "conv_tbc" else ()
    f = lambda *xs: getattr(F, name)(*xs, *(r.astype(xs[0].dtype) for r in rest), **options)  # noqa: E731
    c = jnp.full(jax.eval_shape(f, *arrays).shape, 1 / 8, dtype)
    both = jax.jit(value_and_gradients(f))
    for got, want in zip(both(c, *arrays), both(*(a.astype("float32") for a in (c, *arrays))), strict=True):
        assert got.dtype == dtype
        error = jnp.abs(got.astype(jnp.float32) - want).max() / jnp.abs(want).max()
        assert error <= TOLERANCE[dtype] / 6, error  # half a unit in the last place is 1/8 of it


def test_a_plain_convolution_is_one_equation():
    x, w = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    assert [e.primitive.name for e in jax.make_jaxpr(F.conv2d)(x, w).eqns] == ["conv_general_dilated"]
    text = jax.jit(F.conv2d).lower(x, w).as_text()
    assert "transpose" not in text
    assert text.count("stablehlo.convolution") == 1


def test_accelerators_get_one_convolution_each():
    x, w = jnp.ones((2, 4, 8, 8)), jnp.ones((4, 1, 3, 3))
    with spelled_out(False):
        for f in (F.conv2d, F.conv_transpose2d):
            text = jax.jit(lambda x, w, f=f: f(x, w, stride=2, groups=4)).lower(x, w).as_text()
            assert text.count("stablehlo.convolution") == 1
