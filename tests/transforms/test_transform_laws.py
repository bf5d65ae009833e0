"""The laws that hold for every transform of the table (table.py)."""

import itertools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import CASES, KEY, MODELS, WIDTH, Case, Net, X, pure

import purenn
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree

BY_NAME = {case.name: case for case in CASES}
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def train(model):
    """One call in training, compiled."""
    return jax.jit(lambda params, buffers, rng: model.apply(params, buffers, X, rng=rng, train=True))


def parts(case: Case, model, plain, params, buffers):
    """The arrays of the plain models that a result stands for."""
    states = case.export(purenn.state_dict(model, params, buffers))
    return [purenn.load_state_dict(plain, state) for state in states]


def check_numbers(case: Case, model, plain, compare):
    """Outputs and buffers of one training call, against those of the plain models."""
    params, buffers = model.init(KEY)
    pairs = parts(case, model, plain, params, buffers)
    out, after = train(model)(params, buffers, KEY)
    states = case.export(purenn.state_dict(model, params, after))
    one, keys = train(plain), case.keys(KEY, len(pairs))
    assert len(case.outs(out)) == len(states) == len(pairs) == len(keys)
    for i, (mine, key) in enumerate(zip(pairs, keys, strict=True)):
        expected, expected_after = one(*mine, key)
        compare(case.outs(out)[i], expected)
        compare(states[i], purenn.state_dict(plain, mine[0], expected_after))


# ------------------------------------------------------------------------------------------------------------ the table


def test_the_table_names_transforms_and_each_once():
    assert len(BY_NAME) == len(CASES)
    assert set(BY_NAME) <= set(transforms.__all__)
    for case in CASES:
        assert bool(case.same) != bool(case.why_not), case.name


# What makes a model of a model, and yet cannot be an entry; each has a test file of its own.
ELSEWHERE = {
    "unfreeze": "takes what freeze gave alone",
    "functionalize": "takes a function, not a model",
    "from_torch": "takes a torch module",
}
# What makes something else of a model.
OTHERS = {
    "accumulate", "aggregate", "assert_max_traces", "eval_step", "explain_retrace", "export", "find_nonfinite", "flops",
    "func", "hvp", "load_exported", "merge", "ntk", "param_groups", "parity", "per_example_grad", "read_average",
    "register_op", "start_average", "summary", "to_source", "to_torch", "train_step", "update_average",
    "value_and_grad", "weighted",
}  # fmt: skip


def test_every_transform_is_in_the_table():
    functions = {name for name in transforms.__all__ if name[0].islower()}
    assert functions - OTHERS == set(BY_NAME) | set(ELSEWHERE)


# ---------------------------------------------------------------------------------------------------------- the numbers


@every
def test_the_identity_case_is_the_plain_model_bit_for_bit(case):
    if case.same is not None:
        check_numbers(case, case.same(pure()), case.same_plain(pure()), equal)


@every
def test_outputs_and_buffers_are_those_of_the_plain_models(case):
    if case.numbers:
        check_numbers(case, case.wrap(Net()), case.plain(Net()), close)


@every
def test_gradients_are_those_of_the_plain_models(case):
    """Of all inputs, through one training call; those of the weights follow the same way."""
    if not case.numbers:
        return
    model, plain = case.wrap(pure()), case.plain(pure())
    params, buffers = model.init(KEY)
    pairs = parts(case, model, plain, params, buffers)

    @jax.jit
    def gradient(x):
        return jax.grad(lambda x: sum((o**2).sum() for o in case.outs(model.apply(params, buffers, x)[0])))(x)

    @jax.jit
    def expected(x):
        return jax.grad(lambda x: sum((plain.apply(*pair, x)[0] ** 2).sum() for pair in pairs))(x)

    close(gradient(X), expected(X))


