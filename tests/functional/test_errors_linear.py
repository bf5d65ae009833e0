"""What the operations of linear.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F
from purenn.functional.linear import ScalingType, SwizzleType

one = jnp.ones
f8, f4 = jnp.float8_e4m3fn, jnp.float4_e2m1fn
offs = jnp.array([2, 8], "int32")
TW, ROW, BLOCK = ScalingType.TensorWise, ScalingType.RowWise, ScalingType.BlockWise1x32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.linear(one((2, 5)), one((4, 3))), ValueError,
         r"linear: the last axis of input must equal the last axis of weight, got input.shape=\(2, 5\) and"),
        (lambda: F.linear(one(3, "int32"), one((4, 3))), TypeError, "must have one dtype"),
        (lambda: F.linear([1.0], one((4, 1))), TypeError, "input must be an array"),
        (lambda: F.linear(one(3), one((2, 4, 3))), ValueError, "weight must be 1-D or 2-D"),
        (lambda: F.linear(one(3), one((4, 3)), one(3)), ValueError, "bias must be"),
        (lambda: F.linear(one(3), one((4, 3)), one((2, 4))), ValueError, "bias must be"),
        (lambda: F.linear(one(3), one(3), one(1)), ValueError, "bias must be"),
        (lambda: F.linear(one(3, bool), one((4, 3), bool)), TypeError, "input must not be boolean"),
        (lambda: F.bilinear(one((5, 3)), one((6, 2)), one((4, 3, 2))), ValueError,
         r"bilinear: input1 and input2 must have the same leading axes, got input1.shape=\(5, 3\) and"),
        (lambda: F.bilinear(one(()), one(()), one((1, 1, 1))), ValueError, "the same leading axes"),
        (lambda: F.bilinear(one(4), one(2), one((4, 3, 2))), ValueError, r"input1 must equal weight.shape\[1\]"),
        (lambda: F.bilinear(one(3), one(3), one((4, 3, 2))), ValueError, r"input2 must equal weight.shape\[2\]"),
        (lambda: F.bilinear(one(3), one(2), one((3, 2))), ValueError, "weight must be"),
        (lambda: F.bilinear(one(3), one(2), one((4, 3, 2)), one(1)), ValueError, "bias must be"),
        (lambda: F.bilinear(one(3), one(2, "int32"), one((4, 3, 2))), TypeError, "must have one dtype"),
        (lambda: F.grouped_mm(one((8, 4)), one((2, 4, 3))), ValueError, "offs must be given exactly when"),
        (lambda: F.grouped_mm(one((2, 8, 4)), one((2, 4, 3)), offs=offs), ValueError, "offs must be given exactly"),
        (lambda: F.grouped_mm(one((2, 8, 4)), one((3, 4, 3))), ValueError, "must have as many groups"),
        (lambda: F.grouped_mm(one((8, 4)), one((3, 4, 3)), offs=offs), ValueError, r"offs must be \(G,\)"),
        (lambda: F.grouped_mm(one((8, 4)), one((2, 5, 3)), offs=offs), ValueError, "the last axis of mat_a must"),
        (lambda: F.grouped_mm(one(8), one((2, 8, 3)), offs=offs), ValueError, "must be 2-D or 3-D"),
        (lambda: F.grouped_mm(one((8, 4)), one((2, 4, 3)), offs=one(2)), TypeError, "offs must be int32"),
        (lambda: F.grouped_mm(one((7, 4)), one((2, 4, 3)), offs=offs), ValueError,
         "offs must not decrease, nor pass the end, 7"),
        (lambda: F.grouped_mm(one((8, 4)), one((2, 4, 3)), offs=offs[::-1]), ValueError, "must not decrease"),
        (lambda: F.grouped_mm(one((8, 4), "int32"), one((2, 4, 3), "int32"), offs=offs), TypeError, "be floating"),
        (lambda: F.grouped_mm(one((8, 4), jnp.bfloat16), one((2, 4, 3)), offs=offs), TypeError, "have one dtype"),
        (lambda: F.grouped_mm(one((8, 4)), one((2, 4, 3)), offs=offs, bias=one(3)), NotImplementedError,
         "grouped_mm: bias must be None .* Add it to the result"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((5, 3), f8), one(()), TW, one(()), TW), ValueError,
         r"scaled_mm: mat_a and mat_b must be \(M, K\) and \(K, N\)"),
        (lambda: F.scaled_mm(one((8, 4)), one((4, 3)), one(()), TW, one(()), TW), TypeError,
         "mat_a must be float8_e4m3fn or float8_e5m2 for TensorWise, got mat_a.dtype='float32'"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one((8, 1)), ROW, one(()), TW), ValueError,
         "must be scaled by the same recipe, got scale_recipe_a='RowWise' and scale_recipe_b='TensorWise'"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), [TW, ROW], one(()), [TW, ROW]), ValueError,
         "scale_a must hold one scale for each recipe"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(8), ROW, one(3), ROW), ValueError,
         "scale_a must have one number for each RowWise part of mat_a"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(2), TW, one(()), TW), ValueError,
         "scale_a must have one number for each TensorWise part of mat_a"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one((), jnp.bfloat16), TW, one(()), TW), TypeError,
         "scale_a must be float32 for TensorWise"),
        (lambda: F.scaled_mm(one((8, 32), f8), one((32, 3), f8), one((8, 1)), BLOCK, one((3, 1)), BLOCK), TypeError,
         "scale_a must be float8_e8m0fnu for BlockWise1x32"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), 7, one(()), 7), ValueError,
         "scale_recipe_a must be among TensorWise, RowWise"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), TW, one(()), TW, bias=one(4)), ValueError,
         r"bias must be \(N,\), got bias.shape=\(4,\) and N=3"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), 5, one(()), 5), NotImplementedError,
         "recipes must not be BlockWise128x128 .* Repeat each scale"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), TW, one(()), TW, SwizzleType.SWIZZLE_32_4_4),
         NotImplementedError, "swizzle_a must be NO_SWIZZLE"),
        (lambda: F.scaled_mm(one((8, 4), f8), one((4, 3), f8), one(()), TW, one(()), TW, contraction_dim=(1, 1)),
         NotImplementedError, r"contraction_dim must be \(\) or \(1, 0\)"),
        (lambda: F.scaled_grouped_mm(one((8, 4), f8), one((2, 4, 3), f8), one(()), TW, one(()), TW, offs=offs),
         NotImplementedError, "scaled_grouped_mm: both recipes must be RowWise"),
        (lambda: F.scaled_grouped_mm(
            one((8, 4), f8), one((2, 4, 3), f8), one(8), ROW, one((2, 3)), ROW, bias=one(3), offs=offs),
         NotImplementedError, "bias must be None"),
        (lambda: F.scaled_grouped_mm(one((8, 4), f8), one((2, 4, 3), f8), one(8), ROW, one(3), ROW, offs=offs),
         ValueError, r"scale_b must be \(2, 3\), got scale_b.shape=\(3,\)"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
