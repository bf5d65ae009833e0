"""Every class of torch.nn in its four faces: an object, two pure functions, a pure layer, and torch's own.

The table is in `tests/golden/catalogue_*.py`, and state_dicts.json beside it says what torch's state_dicts look like.
"""

import inspect
import json
import warnings

import jax
import numpy as np
import pytest
import safetensors.torch
import torch
from make_state_dicts import CASES, FILE, description, make
from module_case import Case
from oracle import assert_close, leaves, t, to_torch

import purenn.functional as F
import stateful as nn
from purenn import layers as L
from purenn import tree

pytestmark = pytest.mark.usefixtures("quick_compilation")
GOLDEN = json.loads(FILE.read_text())["state_dicts"]
KEY = jax.random.key(0)
each = pytest.mark.parametrize("case", CASES, ids=str)


def twin(case, seed=0):
    """torch's, stirred so that no weight is a constant."""
    torch.manual_seed(seed)
    made = case.materialised(torch.nn)
    with torch.no_grad():
        for array in [*made.parameters(), *made.buffers()]:
            if array.is_floating_point():
                array.add_(0.1 * torch.rand_like(array))
    return made


# ------------------------------------------------------------------------------------------------------------ the table


def test_the_table_is_complete():
    classes = {
        name
        for name, cls in vars(torch.nn).items()
        if inspect.isclass(cls) and issubclass(cls, torch.nn.Module) and not name.startswith("_")
    }
    refused = {"DataParallel"}  # the constructor names the way of jax
    assert {case.name for case in CASES} == classes - refused
    assert classes <= set(nn.__all__)
    assert set(L.__all__) <= classes
    assert len({str(case) for case in CASES}) == len(CASES)
    with pytest.raises(NotImplementedError, match=r"^DataParallel: modules are not replicated"):
        nn.DataParallel(nn.Linear(2, 2))


# torch's own bookkeeping for its inference kernels and its printing, and what docs/differences.md lists
NO_ATTRIBUTES = {
    "Upsample.name", "UpsamplingNearest2d.name", "UpsamplingBilinear2d.name", "PReLU.init",
    "TransformerEncoderLayer.activation_relu_or_gelu", "TransformerEncoder.use_nested_tensor",
}  # fmt: skip


def plain(x):
    return isinstance(x, (bool, int, float, str, tuple, list, type(None)))


@each
def test_the_attributes_are_torchs(case):
    ours, theirs = case.make(nn), case.make(torch.nn)
    names = {name for name in vars(theirs) if not name.startswith("_")} | set(getattr(theirs, "__constants__", ()))
    for name in names:
        if f"{case.name}.{name}" not in NO_ATTRIBUTES and hasattr(theirs, name):
            mine, expected = getattr(ours, name), getattr(theirs, name)
            assert not plain(expected) or (type(mine), mine) == (type(expected), expected), name


# ---------------------------------------------------------------------------------------------------------- state_dicts


def test_the_golden_file_is_what_its_script_makes():
    assert FILE.read_text() == make()


@each
def test_the_state_dict_is_torchs(case):
    module = case.materialised(nn)
    module.load_state_dict(twin(case).state_dict())
    golden = {name: text.replace("int64", "int32") for name, text in GOLDEN[case.code].items()}  # without x64
    assert list(description(module).items()) == list(golden.items())


def test_files_are_read_in_both_worlds(tmp_path):
    """One file of all classes, each way: whatever is missing, unexpected or mis-shaped is an error."""
    ours, theirs = (world.ModuleList([case.materialised(world) for case in CASES]) for world in (nn, torch.nn))
    nn.save(tmp_path / "ours.safetensors", ours)
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "ours.safetensors"), strict=True)
    assert_states(ours, theirs)
    theirs = torch.nn.ModuleList([twin(case, seed=1) for case in CASES])
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours.load_state_dict(nn.load(tmp_path / "theirs.safetensors"), strict=True)
    assert_states(ours, theirs)


def assert_states(ours, theirs):
    mine, expected = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(expected)
    for name, x in mine.items():
        np.testing.assert_array_equal(x, expected[name].numpy(), err_msg=name)


# ------------------------------------------------------------------------------------------------------------ the faces


def weighted(out):
    """A scalar that depends on every number of the result, differently."""
    floating = [x for x in leaves(out) if np.issubdtype(as_numpy_dtype(x), np.floating)]
    return sum((x * cosines(x)).sum() for x in floating)


def as_numpy_dtype(x):
    return x.detach().numpy().dtype if isinstance(x, torch.Tensor) else x.dtype


def cosines(x):
    w = np.cos(np.arange(np.prod(x.shape))).reshape(x.shape).astype(as_numpy_dtype(x))
    return torch.from_numpy(w) if isinstance(x, torch.Tensor) else w


def gradient(model, train):
    """Outputs, buffers and gradients of both arguments, as one function."""

    def loss(params, xs, buffers, rng):
        out, after = model.apply(params, buffers, *xs, rng=rng, train=train)
        return weighted(out), (out, after)

    return jax.grad(loss, argnums=(0, 1), has_aux=True, allow_int=True)