def test_a_wrong_transform_breaks_the_laws():
    """Each law can fail: a transform that gives a little more than the model does."""

    class Wrong:
        def __init__(self, model):
            self.init, self.structure = model.init, lambda: purenn.structure(model)
            self.apply = lambda *args, **kwargs: (lambda out, after: (out + 1e-3, after))(*model.apply(*args, **kwargs))

    wrong = Case("wrong", Wrong, same=Wrong)
    for law in (
        test_the_identity_case_is_the_plain_model_bit_for_bit,
        test_outputs_and_buffers_are_those_of_the_plain_models,
        test_gradients_are_those_of_the_plain_models,
    ):
        with pytest.raises(AssertionError):
            law(wrong)


# --------------------------------------------------------------------------------------------------------- the contract


@every
def test_compiled_it_is_traced_once(case):
    traces = []

    def counted(m, x):
        traces.append(1)
        return m.net(x)

    model = case.wrap(pure())
    around = purenn.compose(counted, net=model)
    params, buffers = around.init(KEY)
    run = jax.jit(lambda p, b, rng: around.apply(p, b, X, rng=rng, train=True))
    with jax.checking_leaks():
        _, buffers = run(params, buffers, KEY)
        once = len(traces)
        for i in range(2):
            _, buffers = run(params, buffers, jax.random.fold_in(KEY, i))
    assert once == len(traces) == 1


@every
def test_buffers_keep_their_names_shapes_and_dtypes(case):
    model = case.wrap(pure())
    params, buffers = model.init(KEY)
    _, after = jax.eval_shape(train(model), params, buffers, KEY)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), buffers)
    leaves = tree.flatten(purenn.structure(model))
    assert set(leaves) == set(tree.flatten(params)) | set(tree.flatten(buffers))
    for trained, held in ((True, params), (False, buffers)):
        for path, array in tree.flatten(held).items():
            assert leaves[path].trainable is trained, path
            assert (leaves[path].shape, leaves[path].dtype) == (array.shape, array.dtype), path


@every
def test_init_can_be_traced_and_draws_the_same(case):
    model = case.wrap(pure())
    close(jax.jit(model.init)(KEY), model.init(KEY), 1e-6)


@every
def test_nothing_is_allocated_for_shapes(case):
    """A model of terabytes: whatever drew one of its arrays would end the process."""
    width = 2**20
    model = case.wrap(L.Sequential({"body": L.Linear(width, width), "norm": L.BatchNorm1d(width)}))
    params, buffers = jax.eval_shape(model.init, KEY)
    assert tree.nbytes((params, buffers)) >= width * width
    purenn.structure(model)
    x = jax.ShapeDtypeStruct((6, width), jnp.float32)
    out, _ = jax.eval_shape(lambda p, b, x: model.apply(p, b, x, rng=KEY, train=True), params, buffers, x)
    assert all(o.shape == (6, width) for o in case.outs(jax.tree.map(lambda o: np.broadcast_to(0, o.shape), out)))


@every
def test_a_where_that_matches_nothing_is_refused(case):
    if case.nothing is not None:
        with pytest.raises(ValueError, match=f"^{case.name}: where must match something, got where="):
            case.nothing(pure())


@every
def test_what_is_no_model_is_refused(case):
    for bad, words in ((L.Linear, "model must be a model, not a class"), (3, "model must have init and apply")):
        with pytest.raises(TypeError, match=re.escape(f"{case.name}: {words}")):
            case.wrap(bad)


@every
def test_transformed_models_are_values(case):
    model, again = (case.wrap(pure_value()) for _ in range(2))
    model.init(KEY)
    assert model == again
    assert hash(pickle.loads(pickle.dumps(model))) == hash(model)
    assert pickle.loads(pickle.dumps(model)) == model


def pure_value():
    return L.Sequential({"body": L.Linear(WIDTH, WIDTH), "norm": L.BatchNorm1d(WIDTH), "head": L.Linear(WIDTH, WIDTH)})


# ------------------------------------------------------------------------------------------------------- the state_dict


