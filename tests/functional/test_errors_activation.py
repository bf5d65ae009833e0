"""What the operations of activation.py refuse, in words."""

import jax
import jax.numpy as jnp
import pytest

import purenn.functional as F

X = jnp.ones((2, 4))
KEY = jax.random.key(0)
FLOATING = [
    "elu", "elu_", "selu", "celu", "celu_", "leaky_relu", "leaky_relu_", "rrelu", "rrelu_", "glu", "gelu", "logsigmoid",
    "softplus", "hardshrink", "softshrink", "hardsigmoid", "hardswish", "mish",
]  # fmt: skip
ORDERED = ["relu", "relu6", "hardtanh", "hardtanh_"]


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
@pytest.mark.parametrize("name", FLOATING)
def test_only_floating_numbers(name, dtype):
    with pytest.raises(TypeError, match=rf"^{name}: input must be floating, got input.dtype='{dtype}'. Cast it with"):
        getattr(F, name)(X.astype(dtype))


@pytest.mark.parametrize("name", ORDERED)
def test_only_what_can_be_compared(name):
    with pytest.raises(TypeError, match=rf"^{name}: input must not be boolean. Cast it with"):
        getattr(F, name)(X.astype(bool))
    with pytest.raises(TypeError, match=rf"^{name}: input must be real, got input.dtype='complex64'"):
        getattr(F, name)(X.astype("complex64"))


