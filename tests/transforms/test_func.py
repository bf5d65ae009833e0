"""transforms.func: torch.func's functions, held against torch's own."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from transforms import func
from transforms.func import functional_call, stack_module_state, vmap

KEY = jax.random.key(0)
DRAWN = np.random.default_rng(0)
X = DRAWN.standard_normal((5, 3)).astype(np.float32)
W = DRAWN.standard_normal((4, 3)).astype(np.float32)
B = DRAWN.standard_normal(4).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def same(ours, theirs, tol=1e-5):
    """One structure, one order of names, one set of numbers."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            same(ours[name], theirs[name], tol)
    elif isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, tol)
    else:
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=tol, atol=tol)


def both(call):
    """The same call in both libraries."""
    return call(func, jnp, jnp.asarray), call(torch.func, torch, torch.tensor)


# ------------------------------------------------------------------------------------------------------- derivatives


def predict(lib, weight, bias, x):
    return lib.tanh(x @ weight.T + bias)


def named(lib, params, x):
    """A function of a state_dict, whose names are not sorted, that gives a dict that is not sorted either."""
    out = predict(lib, params["fc.weight"], params["fc.bias"], x)
    return {"z": out, "a": out.sum()}


CALLS = {
    "grad": lambda t, lib, a: t.grad(lambda x: (x**3).sum())(a(X)),
    "grad of several": lambda t, lib, a: t.grad(lambda w, b, x: (x @ w.T + b).sum() ** 2, argnums=(1, 0))(
        a(W), a(B), a(X)
    ),
    "grad of a dict": lambda t, lib, a: t.grad(lambda p: (p["w"] * p["a"]).sum())({"w": a(B), "a": a(B + 1)}),
    "grad with aux": lambda t, lib, a: t.grad(lambda x: ((x**2).sum(), {"z": x, "b": x + 1}), has_aux=True)(a(B)),
    "grad_and_value": lambda t, lib, a: t.grad_and_value(lambda x, s=1.0: (x**2).sum() * s)(a(B), s=2.0),
    "grad_and_value with aux": lambda t, lib, a: t.grad_and_value(lambda x: ((x**2).sum(), x), has_aux=True)(a(B)),
    "grad of grad": lambda t, lib, a: t.grad(t.grad(lambda x: (x**3).sum()))(a(np.float32(2))),
    "jacrev": lambda t, lib, a: t.jacrev(partial(predict, lib), argnums=2)(a(W), a(B), a(X[0])),
    "jacrev of several": lambda t, lib, a: t.jacrev(partial(predict, lib), argnums=(0, 1))(a(W), a(B), a(X[0])),
    "jacrev in chunks": lambda t, lib, a: t.jacrev(partial(predict, lib), (0, 2), chunk_size=3)(a(W), a(B), a(X[0])),
    "jacrev of dicts": lambda t, lib, a: t.jacrev(partial(named, lib))({"fc.weight": a(W), "fc.bias": a(B)}, a(X[0])),
    "jacrev of dicts in chunks": lambda t, lib, a: t.jacrev(partial(named, lib), chunk_size=2)(
        {"fc.weight": a(W), "fc.bias": a(B)}, a(X[0])
    ),
    "jacrev with aux": lambda t, lib, a: t.jacrev(lambda x: (x**2, {"z": x, "b": x}), has_aux=True)(a(B)),
    "jacrev with aux in chunks": lambda t, lib, a: t.jacrev(lambda x: (x**2, x), has_aux=True, chunk_size=1)(a(B)),
    "jacfwd": lambda t, lib, a: t.jacfwd(partial(predict, lib), argnums=2)(a(W), a(B), a(X[0])),
    "jacfwd of several": lambda t, lib, a: t.jacfwd(partial(predict, lib), argnums=(2, 1))(a(W), a(B), a(X[0])),
    "jacfwd with aux": lambda t, lib, a: t.jacfwd(lambda x: (x**2, x), 0, True, randomness="same")(a(B)),
    "hessian": lambda t, lib, a: t.hessian(lambda x: (x**3).sum() + x[0] * x[1])(a(B)),
    "hessian of several": lambda t, lib, a: t.hessian(lambda x, y: (x * y**2).sum(), argnums=(0, 1))(a(B), a(B)),
    "jvp": lambda t, lib, a: t.jvp(partial(predict, lib), (a(W), a(B), a(X[0])), (a(W), a(B), a(X[1]))),
    "jvp of dicts": lambda t, lib, a: t.jvp(
        lambda p: {"z": p["y"] * p["b"], "a": p["y"]}, ({"y": a(B), "b": a(B)},), ({"y": a(B + 1), "b": a(B)},)
    ),
    "jvp with aux": lambda t, lib, a: t.jvp(lambda x: (x**2, {"z": x, "b": x}), (a(B),), (a(B),), has_aux=True),
    "vjp": lambda t, lib, a: t.vjp(partial(predict, lib), a(W), a(B), a(X[0]))[1](a(B)),
    "vjp of dicts": lambda t, lib, a: t.vjp(lambda p: {"z": p["y"] * p["b"], "a": p["y"]}, {"y": a(B), "b": a(B)})[1](
        {"z": a(B), "a": a(B + 1)}
    ),
    "vjp, output": lambda t, lib, a: t.vjp(partial(named, lib), {"fc.weight": a(W), "fc.bias": a(B)}, a(X[0]))[0],
    "vjp with aux": lambda t, lib, a: t.vjp(lambda x: (x**2, {"z": x, "b": x}), a(B), has_aux=True)[::2],
    "linearize": lambda t, lib, a: t.linearize(lambda x: lib.sin(x), a(B))[1](a(B)),
    "linearize, output": lambda t, lib, a: t.linearize(lambda x: {"z": lib.sin(x), "a": x}, a(B))[0],
    "vmap of vjp": lambda t, lib, a: t.vmap(t.vjp(partial(predict, lib), a(W), a(B), a(X[0]))[1])(
        a(np.eye(4, dtype="f"))
    ),
    "vmap of hessian": lambda t, lib, a: t.vmap(t.hessian(partial(predict, lib), argnums=2), in_dims=(None, None, 0))(
        a(W), a(B), a(X)
    ),
    "vmap of grad of dicts": lambda t, lib, a: t.vmap(t.grad(lambda p, x: named(lib, p, x)["a"]), (None, 0))(
        {"fc.weight": a(W), "fc.bias": a(B)}, a(X)
    ),
    "vmap, other axes": lambda t, lib, a: t.vmap(lambda x, y: {"z": x * y, "a": x}, in_dims=(1, -1), out_dims=1)(
        a(X), a(X + 1)
    ),
    "vmap, trees of axes": lambda t, lib, a: t.vmap(
        lambda d, s: (d["x"] * s, d["y"]), in_dims=({"x": 0, "y": None}, None), out_dims=(1, 0)
    )({"x": a(X), "y": a(B)}, 2.0),
    "vmap in chunks": lambda t, lib, a: t.vmap(lambda x: {"z": x * 2, "a": x.sum()}, chunk_size=2)(a(X)),
    "vmap in chunks, other axes": lambda t, lib, a: t.vmap(lambda x, w: w @ x, (0, None), 1, chunk_size=3)(a(X), a(W)),
    "vmap, keywords are not mapped": lambda t, lib, a: t.vmap(lambda x, w: w @ x)(a(X), w=a(W)),
    "functionalize": lambda t, lib, a: t.functionalize(lambda x: x * 2, remove="mutations_and_views")(a(X)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_same_call_same_result_same_order_as_torch(call):
    same(*both(call))


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        same({"a": 1.0, "b": 1.0}, {"b": torch.ones(()), "a": torch.ones(())})


def test_every_name_is_torchs():
    """And those of torch's that are not here are in docs/differences.md."""
    left_out = {"debug_unwrap", "rearrange", "replace_all_batch_norm_modules_"}
    assert set(func.__all__) == set(torch.func.__all__) - left_out


def test_under_jit_and_without_arrays():
    shapes = jax.eval_shape(vmap(func.jacrev(partial(predict, jnp), argnums=2), (None, None, 0)), W, B, X)
    assert shapes.shape == (5, 4, 3)
    traced = jax.jit(vmap(func.grad(lambda x: (x**2).sum()), chunk_size=2))
    np.testing.assert_allclose(traced(X), 2 * X)
    traced(X + 1)
    assert traced._cache_size() == 1


# -------------------------------------------------------------------------------------------------- random numbers


def noise(x, rng=None):
    return x + jax.random.normal(rng, x.shape)


def test_randomness_error_is_the_default_and_names_the_choices():
    with refused(ValueError, "vmap: a key that is not mapped must be meant, got randomness='error'. Say randomness="):
        vmap(noise)(jnp.zeros((5, 3)), rng=KEY)
    with refused(ValueError, "vmap: a key that is not mapped must be meant"):
        vmap(noise, in_dims=(0, None))(jnp.zeros((5, 3)), KEY)


def test_randomness_same_and_different():
    zeros = jnp.zeros((5, 3))
    alike = vmap(noise, randomness="same")(zeros, rng=KEY)
    np.testing.assert_array_equal(alike, jnp.broadcast_to(noise(zeros[0], KEY), (5, 3)))
    unlike = vmap(noise, randomness="different")(zeros, rng=KEY)
    want = jnp.stack([noise(zeros[0], jax.random.fold_in(KEY, i)) for i in range(5)])
    np.testing.assert_array_equal(unlike, want)
    np.testing.assert_array_equal(vmap(noise, (0, None), randomness="different")(zeros, KEY), want)
    chunked = vmap(noise, randomness="different", chunk_size=2)(zeros, rng=jax.random.key_data(KEY))
    np.testing.assert_array_equal(chunked, want)


def test_mapped_keys_are_used_as_they_are():
    zeros, keys = jnp.zeros((5, 3)), jax.random.split(KEY, 5)
    want = jnp.stack([noise(zeros[0], key) for key in keys])
    for randomness in ("error", "same", "different"):
        np.testing.assert_array_equal(vmap(noise, randomness=randomness)(zeros, keys), want)


def test_dropout_of_a_module_differs_between_examples():
    net = nn.Dropout(0.5)

    def call(x, rng):
        return functional_call(net, {}, x, rng=rng)

    out = vmap(call, randomness="different")(jnp.ones((4, 64)), rng=KEY)
    assert len({row.tobytes() for row in np.asarray(out)}) == 4


# ------------------------------------------------------------------------------------------------- functional_call


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x, scale=1.0):
        return self.fc2(F.relu(self.norm(self.fc1(x)))) * scale


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_functional_call_takes_what_is_given_and_keeps_the_rest():
    net = Net().eval()
    state = net.state_dict()
    params, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    want = net(X)
    for dicts in ({}, params, (params, buffers), state, net.split(), {"fc1": {"weight": params["fc1.weight"]}}):
        np.testing.assert_array_equal(functional_call(net, dicts, (X,)), want)
    np.testing.assert_array_equal(functional_call(net, params, X, {"scale": 2.0}), 2 * want)
    zero = functional_call(net, {"fc2.weight": jnp.zeros((2, 8)), "unknown": jnp.zeros(1)}, X)
    np.testing.assert_allclose(zero, jnp.broadcast_to(params["fc2.bias"], (5, 2)))
    np.testing.assert_array_equal(net(X), want)


def test_functional_call_of_a_pure_model_and_of_a_transform():
    for model in (L.Linear(3, 2), transforms.remat(L.Linear(3, 2)), transforms.freeze(L.Linear(3, 2), "bias")):
        params, buffers = model.init(KEY)
        out = functional_call(model, (params, buffers), X)
        np.testing.assert_allclose(out, model.apply(params, buffers, X)[0], rtol=1e-6)


def test_functional_call_takes_stacked_layers_by_path_and_by_name():
    model = transforms.scan(L.Linear(3, 3), 2)
    params, buffers = model.init(KEY)
    want = model.apply(params, buffers, X)[0]
    state = purenn.state_dict(model, params, buffers)
    assert "1.weight" in state
    module = nn.Module(model)
    module.load_state_dict(state)
    for dicts in (params, state):
        np.testing.assert_allclose(functional_call(model, dicts, X), want, rtol=1e-6)
        np.testing.assert_allclose(functional_call(module, dicts, X), want, rtol=1e-6)
    moved = functional_call(module, {"1.bias": state["1.bias"] + 1}, X)
    np.testing.assert_allclose(moved, want + 1, rtol=1e-5)
    with refused(ValueError, "got missing=['0.weight', '0.bias', '1.weight'] and unexpected=[]."):
        functional_call(model, {"1.bias": state["1.bias"]}, X)


def test_functional_call_without_inputs():
    model = purenn.compose(lambda m: m.w * 2, w=purenn.param(jnp.ones(3)))
    np.testing.assert_array_equal(functional_call(model, {"w": jnp.ones(3)}), 2 * np.ones(3))


def test_tied_weights_are_given_under_any_name():
    net, new = Tied(), jnp.eye(3) * 2
    for dicts in ({"a.weight": new}, {"b.weight": new}, {"a.weight": new, "b.weight": new}):
        np.testing.assert_allclose(functional_call(net, dicts, X), 4 * X, rtol=1e-6)
    with refused(ValueError, "functional_call: tied names must be given one and the same array, "
                 "got names=['a.weight', 'b.weight']."):  # fmt: skip
        functional_call(net, {"a.weight": new, "b.weight": new + 1}, X)
    with refused(ValueError, "functional_call: tied arrays must stay tied, got tie_weights=False"):
        functional_call(net, {"b.weight": new}, X, tie_weights=False)


def test_functional_call_refuses_to_lose_buffers():
    net = Net()
    with refused(ValueError, "functional_call: buffers must stay as they are, got changed=['norm.running_mean', "
                 "'norm.running_var', 'norm.num_batches_tracked']. Use module.apply"):  # fmt: skip
        functional_call(net, {}, X)
    functional_call(net, {}, X, train=False)
    assert int(net.norm.num_batches_tracked) == 0


def test_functional_call_errors():
    net = Net().eval()
    with refused(TypeError, "functional_call: model must have init and apply"):
        functional_call(len, {}, X)
    with refused(TypeError, "functional_call: parameter_and_buffer_dicts must be a dict of arrays, or a tuple of "
                 "dicts, got its type='list'"):  # fmt: skip
        functional_call(net, [jnp.ones(3)], X)
    bias = {"fc1.bias": jnp.zeros(8)}
    with refused(ValueError, "functional_call: no name may stand in two dicts, got names=['fc1.bias']."):
        functional_call(net, (bias, bias), X)
    with refused(ValueError, "functional_call: with strict=True the names must be those of the model, got missing=["):
        functional_call(net, bias, X, strict=True)
    with refused(ValueError, "functional_call: the dicts must hold every array of a model that holds none, "
                 "got missing=['weight'] and unexpected=['wait']."):  # fmt: skip
        functional_call(L.Linear(3, 2), {"wait": W, "bias": B}, X)


# --------------------------------------------------------------------------------------------- stack_module_state


def test_stacked_modules_are_the_modules():
    models = [Net().eval() for _ in range(3)]
    params, buffers = stack_module_state(models)
    assert list(params) == [name for name, _ in models[0].named_parameters()]
    assert set(buffers) == {name for name, _ in models[0].named_buffers()}

    def call(params, buffers, x):
        return functional_call(models[0], (params, buffers), (x,))

    out = jax.jit(vmap(call, in_dims=(0, 0, None)))(params, buffers, X)
    np.testing.assert_allclose(out, jnp.stack([model(X) for model in models]), rtol=1e-5, atol=1e-6)


def test_stack_module_state_errors():
    with refused(ValueError, "stack_module_state: models must not be empty, got len(models)=0."):
        stack_module_state([])
    with refused(TypeError, "stack_module_state: models must hold arrays, as Modules do, got their types=['Linear']"):
        stack_module_state([L.Linear(3, 2)])
    with refused(ValueError, "stack_module_state: models must be of one class, got their classes=['Net', 'Tied']."):
        stack_module_state([Net(), Tied()])
    with refused(ValueError, "stack_module_state: models must be in one mode, got training='both'. Call train()"):
        stack_module_state([Net(), Net().eval()])
    with refused(ValueError, "stack: leaves of one path must have one shape and dtype"):
        stack_module_state([nn.Linear(3, 2), nn.Linear(4, 2)])


# ----------------------------------------------------------------------------------------------------------- errors


def test_errors_of_options():
    with refused(ValueError, "vmap: randomness must be 'error', 'same' or 'different', got randomness='none'."):
        vmap(len, randomness="none")
    with refused(ValueError, "vmap: chunk_size must be a positive integer or None, got chunk_size=0."):
        vmap(len, chunk_size=0)
    with refused(ValueError, "jacrev: chunk_size must be a positive integer or None, got chunk_size=True."):
        func.jacrev(len, chunk_size=True)
    with refused(ValueError, "vmap: an array must have the axis of the examples, got args[1].shape=() and its axis=0. "
                 "Say what all examples share with None in in_dims."):  # fmt: skip
        vmap(jnp.add)(X, 2.0)
    with refused(ValueError, "vmap: the arrays of args must have one number of examples, got theirs={}."):
        vmap(jnp.add, in_dims=None)(X, X)
    with refused(
        ValueError, "vmap: in_dims must have one entry for each argument, got len(in_dims)=1 and len(args)=2."
    ):
        vmap(jnp.add, in_dims=(0,))(X, X)
    with refused(ValueError, "jacfwd: randomness must be 'error' or 'same', got randomness='different'."):
        func.jacfwd(len, randomness="different")
    with refused(ValueError, "jvp: strict must be False, got strict=True."):
        func.jvp(jnp.sin, (X,), (X,), strict=True)
    with refused(TypeError, "jvp: primals must be a tuple, one entry for each argument, got type(primals)='ndarray'."):
        func.jvp(jnp.sin, X, (X,))
    with refused(TypeError, "jvp: tangents must be a tuple, one entry for each argument, got type(tangents)='list'."):
        func.jvp(jnp.sin, (X,), [X])
    with refused(ValueError, "functionalize: remove must be 'mutations' or 'mutations_and_views', got remove='all'."):
        func.functionalize(len, remove="all")


def test_a_module_is_a_function_too():
    net = nn.Linear(3, 2)
    mapped = vmap(net)
    np.testing.assert_allclose(mapped(X), net(X), rtol=1e-6)
    assert "_parameters" not in vars(mapped)  # what is the module's stays there
    np.testing.assert_allclose(vmap(func.jacrev(net))(X)[0], net.weight, rtol=1e-6)
