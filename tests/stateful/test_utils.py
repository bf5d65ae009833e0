"""torch.nn.utils: parametrizations, the older norms, pruning, clipping, vectors, fusion, beside torch's."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import copy
import pickle
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.utils.prune

import purenn
import stateful as nn
import transforms
from stateful.utils import parametrizations as P
from stateful.utils import parametrize as R
from stateful.utils import prune
from stateful.utils.parametrization_list import Adapted

TP, TR, TU = torch.nn.utils.parametrizations, torch.nn.utils.parametrize, torch.nn.utils
KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and names, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def close(ours, theirs, tol=2e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=tol, atol=tol)


def exchange(ours, theirs):
    """Gives ours the arrays of theirs, and theirs those of ours: strict, same names in the same order."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in ours.state_dict().items()}, strict=True)


def agree(ours, theirs, x=X, gradients=True):
    """Output, gradients and buffers, in training twice and in evaluation."""
    seen: list[bool] = []
    for train in (True, True, False):
        for net in (ours, theirs):
            net.train(train)
        inputs = torch.tensor(x)
        out = theirs(inputs)
        if gradients and not (train and seen):
            seen.append(train)
            theirs.zero_grad()
            (out**2).sum().backward()
            params, buffers = ours.split()

            def value(params, buffers=buffers, train=train):
                out, after = ours.apply(params, buffers, x, train=train)
                return (out**2).sum(), after

            grads = jax.jit(jax.grad(value, has_aux=True))(params)[0]
            got = {**purenn.tree.flatten(grads)}
            expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
            assert set(got) == set(expected)
            for name, grad in expected.items():
                close(got[name], torch.zeros(got[name].shape) if grad is None else grad, 2e-4)
        close(ours(x), out)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, array in theirs.state_dict().items():
            close(ours.state_dict()[name], array)


def net(library):
    """Small, with statistics between."""
    return library.Sequential(library.Linear(3, 4), library.BatchNorm1d(4), library.Linear(4, 4))


def on_both(change):
    """The same change of the same network in both libraries."""
    ours, theirs = net(nn), net(torch.nn)
    change(nn, ours)
    change(torch.nn, theirs)
    return ours, theirs