@pytest.mark.parametrize("name", F.__all__)
def test_no_activation_takes_a_list(name):
    if getattr(F, name).__module__ != "purenn.functional.activation":
        return
    rest = {"threshold": (0, 0), "threshold_": (0, 0), "prelu": (jnp.ones(1),), "softmax": (0,)}.get(name, ())
    argument = "logits" if name == "gumbel_softmax" else "input"
    with pytest.raises(TypeError, match=rf"{argument} must be an array, got type\({argument}\)='builtins.list'"):
        getattr(F, name)([1.0], *rest)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.threshold(X > 0, 0, 0), TypeError, "^threshold: input must not be boolean"),
        (lambda: F.threshold_(X + 1j, 0, 0), TypeError, "^threshold_: input must be real"),
        (lambda: F.hardtanh(X, 2, 1), ValueError,
         "^hardtanh: min_val must not exceed max_val, got min_val=2 and max_val=1"),
        (lambda: F.hardtanh_(X, 2, 1), ValueError, "^hardtanh_: min_val must not exceed"),
        (lambda: F.hardtanh(X.astype("uint8")), TypeError,
         "^hardtanh: bounds of unsigned integers must not be negative, got min_val=-1.0 and max_val=1.0 and input"),
        (lambda: F.celu(X, 0.0), ValueError, "^celu: alpha must not be 0, got alpha=0.0"),
        (lambda: F.celu_(X, 0), ValueError, "^celu_: alpha must not be 0"),
        (lambda: F.prelu(X.astype(int), jnp.ones(1)), TypeError, "^prelu: input must be floating"),
        (lambda: F.prelu(X, 0.25), TypeError, "^prelu: weight must be an array"),
        (lambda: F.prelu(X, jnp.ones(1, "float16")), TypeError, "^prelu: input, weight must have one dtype"),
        (lambda: F.prelu(X, jnp.ones(3)), ValueError,
         r"^prelu: weight must be \(C,\) or \(1,\), got weight.shape=\(3,\) and input.shape=\(2, 4\)"),
        (lambda: F.prelu(X, jnp.ones((1, 1))), ValueError, "^prelu: weight must be"),
        (lambda: F.prelu(X[0], jnp.ones(4)), ValueError, "An input with channels is"),
        (lambda: F.rrelu(X, 0.5, 0.2), ValueError,
         "^rrelu: lower and upper must be finite and in this order, got lower=0.5 and upper=0.2"),
        (lambda: F.rrelu_(X, 0.5, float("inf")), ValueError, "^rrelu_: lower and upper must be finite"),
        (lambda: F.rrelu(X, training=True), ValueError,
         r"^rrelu: rng must be given when training, got rng=None. Pass rng=jax.random.key\(0\), a fresh one for each"),
        (lambda: F.glu(jnp.ones(())), ValueError, r"^glu: input must have an axis to halve, got input.shape=\(\)"),
        (lambda: F.glu(jnp.ones((2, 3))), ValueError,
         r"^glu: the halved axis must have an even length, got input.shape=\(2, 3\) and dim=-1"),
        (lambda: F.glu(X, 2), IndexError, r"^glu: dim must lie in \[-2, 1\], got dim=2 and input.shape=\(2, 4\)"),
        (lambda: F.glu(X, -3), IndexError, "^glu: dim must lie in"),
        (lambda: F.glu(X, 1.0), TypeError, "^glu: dim must be an integer, got dim=1.0"),
        (lambda: F.glu(X, True), TypeError, "^glu: dim must be an integer, got dim=True"),
        (lambda: F.gelu(X, approximate="sigmoid"), ValueError,
         "^gelu: approximate must be 'none' or 'tanh', got approximate='sigmoid'"),
        (lambda: F.softshrink(X, -0.5), ValueError,
         "^softshrink: lambd must be finite and not negative, got lambd=-0.5"),
        (lambda: F.softshrink(X, float("nan")), ValueError, "^softshrink: lambd must be finite"),
        (lambda: F.tanhshrink(X > 0), TypeError, "^tanhshrink: input must not be boolean"),
        (lambda: F.softsign(X > 0), TypeError, "^softsign: input must not be boolean"),
        (lambda: F.silu(X.astype(int)), TypeError, "^silu: input must be floating"),
        (lambda: F.softmax(X.astype(int), 1), TypeError, "^softmax: input must be floating"),
        (lambda: F.softmax(X + 1j, 1), TypeError, "^softmax: input must be floating"),
        (lambda: F.softmax(X, 1, dtype="int32"), TypeError,
         "^softmax: dtype must be a floating dtype, got dtype='int32'. Pass jnp.float32"),
        (lambda: F.log_softmax(X, 1, dtype="nonsense"), TypeError, "^log_softmax: dtype must be a floating dtype"),
        (lambda: F.softmax(X, 2), IndexError, r"^softmax: dim must lie in \[-2, 1\]"),
        (lambda: F.softmax(jnp.ones(()), 1), IndexError, r"^softmax: dim must lie in \[-1, 0\]"),
        (lambda: F.log_softmax(X, (0, 1)), TypeError, r"^log_softmax: dim must be an integer, got dim=\(0, 1\)"),
        (lambda: F.softmin(X > 0, 1, dtype="float32"), TypeError, "^softmin: input must not be boolean"),
        (lambda: F.softmin(X, -3), IndexError, "^softmin: dim must lie in"),
        (lambda: F.gumbel_softmax(X), ValueError, "^gumbel_softmax: rng must be given, got rng=None. Pass"),
        (lambda: F.gumbel_softmax(X, rng=0), TypeError, "^gumbel_softmax: rng must be a PRNG key, got rng=0. Pass"),
        (lambda: F.gumbel_softmax(X.astype(int), rng=KEY), TypeError,
         "^gumbel_softmax: logits must be floating, got logits.dtype='int32'"),
        (lambda: F.gumbel_softmax(X, dim=2, rng=KEY), IndexError, r"^gumbel_softmax: dim must lie in .* logits.shape="),
        (lambda: F.gumbel_softmax(jnp.ones((3, 0)), hard=True, rng=KEY), IndexError,
         r"^gumbel_softmax: hard needs at least one category, got logits.shape=\(3, 0\) and dim=-1"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), [((), 0), ((3,), 0), ((2, 3), 1), ((2, 3, 4), 0), ((1, 2, 3, 4), 1)])
def test_a_dim_not_given_is_warned_about(name, shape, dim):
    x = jnp.arange(24.0)[: max(1, int(jnp.prod(jnp.array(shape))))].reshape(shape)
    with pytest.warns(UserWarning, match=f"^{name}: dim is not given, {dim} is taken") as caught:
        y = getattr(F, name)(x)
    assert caught[0].filename == __file__
    assert (y == getattr(F, name)(x, dim)).all()


def test_eps_of_gumbel_softmax_is_warned_about():
    with pytest.warns(UserWarning, match="^gumbel_softmax: eps has no effect") as caught:
        y = F.gumbel_softmax(X, eps=1e-3, rng=KEY)
    assert caught[0].filename == __file__
    assert (y == F.gumbel_softmax(X, rng=KEY)).all()
