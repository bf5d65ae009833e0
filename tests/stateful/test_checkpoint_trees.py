"""Trees restored, modules filled, names chosen and renamed; and nothing changed where something does not fit."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import stateful as nn
import transforms
from stateful.checkpoint import inspect

KEY = jax.random.key(0)
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def refused(kind, words):
    return pytest.raises(kind, match="^" + re.escape(words))


def equal(a, b):
    a, b = (
        jax.random.key_data(x) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in (a, b)
    )
    assert type(a) is type(b)
    if hasattr(a, "dtype"):
        assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------------------ restore


@pytest.fixture(scope="module")
def training():
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.masked(optax.adamw(optax.cosine_decay_schedule(1e-2, 10)), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        optax.trace(0.9),
    )  # fmt: skip
    step = transforms.train_step(net(), lambda m, x: (m(x) ** 2).mean(), optimizer, donate=True)
    x = jnp.ones((5, 3)) * jnp.arange(5)[:, None]
    state, _ = step.step(step.init(KEY), x)
    return step, state, x


def test_a_training_state_comes_back_and_goes_on_to_the_bit(tmp_path, training):
    trainer, state, x = training
    like = jax.tree.map(jnp.copy, state)
    nn.save(tmp_path / "a", state)
    back = nn.restore(tmp_path / "a", like)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    jax.tree.map(equal, back, state)
    assert "opt_state.1.inner_state.0.mu.0.weight" in nn.load(tmp_path / "a")
    after = [trainer.step(jax.tree.map(jnp.copy, s), x) for s in (state, back)]
    jax.tree.map(equal, *after)
    # a step may take the memory of the restored state, and the taken state is still good as a pattern
    trainer.step(back, x)
    jax.tree.map(equal, nn.restore(tmp_path / "a", back), state)


def test_every_kind_of_leaf_in_every_kind_of_node(tmp_path):
    tree = {
        "list": [1, (2.5, None), np.arange(3)], "key": jax.random.split(KEY), "old": jax.random.PRNGKey(3), "text": "ü", "flag": False, "c": 1j,
        "ints": {0: jnp.ones((2, 0)), 1: 2}, "named": optax.ScaleByAdamState(jnp.int32(3), {"w": BASE}, {}), "i4": jnp.arange(3, dtype=jnp.int4), "wide": np.int64([2**40]),
    }  # fmt: skip
    nn.save(tmp_path / "a", tree)
    back = nn.restore(tmp_path / "a", tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert isinstance(back["list"][2], np.ndarray)  # as the pattern has it
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        equal(a, b)
    assert back["list"][1][1] is None


def test_shapes_are_a_pattern_and_say_where(tmp_path):
    tree = {"x": jnp.arange(4.0), "k": KEY}
    nn.save(tmp_path / "a", tree)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = {"x": jax.ShapeDtypeStruct((4,), jnp.float32, sharding=place), "k": jax.eval_shape(lambda: KEY)}
    back = nn.restore(tmp_path / "a", like)
    jax.tree.map(equal, back, tree)
    assert back["x"].committed
    assert not back["k"].committed
    assert nn.restore(tmp_path / "a", tree, device=lambda name, shape, dtype: place if name == "x" else None)[
        "x"
    ].committed
    assert not nn.restore(tmp_path / "a", tree)["x"].committed
    assert nn.restore(tmp_path / "a", {"x": tree["x"], "k": jax.device_put(KEY, place)})["k"].committed


def test_arrays_of_one_name_are_restored_apart(tmp_path):
    x = jnp.ones(3)
    nn.save(tmp_path / "a", {"a": x, "b": x})
    back = nn.restore(tmp_path / "a", {"a": x, "b": x})
    assert back["a"] is not back["b"]
    jax.jit(lambda t: t, donate_argnums=0)(back)  # memory is given only once


MISFITS = {
    "missing": ({"a": BASE, "z": BASE}, "missing: z"), "unexpected": ({}, "unexpected: a"),
    "shape": ({"a": BASE.T}, "mismatched: a: float32[4, 6] in the file, float32[6, 4] in the tree"),
    "dtype": ({"a": BASE.astype(np.float16)}, "mismatched: a: float32[4, 6] in the file, float16[4, 6] in the tree"),
    "scalar": ({"a": 1.0}, "mismatched: a: an array in the file, float in the tree"),
    "array": ({"n": BASE}, "mismatched: n: int in the file, an array in the tree"), "kind": ({"n": True}, "mismatched: n: int in the file, bool in the tree"),
    "no key": ({"k": jax.random.PRNGKey(0)}, "mismatched: k: threefry2x32 keys in words of uint32[2] in the file, uint32[2] in the tree"),
    "key": ({"k": jax.random.key(0, impl="rbg")}, "mismatched: k: threefry2x32 keys in words of uint32[2] in the file, rbg keys in words of uint32[4] in the tree"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_said_all_at_once(tmp_path, name):
    path = tmp_path / "a"
    given = {"a": BASE, "n": 3, "k": KEY}
    nn.save(path, given)
    changes, words = MISFITS[name]
    like = changes if name == "unexpected" else given | changes
    with refused(
        nn.MisfitError,
        f"restore: {str(path)!r} does not fit, nothing was changed. {3 if not changes else 1} problems:\n    ",
    ) as caught:
        nn.restore(path, like)
    assert words in str(caught.value)
    assert words.split(":")[0] in ("missing", "unexpected", "mismatched")
    assert getattr(caught.value.report, words.split(":")[0])


def test_a_looser_restoring_keeps_what_is_missing(tmp_path):
    nn.save(tmp_path / "a", {"a": BASE, "more": 1})
    back = nn.restore(tmp_path / "a", {"a": BASE * 0, "z": 7}, strict=False)
    assert back["z"] == 7
    np.testing.assert_array_equal(back["a"], BASE)
    with refused(nn.MisfitError, "restore: "):
        nn.restore(tmp_path / "a", {"z": jax.ShapeDtypeStruct((2,), jnp.float32)}, strict=False)


def test_patterns_that_are_none(tmp_path):
    nn.save(tmp_path / "a", {"a": BASE})
    with refused(TypeError, "restore: a leaf must be an array or a scalar, got a='object'."):
        nn.restore(tmp_path / "a", {"a": object()})
    with refused(ValueError, "restore: two leaves must not have one name, got names=['a.b', 'a.b']."):
        nn.restore(tmp_path / "a", {"a": {"b": 1}, "a.b": 2})


def test_a_sharded_array_is_restored_in_its_sharding(tmp_path):
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    x = jax.device_put(jnp.arange(8.0), place)
    nn.save(tmp_path / "a", {"x": x, "h": x.astype(jnp.bfloat16)})
    back = nn.restore(tmp_path / "a", {"x": x, "h": jax.ShapeDtypeStruct((8,), jnp.bfloat16, sharding=place)})
    assert back["x"].sharding == back["h"].sharding == place
    assert nn.load(tmp_path / "a", device=place)["x"].sharding == place


# ---------------------------------------------------------------------------------------------------------- load_into


def test_a_fresh_module_is_filled_without_drawing(tmp_path, monkeypatch):
    source, target = net(), net()
    nn.save(tmp_path / "a", source)

    def drawn(*args):
        raise AssertionError("a number was drawn")

    monkeypatch.setattr("purenn.model.Leaf.draw", drawn)
    report = nn.load_into(target, tmp_path / "a")
    assert set(report.loaded) == set(source.state_dict())
    assert report == nn.LoadReport(loaded=report.loaded, verified=True)
    assert str(report) == "9 loaded, verified"
    for name, x in source.state_dict().items():
        np.testing.assert_array_equal(target.state_dict()[name], x)


def test_dtypes_and_places_are_the_modules(tmp_path):
    source = net()
    nn.save(tmp_path / "a", source)
    target = net().bfloat16().to(jax.devices()[0])
    report = nn.load_into(target, tmp_path / "a")
    assert dict(report.narrowed)["0.weight"] == "float32 to bfloat16"
    assert "narrowed: 0.weight: float32 to bfloat16" in str(report)
    assert target[0].weight.dtype == jnp.bfloat16
    assert target[0].weight.committed
    np.testing.assert_array_equal(target[0].weight, source[0].weight.astype(jnp.bfloat16))


def test_a_torch_file_with_wide_counters(tmp_path):
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    theirs(torch.randn(5, 3))
    torch.save({"state": theirs.state_dict()}, tmp_path / "a.pt")
    target = net()
    report = nn.load_into(target, tmp_path / "a.pt", prefix="state.")
    assert dict(report.narrowed) == {"1.num_batches_tracked": "int64 to int32"}
    assert int(target[1].num_batches_tracked) == 1
    np.testing.assert_array_equal(target[0].weight, theirs[0].weight.detach())
    theirs[1].num_batches_tracked.fill_(2**40)
    torch.save(theirs.state_dict(), tmp_path / "b.pt")
    before = target.state_dict()
    with refused(
        ValueError,
        "load_state_dict: the state_dict does not fit Sequential, nothing was changed. 1 problems:\n    mismatched: 1.num_batches_tracked",
    ):
        nn.load_into(target, tmp_path / "b.pt")
    assert all(target.state_dict()[name] is x for name, x in before.items())


def test_what_does_not_fit_changes_nothing_and_is_reported(tmp_path):
    nn.save(tmp_path / "a", {"weight": np.ones((2, 3), np.float32), "more": BASE, "scalar": 1.0})
    target = nn.Linear(3, 4)
    with refused(
        nn.MisfitError,
        f"load_into: {str(tmp_path / 'a')!r} does not fit, nothing was changed. 4 problems:\n    missing: bias\n    unexpected: more\n    unexpected: scalar\n    mismatched: weight: shape (2, 3) in the file, (4, 3) in the module",
    ) as caught:
        nn.load_into(target, tmp_path / "a")
    assert caught.value.report.missing == ("bias",)
    assert caught.value.report.unexpected == ("more", "scalar")
    with refused(nn.MisfitError, "load_into: "):  # shapes always count
        nn.load_into(target, tmp_path / "a", strict=False)
    assert not target._parameters["weight"].drawn
    report = nn.load_into(nn.Linear(3, 2), tmp_path / "a", strict=False)
    assert (report.loaded, report.missing, report.unexpected) == (("weight",), ("bias",), ("more", "scalar"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones(2, np.complex64), "mismatched: bias: dtype complex64 in the file, float32 in the module"),
        (1.0, "mismatched: bias: a scalar or PRNG key in the file, an array in the module"),
        (KEY, "mismatched: bias: a scalar or PRNG key in the file, an array in the module"),
    ],
)  # fmt: skip
def test_kinds_that_do_not_fit(tmp_path, value, words):
    nn.save(tmp_path / "a", {"weight": np.ones((2, 3), np.float32), "bias": value})
    with pytest.raises(nn.MisfitError, match=re.escape(words)):
        nn.load_into(nn.Linear(3, 2), tmp_path / "a")


def test_a_lazy_module_and_tied_weights(tmp_path):
    nn.save(tmp_path / "a", nn.Linear(3, 2))
    lazy = nn.LazyLinear(2)
    nn.load_into(lazy, tmp_path / "a")
    assert lazy.weight.shape == (2, 3)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3, bias=False)
            self.b = nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

    nn.save(tmp_path / "b", {"b.weight": np.ones((3, 3), np.float32)})
    tied = Tied()
    assert set(nn.load_into(tied, tmp_path / "b").loaded) == {"a.weight", "b.weight"}
    assert tied.a.weight is tied.b.weight
    assert nn.load_into(tied, tmp_path / "b", verify=False).verified is False


def test_what_is_no_module(tmp_path):
    with refused(
        TypeError,
        "load_into: module must be a Module, got type='dict'. For a pure model: purenn.load_state_dict(model, nn.load(path)); for a tree: nn.restore.",
    ):
        nn.load_into({}, tmp_path / "a")
    words = "Linear.load_state_dict: state_dict must be a dict, got type(state_dict)='str'. nn.load_into(module, path)"
    with refused(TypeError, words):
        nn.Linear(3, 2).load_state_dict(str(tmp_path))


# ------------------------------------------------------------------------------------------------------------- names


@pytest.fixture
def file(tmp_path):
    x = jnp.arange(3.0)
    nn.save(
        tmp_path / "a",
        {
            "model.enc.w": x,
            "model.enc.b": x.astype(jnp.float16),
            "model.tied": x,
            "model.n": np.int32(3),
            "step": 7,
            "rng": KEY,
        },
    )
    return tmp_path / "a"


def test_prefix_map_and_where(file):
    assert list(nn.load(file, prefix="model.")) == ["enc.w", "enc.b", "n", "tied"]
    assert list(nn.load(file, prefix="model.", where=["enc.*", "n"])) == ["enc.w", "enc.b", "n"]
    assert list(nn.load(file, where=lambda name, leaf: getattr(leaf, "shape", None) == ())) == ["model.n"]
    assert list(nn.load(file, where="step")) == ["step"]
    back = nn.load(file, map={r"^model\.(\w+)\.": r"\1/", "^model": "m"})
    assert list(back) == ["enc/w", "enc/b", "m.n", "rng", "m.tied", "step"]
    assert back["m.tied"] is back["enc/w"]
    assert list(nn.load(file, map=str.upper, where="R*")) == ["RNG"]
    only = nn.load(file, where="model.tied")
    np.testing.assert_array_equal(only["model.tied"], jnp.arange(3.0))
    assert list(inspect(file).names) == ["model.enc.w", "model.enc.b", "model.n", "rng", "model.tied", "step"]


def test_dtype_and_device(file):
    back = nn.load(file, dtype=jnp.bfloat16, device=jax.devices()[0])
    assert (back["model.enc.w"].dtype, back["model.enc.b"].dtype, back["model.n"].dtype) == (
        jnp.bfloat16,
        jnp.bfloat16,
        jnp.int32,
    )
    assert all(x.committed for x in back.values() if isinstance(x, jax.Array) and x is not back["rng"])
    assert isinstance(nn.load(file, dtype=np.float64)["model.enc.w"], np.ndarray)  # not narrowed without being asked
    assert back["rng"].dtype == KEY.dtype


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"prefix": "x."}, ValueError, "load: prefix must begin a name, got prefix='x.'. Names are like 'model.enc.w', 'model.enc.b', 'model.n'."),
        ({"where": "x.*"}, ValueError, "load: where must match something, got where='x.*'."),
        ({"map": {"x": "y"}}, ValueError, "load: every pattern of map must match something, got pattern='x'. Names are like 'model.enc.w',"),
        ({"map": {"(": "y"}}, ValueError, "load: map must hold regular expressions, got pattern='('. missing )"),
        ({"map": {"e": r"\3"}}, ValueError, "load: map must hold regular expressions, got pattern='e'. invalid group reference 3"),
        ({"map": {".*": "y"}}, ValueError, "load: map must not make two names one, got names=['model.enc.w', 'model.enc.b'] and name='yy'."),
        ({"map": lambda name: None}, TypeError, "load: map must give a name, got name='model.enc.w' and gave=None."),
        ({"dtype": jnp.int32}, TypeError, "load: dtype must be floating, got dtype=<class 'jax.numpy.int32'>. Integers stay as they are."),
        ({"dtype": "x"}, TypeError, "load: dtype must be floating, got dtype='x'."),
    ],
)  # fmt: skip
def test_choices_that_choose_nothing(file, options, kind, words):
    with refused(kind, words):
        nn.load(file, **options)
