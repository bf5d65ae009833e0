"""hvp, ntk, linearize: what is computed from derivatives of derivatives, and from products of them."""

import re

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

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)
Y = jnp.array([0, 1, 1, 0, 1])


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def net(lib):
    tanh = torch.nn.Tanh() if lib is torch.nn else F.tanh
    return lib.Sequential(lib.Linear(3, 4), tanh, lib.LayerNorm(4), lib.Linear(4, 2))


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def close(a, b, tol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def like(params, seed=1):
    flat = purenn.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return purenn.tree.unflatten(
        {path: jnp.asarray(rng.standard_normal(p.shape), jnp.float32) for path, p in flat.items()}
    )


# ------------------------------------------------------------------------------------------------------------------ hvp


@pytest.mark.parametrize("lib", [L, nn], ids=["pure", "module"])
def test_hvp_is_torchs(lib):
    theirs, model = net(torch.nn), net(lib)
    params, buffers = purenn.load_state_dict(model, theirs.state_dict())
    vector = like(params)
    fn = jax.jit(transforms.hvp(model, loss))
    (value, _), product = fn(params, buffers, vector, (X, Y))
    x, y = torch.tensor(np.array(X)), torch.tensor(np.array(Y)).long()

    def call(*arrays):
        named = dict(zip(theirs.state_dict(), arrays, strict=True))
        return torch.nn.functional.cross_entropy(torch.func.functional_call(theirs, named, x), y)

    flat = purenn.tree.flatten(vector)
    vectors = tuple(torch.tensor(np.array(flat[name])) for name in theirs.state_dict())
    want, products = torch.autograd.functional.hvp(call, tuple(theirs.state_dict().values()), vectors)
    np.testing.assert_allclose(value, want.detach(), rtol=1e-5)
    for name, p in zip(theirs.state_dict(), products, strict=True):
        np.testing.assert_allclose(purenn.tree.flatten(product)[name], p, rtol=1e-4, atol=1e-6)
    assert fn._cache_size() == 1


def test_hvp_of_a_part_and_with_state():
    model = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Dropout(0.5), L.Linear(4, 2))
    params, buffers = model.init(KEY)
    whole, part = transforms.hvp(model, loss), transforms.hvp(model, loss, "3.*")
    vector = like(params)
    only = {"3": vector["3"]}
    zero = jax.tree.map(jnp.zeros_like, params) | only
    (_, after), product = jax.jit(part)(params, buffers, only, (X, Y), rng=KEY)
    (_, want_after), want = jax.jit(whole)(params, buffers, zero, (X, Y), rng=KEY)
    assert list(product) == ["3"]
    close((product["3"], after), (want["3"], want_after))
    assert int(after["1"]["num_batches_tracked"]) == 1


def test_hvp_errors():
    with refused(TypeError, "hvp: model must have init and apply"):
        transforms.hvp(3, loss)
    params, buffers = net(L).init(KEY)
    with refused(ValueError, "hvp: vector must have the structure and shapes of the params, got vector={}."):
        transforms.hvp(net(L), loss)(params, buffers, {}, (X, Y))
    with refused(ValueError, "hvp: where must match something, got where='9'."):
        transforms.hvp(net(L), loss, "9")(params, buffers, {}, (X, Y))


# ------------------------------------------------------------------------------------------------------------------ ntk


def torch_ntk(theirs, x1, x2, compute):
    """As torch's tutorial has it."""
    params = {k: v.detach() for k, v in theirs.named_parameters()}

    def single(params, x):
        return torch.func.functional_call(theirs, params, (x.unsqueeze(0),)).squeeze(0)

    jac = torch.func.vmap(torch.func.jacrev(single), (None, 0))
    ones, twos = ([j.flatten(2) for j in jac(params, torch.tensor(np.array(x))).values()] for x in (x1, x2))
    letters = {"full": "Naf,Mbf->NMab", "trace": "Naf,Maf->NM", "diagonal": "Naf,Maf->NMa"}[compute]
    return torch.stack([torch.einsum(letters, a, b) for a, b in zip(ones, twos, strict=True)]).sum(0)


def test_ntk_is_torchs_both_ways():
    theirs, model = net(torch.nn), net(nn)
    params, buffers = purenn.load_state_dict(model, theirs.state_dict())
    choices = [(compute, by) for compute in ("full", "diagonal", "trace") for by in ("jacobians", "products")]
    kernels = [transforms.ntk(model, compute=compute, by=by) for compute, by in choices]
    found = jax.jit(lambda *args: [kernel(*args) for kernel in kernels])(params, buffers, X, X[:3] + 1)
    for (compute, _), got in zip(choices, found, strict=True):
        np.testing.assert_allclose(got, torch_ntk(theirs, X, X[:3] + 1, compute), rtol=1e-4, atol=1e-5)


def test_ntk_of_one_set_of_a_part_and_of_any_output():
    model = purenn.compose(lambda m, x, y: m.a(x)[:, :, None] * m.b(y)[:, None, :], a=L.Linear(3, 2), b=L.Linear(3, 4))
    params, buffers = model.init(KEY)
    inputs = (X, X + 1)
    full = jax.jit(transforms.ntk(model, "a.*"))(params, buffers, inputs)
    assert full.shape == (5, 5, 2, 4, 2, 4)
    close(full, jnp.transpose(full, (1, 0, 4, 5, 2, 3)))
    close(jax.jit(transforms.ntk(model, "a.*", by="products"))(params, buffers, inputs), full)
    scalar = purenn.compose(lambda m, x: m.a(x)[:, 0], a=L.Linear(3, 1))
    params, buffers = scalar.init(KEY)
    for by in ("jacobians", "products"):  # of a linear model it is the product of the inputs, and 1 of the bias
        close(jax.jit(transforms.ntk(scalar, by=by))(params, buffers, X), X @ X.T + 1)


