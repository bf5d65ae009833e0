"""purenn.tree: dotted paths, where, and what is done to whole trees."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenn import tree

NAMES = st.text(st.characters(exclude_characters=".", exclude_categories=("Cs",)), min_size=1, max_size=4)
TREES = st.recursive(
    st.dictionaries(NAMES, st.integers(), min_size=1, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(st.integers(), inner), min_size=1, max_size=4),
    max_leaves=12,
)
NET = {
    "encoder": {"1": {"weight": np.ones((2, 3)), "bias": np.ones(2)}, "0": {"weight": np.ones((2, 2))}},
    "head": {"weight": np.ones((1, 2)), "bias": np.ones(1)},
}
PATHS = ["encoder.1.weight", "encoder.1.bias", "encoder.0.weight", "head.weight", "head.bias"]


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def same_order(a, b):
    """Equal, with the keys of every dict in the same order."""
    if not isinstance(a, dict):
        return a == b
    return isinstance(b, dict) and list(a) == list(b) and all(same_order(a[k], b[k]) for k in a)


# ------------------------------------------------------------------------------------------- flatten and unflatten


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_flatten_and_unflatten_are_inverse_and_keep_order(nested):
    assert same_order(tree.unflatten(tree.flatten(nested)), nested)


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_flat_paths_lead_to_their_leaves(nested):
    for path, leaf in tree.flatten(nested).items():
        node = nested
        for name in path.split("."):
            node = node[name]
        assert node == leaf


def test_flatten_takes_the_order_of_filling_not_jax_order():
    assert list(tree.flatten(NET)) == PATHS
    assert list(tree.flatten(NET["head"], "head.")) == ["head.weight", "head.bias"]


def test_unflatten_interleaved_branches():
    assert tree.unflatten({"a.x": 1, "b": 2, "a.y": 3}) == {"a": {"x": 1, "y": 3}, "b": 2}


def test_empty_trees_have_no_leaves():
    assert tree.flatten({}) == {}
    assert tree.flatten({"a": {}, "b": {"c": {}}}) == {}
    assert tree.unflatten({}) == {}


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: tree.flatten(None), TypeError, "flatten: tree must be a nested dict, got type(tree)='NoneType'."),
        (lambda: tree.flatten([1]), TypeError, "flatten: tree must be a nested dict, got type(tree)='list'."),
        (lambda: tree.flatten({"a": {0: 1}}), TypeError, "flatten: a name must be a string, got name=0. List indices"),
        (lambda: tree.flatten({"a.b": 1}), ValueError, "flatten: a name must be non-empty and without a dot, got name='a.b'"),
        (lambda: tree.flatten({"": 1}), ValueError, "flatten: a name must be non-empty and without a dot, got name=''."),
        (lambda: tree.unflatten({"a..b": 1}), ValueError, "unflatten: a path must not have an empty component, got path='a..b'."),
        (lambda: tree.unflatten({"": 1}), ValueError, "unflatten: a path must not have an empty component, got path=''."),
        (lambda: tree.unflatten({".a": 1}), ValueError, "unflatten: a path must not have an empty component"),
        (lambda: tree.unflatten({"a": 1, "a.b": 2}), ValueError, "unflatten: a path must not go through a leaf, got path='a.b' and leaf='a'."),
        (lambda: tree.unflatten({"a.b": 2, "a": 1}), ValueError, "unflatten: a path must not end where another goes on, got path='a'."),
    ],
)  # fmt: skip
def test_paths_that_are_refused(call, kind, words):
    with refused(kind, words):
        call()


# ------------------------------------------------------------------------------------------------------------ where


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("*", PATHS),
        ("head.*", PATHS[3:]),
        ("encoder.*.weight", [PATHS[0], PATHS[2]]),
        ("encoder.*", PATHS[:3]),
        ("encoder.[01].weight", [PATHS[0], PATHS[2]]),
        ("encoder.?.bias", PATHS[1:2]),
        ("head.bias", PATHS[4:]),
        (["head.bias", "encoder.1.*"], [PATHS[0], PATHS[1], PATHS[4]]),
        (("*.bias",), [PATHS[1], PATHS[4]]),
        (lambda path, leaf: leaf.ndim == 1, [PATHS[1], PATHS[4]]),
        (lambda path, leaf: path.startswith("head"), PATHS[3:]),
    ],
)
def test_where_forms_choose_in_the_order_of_the_tree(where, chosen):
    assert tree.selected(NET, where) == chosen
    picked, rest = tree.partition(NET, where)
    assert list(tree.flatten(picked)) == chosen
    assert list(tree.flatten(rest)) == [path for path in PATHS if path not in chosen]


def test_globs_are_case_sensitive_and_whole():
    for where in ("HEAD.*", "ead.*", "head.weigh", "ncoder"):
        with refused(ValueError, f"where: where must match something, got where={where!r}."):
            tree.selected(NET, where)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("heed.weight", "f: where must match something, got where='heed.weight'. Its paths are like 'head.weight'"),
        ("head", "f: where must match something, got where='head'. Did you mean 'head.*'?"),
        (["head.*", "nope.*"], "f: where must match something, got where='nope.*'. Its paths are like"),
        ([], "f: where must match something, got where=[]."),
    ],
)
def test_where_that_matches_nothing_is_refused_with_a_hint(where, words):
    with refused(ValueError, words):
        tree.selected(NET, where, "f")


def test_predicate_that_matches_nothing_is_named():
    def nothing(path, leaf):
        return False

    with refused(ValueError, "freeze: where must match something, got where='nothing'."):
        tree.selected(NET, nothing, "freeze")


def test_where_in_a_tree_without_leaves():
    with refused(ValueError, "where: where must match something, got where='*'. The tree has no leaves."):
        tree.selected({}, "*")


# ------------------------------------------------------------------------------------------ partition, combine, order


@settings(max_examples=100, deadline=None)
@given(TREES, st.data())
def test_combine_undoes_partition(nested, data):
    paths = list(tree.flatten(nested))
    chosen = data.draw(st.sets(st.sampled_from(paths), min_size=1))
    picked, rest = tree.partition(nested, lambda path, leaf: path in chosen)
    assert set(tree.flatten(picked)) == chosen
    both = tree.combine(picked, rest)
    assert both == nested
    assert same_order(tree.reorder(both, nested), nested)


def test_combine_keeps_the_order_of_its_arguments():
    assert list(tree.flatten(tree.combine({"b": 1}, {"a": {"y": 2}}, {"a": {"x": 3}}))) == ["b", "a.y", "a.x"]
    assert tree.combine() == {}


def test_combine_refuses_what_overlaps():
    with refused(ValueError, "combine: no two trees may hold one path, got path='a.b'."):
        tree.combine({"a": {"b": 1}}, {"a": {"b": 2}})
    with refused(ValueError, "unflatten: a path must not go through a leaf, got path='a.b' and leaf='a'."):
        tree.combine({"a": 1}, {"a": {"b": 2}})


def test_partition_names_its_caller():
    with refused(ValueError, "partition: where must match something, got where='x'."):
        tree.partition(NET, "x")


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_reorder_undoes_what_jit_sorts(nested):
    arrays = jax.tree.map(np.asarray, nested)
    through = jax.tree.map(lambda x: x, arrays)  # flattened and unflattened: keys are sorted
    assert list(tree.flatten(tree.reorder(through, nested))) == list(tree.flatten(nested))


def test_reorder_with_other_names():
    like = {"c": 0, "a": {"y": 0, "x": 0}, "missing": 0}
    given_tree = {"new": 1, "a": {"x": 2, "z": 3, "y": 4}, "b": {"k": 5}, "c": 6}
    assert same_order(tree.reorder(given_tree, like), {"c": 6, "a": {"y": 4, "x": 2, "z": 3}, "new": 1, "b": {"k": 5}})
    assert same_order(tree.reorder({"a": {"k": 1, "b": 2}}, {"a": 0}), {"a": {"k": 1, "b": 2}})


# ------------------------------------------------------------------------------------------------------------- stack


@settings(max_examples=50, deadline=None)
@given(TREES, st.integers(1, 4))
def test_stack_and_unstack_are_inverse(nested, n):
    rng = np.random.default_rng(0)
    shapes = {path: tuple(rng.integers(0, 3, rng.integers(0, 3))) for path in tree.flatten(nested)}
    members = [
        tree.unflatten({path: rng.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()})
        for _ in range(n)
    ]
    stacked = tree.stack(members)
    assert list(tree.flatten(stacked)) == list(shapes)
    assert all(tree.flatten(stacked)[path].shape == (n, *shape) for path, shape in shapes.items())
    back = tree.unstack(stacked)
    assert len(back) == n
    for ours, theirs in zip(back, members, strict=True):
        assert list(tree.flatten(ours)) == list(shapes)
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_stack_takes_the_order_of_the_first():
    stacked = tree.stack([{"b": np.ones(1), "a": np.ones(1)}, {"a": np.zeros(1), "b": np.zeros(1)}])
    assert list(stacked) == ["b", "a"]
    np.testing.assert_array_equal(stacked["a"], [[1], [0]])


def test_stack_keys_and_dtypes():
    key = jax.random.key(0)
    trees = [{"key": key, "half": jnp.ones(2, jnp.bfloat16), "step": jnp.int32(3), "on": jnp.array(True)}] * 2
    stacked = tree.stack(trees)
    assert stacked["key"].shape == (2,)
    assert (stacked["half"].dtype, stacked["step"].dtype, stacked["on"].dtype) == (jnp.bfloat16, jnp.int32, jnp.bool_)
    assert tree.unstack(stacked)[1]["key"].dtype == key.dtype


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tree.stack([]), "stack: trees must not be empty, got len(trees)=0."),
        (
            lambda: tree.stack([{"a": 1}, {"a": 1}, {"a": 1, "b": 2}]),
            "stack: trees must have the same paths, got paths only in one of 0 and 2=['b'].",
        ),
        (
            lambda: tree.stack([{"a": np.ones(2, np.float32)}, {"a": np.ones(3, np.float32)}]),
            "stack: leaves of one path must have one shape and dtype, got a=[\"((2,), dtype('float32'))\",",
        ),
        (
            lambda: tree.stack([{"a": np.ones(2, np.float32)}, {"a": np.ones(2, np.int32)}]),
            "stack: leaves of one path must have one shape and dtype, got a=",
        ),
        (
            lambda: tree.unstack({"a": np.ones((2, 3)), "b": np.ones((3, 2))}),
            "unstack: all leaves must have one first axis, got its sizes=[(2,), (3,)].",
        ),
        (lambda: tree.unstack({"a": np.float32(1)}), "unstack: all leaves must have one first axis, got its sizes=[()]."),
        (lambda: tree.unstack({}), "unstack: all leaves must have one first axis, got its sizes=[]."),
    ],
)  # fmt: skip
def test_stacks_that_are_refused(call, words):
    with refused(ValueError, words):
        call()


def test_stack_and_unstack_under_jit():
    trees = [{"b": jnp.arange(3.0)}, {"b": jnp.ones(3)}]
    out = jax.jit(lambda *trees: tree.unstack(tree.stack(trees)))(*trees)
    jax.tree.map(np.testing.assert_array_equal, out, trees)


# --------------------------------------------------------------------------------------------------- count and bytes


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(["float32", "bfloat16", "int8", "bool"]))
    )
)
def test_count_and_nbytes_of_arrays_and_of_their_shapes(kinds):  # fmt: skip
    arrays = {str(i): jnp.zeros(shape, dtype) for i, (shape, dtype) in enumerate(kinds)}
    shapes = jax.eval_shape(lambda: arrays)
    assert tree.count(arrays) == tree.count(shapes) == sum(x.size for x in arrays.values())
    assert tree.nbytes(arrays) == tree.nbytes(shapes) == sum(np.asarray(x).nbytes for x in arrays.values())
    assert tree.nbytes({name: np.asarray(x) for name, x in arrays.items()}) == tree.nbytes(arrays)


def test_count_does_not_overflow():
    big = {"w": jax.ShapeDtypeStruct((2**20, 2**20), jnp.bfloat16)}
    assert tree.count(big) == 2**40
    assert tree.nbytes(big) == 2**41


def test_count_of_other_pytrees():
    assert tree.count([np.ones((2, 3)), {"a": 1.0}, None]) == 7
    assert tree.count({}) == tree.nbytes({}) == 0


# -------------------------------------------------------------------------------------------------------------- cast


def test_cast_touches_floating_leaves_only_and_keeps_order():
    arrays = {
        "w": jnp.ones(2), "half": jnp.ones(2, jnp.float16), "i": jnp.arange(2), "b": jnp.array([True]),
        "key": jax.random.key(0), "c": jnp.ones(1, jnp.complex64), "a": {"n": np.ones(1), "s": 1.0},
    }  # fmt: skip
    out = tree.cast(arrays, jnp.bfloat16)
    assert list(tree.flatten(out)) == list(tree.flatten(arrays))
    dtypes = {path: leaf.dtype for path, leaf in tree.flatten(out).items()}
    assert all(dtypes[path] == jnp.bfloat16 for path in ("w", "half", "a.n", "a.s"))
    assert all(dtypes[path] == arrays[path].dtype for path in ("i", "b", "key", "c"))
    assert arrays["w"].dtype == jnp.float32


def test_cast_where():
    out = tree.cast(NET, "float16", where="head.*")
    assert [leaf.dtype == jnp.float16 for leaf in tree.flatten(out).values()] == [False, False, False, True, True]
    with refused(ValueError, "cast: where must match something, got where='nope'."):
        tree.cast(NET, jnp.float16, "nope")


def test_cast_to_a_wide_dtype_without_x64_is_quiet():
    assert tree.cast({"a": jnp.ones(1, jnp.bfloat16)}, jnp.float64)["a"].dtype == jnp.float32
    with jax.enable_x64(True):
        assert tree.cast({"a": jnp.ones(1, jnp.bfloat16)}, jnp.float64)["a"].dtype == jnp.float64


@pytest.mark.parametrize("dtype", ["int32", jnp.bool_, np.uint8])
def test_cast_to_no_floating_dtype_is_refused(dtype):
    with refused(TypeError, f"cast: dtype must be floating or complex, got dtype='{jnp.dtype(dtype)}'."):
        tree.cast({"a": jnp.ones(1)}, dtype)


def test_cast_is_traceable():
    out = jax.jit(lambda x: tree.cast(x, jnp.bfloat16))({"a": jnp.ones(2), "b": jnp.arange(2)})
    assert (out["a"].dtype, out["b"].dtype) == (jnp.bfloat16, jnp.int32)


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        (1, TypeError, "op: a name must be a string, got name=1. List indices are written '0', '1'."),
        (None, TypeError, "op: a name must be a string, got name=None."),
        ("", ValueError, "op: a name must be non-empty and without a dot, got name=''. Nest the parts instead."),
        ("a.b", ValueError, "op: a name must be non-empty and without a dot, got name='a.b'. Nest the parts instead."),
    ],
)
def test_check_name(name, kind, words):
    with refused(kind, words):
        tree.check_name("op", name)
    tree.check_name("op", "0")
