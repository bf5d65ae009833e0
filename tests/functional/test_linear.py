"""Products of 8-bit matrices, which the laws cannot draw, and of groups that leave something out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from oracle import TOLERANCE, assert_close

import purenn.functional as F
from purenn.functional.linear import ScalingType

M, K, N = 5, 16, 8
f8 = jnp.float8_e4m3fn


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def as_f8(x, dtype="float8_e4m3fn"):
    """The same 8-bit numbers in both worlds."""
    ours = jnp.asarray(x, dtype)
    theirs = torch.from_numpy(np.array(ours).view(np.uint8)).view(getattr(torch, dtype))
    return ours, theirs


@pytest.mark.parametrize("output", ["bfloat16", "float32", "float16"])
@pytest.mark.parametrize(("recipe", "shapes"), [("TensorWise", ((), (1,))), ("RowWise", ((M, 1), (1, N)))])
def test_scaled_mm_equals_torch(recipe, shapes, output):
    (a, ta), (b, tb) = as_f8(numbers(0, M, K)), as_f8(numbers(1, K, N), "float8_e5m2")
    scales = [np.abs(numbers(2 + i, *shape)) + np.float32(0.1) for i, shape in enumerate(shapes)]
    bias = numbers(4, N)
    theirs = getattr(TF.ScalingType, recipe)
    expected = TF.scaled_mm(
        ta, tb.t().contiguous().t(), torch.as_tensor(scales[0]), theirs, torch.as_tensor(scales[1]), theirs,
        bias=torch.from_numpy(bias), output_dtype=getattr(torch, output),
    )  # fmt: skip
    dtype = getattr(jnp, output)
    for given in (recipe, theirs):  # torch's enum is taken as well as ours
        kind = ScalingType[given] if given is recipe else given
        out = F.scaled_mm(a, b, jnp.asarray(scales[0]), kind, [jnp.asarray(scales[1])], [kind], bias=jnp.asarray(bias),
                          output_dtype=dtype)  # fmt: skip
        assert out.dtype == dtype
        assert_close(out, expected, dtype=output)


def test_scaled_mm_without_an_output_dtype_keeps_that_of_mat_a():
    one = jnp.ones(())
    assert F.scaled_mm(jnp.ones((2, 4), f8), jnp.ones((4, 3), f8), one, 0, one, 0, output_dtype=None).dtype == f8
    assert F.scaled_mm(jnp.ones((2, 4), f8), jnp.ones((4, 3), f8), one, 0, one, 0).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("recipe", "block", "matrix", "scale"),
    [
        (ScalingType.BlockWise1x16, 16, "float4_e2m1fn", "float8_e4m3fn"),
        (ScalingType.BlockWise1x32, 32, "float8_e4m3fn", "float8_e8m0fnu"),
        (ScalingType.BlockWise1x128, 128, "float8_e5m2", "float32"),
    ],
)
def test_scaled_mm_scales_by_blocks(recipe, block, matrix, scale):
    # jax.nn.scaled_matmul's documented equation; it runs on some devices only
    a, b = jnp.asarray(numbers(0, M, 2 * block), matrix), jnp.asarray(numbers(1, 2 * block, N), matrix)
    s, r = (jnp.asarray(2.0 ** np.round(numbers(i, rows, 2)), scale) for i, rows in ((2, M), (3, N)))
    recipes, scales_a, scales_b = [recipe], [s], [r]
    expected = (np.asarray(a, "float32") * np.repeat(np.asarray(s, "float32"), block, 1)) @ (
        np.asarray(b, "float32") * np.repeat(np.asarray(r, "float32"), block, 1).T
    )
    if recipe is ScalingType.BlockWise1x16:  # two levels: a scale of the whole beside that of the blocks
        recipes, scales_a, scales_b = [recipe, ScalingType.TensorWise], [s, jnp.full(1, 3.0)], [r, jnp.full(1, 0.5)]
        expected = expected * 1.5
    out = F.scaled_mm(a, b, scales_a, recipes, scales_b, recipes, output_dtype=jnp.float32)
    assert_close(out, expected)


@pytest.mark.parametrize(
    ("a", "b", "scale_a", "scale_b"),
    [((12, 4), (3, 4, 5), (12,), (3, 5)), ((3, 6, 4), (4, 12), (3, 6), (12,)), ((6, 12), (12, 5), (18,), (15,)),
     ((3, 6, 4), (3, 4, 5), (3, 6), (3, 5))],
)  # fmt: skip
def test_scaled_grouped_mm_is_the_grouped_product_of_what_the_scales_give(a, b, scale_a, scale_b):
    # torch has this on the newest GPUs only
    offs = None if len(a) == len(b) == 3 else jnp.array([2, 7, 12], "int32")
    x, w = jnp.asarray(numbers(0, *a), f8), jnp.asarray(numbers(1, *b), f8)
    s, r = jnp.asarray(numbers(2, *scale_a)), jnp.asarray(numbers(3, *scale_b))
    out = F.scaled_grouped_mm(x, w, s, 1, r, 1, offs=offs, output_dtype=jnp.float32)
    full, wide = x.astype("float32"), w.astype("float32")
    if len(a) == len(b) == 2:
        expected = F.grouped_mm(full, wide, offs=offs) * s.reshape(3, 6, 1) * r.reshape(3, 1, 5)
    else:
        expected = F.grouped_mm(full * s[..., None], wide * r[..., None, :], offs=offs)
    assert_close(out, expected)


def test_grouped_mm_is_one_product_a_group():
    a, b = numbers(0, 7, 4), numbers(1, 3, 4, 5)
    out = F.grouped_mm(jnp.asarray(a), jnp.asarray(b), offs=jnp.array([2, 2, 6], "int32"))
    expected = np.concatenate([a[:2] @ b[0], a[2:6] @ b[2], np.zeros((1, 5))])  # nothing covers the last row
    np.testing.assert_allclose(out, expected, atol=TOLERANCE["float32"])


def test_grouped_mm_does_not_see_what_no_group_covers():
    a = jnp.asarray(numbers(0, 7, 4)).at[6].set(jnp.nan)
    f = lambda a, offs: F.grouped_mm(a, jnp.asarray(numbers(1, 3, 4, 5)), offs=offs).sum()  # noqa: E731
    offs = jnp.array([2, 2, 6], "int32")
    assert jnp.isfinite(jax.grad(f)(a, offs)).all()
    # the ends of the groups may be traced, and batched
    each = jnp.stack([offs, offs[::-1].at[:].set(3)])
    np.testing.assert_allclose(jax.vmap(f, (None, 0))(a, each), [f(a, o) for o in each], rtol=1e-5)


@pytest.mark.parametrize("given", [jnp.bfloat16, jnp.float16])
def test_grouped_mm_in_another_output_dtype(given):
    a, b = jnp.asarray(numbers(0, 2, 4, 8), given), jnp.asarray(numbers(1, 2, 8, 4), given)
    out = F.grouped_mm(a, b, out_dtype=jnp.float32)
    assert out.dtype == jnp.float32
    assert_close(out, np.asarray(a, "float32") @ np.asarray(b, "float32"))
