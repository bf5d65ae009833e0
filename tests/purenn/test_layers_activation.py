"""What the laws cannot say of the activations with weights or random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from purenn import layers as L

KEY = jax.random.key(0)


def test_prelu_starts_from_its_slope():
    params, buffers = L.PReLU(3, -0.5, jnp.float16).init(KEY)
    assert buffers == {}
    np.testing.assert_array_equal(params["weight"], np.full(3, -0.5, np.float16))
    assert params["weight"].dtype == jnp.float16
    with pytest.raises(TypeError, match=r"^PReLU: num_parameters must be an integer, got num_parameters=0\.25\."):
        L.PReLU(0.25)


def test_rrelu_in_training_has_torchs_distribution():
    x = -jnp.ones(20000)
    y = -np.asarray(L.RReLU(0.2, 0.6).apply({}, {}, x, rng=KEY, train=True)[0])
    torch.manual_seed(0)
    theirs = -torch.nn.RReLU(0.2, 0.6)(-torch.ones(20000)).numpy()
    assert y.min() >= 0.2
    assert y.max() < 0.6
    np.testing.assert_allclose(np.quantile(y, [0.1, 0.5, 0.9]), np.quantile(theirs, [0.1, 0.5, 0.9]), atol=0.01)
    np.testing.assert_array_equal(L.RReLU().apply({}, {}, -x, rng=KEY, train=True)[0], -x)


def test_rrelu_asks_for_a_key_in_training_only():
    layer = L.RReLU(0.2, 0.6)
    np.testing.assert_allclose(layer.apply({}, {}, -jnp.ones(2))[0], jnp.full(2, -0.4), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^RReLU: rng must be given where random numbers are drawn"):
        layer.apply({}, {}, jnp.ones(2), train=True)
    with pytest.raises(ValueError, match=r"^rrelu: "):
        L.RReLU(0.6, 0.2).apply({}, {}, jnp.ones(2), rng=KEY, train=True)
