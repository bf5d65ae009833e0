"""purenn.init: every initializer against the distribution of torch.nn.init."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import inspect
import math
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats

from purenn import init, tree
from purenn import layers as L
from purenn.random import as_key, draw, fold_name

KEY = jax.random.key(0)
DRAWN = {
    "uniform": {}, "normal": {}, "trunc_normal": {}, "xavier_uniform": {}, "xavier_normal": {}, "kaiming_uniform": {},
    "kaiming_normal": {}, "orthogonal": {}, "sparse": {"sparsity": 0.3},
}  # fmt: skip
CONSTANT = {"constant": {"val": 2.5}, "ones": {}, "zeros": {}, "eye": {}, "dirac": {}}
SHAPES = [(1, 1), (3, 5), (64, 7), (8, 4, 3), (6, 2, 3, 5), (4, 3, 1, 2, 3), (1, 300), (0, 3), (3, 0)]
each_drawn = pytest.mark.parametrize("name", DRAWN)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def by(name, rng=KEY, shape=(48, 24), dtype=jnp.float32, **options):
    options = {**DRAWN.get(name, {}), **CONSTANT.get(name, {}), **options}
    return getattr(init, name)(rng, shape, dtype, **options)


def torch_by(name, shape, seed=0, **options):
    options = {**DRAWN.get(name, {}), **CONSTANT.get(name, {}), **options}
    torch.manual_seed(seed)
    return getattr(torch.nn.init, f"{name}_")(torch.empty(shape), **options).numpy()


# -------------------------------------------------------------------------------------------------------- the table


def test_every_initializer_of_torch_is_here_and_in_the_tables():
    theirs = {name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")}
    assert len(theirs) >= 14
    assert {f"{name}_" for name in {**DRAWN, **CONSTANT}} == theirs
    assert set(init.__all__) == {"calculate_gain"} | theirs | {name.removesuffix("_") for name in theirs}
    assert all(hasattr(init, name) for name in init.__all__)


@pytest.mark.parametrize("name", [*DRAWN, *CONSTANT])
def test_arguments_are_torchs_in_order_and_default(name):
    assert getattr(init, f"{name}_") is getattr(init, name)
    ours = list(inspect.signature(getattr(init, name)).parameters.values())
    theirs = list(inspect.signature(getattr(torch.nn.init, f"{name}_")).parameters.values())
    theirs = [p for p in theirs[1:] if p.name != "generator"]
    assert [p.name for p in ours[:3]] == ["rng", "shape", "dtype"]
    assert [p.name for p in ours[3:]] == [p.name for p in theirs]
    for mine, their in zip(ours[3:], theirs, strict=True):
        assert their.default is inspect.Parameter.empty or mine.default == their.default


@pytest.mark.parametrize("name", [*DRAWN, *CONSTANT])
def test_initializers_pickle(name):
    assert pickle.loads(pickle.dumps(getattr(init, name))) is getattr(init, name)


# ------------------------------------------------------------------------------------------------------ calculate_gain


@pytest.mark.parametrize(
    ("nonlinearity", "param"),
    [
        *((name, None) for name in ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                                    "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")),
        ("leaky_relu", 0), ("leaky_relu", 0.3), ("leaky_relu", -2), ("leaky_relu", 0.01), ("relu", 5),
    ],
)  # fmt: skip
def test_calculate_gain_equals_torch(nonlinearity, param):
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


def test_calculate_gain_refuses():
    with refused(
        ValueError, "calculate_gain: nonlinearity must be one torch knows, got nonlinearity='gelu'. Choose one of"
    ):
        init.calculate_gain("gelu")  # fmt: skip
    for slope in (True, "0.1"):
        with refused(ValueError, f"calculate_gain: param must be a number, got param={slope!r}."):
            init.calculate_gain("leaky_relu", slope)


# ----------------------------------------------------------------------------------------------- the rules of the fans


class Recorded(Exception):  # noqa: N818
    """Carries what torch was about to draw."""


def torch_rule(monkeypatch, name, shape, **options):
    """The bounds or the standard deviation torch would draw with; no number is drawn."""

    def record(*args):
        raise Recorded(args)

    weight = torch.empty(shape)
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, a, b, generator=None: record(a, b))
    monkeypatch.setattr(torch.Tensor, "normal_", lambda self, mean, std, generator=None: record(mean, std))
    with pytest.raises(Recorded) as caught:
        getattr(torch.nn.init, f"{name}_")(weight, **options)
    monkeypatch.undo()
    return caught.value.args[0]


def our_rule(monkeypatch, name, shape, **options):
    seen = []

    def record(kind, rng, shape, dtype, scale=1.0, shift=0.0, bounds=None):
        seen.append((shift, shift + scale) if kind == "uniform" else (shift, scale))
        return jnp.zeros(shape)

    monkeypatch.setattr(init, "draw", record)
    getattr(init, name)(KEY, shape, **options)
    monkeypatch.undo()
    return seen[0]


@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xavier_uniform", {}), ("xavier_uniform", {"gain": 5 / 3}), ("xavier_normal", {}), ("xavier_normal", {"gain": 0.1}),
        ("kaiming_uniform", {}), ("kaiming_uniform", {"a": math.sqrt(5)}), ("kaiming_uniform", {"mode": "fan_out"}),
        ("kaiming_uniform", {"nonlinearity": "tanh"}), ("kaiming_normal", {}), ("kaiming_normal", {"nonlinearity": "relu"}),
        ("kaiming_normal", {"mode": "fan_out", "nonlinearity": "relu"}), ("kaiming_normal", {"a": 0.2, "mode": "fan_out"}),
        ("uniform", {"a": -2.0, "b": 0.5}), ("normal", {"mean": 3.0, "std": 0.2}),
    ],
    ids=str,
)  # fmt: skip
def test_bounds_and_deviations_are_torchs(monkeypatch, name, options, shape):
    ours, theirs = our_rule(monkeypatch, name, shape, **options), torch_rule(monkeypatch, name, shape, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------- the distributions


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uniform", {"a": -2.0, "b": 0.5}), ("normal", {"mean": 3.0, "std": 0.2}), ("trunc_normal", {}),
        ("trunc_normal", {"mean": 1.0, "std": 2.0, "a": -1.0, "b": 1.5}), ("xavier_uniform", {"gain": 2.0}),
        ("trunc_normal", {"mean": 0.0, "std": 0.02}), ("xavier_normal", {}), ("kaiming_uniform", {"a": 1.0}),
        ("kaiming_normal", {"mode": "fan_out"}), ("orthogonal", {"gain": 3.0}),
    ],
    ids=str,
)  # fmt: skip
def test_distribution_is_torchs(name, options):
    shape = (200, 150)
    ours = np.asarray(by(name, shape=shape, **options)).ravel()
    theirs = torch_by(name, shape, **options).ravel()
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    error = theirs.std() / math.sqrt(theirs.size)
    assert abs(ours.mean() - theirs.mean()) < 6 * error
    assert abs(ours.std() / theirs.std() - 1) < 0.02
    if "normal" not in name or name == "trunc_normal":
        width = theirs.max() - theirs.min()
        assert abs(ours.min() - theirs.min()) < 0.1 * width
        assert abs(ours.max() - theirs.max()) < 0.1 * width


def test_the_distribution_law_can_fail():
    ours = np.asarray(init.uniform(KEY, (60000,), a=-1, b=1.05))
    assert stats.ks_2samp(ours, torch_by("uniform", (60000,), a=-1, b=1)).pvalue < 1e-3


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-3.0, -2.0), (-1e-3, 1e-3)])
def test_uniform_stays_within_its_bounds(a, b):
    x = np.asarray(init.uniform(KEY, (200_000,), a=a, b=b), np.float64)
    assert np.float32(a) <= x.min() < a + 1e-4 * (b - a)
    assert b - 1e-4 * (b - a) < x.max() <= np.float32(b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_trunc_normal_never_leaves_its_bounds(dtype):
    x = np.asarray(init.trunc_normal(KEY, (50_000,), dtype, std=3.0, a=-0.75, b=1.5)).astype(np.float64)
    assert x.min() >= -0.75
    assert x.max() <= 1.5


def test_trunc_normal_far_from_its_mean_warns_as_torch_does():
    with pytest.warns(UserWarning, match="trunc_normal: mean is more than 2 std from \\[a, b\\]") as caught:
        x = init.trunc_normal(KEY, (10,), mean=10.0)
    assert caught[0].filename == __file__
    assert ((x >= -2) & (x <= 2)).all()


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (4, 2, 3), (2, 3, 4, 1), (1, 1)])
@pytest.mark.parametrize("gain", [1, 0.5])
def test_orthogonal_is_orthogonal(shape, gain):
    q = np.asarray(init.orthogonal(KEY, shape, gain=gain)).reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=2e-6)


def test_orthogonal_is_uniform_over_the_group():
    # Haar: determinants +1 and -1 are equally likely, and every entry has mean 0 and variance 1 / n
    q = np.asarray(jax.vmap(lambda key: init.orthogonal(key, (3, 3)))(jax.random.split(KEY, 2000)))
    assert abs(np.linalg.det(q).mean()) < 0.08
    assert np.abs(q.mean(0)).max() < 0.06
    np.testing.assert_allclose(q.var(0), 1 / 3, atol=0.03)


def test_orthogonal_complex_is_unitary():
    q = np.asarray(init.orthogonal(KEY, (6, 4), jnp.complex64))
    np.testing.assert_allclose(q.conj().T @ q, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.35, 1.0])
@pytest.mark.parametrize("shape", [(10, 4), (7, 13), (1, 5)])
def test_sparse_has_torchs_number_of_zeros_in_every_column(shape, sparsity):
    ours = np.asarray(init.sparse(KEY, shape, sparsity=sparsity, std=0.5))
    theirs = torch_by("sparse", shape, sparsity=sparsity, std=0.5)
    np.testing.assert_array_equal((ours == 0).sum(0), (theirs == 0).sum(0))


def test_sparse_zeros_are_everywhere_and_the_rest_normal():
    x = np.asarray(init.sparse(KEY, (100, 2000), sparsity=0.25, std=0.02))
    assert abs((x == 0).mean(1) - 0.25).max() < 0.06
    assert stats.kstest(x[x != 0][:20000] / 0.02, "norm").pvalue > 1e-3


# ------------------------------------------------------------------------------------------------ constant ones, exact


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (0, 2), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool", "complex64"])
def test_eye_is_torchs(shape, dtype):
    ours = init.eye(None, shape, dtype)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(np.asarray(ours).astype(complex), torch_by("eye", shape))


@pytest.mark.parametrize("shape", [(3, 3, 3), (4, 2, 5), (2, 4, 4), (6, 3, 2, 3), (3, 6, 1, 1), (6, 2, 3, 3, 3)])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_dirac_is_torchs(shape, groups):
    if shape[0] % groups:
        with refused(ValueError, f"dirac: groups must divide shape[0], got shape={shape} and groups={groups}."):
            init.dirac(None, shape, groups=groups)
    else:
        np.testing.assert_array_equal(init.dirac(None, shape, groups=groups), torch_by("dirac", shape, groups=groups))


@pytest.mark.parametrize("name", ["constant", "ones", "zeros"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_constants(name, dtype, shape):
    ours = by(name, None, shape, dtype)
    assert isinstance(ours, jax.Array)
    assert (ours.shape, ours.dtype) == (shape, dtype)
    value = {"constant": 2 if dtype == "int32" else 2.5, "ones": 1, "zeros": 0}[name]
    assert (np.asarray(ours).astype(complex) == value).all()


# ------------------------------------------------------------------------------------------------ keys, blocks, traces


@each_drawn
def test_traced_numbers_are_the_eager_ones(name):
    eager = by(name)
    for traced in (jax.jit(lambda key: by(name, key))(KEY), jax.jit(lambda: by(name))()):
        np.testing.assert_allclose(traced, eager, rtol=1e-6, atol=1e-6)


@each_drawn
def test_raw_and_typed_keys_draw_alike(name):
    raw = jax.random.key_data(KEY)
    np.testing.assert_array_equal(by(name, raw), by(name))
    np.testing.assert_array_equal(by(name, np.asarray(raw)), by(name))
    np.testing.assert_array_equal(by(name, jax.random.PRNGKey(0)), by(name))


@each_drawn
def test_vmap_over_keys_equals_the_loop(name):
    keys = jax.random.split(KEY, 3)
    batched = jax.vmap(lambda key: by(name, key, (6, 4)))(keys)
    np.testing.assert_allclose(batched, [by(name, key, (6, 4)) for key in keys], rtol=1e-5, atol=1e-6)
    raw = jax.vmap(lambda key: by(name, key, (6, 4)))(jax.random.key_data(keys))
    np.testing.assert_array_equal(raw, batched)


@each_drawn
def test_the_same_key_draws_the_same_and_another_another(name):
    np.testing.assert_array_equal(by(name), by(name))
    assert (np.asarray(by(name)) != np.asarray(by(name, jax.random.key(1)))).mean() > 0.5


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 16 * 1024, 16 * 1024 + 1, 17 * 1024 + 5, 273 * 1024 + 7])
def test_blocks_are_independent_and_agree_with_the_trace(size):
    x = np.asarray(init.normal(KEY, (size,)))
    assert x.shape == (size,)
    # blocks do not know the rest; programs over 1, 16 and 256 blocks may round differently (2.4e-7 measured)
    np.testing.assert_allclose(x, np.asarray(init.normal(KEY, (300 * 1024,)))[:size], rtol=1e-6, atol=1e-6)
    if size > 1024:
        blocks = x[: size // 1024 * 1024].reshape(-1, 1024)
        assert len({row.tobytes() for row in blocks}) == len(blocks)
        correlation = np.corrcoef(blocks[:50]) if len(blocks) > 1 else np.eye(1)
        assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2
    if size < 20 * 1024:
        np.testing.assert_allclose(jax.jit(lambda key: init.normal(key, (size,)))(KEY), x, rtol=1e-6, atol=1e-6)


def test_names_give_independent_keys():
    names = [f"layer{i}" for i in range(200)] + [str(i) for i in range(200)] + ["weight", "bias"]
    keys = {np.asarray(jax.random.key_data(fold_name(KEY, name))).tobytes() for name in names}
    assert len(keys) == len(names)
    weight, bias = (np.asarray(init.normal(fold_name(KEY, name), (10_000,))) for name in ("weight", "bias"))
    assert abs(np.corrcoef(weight, bias)[0, 1]) < 0.04


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_complex_parts_are_independent(kind):
    z = np.asarray(draw(kind, KEY, (20_000,), jnp.complex64))
    assert z.dtype == np.complex64
    assert abs(np.corrcoef(z.real, z.imag)[0, 1]) < 0.04


@each_drawn
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes_are_kept_and_halves_are_the_rounded_floats(name, dtype):
    x = by(name, dtype=dtype)
    assert x.dtype == dtype
    np.testing.assert_allclose(np.asarray(x).astype(float), by(name), rtol=2**-8, atol=2**-8)


@each_drawn
def test_float64_is_quietly_float32_without_x64_and_itself_with_it(name):
    assert by(name, dtype=jnp.float64).dtype == jnp.float32
    with jax.enable_x64(True):
        x = np.asarray(by(name, dtype=jnp.float64))
        assert x.dtype == np.float64
        assert (x != x.astype(np.float32)).any()


@pytest.mark.parametrize("name", ["uniform", "normal", "xavier_uniform", "kaiming_normal"])
def test_complex_draws(name):
    assert by(name, dtype=jnp.complex64).dtype == jnp.complex64


@each_drawn
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_shapes(name, shape):
    assert by(name, shape=shape).shape == shape
    assert jax.jit(lambda key: by(name, key, shape))(KEY).shape == shape


def test_initializers_are_usable_as_jax_initializers():
    assert L.Linear(3, 2).init(KEY)[0]["weight"].shape == (2, 3)
    assert tree.count(jax.eval_shape(lambda key: init.uniform(key, (2**20, 2**15)), KEY)) == 2**35
    assert init.normal(KEY, np.int64(3)).shape == init.normal(KEY, 3).shape == init.normal(KEY, [3]).shape == (3,)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("name", [*DRAWN, *CONSTANT])
@pytest.mark.parametrize("weight", [jnp.ones((3, 3)), np.ones((3, 3)), torch.ones(3, 3)], ids=["jax", "numpy", "torch"])
@pytest.mark.parametrize("rest", [(), (0.5,), ((3, 3),)], ids=["alone", "number", "shape"])
def test_torchs_habit_is_refused_with_the_remedy(name, weight, rest):
    words = f"{name}: rng must be a PRNG key, got rng.dtype='{weight.dtype}'. Arrays do not change in place: write "
    with refused(TypeError, words + f"layer.weight = init.{name}(rng, layer.weight.shape)."):
        getattr(init, f"{name}_")(weight, *rest)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: init.uniform(None, (2,)), ValueError, "uniform: rng must be given, got rng=None. Pass rng=jax.random.key(0)"),
        (lambda: init.normal(0, (2,)), TypeError, "normal: rng must be one PRNG key, got type(rng)='int'. Pass rng="),
        (lambda: init.normal(jax.random.split(KEY, 3), (2,)), TypeError, "normal: rng must be one PRNG key, got rng.dtype='key<fry>' and rng.shape=(3,)."),
        (lambda: init.normal(np.zeros(2, np.int32), (2,)), TypeError, "normal: rng must be one PRNG key, got rng.dtype='int32' and rng.shape=(2,)."),
        (lambda: init.normal(np.zeros((3, 2), np.uint32), (2,)), TypeError, "normal: rng must be one PRNG key, got rng.dtype='uint32' and rng.shape=(3, 2)."),
        (lambda: as_key("op", torch.ones(2)), TypeError, "op: rng must be one PRNG key, got type(rng)='Tensor'."),
        (lambda: init.uniform(KEY, 2.5), TypeError, "uniform: shape must be a sequence of integers, got type(shape)='float'."),
        (lambda: init.zeros(None, "33"), TypeError, "zeros: shape must be a sequence of integers, got type(shape)='str'."),
        (lambda: init.ones(None, (3, 2.5)), TypeError, "ones: shape[1] must be an integer, got shape[1]=2.5."),
        (lambda: init.xavier_normal(KEY, (3, True)), TypeError, "xavier_normal: shape[1] must be an integer, got shape[1]=True."),
        (lambda: init.normal(KEY, (-1, 3)), ValueError, "normal: shape[0] must not be negative, got shape[0]=-1."),
        (lambda: init.uniform(KEY, (3,), jnp.int32), TypeError, "uniform: dtype must be floating or complex, got dtype='int32'."),
        *(
            (lambda fn=fn: getattr(init, fn)(KEY, (3, 3, 3)[: 2 + (fn == "dirac")], torch.float32), TypeError, f"{fn}: dtype must be one that jax or numpy knows, got dtype=torch.float32. Pass jnp.float32 or 'float32', say.")
            for fn in ("normal", "zeros", "eye", "dirac")
        ),
        (lambda: init.orthogonal(KEY, (3, 3), bool), TypeError, "orthogonal: dtype must be floating or complex, got dtype='bool'."),
        (lambda: init.trunc_normal(KEY, (3,), jnp.complex64), TypeError, "trunc_normal: dtype must be real, got dtype='complex64'."),
        (lambda: init.eye(None, (3,)), ValueError, "eye: shape must have 2 numbers, got shape=(3,)."),
        (lambda: init.dirac(None, (3, 3)), ValueError, "dirac: shape must have 3, 4 or 5 numbers, got shape=(3, 3)."),
        (lambda: init.dirac(None, (3, 3, 3), groups=0), ValueError, "dirac: groups must divide shape[0], got shape=(3, 3, 3) and groups=0."),
        (lambda: init.sparse(KEY, (3, 3, 3)), ValueError, "sparse: shape must have 2 numbers, got shape=(3, 3, 3)."),
        (lambda: init.orthogonal(KEY, (3,)), ValueError, "orthogonal: shape must have at least 2 numbers, got shape=(3,)."),
        *((lambda name=name: getattr(init, name)(KEY, (3,)), ValueError,
           f"{name}: shape must have at least 2 numbers to have a fan in and a fan out, got shape=(3,).")
          for name in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")),
        (lambda: init.kaiming_normal(KEY, (3, 3), mode="in"), ValueError, "kaiming_normal: mode must be 'fan_in' or 'fan_out', got mode='in'."),
        (lambda: init.kaiming_uniform(KEY, (3, 3), nonlinearity="swish"), ValueError, "calculate_gain: nonlinearity must be one torch knows, got nonlinearity='swish'."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


def test_a_draw_of_an_unknown_kind_is_a_bug():
    with pytest.raises(AssertionError, match="cauchy"):
        draw("cauchy", KEY, (3,), jnp.float32)