def expected_of(theirs, case, train):
    """The same of torch's."""
    xs = to_torch(case.numpy(), requires_grad=True)
    xs = [x.detach() if i in case.fixed else x for i, x in enumerate(xs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = theirs.train(train)(*(x.clone() for x in xs))
    params = dict(theirs.named_parameters())
    wanted = [*params.values(), *(x for x in xs if x.requires_grad)]
    loss = weighted([x for x in leaves(out) if x.requires_grad])
    grads = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, grads, strict=True)]
    return out, theirs.state_dict(), dict(zip(params, grads, strict=False)), grads[len(params) :]


def assert_step(case, got, expected, what):
    (params, xs), (out, after) = got
    out_, state, params_, xs_ = expected
    options = {"dtype": "float16" if "half" in case.code else "float32", "scale": case.scale}
    assert_close(out, out_, **options, what=f"{what}: output")
    for name, x in tree.flatten(after).items():
        assert_close(x, state[name], **options, what=f"{what}: {name}")
    params = tree.flatten(params)
    assert set(params) == set(params_)
    for name, x in params_.items():
        assert_close(params[name], x, **options, what=f"{what}: gradient of {name}")
    xs = [x for i, x in enumerate(xs) if x.dtype != jax.dtypes.float0 and i not in case.fixed]
    assert_close(xs, xs_, **options, what=f"{what}: gradient of the inputs")


def assert_faces(case, module, layer, train, programs):
    """The module as two functions is the pure layer, to the last instruction; the rest is compared with torch."""
    xs = case.numpy()
    twins = [twin(case, seed) for seed in (0, 1)]
    states = [module.load_state_dict(theirs.state_dict()) and module.split() for theirs in twins]
    rng = KEY if case.draws and train else None
    lowered = lower(gradient(module, train), *states[0], xs, rng)
    if layer is not None:
        assert lowered.as_text() == lower(gradient(layer, train), *states[0], xs, rng).as_text()
    if case.draws and train:
        return
    expected = [expected_of(theirs, case, train) for theirs in twins]
    params, buffers = states[0]
    assert_step(case, run(lowered, programs, params, xs, buffers, rng), expected[0], "pure")
    if jax.tree.leaves(states[0]):
        params, buffers = jax.tree.map(lambda *x: np.stack(x), *states)
        many = lower(jax.vmap(gradient(module, train), (0, None, 0, None)), params, buffers, xs, rng)
        results = run(many, programs, params, xs, buffers, rng)
        for i in range(2):
            assert_step(case, member(results, i), expected[i], f"member {i}")
    module.update(*states[0])
    options = {"dtype": "float16" if "half" in case.code else "float32", "scale": case.scale, "what": "object"}
    assert_close(module.train(train)(*xs), expected[0][0], **options)
    for name, x in module.state_dict().items():
        assert_close(x, expected[0][1][name], **options)


def member(results, i):
    """One of an ensemble; the gradients of integers have no numbers."""
    return jax.tree.map(lambda x: x if x.dtype == jax.dtypes.float0 else np.asarray(x)[i], results)


def lower(f, params, buffers, xs, rng):
    return jax.jit(f).lower(params, xs, buffers, rng)


def run(lowered, programs, *given):
    """Compiles, unless the other mode was the same program."""
    text = lowered.as_text()
    if text not in programs:
        programs[text] = lowered.compile()
    return programs[text](*given)


@pytest.mark.parametrize("case", [case for case in CASES if case.called], ids=str)
def test_object_functions_layer_and_torch_agree(case):
    module, programs = case.materialised(nn), {}
    layer = case.make(L) if hasattr(L, case.name) else None
    for train in (False, True):
        assert_faces(case, module, layer, train, programs)


def test_wrong_faces_break_the_law(monkeypatch):
    class Crooked(nn.Linear):
        def forward(self, input):
            return super().forward(input) * 1.001

    case = Case("nn.Linear(4, 3)", (t(2, 4),))
    with pytest.raises(AssertionError):
        assert_faces(case, Crooked(4, 3), L.Linear(4, 3), False, {})
    with pytest.raises(AssertionError, match="pure: output"):
        assert_faces(case, Crooked(4, 3), None, False, {})
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda *args: linear(*args) * 1.001)
    with pytest.raises(AssertionError, match="pure: output"):
        assert_faces(case, nn.Linear(4, 3), L.Linear(4, 3), False, {})


def test_container_warns_and_takes_modules_alone():
    for world in (nn, torch.nn):
        with pytest.warns(FutureWarning, match="Container` is deprecated" if world is torch.nn else "nn.Container is"):
            made = world.Container(b=world.Linear(2, 3), a=world.ReLU())
        assert list(made.state_dict()) == ["b.weight", "b.bias"]
    with pytest.warns(FutureWarning), pytest.raises(TypeError, match=r"^Container: an entry must be a module, got a="):
        nn.Container(a=3)
