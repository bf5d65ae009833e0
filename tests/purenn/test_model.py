"""The contract: laws of compose, param, buffer, bind and of every model made of them."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import dataclasses
import pickle
import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
import purenn.functional as F
from purenn import init, tree
from purenn import layers as L
from purenn.model import Bound, BoundModel, Layer, Leaf, Model, as_child, check_model

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=f"^{re.escape(words)}")


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), a, b)


def wire(m, x):
    h = F.relu(m.norm(m.body(x)) * m.scale)
    m.calls = m.calls + 1
    return m.head(m.drop(h)) + m.shift


def net():
    return purenn.compose(
        wire,
        body=L.Linear(3, 5),
        norm=L.BatchNorm1d(5),
        scale=purenn.param(init.ones, (5,)),
        drop=L.Dropout(0.4),
        head=L.Sequential(L.Linear(5, 4), jnp.tanh, L.Linear(4, 2)),
        shift=purenn.param(np.float32([0.5, -0.5])),
        calls=purenn.buffer(jnp.int32(0)),
        table=purenn.buffer(init.normal, (2, 2), persistent=False),
    )


class Counter:
    """A model that is no Layer, opaque, with state and randomness."""

    def init(self, rng):
        return {"w": jax.random.normal(rng, (3,)), "in": {"b": jnp.zeros(3)}}, {"n": jnp.zeros((), jnp.int32)}

    def apply(self, params, buffers, x, rng=None, train=False):
        noise = jax.random.normal(rng, x.shape) if train else 0.0
        return x * params["w"] + params["in"]["b"] + noise, {"n": buffers["n"] + 1}


# -------------------------------------------------------------------------------------------------- pure and traceable


def test_what_init_gives_is_two_nested_dicts_of_arrays():
    params, buffers = net().init(KEY)
    assert list(tree.flatten(params)) == [
        "scale", "shift", "body.weight", "body.bias", "norm.weight", "norm.bias", "head.0.weight", "head.0.bias",
        "head.2.weight", "head.2.bias",
    ]  # fmt: skip
    assert list(tree.flatten(buffers)) == [
        "calls", "table", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    ]  # fmt: skip
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((params, buffers)))
    equal(params["shift"], [0.5, -0.5])
    assert isinstance(net(), Model)


def test_init_and_apply_are_pure():
    model = net()
    params, buffers = model.init(KEY)
    before = jax.tree.map(np.array, (params, buffers))
    outs = [model.apply(params, buffers, X, rng=KEY, train=True) for _ in range(2)]
    equal(*outs)
    equal((params, buffers), before)
    equal(model.init(KEY), before)
    assert outs[0][1] is not buffers
    assert int(outs[0][1]["calls"]) == 1


def test_init_under_jit_eval_shape_and_vmap():
    model = net()
    eager = model.init(KEY)
    close(jax.jit(model.init)(KEY), eager)
    shapes = jax.eval_shape(model.init, KEY)
    assert jax.tree.map(lambda s: (s.shape, s.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), eager)
    keys = jax.random.split(KEY, 3)
    batched = jax.vmap(model.init)(keys)
    for i in range(3):
        close(jax.tree.map(lambda x, i=i: x[i], batched), model.init(keys[i]))
    raw = jax.random.key_data(KEY)
    equal(model.init(raw), eager)
    close(jax.vmap(model.init)(jax.random.key_data(keys)), batched)


def test_apply_under_jit_grad_and_vmap():
    model = net()
    params, buffers = model.init(KEY)

    def run(params, buffers, x, key):
        return model.apply(params, buffers, x, rng=key, train=True)

    eager = run(params, buffers, X, KEY)
    close(jax.jit(run)(params, buffers, X, KEY), eager)
    shapes = jax.eval_shape(run, params, buffers, X, KEY)
    assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(jnp.shape, eager)
    grads = jax.grad(lambda p: run(p, buffers, X, KEY)[0].sum())(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    # over params, buffers, inputs and keys, each alone
    run = jax.jit(run)
    many = [jax.tree.map(lambda a: jnp.stack([a, a + 1]), tree) for tree in (params, buffers)]
    many += [jnp.stack([X, X + 1]), jax.random.split(KEY)]
    for axis in range(4):
        args = [params, buffers, X, KEY]
        args[axis] = many[axis]
        batched = jax.vmap(run, [0 if i == axis else None for i in range(4)])(*args)
        for i in range(2):
            args[axis] = jax.tree.map(lambda a, i=i: a[i], many[axis])
            close(jax.tree.map(lambda a, i=i: a[i], batched), run(*args))


def test_nothing_retraces():
    traces = []

    def forward(m, x):
        traces.append(1)
        return m.body(x)

    model = purenn.compose(forward, body=L.Linear(3, 2))
    params, buffers = model.init(KEY)
    step = jax.jit(model.apply)
    for _ in range(3):
        step(params, buffers, X)
    assert len(traces) == 1


def test_no_tracer_leaks():
    model = net()
    with jax.checking_leaks():
        params, buffers = jax.jit(model.init)(KEY)
        jax.jit(lambda p, b: model.apply(p, b, X, rng=KEY, train=True))(params, buffers)


def test_the_jaxpr_is_that_of_the_hand_written_function():
    def hand(params, buffers, x):
        h = F.linear(x, params["body"]["weight"], params["body"]["bias"]) * params["scale"]
        h = F.layer_norm(F.relu(h), (5,), params["norm"]["weight"], params["norm"]["bias"])
        return F.linear(h, params["head"]["weight"], params["head"]["bias"]), {"calls": buffers["calls"] + 1}

    def forward(m, x):
        m.calls = m.calls + 1
        return m.head(m.norm(F.relu(m.body(x) * m.scale)))

    model = purenn.compose(
        forward, body=L.Linear(3, 5), norm=L.LayerNorm(5), scale=purenn.param(init.ones, (5,)), head=L.Linear(5, 2),
        calls=purenn.buffer(jnp.int32(0)),
    )  # fmt: skip
    params, buffers = model.init(KEY)
    ours = jax.make_jaxpr(model.apply)(params, buffers, X)
    # a key that is not used costs nothing either
    keyed = jax.make_jaxpr(lambda p, b, x, k: model.apply(p, b, x, rng=k, train=True))(params, buffers, X, KEY)
    theirs = jax.make_jaxpr(hand)(params, buffers, X)
    assert len(ours.eqns) == len(keyed.eqns) == len(theirs.eqns)
    equal(model.apply(params, buffers, X), hand(params, buffers, X))


def test_deep_nesting_adds_no_equation():
    model = L.Linear(3, 3)
    for _ in range(30):
        model = L.Sequential(model)
    params, buffers = model.init(KEY)
    plain = L.Linear(3, 3)
    flat = jax.make_jaxpr(plain.apply)(*plain.init(KEY), X)
    assert len(jax.make_jaxpr(model.apply)(params, buffers, X).eqns) == len(flat.eqns)
    assert next(iter(tree.flatten(params))) == "0." * 30 + "weight"


# ---------------------------------------------------------------------------------------------------------------- keys


def test_a_childs_key_comes_from_its_name():
    small = purenn.compose(lambda m, x: m.b(x), b=L.Linear(3, 3), s=purenn.param(init.normal, (2,)))
    large = purenn.compose(
        lambda m, x: m.b(x), a=L.Linear(3, 3), s=purenn.param(init.normal, (2,)), z=L.Dropout(), b=L.Linear(3, 3)
    )
    equal(small.init(KEY)[0], {name: large.init(KEY)[0][name] for name in ("b", "s")})
    params = large.init(KEY)[0]
    assert (params["a"]["weight"] != params["b"]["weight"]).any()


def test_dropouts_draw_by_their_names():
    def forward(m, x):
        return m.a(x), m.b(x)

    x = jnp.ones(1000)
    one = purenn.compose(lambda m, x: m.b(x), b=L.Dropout())
    two = purenn.compose(forward, a=L.Dropout(), b=L.Dropout())
    a, b = two.apply({}, {}, x, rng=KEY, train=True)[0]
    equal(one.apply({}, {}, x, rng=KEY, train=True)[0], b)
    assert 0.3 < float((a != b).mean()) < 0.7


@pytest.mark.parametrize("drop", [L.Dropout(), purenn.compose(lambda m, x: m.d(x), d=L.Dropout()), Counter()])
def test_one_child_called_twice_draws_twice(drop):
    model = purenn.compose(lambda m, x: (m.drop(x), m.drop(x), m.drop(x)), drop=drop)
    params, buffers = model.init(KEY)
    outs, _ = model.apply(params, buffers, jnp.ones((50, 3)), rng=KEY, train=True)
    for i in range(3):
        for j in range(i):
            assert float((outs[i] != outs[j]).mean()) > 0.2
    again, _ = model.apply(params, buffers, jnp.ones((50, 3)), rng=KEY, train=True)
    equal(outs, again)


def test_rng_in_a_wire():
    def forward(m):
        return m.rng(), m.rng(), m.inner()

    model = purenn.compose(forward, inner=purenn.compose(lambda m: m.rng()))
    keys = [jax.random.key_data(k).tobytes() for k in model.apply({}, {}, rng=KEY)[0]]
    assert len(set(keys)) == 3
    raw = model.apply({}, {}, rng=jax.random.PRNGKey(0))[0]
    assert [jax.random.key_data(k).tobytes() for k in raw] == keys


def test_training_without_rng_is_refused_with_the_path():
    model = purenn.compose(lambda m, x: m.body(x), body=L.Sequential(L.Linear(3, 3), L.Dropout()))
    params, buffers = model.init(KEY)
    words = (
        "body.1: rng must be given where random numbers are drawn, got rng=None. Pass rng=jax.random.key(0) to apply"
    )
    with refused(ValueError, words) as caught:
        model.apply(params, buffers, X, train=True)
    assert caught.value.__notes__ == ["in body.1"]
    assert model.apply(params, buffers, X)[0].shape == (4, 3)
    with refused(ValueError, "Dropout: rng must be given where random numbers are drawn"):
        L.Dropout().apply({}, {}, X, train=True)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_that_draws_nothing_needs_no_rng(p):
    equal(L.Dropout(p).apply({}, {}, X, train=True)[0], X * (1 - p))


# ------------------------------------------------------------------------------------------------------------- buffers


@pytest.mark.parametrize("child", [L.BatchNorm1d(3), Counter()])
def test_buffers_thread_through_two_calls_of_one_child(child):
    twice = purenn.compose(lambda m, x: m.child(m.child(x)), child=child)
    params, buffers = twice.init(KEY)
    out, after = twice.apply(params, buffers, X, rng=KEY, train=isinstance(child, L.BatchNorm1d))
    mode = {"train": isinstance(child, L.BatchNorm1d)}
    h, middle = child.apply(params["child"], buffers["child"], X, **mode)
    expected, last = child.apply(params["child"], middle, h, **mode)
    equal((out, after["child"]), (expected, last))


def test_a_buffer_written_is_the_one_read_next_and_only_in_this_call():
    def forward(m, x):
        m.n = m.n + x
        first = m.n
        m.n = m.n * 2
        return first, m.n

    model = purenn.compose(forward, n=purenn.buffer(jnp.float32(1)))
    params, buffers = model.init(KEY)
    out, after = model.apply(params, buffers, 2.0)
    assert out == (3.0, 6.0)
    assert float(after["n"]) == 6.0
    assert float(buffers["n"]) == 1.0


def test_buffers_of_children_that_are_not_called_stay():
    model = purenn.compose(lambda m, x: x, norm=L.BatchNorm1d(3), n=purenn.buffer(jnp.ones(2)))
    params, buffers = model.init(KEY)
    _, after = model.apply(params, buffers, X, train=True)
    equal(after, buffers)
    assert list(tree.flatten(after)) == list(tree.flatten(buffers))


def test_the_order_of_buffers_is_kept():
    model = purenn.compose(
        lambda m, x: m.a(m.z(x)), z=L.BatchNorm1d(3), n=purenn.buffer(jnp.ones(1)), a=L.BatchNorm1d(3)
    )
    params, buffers = model.init(KEY)
    _, after = model.apply(params, buffers, X, train=True)
    assert list(tree.flatten(after)) == list(tree.flatten(buffers))


def test_only_buffers_can_be_replaced_in_a_call():
    def writes(name):
        def forward(m, x):
            setattr(m, name, x)

        return purenn.compose(forward, w=purenn.param(init.ones, (3,)), body=L.Linear(3, 3))

    for name, what in (("w", "a parameter"), ("body", "no buffer"), ("other", "no buffer"), ("_model", "no buffer")):
        model = writes(name)
        with refused(AttributeError, f"Composed: only buffers can be replaced inside a call, {name!r} is {what}."):
            model.apply(*model.init(KEY), X)


# ---------------------------------------------------------------------------------------------------------------- bind


def test_bound_children_arrays_and_hyperparameters():
    model = net()
    params, buffers = model.init(KEY)
    bound = purenn.bind(model, params, buffers)
    assert isinstance(bound, Bound)
    assert bound.body.weight is params["body"]["weight"]
    assert bound["head"]["0"]["bias"] is params["head"]["0"]["bias"]
    assert bound.body.in_features == 3
    assert bound.drop.p == 0.4
    assert bound.training is False
    equal(bound.buffers, buffers)
    out, after = model.apply(params, buffers, X)
    equal((bound(X), bound.buffers), (out, after))
    assert purenn.bind(model, params, buffers, train=True).norm.training is True
    with refused(
        AttributeError,
        "Composed has no child 'tail'; its children are: body, norm, scale, drop, head, shift, calls, table.",
    ):
        _ = bound.tail
    with refused(AttributeError, "body has no child 'w'; its children are: weight, bias."):
        _ = bound.body.w
    with refused(AttributeError, "drop has no child 'w'; its children are: none."):
        _ = bound.drop.w
    with refused(AttributeError, "__array__"):
        _ = bound.__array__


def test_a_bound_model_keeps_its_buffers_over_calls():
    model = L.BatchNorm1d(3)
    params, buffers = model.init(KEY)
    bound = purenn.bind(model, params, buffers, train=True)
    bound(X)
    bound(X)
    assert int(bound.buffers["num_batches_tracked"]) == 2


def test_bound_opaque_models_show_their_arrays():
    params, buffers = Counter().init(KEY)
    bound = purenn.bind(Counter(), params, buffers, rng=KEY, train=True)
    assert isinstance(bound, BoundModel)
    assert getattr(bound, "in").b is params["in"]["b"]
    assert bound["in"]["b"] is params["in"]["b"]
    assert bound.n is buffers["n"]
    first, second = bound(X), bound(X)
    assert (first != second).all()
    assert int(bound.buffers["n"]) == 2
    with refused(AttributeError, "Counter has no 'v'; it holds: w, in, n."):
        _ = bound.v
    with refused(AttributeError, "this branch has no 'v'; it holds: b, b."):
        _ = getattr(bound, "in").v
    with refused(AttributeError, "_private"):
        _ = bound._private
    empty = purenn.bind(purenn.compose(lambda m, x: m.f(x), f=jnp.tanh), {}, {})
    equal(empty.f(X), jnp.tanh(X))
    with refused(AttributeError, "f has no 'v'; it holds: none."):
        _ = empty.f.v


def test_opaque_models_are_children():
    model = purenn.compose(lambda m, x: m.c(m.c(x)) + m.lin(x), c=Counter(), lin=L.Linear(3, 3))
    params, buffers = model.init(KEY)
    assert list(tree.flatten(params)) == ["c.w", "c.in.b", "lin.weight", "lin.bias"]
    assert list(tree.flatten(purenn.structure(model))) == ["c.w", "c.n", "c.in.b", "lin.weight", "lin.bias"]
    out, after = jax.jit(lambda *args: model.apply(*args))(params, buffers, X)
    w = params["c"]["w"]
    close(out, X * w * w + F.linear(X, **params["lin"]))
    assert int(after["c"]["n"]) == 2
    state = purenn.state_dict(model, params, buffers)
    equal(purenn.load_state_dict(model, state), (params, buffers))


def test_one_wire_serves_functions_methods_and_none():
    model = purenn.compose(
        lambda m, x: m.act(x) if m.extra is None else m.extra(x), act=jax.nn.gelu, extra=None, other=lambda x: x
    )
    assert model.init(KEY) == ({}, {})
    equal(model.apply({}, {}, X)[0], jax.nn.gelu(X))


def test_children_may_have_the_names_of_methods():
    names = [
        "init",
        "apply",
        "bind",
        "forward",
        "children",
        "structure",
        "wire",
        "items",
        "self",
        "name",
        "0",
        "a b",
        "ü",
    ]
    model = purenn.compose(lambda m, x: sum(m[name](x) for name in names), **{name: L.Linear(3, 2) for name in names})
    params, buffers = model.init(KEY)
    assert list(params) == names
    out, _ = model.apply(params, buffers, X)
    close(out, sum(F.linear(X, **params[name]) for name in names))
    by_attribute = purenn.compose(lambda m, x: m.forward(x) + m.items(x), forward=L.Linear(3, 2), items=L.Linear(3, 2))
    params, buffers = by_attribute.init(KEY)
    close(by_attribute.apply(params, buffers, X)[0], F.linear(X, **params["forward"]) + F.linear(X, **params["items"]))


def test_inputs_pass_as_they_are():
    model = purenn.compose(lambda m, *args, scale=1, **kwargs: (args, scale, kwargs))
    assert model.apply({}, {}, 1, "a", None, scale=2, other=[3])[0] == ((1, "a", None), 2, {"other": [3]})


# ---------------------------------------------------------------------------------------------------------- error notes


def failing(layer):
    return purenn.compose(lambda m, x: m.block(x), block=purenn.compose(lambda m, x: m.inner(x), inner=layer))


def test_errors_carry_the_dotted_path_once():
    model = failing(L.Sequential(L.Linear(3, 3), L.Sequential(jnp.tanh, L.Linear(7, 3))))
    with pytest.raises(ValueError) as caught:
        model.apply(*model.init(KEY), X)
    assert caught.value.__notes__ == ["in block.inner.1.1"]


def test_errors_of_opaque_children_and_of_functions_carry_it_too():
    class Broken(Counter):
        def apply(self, *args, **kwargs):
            raise KeyError("x")

    for layer in (Broken(), lambda x: {}["x"]):
        model = failing(layer)
        with pytest.raises(KeyError) as caught:
            model.apply(*model.init(KEY), X)
        assert caught.value.__notes__ == ["in block.inner"]


def test_errors_of_a_model_inside_an_opaque_model_carry_the_whole_path():
    class Wrapped:
        def __init__(self, model):
            self.model = model

        def init(self, rng):
            return self.model.init(rng)

        def apply(self, params, buffers, *args, rng=None, train=False):
            return self.model.apply(params, buffers, *args, rng=rng, train=train)

    inner = Wrapped(purenn.compose(lambda m, x: m.a(x), a=Wrapped(L.Sequential(L.Linear(3, 3), L.Linear(7, 3)))))
    model = failing(inner)
    with pytest.raises(ValueError) as caught:
        model.apply(*model.init(KEY), X)
    assert caught.value.__notes__ == ["in block.inner.a.1"]


def test_errors_at_the_root_have_no_note():
    with pytest.raises(ValueError) as caught:
        L.Linear(3, 2).apply(*L.Linear(3, 2).init(KEY), jnp.ones(4))
    assert not hasattr(caught.value, "__notes__")


def test_scopes_name_the_places_in_the_compiled_program():
    model = failing(L.Linear(3, 2))
    text = jax.jit(model.apply).lower(*model.init(KEY), X).as_text(debug_info=True)
    assert "block/inner/" in text


# -------------------------------------------------------------------------------------------------------------- refusals


ARRAYS = L.Linear(3, 2).init(KEY)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: purenn.compose("wire"), TypeError, "compose: wire must be a function, got type(wire)='str'."),
        (lambda: purenn.compose(wire, a=L.Linear), TypeError, "compose: a must be a model, not a class, got a='Linear'. Call it."),
        (lambda: purenn.compose(wire, a=jnp.ones(3)), TypeError, "compose: a must be a model, a function, purenn.param(...) or purenn.buffer(...), got type(a)='ArrayImpl'. An array becomes a child as purenn.param(array)"),
        (lambda: purenn.compose(wire, a=3), TypeError, "compose: a must be a model, a function, purenn.param(...) or purenn.buffer(...), got type(a)='int'."),
        (lambda: purenn.compose(wire, **{"a.b": L.Identity()}), ValueError, "compose: a name must be non-empty and without a dot, got name='a.b'."),
        (lambda: purenn.compose(wire, **{"": L.Identity()}), ValueError, "compose: a name must be non-empty and without a dot, got name=''."),
        *((lambda name=name: purenn.compose(wire, **{name: L.Identity()}), ValueError,
           f"compose: a child must not be called buffers, params, rng, training or begin with an underscore, got name='{name}'. Give it")
          for name in ("buffers", "params", "rng", "training", "_a", "__call__")),
        (lambda: as_child("op", 1, L.Identity()), TypeError, "op: a name must be a string, got name=1."),
        (lambda: purenn.param("w"), TypeError, "param: the value must be an array or an initializer, got its type='str'."),
        (lambda: purenn.buffer(None), TypeError, "buffer: the value must be an array or an initializer, got its type='NoneType'."),
        (lambda: purenn.param([1.0]), TypeError, "param: the value must be an array or an initializer, got its type='list'."),
        (lambda: purenn.param(torch.ones(2)), TypeError, "param: the value must be an array, not torch's, got its type='Tensor'. Pass tensor.detach().numpy()."),
        (lambda: purenn.param(init.ones, (2,), torch.float32), TypeError, "param: dtype must be one that jax or numpy knows, got dtype=torch.float32. Pass jnp.float32 or 'float32', say."),
        (lambda: purenn.param(init.ones), ValueError, "param: shape must be given with an initializer, got shape=None. param(init.ones, (256,))"),
        (lambda: purenn.buffer(jnp.ones(3), (2,)), ValueError, "buffer: shape must be that of the value, got shape=(2,) and value.shape=(3,)."),
        (lambda: L.Linear(3, 2).apply(X), TypeError, "Layer.apply() missing 1 required positional argument: 'buffers'"),
        (lambda: L.Linear(3, 2).apply(X, {}), TypeError, "Linear: params must be a nested dict, got type(params)='ArrayImpl'. apply takes (params, buffers, *inputs)."),
        (lambda: L.Linear(3, 2).apply(ARRAYS[0], X), TypeError, "Linear: buffers must be a nested dict, got type(buffers)='ArrayImpl'."),
        (lambda: L.Linear(3, 2).apply(ARRAYS[0], None, X), TypeError, "Linear: buffers must be a nested dict, got type(buffers)='NoneType'."),
        (lambda: L.Linear(3, 2).apply({}, {}, X), ValueError, "Linear: params and buffers must hold every array, got missing=['weight', 'bias']. params and buffers come from init"),
        (lambda: L.Linear(3, 2).apply({**ARRAYS[0], "w": X}, {}, X), ValueError, "Linear: params must hold the model's names only, got unknown=['w'] and known=['weight', 'bias']."),
        (lambda: L.Linear(3, 2).apply(ARRAYS[0], {"n": X}, X), ValueError, "Linear: buffers must hold the model's names only, got unknown=['n'] and known=['weight', 'bias']."),
        (lambda: L.Sequential(L.Linear(3, 2)).apply({"0": {"weight": X}}, {}, X), ValueError, "0: params and buffers must hold every array, got missing=['bias']."),
        (lambda: L.Sequential(L.Linear(3, 2)).apply({}, {}, X), ValueError, "0: params and buffers must hold every array, got missing=['weight', 'bias']."),
        (lambda: L.Sequential(L.Linear(3, 2)).apply({"0": X}, {}, X), TypeError, "0: params must be a nested dict, got type(params)='ArrayImpl'."),
        (lambda: L.Linear(3, 2).init(None), ValueError, "Linear.init: rng must be given, got rng=None. Pass rng=jax.random.key(0)"),
        (lambda: L.Linear(3, 2).init(0), TypeError, "Linear.init: rng must be one PRNG key, got type(rng)='int'."),
        (lambda: L.Linear(3, 2).apply(*ARRAYS, X, rng=0.5), TypeError, "Linear: rng must be one PRNG key, got type(rng)='float'."),
        (lambda: purenn.bind(L.Linear, {}, {}), TypeError, "bind: model must be a model, not a class, got model='Linear'. Call it."),
        (lambda: purenn.bind(jnp.tanh, {}, {}), TypeError, "bind: model must have init and apply, got type(model)="),
        (lambda: purenn.structure(L.Linear), TypeError, "structure: model must be a model, not a class, got model='Linear'."),
        (lambda: check_model("op", 3), TypeError, "op: model must have init and apply, got type(model)='int'. A function becomes one by compose."),
        (lambda: Layer().init(KEY), NotImplementedError, ""),
        (lambda: Layer().forward(None), NotImplementedError, ""),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda rng, shape, dtype: jnp.ones((3,)), "its shape=(3,) and its dtype='float32'"),
        (lambda rng, shape, dtype: np.ones(shape), "its shape=(2,) and its dtype='float64'"),
        (lambda rng, shape, dtype: jnp.ones(shape, jnp.bfloat16), "its shape=(2,) and its dtype='bfloat16'"),
        (lambda rng, shape, dtype: [1.0, 2.0], "its shape=None and its dtype='None'"),
    ],
)
def test_initializers_that_do_not_give_what_is_asked(given, words):
    model = purenn.compose(lambda m: m.w, w=purenn.param(given, (2,)))
    rule = "init: an initializer must give the shape and dtype it is asked for, (2,) and float32, got initializer='<lambda>'"
    with refused(ValueError, f"{rule} and {words}."):
        model.init(KEY)


# -------------------------------------------------------------------------------------------------- param and buffer


@pytest.mark.parametrize(
    ("leaf", "shape", "dtype"),
    [
        (purenn.param(init.ones, 3), (3,), "float32"),
        (purenn.param(init.ones, [2, 3], jnp.bfloat16), (2, 3), "bfloat16"),
        (purenn.param(init.ones, (2,), jnp.float64), (2,), "float32"),
        (purenn.param(np.ones(2)), (2,), "float32"),
        (purenn.param(jnp.ones(2, jnp.float16)), (2,), "float16"),
        (purenn.param(jnp.ones(2), dtype=jnp.bfloat16), (2,), "bfloat16"),
        (purenn.param(np.float32(1)), (), "float32"),
        (purenn.param(1.5), (), "float32"),
        (purenn.buffer(3), (), "int32"),
        (purenn.buffer(True), (), "bool"),
        (purenn.buffer(np.arange(3)), (3,), "int32"),
        (purenn.buffer(jax.random.key(3)), (), "key<fry>"),
        (purenn.param(init.uniform, (4,), a=1.0, b=2.0), (4,), "float32"),
        (purenn.param(jax.nn.initializers.lecun_normal(), (4, 3)), (4, 3), "float32"),
    ],
)
def test_declarations_and_what_is_drawn_agree(leaf, shape, dtype):
    model = purenn.compose(lambda m: m.w, w=leaf)
    params, buffers = model.init(KEY)
    array = (params if leaf.trainable else buffers)["w"]
    assert isinstance(array, jax.Array)
    assert (leaf.shape, str(leaf.dtype)) == (array.shape, str(array.dtype)) == (shape, dtype)
    assert not getattr(array, "weak_type", False)
    assert jax.eval_shape(model.init, KEY)[not leaf.trainable]["w"].shape == shape


def test_options_reach_the_initializer():
    model = purenn.compose(lambda m: m.w, w=purenn.param(init.uniform, (400,), a=1.0, b=2.0))
    w = model.init(KEY)[0]["w"]
    assert float(w.min()) >= 1
    assert float(w.max()) <= 2


def test_values_are_copied():
    value = np.ones(4096, np.float32)
    array = jnp.ones(3)
    model = purenn.compose(lambda m: 0, a=purenn.param(value), b=purenn.buffer(array))
    before = hash(model)
    params, buffers = model.init(KEY)
    value[:] = 7
    equal(params["a"], np.ones(4096))
    equal(model.init(KEY)[0]["a"], np.ones(4096))
    assert hash(model) == before
    jax.jit(lambda x: x + 1, donate_argnums=0)(buffers["b"]).block_until_ready()
    assert not array.is_deleted()
    equal(model.init(KEY)[1]["b"], np.ones(3))


# ------------------------------------------------------------------------------------------------- layers as values


def act(x):
    return jnp.tanh(x)


def plain_wire(m, x):
    return m.a(x) * m.s


VALUES = [
    lambda: L.Linear(3, 2), lambda: L.Linear(3, 2, bias=False, dtype=jnp.bfloat16), lambda: L.Conv2d(3, 4, [3, 1], padding="same"),
    lambda: L.Conv1d(3, 6, 3, groups=3), lambda: L.Conv3d(1, 1, 2), lambda: L.BatchNorm2d(3, momentum=None), lambda: L.LayerNorm([2, 3]),
    lambda: L.Embedding(5, 3, padding_idx=-1), lambda: L.Dropout(0.1), lambda: L.AlphaDropout(0.1), lambda: L.Identity(),
    lambda: L.Sequential(L.Linear(3, 3), act, L.Sequential({"x": L.Dropout()})),
    lambda: purenn.compose(plain_wire, a=L.Linear(3, 2), s=purenn.param(np.ones(2, np.float32))),
    lambda: purenn.compose(plain_wire, a=act, s=purenn.buffer(init.uniform, (2,), a=3.0), n=None),
]  # fmt: skip


@pytest.mark.parametrize("make", VALUES, ids=lambda make: repr(make())[:40])
def test_layers_are_values(make):
    a, b = make(), make()
    assert a == b
    assert hash(a) == hash(b)
    assert repr(a) == repr(b)
    assert type(a).__name__ in repr(a)
    copy = pickle.loads(pickle.dumps(a))
    assert copy == a
    assert hash(copy) == hash(a)
    assert all(a != other() for other in VALUES if other is not make)
    for field in dataclasses.fields(a):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(a, field.name, None)
    traces = []

    def run(model, key):
        traces.append(1)
        return model.init(key)

    jitted = jax.jit(run, static_argnums=0)
    close(jitted(a, KEY), a.init(KEY))
    jitted(b, KEY)
    jitted(copy, KEY)
    assert len(traces) == 1


def test_arrays_in_declarations_compare_by_content():
    assert purenn.param(np.ones(2, np.float32)) == purenn.param(jnp.ones(2))
    assert purenn.param(np.ones(2)) != purenn.param(np.zeros(2))
    assert purenn.param(np.ones(2)) != purenn.param(np.ones((1, 2)))
    assert purenn.param(np.ones(2)) != purenn.buffer(np.ones(2))
    assert purenn.buffer(jax.random.key(1)) == purenn.buffer(jax.random.key(1))
    assert purenn.buffer(jax.random.key(1)) != purenn.buffer(jax.random.key(2))
    assert repr(purenn.param(np.ones((2, 3)))).startswith(
        "Leaf(shape=(2, 3), dtype=dtype('float32'), initializer=array(2x3)"
    )


def test_a_users_own_layer():
    @dataclass(frozen=True)
    class Residual(Layer):
        width: int

        def children(self):
            return {"inner": L.Linear(self.width, self.width), "gate": purenn.param(init.zeros, ())}

        def forward(self, m, x):
            return x + m.gate * m.inner(x) + 0 * m.width

    model = L.Sequential(Residual(3), Residual(3))
    params, buffers = model.init(KEY)
    equal(model.apply(params, buffers, X)[0], X)
    assert list(tree.flatten(purenn.structure(model)))[:3] == ["0.gate", "0.inner.weight", "0.inner.bias"]


# ----------------------------------------------------------------------------------------------------------- state_dict


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(3, 5)
        self.norm = torch.nn.BatchNorm1d(5)
        self.scale = torch.nn.Parameter(torch.ones(5))
        self.drop = torch.nn.Dropout(0.4)
        self.head = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        self.shift = torch.nn.Parameter(torch.tensor([0.5, -0.5]))
        self.register_buffer("calls", torch.tensor(0, dtype=torch.int32))
        self.register_buffer("table", torch.zeros(2, 2), persistent=False)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.body(x)) * self.scale))) + self.shift


def test_state_dict_has_torchs_names_and_order_and_loads_both_ways():
    model, twin = net(), Twin()
    params, buffers = model.init(KEY)
    state = purenn.state_dict(model, params, buffers)
    assert list(state) == list(twin.state_dict())
    # also from what jit has sorted
    assert list(purenn.state_dict(model, *jax.jit(model.init)(KEY))) == list(state)
    twin.load_state_dict({name: torch.tensor(np.asarray(x)) for name, x in state.items()}, strict=True)
    close(model.apply(params, buffers, X)[0], twin.eval()(torch.tensor(np.asarray(X))).detach().numpy())
    loaded = purenn.load_state_dict(model, twin.state_dict())
    equal(loaded[0], params)
    assert list(tree.flatten(loaded[0])) == list(tree.flatten(params))
    assert list(tree.flatten(loaded[1])) == list(tree.flatten(buffers))
    assert loaded[1]["norm"]["num_batches_tracked"].dtype == jnp.int32


def test_structure_says_what_is_trained_and_kept():
    leaves = tree.flatten(purenn.structure(net()))
    assert all(isinstance(leaf, Leaf) for leaf in leaves.values())
    assert [path for path, leaf in leaves.items() if not leaf.trainable] == [
        "calls", "table", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    ]  # fmt: skip
    assert [path for path, leaf in leaves.items() if not leaf.persistent] == ["table"]


def test_loaded_arrays_are_copies_of_what_may_change():
    weight = np.ones((64, 64), np.float32)
    params, _ = purenn.load_state_dict(L.Linear(64, 64, bias=False), {"weight": weight})
    weight[:] = 7
    assert float(params["weight"].max()) == 1
    twin = torch.nn.Linear(64, 64, bias=False)
    params, _ = purenn.load_state_dict(L.Linear(64, 64, bias=False), twin.state_dict())
    with torch.no_grad():
        twin.weight.fill_(7.0)
    assert float(params["weight"].max()) < 1


def test_all_problems_are_reported_at_once():
    state = purenn.state_dict(net(), *net().init(KEY))
    del state["body.bias"], state["scale"]
    state["extra"] = state["nope.weight"] = np.ones(1)
    state["shift"] = np.ones(3)
    state["norm.num_batches_tracked"] = np.float32(1.5)
    state["head.0.bias"] = np.ones(4, np.complex64)
    text = (
        "load_state_dict: the state_dict does not fit Composed, nothing was changed. 7 problems:\n"
        "    missing: scale (5,)\n    missing: body.bias (5,)\n"
        "    unexpected: extra\n    unexpected: nope.weight\n"
        "    mismatched: shift: shape (3,), the model has (2,)\n"
        "    mismatched: norm.num_batches_tracked: values of float32 that int32 cannot hold\n"
        "    mismatched: head.0.bias: dtype complex64, the model has float32"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        purenn.load_state_dict(net(), state)


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (np.int64(2**40), jnp.int32, False), (np.int64(7), jnp.int32, True), (np.float64(7), jnp.int32, True),
        (np.float32(np.nan), jnp.int32, False), (np.int64(7), jnp.float32, True), (np.float64(0.1), jnp.bfloat16, True),
        (np.complex64(1), jnp.complex64, True), (np.float32(2), jnp.complex64, True), (np.int64(-1), jnp.uint8, False),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_dtypes_of_a_state_dict_are_cast_where_nothing_is_lost(value, dtype, fits):
    model = purenn.compose(lambda m: m.n, n=purenn.buffer(init.zeros, (), dtype))
    if not fits:
        with pytest.raises(
            ValueError, match=re.escape(f"mismatched: n: values of {value.dtype} that {jnp.dtype(dtype)} cannot hold")
        ):
            purenn.load_state_dict(model, {"n": value})
        return
    n = purenn.load_state_dict(model, {"n": value})[1]["n"]
    assert n.dtype == dtype
    np.testing.assert_allclose(np.asarray(n).astype(complex), complex(value), rtol=1e-2)


def test_torch_halves_load_exactly():
    twin = torch.nn.Linear(3, 2).bfloat16()
    params, _ = purenn.load_state_dict(L.Linear(3, 2, dtype=jnp.bfloat16), twin.state_dict())
    assert params["weight"].dtype == jnp.bfloat16
    equal(params["weight"].astype(jnp.float32), twin.weight.detach().float().numpy())
    conjugate = torch.ones(2, dtype=torch.complex64).mul(1j).conj()
    model = purenn.compose(lambda m: m.z, z=purenn.buffer(init.zeros, (2,), jnp.complex64))
    equal(purenn.load_state_dict(model, {"z": conjugate})[1]["z"], [-1j, -1j])


def test_not_strict():
    model = net()
    params, buffers = model.init(KEY)
    state = purenn.state_dict(model, params, buffers)
    del state["body.weight"]
    state["extra"] = np.ones(1)
    with refused(
        ValueError, "load_state_dict: rng must be given to draw what is missing, got missing=['body.weight']. Pass rng="
    ):
        purenn.load_state_dict(model, state, strict=False)
    equal(purenn.load_state_dict(model, state, strict=False, rng=KEY), (params, buffers))
    state["body.weight"] = params["body"]["weight"]
    loaded, rest = purenn.load_state_dict(model, state, strict=False)  # only what is never saved is drawn
    equal(loaded, params)
    assert rest["table"].shape == (2, 2)
    with pytest.raises(ValueError, match="mismatched: scale: shape"):
        purenn.load_state_dict(model, state | {"scale": np.ones(1)}, strict=False)


def test_state_dict_of_the_wrong_trees():
    params, buffers = net().init(KEY)
    with refused(
        ValueError,
        "state_dict: params and buffers must hold the model's names, got missing=['calls', 'norm.num_batches_tracked', 'norm.running_mean', 'norm.running_var', 'table'] and unknown=[].",
    ):
        purenn.state_dict(net(), params, {})
    with refused(
        ValueError, "state_dict: params and buffers must hold the model's names, got missing=[] and unknown=['x']."
    ):
        purenn.state_dict(net(), params | {"x": X}, buffers)


def test_non_persistent_buffers_are_drawn_when_loading():
    model = net()
    params, buffers = model.init(KEY)
    state = purenn.state_dict(model, params, buffers)
    assert "table" not in state
    equal(purenn.load_state_dict(model, state, rng=KEY)[1]["table"], buffers["table"])
    with pytest.raises(ValueError, match="unexpected: table"):
        purenn.load_state_dict(model, state | {"table": buffers["table"]})


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_a_further_name_of_a_tied_array_is_expected(kind):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    state = Tied().state_dict()
    if kind == "numpy":
        array = state["embed.weight"].numpy()
        state = dict.fromkeys(state, array)
    model = purenn.compose(lambda m, i: m.embed(i) @ m.embed.weight.T, embed=L.Embedding(5, 3))
    params, _ = purenn.load_state_dict(model, state)
    assert params["embed"]["weight"].shape == (5, 3)
    other = {**state, "head.weight": state["embed.weight"] + 0}
    with pytest.raises(ValueError, match=re.escape("unexpected: head.weight")):
        purenn.load_state_dict(model, other)
    empty = {**state, "none": torch.zeros(0, 3), "nothing": torch.zeros(0, 3)}
    with pytest.raises(ValueError, match="unexpected: none\n    unexpected: nothing"):
        purenn.load_state_dict(model, empty)