CHANGES = {
    "weight_norm": lambda lib, m: lib.utils.parametrizations.weight_norm(m[0]),
    "weight_norm_dim": lambda lib, m: (lib.utils.parametrizations.weight_norm(m[0], dim=1), lib.utils.parametrizations.weight_norm(m[2], dim=None)),
    "spectral_norm": lambda lib, m: (lib.utils.parametrizations.spectral_norm(m[0], n_power_iterations=2), lib.utils.parametrizations.spectral_norm(m[2], "bias")),
    "matrix_exp": lambda lib, m: (lib.utils.parametrizations.orthogonal(m[0], orthogonal_map="matrix_exp"), lib.utils.parametrizations.orthogonal(m[2], orthogonal_map="cayley")),
    "householder": lambda lib, m: (lib.utils.parametrizations.orthogonal(m[0], use_trivialization=False), lib.utils.parametrizations.orthogonal(m[2], orthogonal_map="householder")),
    "chain": lambda lib, m: (lib.utils.parametrizations.weight_norm(m[2]), lib.utils.parametrizations.spectral_norm(m[2])),
    "old_weight_norm": lambda lib, m: (lib.utils.weight_norm(m[0]), lib.utils.weight_norm(m[2], dim=None)),
    "old_spectral_norm": lambda lib, m: (lib.utils.spectral_norm(m[0]), lib.utils.spectral_norm(m[2], n_power_iterations=3, dim=1)),
    "prune": lambda lib, m: (lib.utils.prune.l1_unstructured(m[0], "weight", 0.4), lib.utils.prune.ln_structured(m[2], "weight", 2, 2, 0), lib.utils.prune.l1_unstructured(m[2], "bias", 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_numbers_gradients_buffers_and_names_are_torchs(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own older functions
        ours, theirs = on_both(CHANGES[name])
    if not name.startswith("old"):
        assert repr(ours) == repr(theirs)
    exchange(ours, theirs)
    agree(ours, theirs)


def test_convolutions_and_recurrences():
    ours, theirs = nn.ConvTranspose1d(2, 3, 2), torch.nn.ConvTranspose1d(2, 3, 2)
    for module, library in ((ours, P), (theirs, TP)):
        library.spectral_norm(module)
    exchange(ours, theirs)
    agree(ours, theirs, X[:, :2, None].repeat(4, 2), gradients=False)
    ours, theirs = nn.GRU(3, 4), torch.nn.GRU(3, 4)
    for module, library in ((ours, P), (theirs, TP)):
        library.weight_norm(module, "weight_hh_l0")
    exchange(ours, theirs)
    close(ours(X)[0], theirs(torch.tensor(X))[0])


@pytest.mark.parametrize("name", ["chain", "householder", "old_spectral_norm", "prune"])
def test_a_parametrised_module_is_compiled_copied_and_pickled(name):
    ours = net(nn)
    CHANGES[name](nn, ours)
    expected = ours.eval()(X)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), nn.jit(ours)):
        np.testing.assert_allclose(other(X), expected, rtol=1e-6, atol=1e-6)
    alone = copy.deepcopy(ours)
    alone[0].bias = jnp.zeros(4)
    assert not np.array_equal(alone[0].bias, ours[0].bias)
    np.testing.assert_array_equal(ours(X), expected)


def test_both_faces_are_one_mechanism():
    def parametrised(module):
        P.weight_norm(module[0])
        P.spectral_norm(module[0])
        P.orthogonal(module[2])
        return module

    module = parametrised(net(nn))
    plain = net(nn)
    pure = transforms.spectral_norm(transforms.weight_norm(plain, "0.weight"), "0.weight")
    pure = transforms.orthogonal(pure, "2.weight")
    arrays = module.init(KEY)
    for got, expected in zip(arrays, pure.init(KEY), strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert list(purenn.state_dict(module, *arrays)) == list(purenn.state_dict(pure, *arrays))
    runs = [jax.jit(lambda p, b, m=m: m.apply(p, b, X, train=True))(*arrays) for m in (module, pure, nn.Module(pure))]
    for run in runs[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), run, runs[0])


class Symmetric(nn.Module):
    def forward(self, x):
        return jnp.triu(x) + jnp.triu(x, 1).T

    def right_inverse(self, weight):
        return jnp.triu(weight)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(jnp.full((), 2.0))

    def forward(self, x):
        return x * self.scale


def test_a_users_parametrization_and_assignment():
    layer = nn.Linear(3, 3)
    R.register_parametrization(layer, "weight", Symmetric())
    np.testing.assert_array_equal(layer.weight, layer.weight.T)
    layer.weight = np.arange(9.0, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(layer.weight, [[0, 1, 2], [1, 4, 5], [2, 5, 8]])
    R.register_parametrization(layer, "weight", Scaled())
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original", "parametrizations.weight.1.scale"]
    assert isinstance(layer.parametrizations.weight, R.ParametrizationList)
    assert isinstance(layer.parametrizations["weight"][0], Symmetric)
    np.testing.assert_array_equal(layer.weight[0], [0, 2, 4])
    with refused(RuntimeError, "Scaled: it has no right_inverse: no weight can be given to it."):
        layer.weight = jnp.ones((3, 3))
    with refused(KeyError, "attribute 'weight' already exists"):
        layer.weight = nn.Parameter(jnp.ones((3, 3)))
    with refused(KeyError, "attribute 'weight' already exists"):
        layer.register_buffer("weight", jnp.ones((3, 3)))
    assert "weight" in dir(layer)


class Reader(nn.Module):
    """A class that reads the weight of its child, as GAN and RNN code does."""

    def __init__(self):
        super().__init__()
        self.conv = P.spectral_norm(nn.Linear(3, 4))

    def forward(self, x):
        return x @ self.conv.weight.T + self.conv(x)


def test_a_weight_is_computed_at_each_read_and_once_when_cached():
    module = Reader()
    params, buffers = module.init(KEY)
    _, twice = module.apply(params, buffers, X, train=True)
    with R.cached():
        _, once = module.apply(params, buffers, X, train=True)
        weight = module.conv.weight
        assert module.conv.weight is weight
    u = lambda tree: np.asarray(tree["conv"]["parametrizations"]["weight"]["0"]["_u"])  # noqa: E731
    p = transforms.SpectralNorm().fit(nn.Linear(3, 4).structure()["weight"])
    raw = params["conv"]["parametrizations"]["weight"]["original"]
    own = buffers["conv"]["parametrizations"]["weight"]["0"]
    _, step = p.apply({}, own, raw, train=True)
    np.testing.assert_allclose(u(once), step["_u"], rtol=1e-6)
    _, step = p.apply({}, step, raw, train=True)
    np.testing.assert_allclose(u(twice), step["_u"], rtol=1e-6)


def test_removal():
    for leave in (True, False):
        ours, theirs = net(nn), net(torch.nn)
        for module, library in ((ours, P), (theirs, TP)):
            library.spectral_norm(module[0])
            library.orthogonal(module[2])
            library.weight_norm(module[0], "bias")
        exchange(ours, theirs)
        for module, remove in ((ours.eval(), R), (theirs.eval(), TR)):
            remove.remove_parametrizations(module[0], "weight", leave_parametrized=leave)
            remove.remove_parametrizations(module[2], "weight", leave_parametrized=leave)
            remove.remove_parametrizations(module[0], "bias")
            assert not remove.is_parametrized(module[0])
        assert list(ours.state_dict()) == list(theirs.state_dict())
        close(ours(X), theirs(torch.tensor(X)))
        assert repr(ours) == repr(theirs)
        assert R.type_before_parametrizations(ours[0]) is nn.Linear


def test_removal_of_the_older_ones():
    ours = net(nn)
    nn.utils.weight_norm(ours[0])
    nn.utils.spectral_norm(ours[2])
    prune.l1_unstructured(ours[2], "bias", 1)
    assert prune.is_pruned(ours)
    before = ours.eval()(X)
    nn.utils.remove_weight_norm(ours[0])
    nn.utils.remove_spectral_norm(ours[2])
    prune.remove(ours[2], "bias")
    assert not prune.is_pruned(ours)
    assert not ours[2]._forward_pre_hooks
    np.testing.assert_allclose(ours(X), before, rtol=1e-6, atol=1e-6)
    assert list(ours[0].state_dict()) == ["bias", "weight"]


def test_a_state_dict_of_the_older_weight_norm_loads():
    old, new = nn.utils.weight_norm(nn.Linear(3, 4)), P.weight_norm(nn.Linear(3, 4))
    new.load_state_dict(old.state_dict())
    np.testing.assert_array_equal(new.parametrizations.weight.original0, old.weight_g)
    np.testing.assert_allclose(new(X), old(X), rtol=1e-6)


def test_transfer():
    source, target = P.spectral_norm(P.weight_norm(nn.Linear(3, 4))), nn.Linear(3, 4)
    R.transfer_parametrizations_and_params(source, target)
    np.testing.assert_array_equal(source.eval().weight, target.eval().weight)
    assert target.parametrizations.weight.original1 is source.parametrizations.weight.original1
    assert R.transfer_parametrizations_and_params(nn.Linear(3, 4), target) is target


def test_a_tied_weight_stays_tied_to_the_raw_one():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    P.spectral_norm(model[1])
    params, buffers = model.init(KEY)
    assert sorted(purenn.tree.flatten(params)) == ["0.bias", "0.weight", "1.bias"]
    out, _ = model.apply(params, buffers, X)
    assert out.shape == (5, 3)


# --------------------------------------------------------------------------------------------------------------- pruning


def test_pruning_again_and_globally():
    ours, theirs = net(nn), net(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    for lib, module, method in ((prune, ours, prune.L1Unstructured), (TU.prune, theirs, TU.prune.L1Unstructured)):
        lib.l1_unstructured(module[0], "weight", 3)
        lib.l1_unstructured(module[0], "weight", 0.5)
        lib.ln_structured(module[0], "weight", 1, n=2, dim=1)
        lib.global_unstructured([(module[0], "weight"), (module[2], "weight")], method, amount=4)
        lib.identity(module[2], "bias")
        mask = np.array([0, 1, 1, 0], np.float32)
        lib.custom_from_mask(module[0], "bias", jnp.asarray(mask) if lib is prune else torch.tensor(mask))
    exchange(ours, theirs)
    agree(ours, theirs)


def test_random_pruning_and_scores():
    nn.manual_seed(0)
    layer = nn.Linear(6, 4)
    prune.random_unstructured(layer, "weight", 0.25)
    assert int((layer.weight_mask == 0).sum()) == 6
    prune.random_structured(layer, "weight", 1, 0)
    assert int((layer.weight_mask == 0).all(1).sum()) >= 1
    other = nn.Linear(2, 2)
    prune.l1_unstructured(other, "weight", 1, importance_scores=jnp.array([[3.0, 2], [0, 1]]))
    np.testing.assert_array_equal(other.weight_mask, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(prune.L1Unstructured(1).prune(jnp.array([3.0, 1])), [3, 0])
    assert len(prune.L1Unstructured.apply(other, "weight", 1)) == 2


# ------------------------------------------------------------------------------- gradients, vectors, fusion, the rest


def test_clipping_takes_and_gives_gradients():
    grads = {"a": np.array([3.0, -4.0], np.float32), "b": np.array([[12.0]], np.float32)}
    tensors = [torch.nn.Parameter(torch.zeros(v.shape)) for v in grads.values()]
    for p, g in zip(tensors, grads.values(), strict=True):
        p.grad = torch.tensor(g)
    expected = TU.clip_grad_norm_(tensors, 2.0, 3.0)
    clipped, norm = nn.utils.clip_grad_norm_(grads, 2.0, 3.0)
    close(norm, expected)
    for got, p in zip(clipped.values(), tensors, strict=True):
        close(got, p.grad)
    close(nn.utils.get_total_norm(iter(grads.values()), float("inf")), torch.tensor(12.0))
    again = nn.utils.clip_grads_with_norm_(grads, 2.0, norm)
    np.testing.assert_array_equal(again["a"], clipped["a"])
    np.testing.assert_array_equal(nn.utils.clip_grad_value_(grads, 3.5)["a"], [3, -3.5])
    with pytest.warns(FutureWarning, match="clip_grad_norm is deprecated"):
        nn.utils.clip_grad_norm(grads, 1.0)


def test_vectors_go_into_the_module():
    module = nn.Linear(2, 2)
    vector = nn.utils.parameters_to_vector(module.parameters())
    assert vector.shape == (6,)
    nn.utils.vector_to_parameters(jnp.arange(6.0), module.parameters())
    np.testing.assert_array_equal(module.bias, [4, 5])
    before = module.weight
    jax.eval_shape(lambda v: nn.utils.vector_to_parameters(v, list(module.parameters())), jnp.zeros(6))
    assert module.weight is before


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_fusion(affine, bias):
    cases = [
        (lambda lib: lib.Conv2d(2, 4, 2, bias=bias), lambda lib: lib.BatchNorm2d(4, affine=affine), (3, 2, 4, 4), {}),
        (lambda lib: lib.ConvTranspose1d(2, 4, 2, bias=bias), lambda lib: lib.BatchNorm1d(4, affine=affine), (3, 2, 4), {"transpose": True}),
    ]  # fmt: skip
    if affine:
        cases.append((lambda lib: lib.Linear(2, 4, bias=bias), lambda lib: lib.BatchNorm1d(4), (3, 2), {}))
    for layer, norm, shape, options in cases:
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        theirs = torch.nn.Sequential(layer(torch.nn), norm(torch.nn))
        theirs(torch.tensor(x))
        ours = nn.Sequential(layer(nn), norm(nn))
        ours.load_state_dict(theirs.state_dict())
        ours.eval()
        theirs.eval()
        fuse = "fuse_linear_bn_eval" if len(shape) == 2 else "fuse_conv_bn_eval"
        fused = getattr(nn.utils, fuse)(*ours, **options)
        expected = getattr(TU, fuse)(*theirs, **options)
        assert list(fused.state_dict()) == list(expected.state_dict())
        close(fused(x), expected(torch.tensor(x)))
        np.testing.assert_allclose(fused(x), ours(x), rtol=1e-5, atol=1e-5)


def test_fused_weights_are_parameters():
    one, two = jnp.ones((2, 2)), jnp.ones(2)
    for fuse in (nn.utils.fuse_linear_bn_weights, nn.utils.fuse_conv_bn_weights):
        weight, bias = fuse(one, None, two, two, 0.0, two * 2, None)
        assert isinstance(weight, nn.Parameter)
        np.testing.assert_array_equal(weight, 2 * np.ones((2, 2)))
        np.testing.assert_array_equal(bias, [-2, -2])


def test_what_need_not_be_done():
    module = nn.utils.skip_init(nn.Linear, 3, out_features=2)
    assert not module._parameters["weight"].drawn
    assert nn.utils.convert_conv2d_weight_memory_format(module, None) is module
    assert nn.utils.stateless.functional_call is transforms.func.functional_call


# ------------------------------------------------------------------------------------------------------ completeness


@pytest.mark.parametrize("part", ["", "parametrize", "parametrizations", "prune", "stateless", "rnn"])
def test_every_public_name_of_torchs_is_there(part):
    theirs = getattr(TU, part) if part else TU
    ours = getattr(nn.utils, part) if part else nn.utils
    if part == "prune":
        names = [n for n, v in vars(theirs).items() if getattr(v, "__module__", "") == theirs.__name__ and n[0] != "_"]
    else:
        names = getattr(theirs, "__all__", None) or ["functional_call"]
    assert len(names) > 0
    assert [name for name in names if not hasattr(ours, name)] == []


# ------------------------------------------------------------------------------------------------------------- errors


def wrong(forward, right_inverse=None):
    members = {"forward": lambda self, *args: forward(*args)}
    if right_inverse:
        members["right_inverse"] = lambda self, weight: right_inverse(weight)
    return type("Wrong", (nn.Module,), members)()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m: R.register_parametrization(m, "size", Symmetric()), ValueError, "register_parametrization: tensor_name must be a parameter or buffer of the module, got tensor_name='size' and its names=['weight', 'bias']."),
        (lambda m: R.register_parametrization(m, "weight", jnp.exp), TypeError, "register_parametrization: parametrization must be a module, got type="),
        (lambda m: R.register_parametrization(m, "weight", wrong(lambda x: x[:2])), ValueError, "register_parametrization: a parametrization must keep shape and dtype, unless unsafe=True, got shape=(3, 3) and dtype='float32' and parametrized shape=(2, 3)"),
        (lambda m: R.register_parametrization(m, "weight", wrong(lambda x: None)), ValueError, "register_parametrization: a parametrization must return an array, got type='NoneType'."),
        (lambda m: R.register_parametrization(m, "weight", wrong(lambda x: x, lambda w: None)), ValueError, "ParametrizationList: right_inverse must return an array or a sequence of arrays, got type='NoneType'."),
        (lambda m: R.register_parametrization(m, "weight", wrong(lambda x: x, lambda w: w.astype(jnp.bfloat16))), ValueError, "ParametrizationList: right_inverse must keep the dtype, got dtype='float32' and right_inverse(original).dtype='bfloat16'."),
        (lambda m: R.register_parametrization(P.spectral_norm(m), "weight", wrong(lambda x: x[0])), ValueError, "register_parametrization: a parametrization must keep shape and dtype"),
        (lambda m: R.register_parametrization(nn.LazyLinear(3), "weight", Symmetric()), ValueError, "LazyLinear.register_parametrization: lazy modules must know the shapes of their arrays"),
        (lambda m: R.ParametrizationList([], jnp.ones(3)), ValueError, "ParametrizationList: modules must not be empty"),
        (lambda m: R.remove_parametrizations(m, "weight"), ValueError, "remove_parametrizations: the weight must be parametrised, got tensor_name='weight'."),
        (lambda m: R.remove_parametrizations(P.weight_norm(m), "weight", False), ValueError, "remove_parametrizations: leave_parametrized must be True for a weight that comes from several arrays"),
        (lambda m: P.weight_norm(m, dim=2), IndexError, "weight_norm: dim must be an axis of the weight, got dim=2 and shape=(3, 3)."),
        (lambda m: P.spectral_norm(m, dim=-3), IndexError, "spectral_norm: dim must be an axis of the weight"),
        (lambda m: P.spectral_norm(m, n_power_iterations=0), ValueError, "spectral_norm: n_power_iterations must be positive, got n_power_iterations=0."),
        (lambda m: P.orthogonal(m, "bias"), ValueError, "orthogonal: the weight must have two axes or more, got shape=(3,)."),
        (lambda m: P.orthogonal(m, "size"), ValueError, "orthogonal: name must be a parameter or buffer of the module, got name='size'."),
        (lambda m: P.orthogonal(m, orthogonal_map="qr"), ValueError, "orthogonal: orthogonal_map must be one of matrix_exp, cayley, householder, or None, got orthogonal_map='qr'."),
        (lambda m: setattr(P.orthogonal(m, use_trivialization=False), "weight", jnp.eye(3)), NotImplementedError, "orthogonal: matrix_exp without use_trivialization has no right_inverse."),
        (lambda m: setattr(P.orthogonal(m), "weight", jnp.eye(2)), ValueError, "orthogonal: the matrix must have the shape of the weight, got its shape=(2, 2) and shape=(3, 3)."),
        (lambda m: P.weight_norm(m).parametrizations.weight.right_inverse(jnp.ones((3, 3), jnp.bfloat16)), ValueError, "right_inverse: it must give the dtype of the original, got dtype='bfloat16' and original.dtype='float32'."),
        (lambda m: nn.utils.weight_norm(m, "size"), ValueError, "weight_norm: name must be a parameter of the module, got name='size' and its parameters=['weight', 'bias']."),
        (lambda m: nn.utils.spectral_norm(nn.utils.weight_norm(m)), RuntimeError, "spectral_norm: a weight must be computed by one of torch's older functions only, got name='weight'. Remove the first."),
        (lambda m: setattr(nn.utils.weight_norm(m), "weight", jnp.ones((3, 3))), RuntimeError, "Linear.weight: it is computed from weight_g, weight_v. Assign those, or remove the parametrization first."),
        (lambda m: nn.utils.remove_weight_norm(m), ValueError, "remove_weight_norm: the weight must be computed by what is removed, got name='weight'."),
        (lambda m: nn.utils.remove_spectral_norm(nn.utils.weight_norm(m)), ValueError, "remove_spectral_norm: the weight must be computed by what is removed"),
        (lambda m: nn.utils.clip_grad_norm_(m.parameters(), 1.0), TypeError, "clip_grad_norm_: gradients must be given, not the parameters of a module. Gradients are values that jax.grad returns: clipped = clip_grad_norm_(grads, ...)."),
        (lambda m: nn.utils.fuse_linear_bn_eval(m, nn.BatchNorm1d(3)), ValueError, "fuse_linear_bn_eval: both modules must be in evaluation, got training=(True, True). Call .eval() first."),
        (lambda m: nn.utils.fuse_linear_bn_eval(m.eval(), nn.BatchNorm1d(2).eval()), ValueError, "fuse_linear_bn_eval: bn.num_features must be 1 or linear.out_features, got bn.num_features=2 and linear.out_features=3."),
        (lambda m: nn.utils.fuse_conv_bn_eval(m.eval(), nn.BatchNorm1d(3, track_running_stats=False).eval()), ValueError, "fuse_conv_bn_eval: bn must have running statistics, got running_mean=None."),
        (lambda m: nn.utils.skip_init(len), TypeError, "skip_init: module_cls must be a class of modules"),
        (lambda m: prune.l1_unstructured(m, "size", 1), ValueError, "prune: name must be a parameter of the module, got name='size'."),
        (lambda m: prune.l1_unstructured(m, "weight", 10), ValueError, "L1Unstructured: amount must be at most what there is to prune, got amount=10 and size=9."),
        (lambda m: prune.l1_unstructured(m, "weight", 1.5), ValueError, "L1Unstructured: amount must lie in [0, 1], or be a count, got amount=1.5."),
        (lambda m: prune.l1_unstructured(m, "weight", "all"), TypeError, "L1Unstructured: amount must be a fraction or a whole number, got amount='all'."),
        (lambda m: prune.random_structured(m, "bias", 1, 0), ValueError, "RandomStructured: the weight must have two axes or more, got shape=(3,)."),
        (lambda m: prune.random_structured(m, "weight", 1, 2), IndexError, "RandomStructured: dim must be an axis of the weight, got dim=2 and shape=(3, 3)."),
        (lambda m: prune.l1_unstructured(m, "weight", 1, jnp.ones(3)), ValueError, "prune: importance_scores must have the shape of the weight, got importance_scores.shape=(3,) and shape=(3, 3)."),
        (lambda m: prune.L1Unstructured(1).prune(jnp.ones(3), importance_scores=jnp.ones(2)), ValueError, "prune: importance_scores must have the shape of t"),
        (lambda m: prune.remove(m, "weight"), ValueError, "prune.remove: the weight must be pruned, got name='weight'."),
        (lambda m: prune.global_unstructured(3, prune.L1Unstructured), TypeError, "global_unstructured: parameters must be pairs of a module and a name"),
        (lambda m: prune.global_unstructured([(m, "weight")], prune.L1Unstructured, [1], amount=1), TypeError, "global_unstructured: importance_scores must be a dict by pair, got type='list'."),
        (lambda m: prune.global_unstructured([(m, "weight")], prune.RandomStructured, amount=1), TypeError, "global_unstructured: pruning_method must be unstructured, got PRUNING_TYPE='structured'."),
        (lambda m: prune.L1Unstructured.apply(m, "weight", 1) and prune.PruningContainer().add_pruning_method(3), TypeError, "PruningContainer: method must be a pruning method, got type='int'."),
        (lambda m: prune.PruningContainer(prune.L1Unstructured.apply(m, "weight", 1)).add_pruning_method(prune.L1Unstructured.apply(m, "bias", 1)), ValueError, "PruningContainer: all methods must prune one weight, got its weight='bias' and weight='weight'."),
    ],
)  # fmt: skip
def test_refusals(call, kind, words):
    with refused(kind, words):
        call(nn.Linear(3, 3))


def test_a_failed_registration_leaves_the_module_as_it_was():
    layer = P.spectral_norm(nn.Linear(3, 3))
    with pytest.raises(ValueError):
        R.register_parametrization(layer, "weight", wrong(lambda x: x[0]))
    assert len(layer.parametrizations.weight) == 1
    plain = nn.Linear(3, 3)
    with pytest.raises(ValueError):
        R.register_parametrization(plain, "weight", wrong(lambda x: x[0]))
    assert list(plain.state_dict()) == ["weight", "bias"]


def test_no_weight_is_assigned_during_a_call():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = P.weight_norm(nn.Linear(3, 3))

        def forward(self, x):
            self.fc.weight = jnp.ones((3, 3))

    with refused(RuntimeError, "ParametrizationList.right_inverse: parameters stay as they are during a call."):
        Writes()(X)


def test_a_pure_parametrization_is_adapted():
    class Positive(transforms.Parametrization):
        def forward(self, m, x):
            return jnp.exp(x)

    layer = R.register_parametrization(nn.Linear(3, 3), "weight", Positive())
    assert isinstance(layer.parametrizations.weight[0], Adapted)
    assert (np.asarray(layer.weight) > 0).all()
    with refused(NotImplementedError, "Positive: it has no right_inverse: no weight can be given to it."):
        layer.weight = jnp.ones((3, 3))