def test_ntk_errors():
    with refused(TypeError, "ntk: model must have init and apply"):
        transforms.ntk(3)
    with refused(ValueError, "ntk: compute must be one of 'full', 'diagonal', 'trace', got compute='all'."):
        transforms.ntk(net(L), compute="all")
    with refused(ValueError, "ntk: by must be one of 'jacobians', 'products', got by='hand'."):
        transforms.ntk(net(L), by="hand")
    model = purenn.compose(lambda m, x: (m.a(x), x), a=L.Linear(3, 2))
    with refused(TypeError, "ntk: the output must be one floating array, got its type='tuple'."):
        transforms.ntk(model)(*model.init(KEY), X)
    model = purenn.compose(lambda m, x: m.a(x).argmax(-1), a=L.Linear(3, 2))
    with refused(TypeError, "ntk: the output must be one floating array, got its dtype='int32'."):
        transforms.ntk(model)(*model.init(KEY), X)


# ------------------------------------------------------------------------------------------------------------ linearize


@pytest.mark.parametrize("lib", [L, nn], ids=["pure", "module"])
def test_linearize_is_the_first_order_expansion(lib):
    model = net(lib)
    line = transforms.linearize(model)
    params, buffers = line.init(KEY)
    plain, _ = model.init(KEY)
    step = like(params)

    @jax.jit
    def outputs(plain, params, buffers, step):
        at = [jax.tree.map(lambda p, s, scale=scale: p + scale * s, params, step) for scale in (0.0, 1.0, 2.0)]
        slope = jax.jvp(lambda p: model.apply(p, {}, X)[0], (plain,), (step,))
        return [line.apply(p, buffers, X)[0] for p in at], slope

    outs, (value, tangent) = outputs(plain, params, buffers, step)
    close(outs[0], value, 1e-6)
    close(outs[2] - outs[1], outs[1] - outs[0], 1e-4)  # linear in the params
    close(outs[1] - outs[0], tangent, 1e-4)


def test_linearize_trains_as_its_kernel_says():
    """One step of gradient descent moves the outputs by the kernel, exactly."""
    model = L.Sequential(L.Linear(3, 16), F.tanh, L.Linear(16, 1))
    line = transforms.linearize(model)
    params, buffers = line.init(KEY)
    target = jnp.ones((5, 1))
    fn = transforms.value_and_grad(line, lambda m, x: ((m(x) - target) ** 2).sum() / 2)

    @jax.jit
    def step(params, buffers):
        before = line.apply(params, buffers, X)[0]
        _, grads = fn(params, buffers, X)
        after = line.apply(jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), buffers, X)[0]
        return before, after, transforms.ntk(model, compute="trace")(params, {}, X)

    before, after, kernel = step(params, buffers)
    close(after - before, -0.01 * kernel @ (before - target))


def test_linearize_keeps_names_state_and_randomness():
    model = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Dropout(0.5))
    line = transforms.linearize(model)
    params, buffers = line.init(KEY)

    def run(model):
        return jax.jit(lambda params, buffers: model.apply(params, buffers, X, rng=KEY, train=True))

    out, after = run(line)(params, buffers)
    want, want_after = run(model)(params, {"1": buffers["1"]})
    close((out, after["1"]), (want, want_after["1"]))
    state = purenn.state_dict(line, params, buffers)
    names = [*purenn.structure(model)]
    assert {name.split(".")[0] for name in state} == {*names, "origin"}
    own = {name: array for name, array in state.items() if not name.startswith("origin.")}
    purenn.load_state_dict(model, own)
    again = purenn.load_state_dict(line, state)
    jax.tree.map(np.testing.assert_array_equal, again, (params, buffers))
    module = nn.Module(line)
    assert set(module.state_dict()) == set(state)


def test_linearize_gives_what_does_not_float_as_it_is():
    model = purenn.compose(lambda m, x: (m.a(x), m.a(x).argmax(-1)), a=L.Linear(3, 2))
    line = transforms.linearize(model)
    params, buffers = line.init(KEY)
    out = line.apply(jax.tree.map(lambda p: 2 * p, params), buffers, X)[0]
    np.testing.assert_array_equal(out[1], model.apply(params, {}, X)[0][1])


def test_linearize_errors():
    with refused(TypeError, "linearize: model must have init and apply"):
        transforms.linearize(3)
    with refused(ValueError, "linearize: model must have params, got its names=[]."):
        transforms.linearize(L.Dropout())
    with refused(ValueError, "linearize: no child may be called 'origin', got its names=['origin']."):
        transforms.linearize(purenn.compose(lambda m, x: m.origin(x), origin=L.Linear(3, 2)))
    with refused(ValueError, "linearize: buffers must hold the origin, got its names=[]. They come from"):
        transforms.linearize(net(L)).apply(net(L).init(KEY)[0], {}, X)
