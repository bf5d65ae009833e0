"""explain_retrace and assert_max_traces: when a function is traced again, and what changed."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stateful as nn
import transforms
from purenn import layers as L

X = jnp.ones(3)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def doubling():
    """A new one for each test: jax remembers what it traced of a function."""

    def double(batch, scale=1.0, mode="plain", fn=None):
        return batch["x"] * 2 * (scale if mode == "plain" else 1)

    return double


STATIC = ("mode", "fn")
Z = {"z": X}
FIRST = {"batch": {"x": X, **Z}, "scale": 1.0, "mode": "plain", "fn": max}
# what a second call changes, and what is said of it
CHANGES = {
    "shape": ({"batch": {"x": jnp.ones(4), **Z}}, "batch['x']: shape (3,) became (4,)"),
    "dtype": ({"batch": {"x": jnp.ones(3, jnp.bfloat16), **Z}}, "batch['x']: dtype float32 became bfloat16"),
    "both": (
        {"batch": {"x": jnp.ones(4, int), **Z}},
        "batch['x']: shape (3,) became (4,); batch['x']: dtype float32 became int32",
    ),
    "new": ({"batch": {"x": X, "y": X, **Z}}, "batch['y']: is new"),
    "gone": ({"batch": {"x": X}}, "batch['z']: is gone"),
    "static value": ({"mode": "other"}, "mode: static value 'plain' became 'other'"),
    "identity": ({"fn": lambda a: a}, "fn: identity: another "),
    "kind": ({"scale": X}, "scale: a static float became an array"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("outside", [True, False], ids=["jitted before", "jitted after"])
def test_a_reason_for_every_trace(change, reason, outside):
    if outside:
        explained = fn = transforms.explain_retrace(jax.jit(doubling(), static_argnames=STATIC))
    else:
        explained = transforms.explain_retrace(doubling())
        fn = jax.jit(explained, static_argnames=STATIC)
        if "a static float" in reason:
            reason = "scale: shape () became (3,); scale: weak type True became False"  # an array already, inside
    fn(**FIRST)
    fn(**FIRST)
    assert (explained.traces, explained.reasons) == (1, [])
    fn(**{**FIRST, **change})
    assert explained.traces == 2
    assert reason in explained.reasons[0]


def test_a_program_that_jax_has_already_is_a_beginning_too():
    double = doubling()
    jax.jit(double)({"x": X})
    explained = transforms.explain_retrace(jax.jit(double))
    explained({"x": X})
    assert (explained.traces, explained.reasons) == (0, [])
    explained({"x": jnp.ones(4)})
    assert (explained.traces, explained.reasons) == (1, ["batch['x']: shape (3,) became (4,)"])


def test_weak_types_and_no_reason_for_values():
    explained = transforms.explain_retrace(jax.jit(doubling()))
    for scale in (jnp.float32(1), np.float32(2)):
        explained({"x": X}, scale)
    assert explained.traces == 1
    explained({"x": X}, jnp.asarray(3.0))
    assert explained.reasons == ["scale: weak type False became True"]


def test_the_reason_is_taken_from_the_call_that_was_most_like_it():
    explained = transforms.explain_retrace(jax.jit(lambda a, b: a.sum() + b.sum()))
    explained(jnp.ones(3), jnp.ones(3))
    explained(jnp.ones(4), jnp.ones(4))
    explained(jnp.ones(3), jnp.ones(5))
    assert explained.reasons[1] == "b: shape (3,) became (5,)"


def test_what_is_outside_of_the_arguments():
    explained = transforms.explain_retrace(jax.jit(lambda x: x @ x))
    explained(jnp.ones((2, 2)))
    with jax.default_matmul_precision("highest"):
        explained(jnp.ones((2, 2)))
    assert explained.reasons == ["nothing among the arguments: what the function closes over, or a setting of jax"]


class Box:
    def __init__(self, x, tag):
        self.x, self.tag = x, tag


jax.tree_util.register_pytree_node(Box, lambda box: ((box.x,), box.tag), lambda tag, x: Box(*x, tag))


def test_a_container_that_changed():
    explained = transforms.explain_retrace(jax.jit(lambda box: box.x * 2))
    explained(Box(X, "a"))
    explained(Box(X, "b"))
    assert explained.reasons == ["a container among the arguments is another one, though its arrays are alike"]


def test_functions_without_names_or_signatures():
    explained = transforms.explain_retrace(jax.jit(partial(doubling(), mode="plain")))
    explained({"x": X})
    explained({"x": jnp.ones(4)})
    assert explained.reasons == ["batch['x']: shape (3,) became (4,)"]
    explained = transforms.explain_retrace(
        jax.jit(jnp.sin.__call__ if False else np.vectorize(lambda x: x, otypes="f"))
    )
    assert explained.traces == 0


def test_assert_max_traces_says_what_changed():
    step = transforms.assert_max_traces(jax.jit(doubling()), 1)
    step({"x": X})
    step({"x": X + 1})
    with refused(AssertionError, "assert_max_traces: double must not be traced more than 1 times, got the number of "
                 "traces=2. What changed: batch['x']: shape (3,) became (4,)."):  # fmt: skip
        step({"x": jnp.ones(4)})
    twice = jax.jit(transforms.assert_max_traces(doubling(), 2))
    twice({"x": X})
    twice({"x": jnp.ones(4)})
    with refused(AssertionError, "batch['x']: shape (3,) became (4,) | batch['x']: shape (4,) became (5,)."):
        twice({"x": jnp.ones(5)})


def test_a_training_step_is_traced_once():
    trainer = transforms.train_step(L.Linear(3, 1), lambda m, x: (m(x) ** 2).mean(), optax.adam(1e-3))
    step, state = transforms.assert_max_traces(trainer.step, 1), trainer.init(jax.random.key(0))
    for _ in range(3):
        state, _ = step(state, jnp.ones((8, 3)))
    assert step.traces == 1
    with refused(AssertionError, "batch: shape (8, 3) became (7, 3)"):
        step(state, jnp.ones((7, 3)))


def test_a_jitted_module_says_what_its_program_depends_on():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    explained = transforms.explain_retrace(nn.jit(net))
    for _ in range(2):
        explained(jnp.ones((5, 3)))
    assert (explained.traces, explained.reasons) == (1, [])
    explained(jnp.ones((6, 3)))
    net[1].eval()
    explained(jnp.ones((6, 3)))
    net[0].requires_grad_(False)
    explained(jnp.ones((6, 3)))
    assert explained.traces == 4
    assert explained.reasons[:2] == [
        "args[0]: shape (5, 3) became (6, 3)",
        "training['1']: static value True became False",
    ]
    assert "requires_grad['0.weight']: static value True became False" in explained.reasons[2]
    limited = transforms.assert_max_traces(nn.jit(net), 1)
    limited(jnp.ones((5, 3)))
    with refused(AssertionError, "args[0]: shape (5, 3) became (7, 3)"):
        limited(jnp.ones((7, 3)))


def test_it_is_the_function_otherwise():
    explained = transforms.explain_retrace(jax.jit(doubling()))
    np.testing.assert_array_equal(explained({"x": X}), 2 * X)
    assert explained.__name__ == "double"
    assert "stablehlo" in explained.lower({"x": X}).as_text()
    with pytest.raises(AttributeError, match="no_such"):
        _ = explained.no_such
    with pytest.raises(TypeError, match="batch"):
        explained()


def test_errors():
    with refused(TypeError, "explain_retrace: fn must be a function, got type(fn)='int'."):
        transforms.explain_retrace(3)
    for n in (0, 1.5, True):
        with refused(ValueError, f"assert_max_traces: n must be a positive integer, got n={n}."):
            transforms.assert_max_traces(doubling(), n)
    with refused(RuntimeError, "explain_retrace: fn must be jitted, got fn='double'. jax.jit(explain_retrace(fn)), or"):
        transforms.explain_retrace(doubling())({"x": X})
