"""purenn.checks: values that can be read are refused at once, others become NaN or a named error under checked."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import purenn
import purenn.functional as F
from purenn import layers as L
from purenn.checks import checked, is_traced, require, valid_index
from purenn.errors import as_array, check_floating, check_same_dtype, check_sizes, refusal

TABLE = jnp.arange(8.0).reshape(4, 2)
GOOD, BAD = jnp.array([0, 3]), jnp.array([0, 7])
WORDS = "embedding: input must lie in [0, 4)"


def look(index, table=TABLE):
    return F.embedding(index, table)


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


@pytest.mark.parametrize("bad", [7, 4, -1])
def test_eager_indices_are_refused_with_the_value(bad):
    with refused(IndexError, f"{WORDS}, got input={bad}."):
        look(jnp.array([[0, bad], [9, 1]]))


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f))])
def test_traced_indices_become_nan_never_another_row(wrap):
    out = np.asarray(wrap(look)(jnp.array([0, 4, -1, 3, 2**31 - 1])))
    np.testing.assert_array_equal(np.isnan(out).all(-1), [False, True, True, False, True])
    np.testing.assert_array_equal(out[[0, 3]], TABLE[jnp.array([0, 3])])


def test_a_known_index_inside_a_trace_is_still_refused_at_once():
    with refused(IndexError, f"{WORDS}, got input=7."):
        jax.grad(lambda table: look(BAD, table).sum())(TABLE)


def test_checked_names_the_error():
    for fn in (look, jax.jit(look), lambda i: jax.jit(look)(i) + 1):
        with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
            checked(fn)(BAD)
        np.testing.assert_array_equal(checked(look)(GOOD), TABLE[GOOD])


def test_checked_goes_through_grad_and_vmap_inside():
    def loss(table, index):
        return look(index, table).sum()

    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(jax.grad(loss))(TABLE, BAD)
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(jax.vmap(look))(BAD)
    np.testing.assert_array_equal(checked(jax.grad(loss))(TABLE, GOOD), jax.grad(loss)(TABLE, GOOD))


def test_checked_runs_models():
    net = L.Sequential(L.Embedding(4, 2), L.Linear(2, 2))
    params, buffers = net.init(jax.random.key(0))
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(net.apply)(params, buffers, BAD)
    out, after = checked(net.apply)(params, buffers, GOOD)
    np.testing.assert_allclose(out, net.apply(params, buffers, GOOD)[0], rtol=1e-6)
    assert after == {}


def test_checked_keeps_the_name_and_is_exported():
    assert purenn.checked is checked
    assert checked(look).__name__ == "look"


def test_checks_cost_nothing_when_they_are_off():
    assert "check" not in str(jax.make_jaxpr(look)(BAD))
    assert "compare" not in jax.jit(check_off).lower(TABLE).compile().as_text()


def check_off(x):
    require(x > 0, "op", "x must be positive")
    return x


def test_no_stale_cache_between_checked_and_not():
    jitted = jax.jit(lambda index: look(index))
    assert np.isnan(jitted(BAD)[1]).all()
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(jitted)(BAD)
    assert np.isnan(jitted(BAD)[1]).all()
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(jitted)(BAD)
    fresh = jax.jit(lambda index: look(index) + 1)
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape(WORDS)):
        checked(fresh)(BAD)
    assert np.isnan(fresh(BAD)[1]).all()


def test_an_error_inside_checked_leaves_the_checks_off():
    def broken(x):
        raise KeyError("x")

    with pytest.raises(KeyError):
        checked(broken)(BAD)
    assert np.isnan(jax.jit(look)(BAD)[1]).all()


def test_require_outside_a_trace_in_one_and_under_checked():
    def op(x):
        require(x > 0, "op", "{x} must be positive", "Take {abs}.", TypeError)
        return x

    with refused(TypeError, "op: {x} must be positive. Take {abs}."):
        op(jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(jax.jit(op)(-TABLE), -TABLE)
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape("op: {x} must be positive. Take {abs}.")):
        checked(op)(-TABLE)
    np.testing.assert_array_equal(checked(op)(TABLE + 1), TABLE + 1)
    op(jnp.zeros(0))


def test_valid_index_gives_back_what_is_in_range():
    assert valid_index("op", "i", GOOD, 4) is GOOD
    np.testing.assert_array_equal(
        jax.jit(lambda i: valid_index("op", "i", i, 4))(jnp.array([-1, 0, 3, 4])), [4, 0, 3, 4]
    )
    with refused(IndexError, "op: i must lie in [0, 4), got i=7. Count again."):
        valid_index("op", "i", BAD, 4, "Count again.")
    with refused(IndexError, "op: i must lie in [0, 0), got i=0."):
        valid_index("op", "i", GOOD, 0)


def test_is_traced():
    assert not is_traced(1, TABLE, None)
    assert jax.jit(lambda x: jnp.asarray(is_traced(1, x)))(TABLE)


def test_the_form_of_a_refusal():
    assert str(refusal("op", "a must hold")) == "op: a must hold."
    assert str(refusal("op", "a must hold", {"a": 1, "b.shape": (2,)})) == "op: a must hold, got a=1 and b.shape=(2,)."
    assert str(refusal("op", "a must hold", {"a": "x"}, "Do.")) == "op: a must hold, got a='x'. Do."
    assert str(refusal("op", "a must hold", remedy="Do.")) == "op: a must hold. Do."
    assert type(refusal("op", "a", kind=IndexError)) is IndexError


def test_what_counts_as_an_array():
    class Like:
        def __jax_array__(self):
            return TABLE

    for value in (TABLE, np.ones(2), np.float32(1), Like()):
        assert isinstance(as_array("op", "x", value), jax.Array)
    for value, kind in (([1.0], "builtins.list"), (1.0, "builtins.float"), (None, "builtins.NoneType")):
        with refused(TypeError, f"op: x must be an array, got type(x)='{kind}'. Wrap it in jnp.asarray(...)."):
            as_array("op", "x", value)


def test_checks_of_dtypes_and_sizes():
    half, whole = jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.int32)
    check_same_dtype("op", a=TABLE, b=None, c=TABLE)
    with refused(
        TypeError, "op: a, b must have one dtype, got a.dtype='float32' and b.dtype='bfloat16'. Cast them with"
    ):
        check_same_dtype("op", a=TABLE, b=half)
    check_floating("op", "x", half)
    with refused(TypeError, "op: x must be floating, got x.dtype='int32'. Cast it with .astype(jnp.float32)."):
        check_floating("op", "x", whole)
    check_sizes("op", a=0, b=np.int64(3))
    with refused(TypeError, "op: a must be an integer, got a=1.5."):
        check_sizes("op", a=1.5)
    with refused(ValueError, "op: a must not be negative, got a=-1."):
        check_sizes("op", a=-1)
