"""Embeddings where the laws cannot look: the one gather, poison inside a trace, gradients that torch gets wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn.functional as F

W = jnp.arange(1.0, 16).reshape(5, 3)


def primitives(jaxpr) -> list[str]:
    """Names of all equations of a jaxpr, those inside inner jaxprs included."""
    names = []
    for equation in jaxpr.eqns:
        names.append(equation.primitive.name)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            names += primitives(inner) if hasattr(inner, "eqns") else []
    return names


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"max_norm": 1.0}])
def test_a_look_up_is_one_gather_and_its_gradient_one_scatter_add(options):
    index = jnp.array([1, 2, 1])
    forward = primitives(jax.make_jaxpr(lambda w, i: F.embedding(i, w, **options))(W, index).jaxpr)
    assert forward.count("gather") == 1
    assert "scatter-add" not in forward
    loss = lambda w, i: (F.embedding(i, w, **options) ** 2).sum()  # noqa: E731
    backward = primitives(jax.make_jaxpr(jax.grad(loss))(W, index).jaxpr)
    assert (backward.count("gather"), backward.count("scatter-add")) == (1, 1)


def test_an_index_out_of_range_is_nan_inside_a_trace_never_another_row():
    index = jnp.array([-1, 5, 2])
    y = jax.jit(F.embedding)(index, W)
    np.testing.assert_array_equal(np.isnan(y), [[True] * 3, [True] * 3, [False] * 3])
    for mode in ("sum", "mean", "max"):
        bags = jax.jit(lambda i, mode=mode: F.embedding_bag(i, W, mode=mode))(jnp.array([[1, -1], [5, 1], [1, 2]]))
        np.testing.assert_array_equal(np.isnan(bags), [[True] * 3, [True] * 3, [False] * 3])
    assert jax.jit(lambda i: F.one_hot(i, 3))(jnp.array([-1, 3])).sum() == 0
    assert np.isnan(jax.jit(F.embedding)(index, W[:0])).all()


def test_bad_offsets_poison_the_bags_inside_a_trace():
    for offsets in ([1, 2], [0, 5], [0, 3, 2]):
        y = jax.jit(F.embedding_bag)(jnp.array([0, 1, 2, 3]), W, jnp.array(offsets))
        assert np.isnan(y).all()


def test_scale_grad_by_freq_divides_each_row_by_its_own_count():
    index, offsets = jnp.array([0, 1, 4, 1, 2, 0, 1]), jnp.array([0, 2, 2, 5])
    bags = lambda w: F.embedding_bag(index, w, offsets, mode="sum", scale_grad_by_freq=True).sum()  # noqa: E731
    np.testing.assert_allclose(jax.grad(bags)(W)[:, 0], [1, 1, 1, 0, 1], rtol=1e-6)
    rows = lambda w: F.embedding(index, w, scale_grad_by_freq=True).sum()  # noqa: E731
    np.testing.assert_allclose(jax.grad(rows)(W)[:, 0], [1, 1, 1, 0, 1], rtol=1e-6)


def test_max_norm_leaves_the_weight_alone_and_twice_is_once():
    before = np.array(W)
    first = F.embedding(jnp.array([3]), W, max_norm=2.0)
    np.testing.assert_array_equal(W, before)
    again = F.embedding(jnp.array([0]), first, max_norm=2.0)
    np.testing.assert_allclose(again, first, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_rows_of_any_dtype(dtype):
    index = np.array([[1, 4], [0, 1]])
    expected = torch.nn.functional.embedding(torch.from_numpy(index), torch.from_numpy(np.array(W.astype(dtype))))
    y = F.embedding(jnp.asarray(index), W.astype(dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected.numpy())


def test_what_follows_the_last_offset_is_in_no_bag():
    index, offsets = jnp.array([0, 1, 2, 4]), jnp.array([0, 1, 3])
    for mode, expected in [("sum", W[1] + W[2]), ("mean", (W[1] + W[2]) / 2), ("max", W[2])]:
        y = F.embedding_bag(index, W, offsets, mode=mode, include_last_offset=True)
        np.testing.assert_allclose(y, jnp.stack([W[0], expected]))


def test_a_bag_sums_in_float32():
    w = jnp.full((1, 1), 1.0, "bfloat16")
    y = F.embedding_bag(jnp.zeros((1, 1000), int), w, mode="sum")
    assert (y.dtype, float(y[0, 0])) == (jnp.bfloat16, 1000)
    ragged = F.embedding_bag(jnp.zeros(1000, int), w, jnp.array([0]), mode="sum")
    assert float(ragged[0, 0]) == 1000


def test_constant_indices_are_checked_while_tracing():
    index = jnp.array([3, 1])
    np.testing.assert_array_equal(jax.jit(lambda w: F.embedding(index, w))(W), W[index])
    assert jax.jit(lambda: F.one_hot(index))().shape == (2, 4)
    wrong = index + 4
    with pytest.raises(IndexError, match="got input=7"):
        jax.jit(lambda w: F.embedding(wrong, w))(W)
