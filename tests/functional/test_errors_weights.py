"""What the operations of weights.py refuse, in words; and what the laws cannot say of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import assert_close

import purenn.functional as F

ones = jnp.ones
TREE = {"b": [ones((2, 3)), ones(())], "a": ones(2, "bfloat16")}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.weight_norm([1.0], ones(1)), TypeError, "weight_norm: v must be an array"),
        (lambda: F.weight_norm(ones(3), ones(3, "bfloat16")), TypeError, "weight_norm: v, g must have one dtype"),
        (lambda: F.weight_norm(ones(3, "int32"), ones(3, "int32")), TypeError, "weight_norm: v must be floating"),
        (lambda: F.weight_norm(ones((4, 3)), ones((4, 1)), 2), IndexError, "weight_norm: dim must be an axis of v"),
        (lambda: F.weight_norm(ones((4, 3)), ones(4)), ValueError, "g must broadcast to v, got g.shape="),
        (lambda: F.weight_norm(ones(3), ones((3, 1))), ValueError, "weight_norm: g must broadcast to v"),
        (lambda: F.spectral_norm(ones((4, 3), "int32"), None, None), TypeError, "weight must be floating"),
        (lambda: F.spectral_norm(ones((4, 3)), ones(4), ones(3), dim=2), IndexError, "dim must be an axis"),
        (lambda: F.spectral_norm(ones(()), None, None), IndexError, "spectral_norm: dim must be an axis"),
        (lambda: F.spectral_norm(ones((4, 3)), ones(4), ones(3), -1), ValueError, "must not be negative"),
        (lambda: F.spectral_norm(ones((4, 3)), ones(3), ones(3)), ValueError,
         r"spectral_norm: u must be \(4,\), got u.shape=\(3,\) and weight as a matrix=\(4, 3\)"),
        (lambda: F.spectral_norm(ones((4, 3)), ones(4), ones(3, "float16")), TypeError, "v must have one dtype"),
        (lambda: F.spectral_norm(ones((4, 3)), None, ones(3)), TypeError, "spectral_norm: u must be an array"),
        (lambda: F.clip_grad_norm({"a": [1.0]}, 1.0), TypeError, r"clip_grad_norm: grads.a.0 must be an array"),
        (lambda: F.clip_grad_norm({"a": {"w": ones(2, int)}}, 1.0), TypeError, "grads.a.w must be floating"),
        (lambda: F.clip_grad_norm([jnp.array([jnp.nan])], 1.0, error_if_nonfinite=True), ValueError,
         "clip_grad_norm: the norm of order 2.0 must be finite. Pass error_if_nonfinite=False"),
        (lambda: F.clip_grad_value(ones(2, int), 1.0), TypeError, "clip_grad_value: grads must be floating"),
        (lambda: F.parameters_to_vector({}), ValueError, "parameters must hold at least one array"),
        (lambda: F.parameters_to_vector({"a": 1.0}), TypeError, "parameters_to_vector: parameters.a must be an array"),
        (lambda: F.vector_to_parameters([1.0], TREE), TypeError, "vector_to_parameters: vector must be an array"),
        (lambda: F.vector_to_parameters(ones(8), TREE), ValueError, r"vector_to_parameters: vector must be \(9,\)"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_tree_survives_being_a_vector():
    back = jax.jit(lambda tree: F.vector_to_parameters(F.parameters_to_vector(tree), tree))(TREE)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    assert [x.dtype for x in jax.tree.leaves(back)] == [x.dtype for x in jax.tree.leaves(TREE)]
    shapes = jax.eval_shape(lambda: TREE)
    assert_close(F.vector_to_parameters(jnp.arange(9.0), shapes)["b"], [np.arange(2.0, 8).reshape(2, 3), np.array(8.0)])


def test_gradients_pass_through_the_vector():
    gradient = jax.grad(lambda v: (jnp.arange(3.0) * F.vector_to_parameters(v, [ones((2, 3)), ones(3)])[1]).sum())(
        ones(9)
    )
    assert_close(gradient, np.array([0, 0, 0, 0, 0, 0, 0, 1, 2], np.float32))


def test_clipping_keeps_structure_and_dtypes():
    clipped, total = jax.jit(F.clip_grad_norm)(TREE, 1.5)
    assert_close(total, np.asarray(3.0))
    assert jax.tree.map(lambda x: x.dtype, clipped) == jax.tree.map(lambda x: x.dtype, TREE)
    np.testing.assert_allclose(clipped["b"][0], 0.5, rtol=1e-5)
    assert F.clip_grad_norm({}, 1.0) == ({}, 0.0)


def test_the_norm_of_float16_does_not_overflow():
    clipped, total = F.clip_grad_norm([jnp.full(64, 3e4, "float16")], 80.0)
    np.testing.assert_allclose(total, 24e4, rtol=1e-6)
    np.testing.assert_allclose(clipped[0], 10.0, rtol=1e-3)


def test_clipping_may_be_differentiated_at_zero():
    gradient = jax.grad(lambda g: F.clip_grad_norm([g], 1.0)[0][0].sum())(jnp.zeros(3))
    assert_close(gradient, np.ones(3, np.float32))


def test_an_infinite_norm_is_nan_in_a_trace_as_in_torch():
    clipped, total = jax.jit(lambda g: F.clip_grad_norm([g], 1.0, error_if_nonfinite=True))(jnp.array([jnp.inf, 1.0]))
    assert jnp.isinf(total)
    np.testing.assert_array_equal(clipped[0], [np.nan, 0.0])


def test_the_power_method_finds_the_largest_singular_value():
    W = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)), jnp.float32)
    normed, (u, v) = F.spectral_norm(W, jnp.full(6, 6**-0.5), jnp.full(4, 0.5), 200)
    singular = np.linalg.svd(np.asarray(normed), compute_uv=False)
    np.testing.assert_allclose(singular[0], 1.0, rtol=1e-5)
    again, _ = F.spectral_norm(W, u, v, 0)
    assert_close(again, np.asarray(normed))
    assert (jax.grad(lambda u: F.spectral_norm(W, u, v)[1][0].sum())(u) == 0).all()
