"""What the operations of dropout.py refuse, in words."""

import jax
import jax.numpy as jnp
import pytest
from cases_dropout import SHAPES

import purenn.functional as F

KEY = jax.random.key(0)
each = pytest.mark.parametrize("name", SHAPES)


@each
def test_what_every_dropout_refuses(name):
    f, x = getattr(F, name), jnp.ones(SHAPES[name])
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"^{name}: p must lie in \[0, 1\], got p={p}\.$"):
            f(x, p, False)
    with pytest.raises(
        ValueError,
        match=rf"^{name}: rng must be given when training, got rng=None. "
        r"Pass rng=jax.random.key\(0\), a fresh one for each call.$",
    ):
        f(x, training=True)
    with pytest.raises(TypeError, match=f"^{name}: rng must be a PRNG key, got rng=0. Pass rng="):
        f(x, training=True, rng=0)
    for dtype in ("int32", "bool", "complex64"):
        with pytest.raises(
            TypeError, match=f"^{name}: input must be floating when training, got input.dtype='{dtype}'. Cast it"
        ):
            f(x.astype(dtype), training=True, rng=KEY)
    with pytest.raises(TypeError, match=f"^{name}: input must be an array"):
        f([1.0])


@pytest.mark.parametrize("ndim", [0, 1, 4])
def test_dropout1d_refuses_other_ranks(ndim):
    with pytest.raises(ValueError, match=r"^dropout1d: input must be \(C, L\) or \(N, C, L\), got input.shape="):
        F.dropout1d(jnp.ones((2,) * ndim), training=False)


@pytest.mark.parametrize(("name", "ndim"), [("dropout2d", 1), ("dropout3d", 0), ("feature_alpha_dropout", 1)])
@pytest.mark.filterwarnings("ignore:dropout")
def test_a_channel_axis_is_needed_to_drop_channels(name, ndim):
    x = jnp.ones((2,) * ndim)
    with pytest.raises(ValueError, match=rf"^{name}: input must have a channel axis, got .* Use dropout instead."):
        getattr(F, name)(x, 0.5, True, rng=KEY)
    for p, training in ((0.5, False), (0.0, True), (1.0, True)):
        assert getattr(F, name)(x, p, training).shape == x.shape


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("dropout2d", (2, 3, 4), r"read as \(N, C, \*\). dropout2d wants \(N, C, H, W\)"),
        ("dropout3d", (2, 3, 4), r"read as \(C, \*\). dropout3d wants \(\[N,\] C, D, H, W\)"),
    ],
)
def test_other_ranks_are_warned_about(name, shape, words):
    with pytest.warns(UserWarning, match=rf"^{name}: input of shape {shape}".replace("(", r"\(").replace(")", r"\)")):
        getattr(F, name)(jnp.ones(shape), training=False)
    with pytest.warns(UserWarning, match=words) as caught:
        getattr(F, name)(jnp.ones(shape), training=False)
    assert caught[0].filename == __file__
