"""What the operations of embedding.py refuse, in words."""

import jax
import jax.numpy as jnp
import pytest

import purenn.functional as F
from purenn.checks import checked

W = jnp.ones((5, 3))
I = jnp.array([0, 1, 2, 3])  # noqa: E741
O = jnp.array([0, 2])  # noqa: E741


def bag(input=I, weight=W, offsets=O, **options):
    return F.embedding_bag(input, weight, offsets, **options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.embedding([1], W), TypeError, "embedding: input must be an array"),
        (lambda: F.embedding(W, I), TypeError,
         r"embedding: input must be int32 or int64, got input.dtype='float32'. The order is \(input, weight\)"),
        (lambda: F.embedding(I.astype("uint8"), W), TypeError, r"got input.dtype='uint8'. Cast it with .astype"),
        (lambda: F.embedding(I > 0, W), TypeError, "input must be int32 or int64, got input.dtype='bool'"),
        (lambda: F.embedding(I, W[0]), ValueError, r"weight must be 2-D, \(num_embeddings, embedding_dim\)"),
        (lambda: F.embedding(I, W, 5), ValueError, r"padding_idx must be a row of weight, got padding_idx=5 and"),
        (lambda: F.embedding(I, W, -6), ValueError, "padding_idx must be a row of weight"),
        (lambda: F.embedding(I, W.astype("int32"), max_norm=1.0), TypeError, "weight must be floating"),
        (lambda: F.embedding(I - 1, W), IndexError, r"embedding: input must lie in \[0, 5\), got input=-1"),
        (lambda: F.embedding(I + 2, W), IndexError, r"input must lie in \[0, 5\), got input=5"),
        (lambda: F.embedding(I, W[:0]), IndexError, r"input must lie in \[0, 0\)"),
        (lambda: bag(W), TypeError, r"embedding_bag: input must be int32 or int64"),
        (lambda: bag(weight=W.astype("int32")), TypeError, "weight must be floating"),
        (lambda: bag(weight=W[0]), ValueError, "embedding_bag: weight must be 2-D"),
        (lambda: bag(padding_idx=5), ValueError, "padding_idx must be a row of weight"),
        (lambda: bag(mode="median"), ValueError, "mode must be sum, mean or max, got mode='median'"),
        (lambda: bag(mode="max", sparse=True), ValueError, "scale_grad_by_freq and sparse must be False for"),
        (lambda: bag(mode="max", scale_grad_by_freq=True), ValueError, "must be False for mode='max'"),
        (lambda: bag(per_sample_weights=jnp.ones(3)), ValueError, "per_sample_weights must have the shape of input"),
        (lambda: bag(per_sample_weights=jnp.ones(4)), ValueError, "mode must be 'sum' when per_sample_weights"),
        (lambda: bag(per_sample_weights=jnp.ones(4, "float16"), mode="sum"), TypeError, "must have one dtype"),
        (lambda: bag(I[None, None]), ValueError, "input must be 1-D or 2-D"),
        (lambda: bag(I[None]), ValueError, "offsets must be None for a 2-D input"),
        (lambda: bag(offsets=None), ValueError, "offsets must be given for a 1-D input.*They say where each bag"),
        (lambda: bag(offsets=O * 1.0), TypeError, "offsets must be int32 or int64"),
        (lambda: bag(offsets=O[None]), ValueError, "offsets must be 1-D"),
        (lambda: bag(offsets=O + 1), ValueError, "offsets must ascend from 0 to at most the length of input"),
        (lambda: bag(offsets=O * 3), ValueError, "offsets must ascend"),
        (lambda: bag(offsets=jnp.array([0, 3, 2])), ValueError, "offsets must ascend"),
        (lambda: bag(I - 1), IndexError, r"embedding_bag: input must lie in \[0, 5\), got input=-1"),
        (lambda: bag(I + 2, mode="max"), IndexError, "got input=5"),
        (lambda: F.one_hot(I * 1.0), TypeError, "one_hot: tensor must be int32 or int64"),
        (lambda: F.one_hot(I, 0), ValueError, "num_classes must be positive, or -1, got num_classes=0"),
        (lambda: F.one_hot(I, -2), ValueError, "num_classes must be positive"),
        (lambda: F.one_hot(I[:0]), ValueError, "num_classes must be given for an empty tensor"),
        (lambda: jax.jit(F.one_hot)(I), ValueError, "num_classes must be given inside jit, grad and vmap"),
        (lambda: F.one_hot(I, 3), IndexError, r"tensor must lie in \[0, 3\), got tensor=3"),
        (lambda: F.one_hot(-I), IndexError, "got tensor=-1"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: F.embedding(i, W), r"embedding: input must lie in \[0, 5\)"),
        (lambda i: F.embedding_bag(i[None], W), r"embedding_bag: input must lie in \[0, 5\)"),
        (lambda i: F.embedding_bag(I, W, i), "offsets must ascend"),
        (lambda i: F.one_hot(i, 3), r"one_hot: tensor must lie in \[0, 3\)"),
    ],
)
def test_checked_names_the_wrong_value_inside_a_trace(call, words):
    with pytest.raises(Exception, match=words):
        checked(call)(jnp.array([0, 7]))
