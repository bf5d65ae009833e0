"""What the operations of normalization.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F

one = jnp.ones
x = one((4, 3, 5))
half = one((4, 3, 5), jnp.bfloat16)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.batch_norm(x, one(3), one(3), training=True), ValueError,
         r"batch_norm: running statistics must be None with training=True.* Call batch_norm_update, which returns"),
        (lambda: F.batch_norm(x, None, None), ValueError, "running_var must be given when the batch is not used"),
        (lambda: F.batch_norm(x, one(3), None), ValueError,
         "must be given together, got running_mean='ArrayImpl' and running_var=None"),
        (lambda: F.batch_norm_update(x, None, None), ValueError, "batch_norm_update: .* must be given together"),
        (lambda: F.batch_norm(x, one(4), one(3)), ValueError,
         r"running_mean must be \(input.shape\[1\],\), got running_mean.shape=\(4,\) and input.shape=\(4, 3, 5\)"),
        (lambda: F.batch_norm(x, one(3), one((3, 1))), ValueError, "running_var must be"),
        (lambda: F.batch_norm(x, None, None, one(4), training=True), ValueError, "weight must be"),
        (lambda: F.batch_norm(x, None, None, None, one(4), training=True), ValueError, "bias must be"),
        (lambda: F.batch_norm(one(3), one(3), one(3)), ValueError, r"input must be \(N, C\)"),
        (lambda: F.batch_norm(one((1, 3, 1)), None, None, training=True), ValueError,
         r"each channel must have more than 1 value when training, got input.shape=\(1, 3, 1\)"),
        (lambda: F.batch_norm_update(one((1, 3)), one(3), one(3)), ValueError, "more than 1 value when training"),
        (lambda: F.batch_norm(x, None, None, training=True, eps=0.0), ValueError, "eps must be positive"),
        (lambda: F.batch_norm(x, one(3), one(3), eps=-1.0), ValueError, "eps must be positive"),
        (lambda: F.batch_norm(one((4, 3), "int32"), one(3), one(3)), TypeError, "input must be floating"),
        (lambda: F.batch_norm(one((4, 3), "complex64"), one(3), one(3)), TypeError, "input must be real"),
        (lambda: F.batch_norm(x, one(3, jnp.bfloat16), one(3, jnp.bfloat16)), TypeError,
         "running_mean and running_var must have one dtype, that of input or float32 beside a 16-bit input"),
        (lambda: F.batch_norm(half, one(3), one(3, jnp.bfloat16)), TypeError, "must have one dtype"),
        (lambda: F.batch_norm(half, None, None, one(3), one(3, jnp.bfloat16), training=True), TypeError,
         "weight and bias must have one dtype"),
        (lambda: F.batch_norm_update(x, one(3), one(3), momentum=None), TypeError, "momentum must be a number"),
        (lambda: F.instance_norm(x, one(3), one(3)), ValueError, "Call instance_norm_update, which returns"),
        (lambda: F.instance_norm(x, use_input_stats=False), ValueError, "running_var must be given when"),
        (lambda: F.instance_norm(x, one(3)), ValueError, "must be given together"),
        (lambda: F.instance_norm(one((4, 3, 1))), ValueError, "more than 1 spatial element when training"),
        (lambda: F.instance_norm(one((4, 3))), ValueError, "more than 1 spatial element when training"),
        (lambda: F.instance_norm(one(4), one(4), one(4), use_input_stats=False), ValueError, "input must be"),
        (lambda: F.instance_norm(x, weight=one(4)), ValueError, "weight must be"),
        (lambda: F.instance_norm_update(x, one(4), one(4)), ValueError, "instance_norm_update: running_mean must be"),
        (lambda: F.instance_norm_update(x, one(3), one(3), momentum=None), TypeError, "momentum must be a number"),
        (lambda: F.group_norm(one(4), 2), ValueError, "input must be at least 2-D"),
        (lambda: F.group_norm(x, 2), ValueError, r"num_groups must be positive and divide input.shape\[1\]"),
        (lambda: F.group_norm(x, 0), ValueError, "num_groups must be positive"),
        (lambda: F.group_norm(one((1, 2)), 2), ValueError, "each group must have more than 1 value"),
        (lambda: F.group_norm(x, 3, one(4)), ValueError, "weight must be"),
        (lambda: F.group_norm(x, 3, one((3, 1))), ValueError, "weight and bias must be 1-D"),
        (lambda: F.group_norm(one((2, 4), "int32"), 2), TypeError, "input must be floating"),
        (lambda: F.layer_norm(x, 5), TypeError, "normalized_shape must be a tuple of integers, got .*=5. Write"),
        (lambda: F.layer_norm(x, ()), ValueError, "normalized_shape must have at least one axis"),
        (lambda: F.layer_norm(x, (4,)), ValueError, "the last axes of input must equal normalized_shape"),
        (lambda: F.layer_norm(x, (2, 4, 3, 5)), ValueError, "the last axes of input must equal normalized_shape"),
        (lambda: F.layer_norm(x, (3, 5), one(5)), ValueError, "weight must be of normalized_shape"),
        (lambda: F.layer_norm(x, (5,), None, one(4)), ValueError, "bias must be of normalized_shape"),
        (lambda: F.layer_norm(x, (5,), one(5, jnp.bfloat16)), TypeError, "must have one dtype"),
        (lambda: F.layer_norm(one((2, 3), "complex64"), (3,)), TypeError, "input must be real"),
        (lambda: F.rms_norm(one((2, 3), "int32"), (3,)), TypeError, "input must be floating"),
        (lambda: F.rms_norm(x, (5,), one(4)), ValueError, "weight must be of normalized_shape"),
        (lambda: F.rms_norm(x, (5,), one(5, "complex64")), TypeError, "weight must be real"),
        (lambda: F.local_response_norm(one((2, 3)), 2), ValueError, "input must be at least 3-D"),
        (lambda: F.local_response_norm(x, 0), ValueError, "size must be positive, got size=0"),
        (lambda: F.local_response_norm(one((2, 3, 4), "int32"), 2), TypeError, "input must be floating"),
        (lambda: F.normalize(one((2, 3), "int32")), TypeError, "input must be floating"),
        (lambda: F.normalize(x, dim=3), IndexError, r"dim must lie in \[-3, 3\), got dim=3"),
        (lambda: F.normalize(one(3)), IndexError, r"dim must lie in \[-1, 1\)"),
        (lambda: F.normalize(x, dim=(1, -2)), ValueError, "dim must name each axis once"),
        (lambda: F.normalize(one((3, 0)), p=float("inf")), ValueError, "an axis without elements has no such norm"),
        (lambda: F.normalize(x, out=x), ValueError, "out must be None"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