@pytest.mark.parametrize("kind", MODELS)
@every
def test_the_state_dict_loads_into_the_plain_models_and_back(case, kind):
    if kind not in case.models:
        return
    plain, model = case.plain(MODELS[kind]()), case.wrap(MODELS[kind]())
    params, buffers = model.init(KEY)
    state = purenn.state_dict(model, params, buffers)
    states = case.export(state)
    names = list(purenn.state_dict(plain, *plain.init(KEY)))
    for one in states:
        assert list(one) == names
        purenn.load_state_dict(plain, one)
    back = case.gather(states)
    assert set(back) == set(state)
    if case.section:
        close(case.export(back), states)
        return
    equal({name: back[name] for name in state}, state)
    equal(purenn.load_state_dict(model, back), (params, buffers))


@every
def test_it_becomes_a_module_again(case):
    model = case.wrap(Net())
    module = nn.Module(model)
    params, buffers = model.init(KEY)
    state = purenn.state_dict(model, params, buffers)
    assert list(module.state_dict()) == list(state)
    module.load_state_dict(state)
    equal(module.state_dict(), state)
    equal(module.split(), (params, buffers))
    out, after = jax.jit(lambda p, b: model.apply(p, b, X))(params, buffers)
    got, got_after = jax.jit(lambda p, b: module.apply(p, b, X))(params, buffers)
    close((got, got_after), (out, after))
    close(module.eval()(X), out)


@every
def test_it_leaves_a_module_as_it_is(case):
    net = Net()
    before = {name: (x, np.array(x)) for name, x in net.state_dict().items()}
    model = case.wrap(net)
    jax.eval_shape(lambda p, b: model.apply(p, b, X, rng=KEY, train=True), *model.init(KEY))
    for name, x in net.state_dict().items():
        assert x is before[name][0]
        equal(x, before[name][1])
    assert net.training


# ----------------------------------------------------------------------------------------------------------- randomness


@every
def test_no_key_is_used_twice(case):
    """Members, layers and calls draw numbers of their own; one model alone draws what the plain one does."""
    model = case.wrap(noise())
    plain = case.plain(noise())
    params, buffers = model.init(KEY)
    outs = case.outs(model.apply(params, buffers, jnp.ones((6, 64)), rng=KEY, train=True)[0])
    for out, key in zip(outs, case.keys(KEY, len(outs)), strict=True):
        if case.numbers:
            pair = parts(case, model, plain, params, buffers)[0]
            expected, _ = plain.apply(*pair, jnp.ones((6, 64)), rng=key, train=True)
            close(jnp.sign(out), jnp.sign(expected))
    assert len({np.asarray(out).tobytes() for out in outs}) == len(outs)
    other = case.outs(model.apply(params, buffers, jnp.ones((6, 64)), rng=jax.random.fold_in(KEY, 1), train=True)[0])
    assert all((a != b).any() for a, b in zip(outs, other, strict=True))


def noise():
    """Noise on weights that do nothing; the weights are there for what wants some."""
    return purenn.compose(
        lambda m, x: m.drop(x) + 0 * (m.body.weight.sum() + m.norm.weight.sum()),
        body=L.Linear(WIDTH, WIDTH),
        norm=L.LayerNorm(WIDTH),
        drop=L.Dropout(0.5),
    )


# -------------------------------------------------------------------------------------------------------------- nesting

PAIRS = list(itertools.combinations([case for case in CASES if case.commutes], 2))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(case.name for case in pair))
def test_two_transforms_commute(pair):
    first, second = pair
    one, other = second.wrap(first.wrap(pure())), first.wrap(second.wrap(pure()))
    params, buffers = one.init(KEY)
    equal(other.init(KEY), (params, buffers))
    for model in (one, other):
        assert list(nn.Module(model).state_dict()) == list(purenn.state_dict(model, params, buffers))
    if first.numbers and second.numbers:
        close(train(one)(params, buffers, KEY), train(other)(params, buffers, KEY))


@every
def test_it_is_a_child_of_another_model(case):
    model = purenn.compose(lambda m, x: m.net(x), net=case.wrap(pure()))
    params, buffers = model.init(KEY)
    inner = case.wrap(pure())
    names = list(purenn.state_dict(inner, *inner.init(KEY)))
    assert list(purenn.state_dict(model, params, buffers)) == [f"net.{name}" for name in names]
    _, after = jax.eval_shape(train(model), params, buffers, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(buffers)
