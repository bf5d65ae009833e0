"""What the operations of distance.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F

one = jnp.ones


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.cosine_similarity(one((2, 3)), one((2, 4))), ValueError,
         r"cosine_similarity: the shapes of x1 and x2 must broadcast, got x1.shape=\(2, 3\) and x2.shape=\(2, 4\)"),
        (lambda: F.cosine_similarity(one((2, 3), "int32"), one((2, 3), "int32")), TypeError,
         "x1 and x2 must have a floating dtype in common, got dtype='int32'"),
        (lambda: F.cosine_similarity(one((2, 3), "complex64"), one((2, 3))), TypeError, "floating dtype in common"),
        (lambda: F.cosine_similarity(one(3), one(3)), IndexError, r"dim must lie in \[-1, 1\), got dim=1"),
        (lambda: F.cosine_similarity([1.0], one(3)), TypeError, "x1 must be an array"),
        (lambda: F.pairwise_distance(one((2, 3)), one((2, 4))), ValueError, "must broadcast"),
        (lambda: F.pairwise_distance(one(3, bool), one(3, bool)), TypeError, "x1 and x2 must not both be boolean"),
        (lambda: F.pairwise_distance(one((2, 0)), one((2, 0)), p=-1.0), ValueError,
         r"an axis without elements has no such norm, got p=-1.0 and shape=\(2, 0\)"),
        (lambda: F.pdist(one(3)), ValueError, r"pdist: input must be 2-D, got input.shape=\(3,\)"),
        (lambda: F.pdist(one((3, 2)), -1.0), ValueError, "p must not be negative, got p=-1.0"),
        (lambda: F.pdist(one((3, 2), "int32")), TypeError, "input must be floating"),
        (lambda: F.pdist(one((3, 2), "complex64")), TypeError, "input must be floating"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
