"""to_source: the text that is written computes what from_torch does, reads like the source, and refuses clearly."""

import ast
import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from source_models import cases
from torch import nn

import purenn
import stateful as nn_of_purenn
import transforms
from purenn import ported
from purenn.files.named import expand
from purenn.random import Keys, fold_name
from transforms.source import printing
from transforms.source.loops import folded
from transforms.source.naming import plain
from transforms.source.spelling import SPELLINGS
from transforms.source.text import array_text
from transforms.source.weights import short_names
from transforms.torch_ops import OPERATORS

CASES = cases()
KEY = jax.random.key(0)
# where an operator is written by other primitives: a range is counted and no constant, say
OTHERWISE = ("gpt", "encoder", "mixer", "decoder", "switch", "spectral")
every = pytest.mark.parametrize("name", CASES)


@functools.cache
def model(name):
    case = CASES[name]
    return transforms.from_torch(case.module, case.args, case.kwargs)


@functools.cache
def text(name):
    return transforms.to_source(model(name))


def functions(source):
    names = {}
    exec(compile(source, "generated", "exec"), names)
    return names


def arrays(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf.numpy()), tree)


def differentiated(apply, case, train):
    """Output, buffers and gradients of one mode."""
    args, kwargs = arrays((case.args, case.kwargs))

    def loss(params, buffers, rng):
        out, after = apply(params, buffers, *args, rng=rng, train=train, **kwargs)
        floats = [leaf for leaf in jax.tree.leaves(out) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return sum(jnp.sum(jnp.where(jnp.isfinite(x), jnp.abs(x), 0) ** 2) for x in floats), (out, after)

    return jax.value_and_grad(loss, has_aux=True)


def program(run, *args):
    """What a function computes, whatever the order of its equations: two equal ones give the same bits."""
    closed = jax.make_jaxpr(run)(*args)
    return described(closed.jaxpr, [f"const {np.asarray(c).tobytes()}" for c in closed.consts])


def described(jaxpr, constants=()):
    known = {str(var): f"in {n}" for n, var in enumerate(jaxpr.invars)}
    known |= dict(zip(map(str, jaxpr.constvars), constants, strict=False))

    def read(var):
        return f"{var.val!r}{var.aval}" if hasattr(var, "val") else known[str(var)]

    for equation in jaxpr.eqns:
        params = sorted(
            (name, option(value)) for name, value in equation.params.items() if name not in ("name", "ctx_mesh")
        )
        made = hash((str(equation.primitive), tuple(params), tuple(map(read, equation.invars))))
        known |= {str(var): f"{made} {n}" for n, var in enumerate(equation.outvars)}
    return [(read(var), str(var.aval)) for var in jaxpr.outvars]


def option(value):
    if isinstance(value, (tuple, list)):
        return str([option(item) for item in value])
    if hasattr(value, "jaxpr"):
        return str(described(value.jaxpr, [str(c) for c in value.consts]))
    if hasattr(value, "eqns"):
        return str(described(value))
    is_function = callable(value) or "Wrapped" in type(value).__name__
    return "" if is_function else re.sub(r"0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", [name for name in CASES if name not in OTHERWISE])
def test_the_program_is_that_of_from_torch_with_its_gradients(name, train):
    case, given = CASES[name], (*model(name).init(), KEY)
    theirs = program(differentiated(model(name).apply, case, train), *given)
    assert theirs == program(differentiated(functions(text(name))["apply"], case, train), *given)


@pytest.mark.parametrize("name", OTHERWISE)
def test_numbers_and_gradients_are_those_of_from_torch(name):
    case, given = CASES[name], (*model(name).init(), KEY)
    applies = model(name).apply, functions(text(name))["apply"]

    args, kwargs = arrays((case.args, case.kwargs))

    def run(params, buffers, rng):
        evaluated = [apply(params, buffers, *args, rng=rng, **kwargs) for apply in applies]
        trained = [differentiated(apply, case, True)(params, buffers, rng) for apply in applies]
        return list(zip(evaluated, trained, strict=True))

    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    pairs = zip(*map(jax.tree.leaves, jax.jit(run).lower(*given).compile(quick)(*given)), strict=True)
    for want, got in ((np.asarray(a), np.asarray(b)) for a, b in pairs):
        assert want.dtype == got.dtype
        largest = np.abs(np.where(np.isfinite(want), want, 0)).max(initial=1)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * largest)


def test_a_wrong_text_is_another_program():
    right, wrong = text("unet"), text("unet").replace("num_groups=4", "num_groups=2")
    given = (*model("unet").init(), KEY)
    run = [
        program(differentiated(functions(source)["apply"], CASES["unet"], False), *given) for source in (right, wrong)
    ]
    assert run[0] != run[1]


@every
def test_the_text_imports_jax_and_purenn_alone_and_is_at_most_twice_as_long(name):
    tree = ast.parse(text(name))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= {"jax", "purenn"}
    lines = [sum(bool(line.strip()) for line in source.splitlines())
             for source in (text(name), *map(inspect.getsource, CASES[name].classes))]  # fmt: skip
    assert lines[0] <= 2 * sum(lines[1:])
    assert printing.formatted(text(name)) == text(name)
    assert all(ast.get_docstring(node) for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("name", "defined"), [
    ("mlp", ["apply", "load"]),
    ("gpt", ["attention", "layer", "apply", "load"]),
    ("unet", ["double", "apply", "load"]),
    ("resnet", ["block", "block_2", "apply", "load"]),
    ("encoder", ["multihead_attention", "transformer_encoder_layer", "transformer_encoder", "apply", "load"]),
    ("mixer", ["drop_path", "apply", "load"]),
    ("quantised", ["codebook", "apply", "load"]),
])  # fmt: skip
def test_there_is_one_function_for_each_class(name, defined):
    assert [node.name for node in ast.parse(text(name)).body if isinstance(node, ast.FunctionDef)] == defined


@pytest.mark.parametrize(("name", "line"), [
    ("mlp", 'x = F.dropout(x, 0.25, train, rng=keys("dropout"))'),
    ("gpt", "for i in range(2):\n        x = layer(params[\"h\"][str(i)], x, train, keys)"),
    ("gpt", 'q, k, v = jnp.split(F.linear(x, **params["qkv"]), 3, -1)'),
    ("gpt", 'tied={"head.weight": "wte.weight"}'),
    ("resnet", 'for i in range(1, 3):\n        x = block(params["stage2"][str(i)], buffers["stage2"][str(i)], x, '),
    ("unet", 'a = double(params["down1"], x, num_groups=2)'),
    ("unet", "x = jnp.concatenate([a, b], 1)"),
    ("encoder", "for i in range(2):\n        output = transformer_encoder_layer("),
    ("features", 'for i in range(3):\n        x = F.relu(F.conv2d(x, padding=1, **params["features"][str(2 * i)]))'),
    ("features", "x = x.reshape(x.shape[0], -1)"),
    ("mixer", "if not train:\n        return x\n"),
    ("quantised", 'buffers["steps"] = buffers["steps"] + 1'),
    ("decoder", "def apply(params, buffers, token, state, lengths, *, rng=None, train=False):"),
    ("decoder", 'absent={"scale": jnp.arange(5.0, dtype=jnp.float32)}'),
    ("vae", '"stats": (mu, logvar)}'),
    ("switch", "jax.lax.cond(x.sum() > 0, if_true, lambda"),
])  # fmt: skip
def test_the_text_reads_like_the_source(name, line):
    assert line in text(name)


def test_load_takes_files_of_torch_and_of_purenn(tmp_path):
    tied, plain = CASES["gpt"].module, CASES["resnet"].module
    safetensors.torch.save_model(tied, str(tmp_path / "tied.safetensors"))  # which leaves one of the names out
    safetensors.torch.save_file(plain.state_dict(), str(tmp_path / "plain.safetensors"))
    params, buffers = model("resnet").init()
    whole = purenn.tree.flatten(params) | purenn.tree.flatten(buffers)
    purenn.save_safetensors(tmp_path / "ours.safetensors", whole)
    for name, file in (("gpt", "tied"), ("resnet", "plain"), ("resnet", "ours")):
        loaded = functions(text(name))["load"](tmp_path / f"{file}.safetensors")
        jax.tree.map(np.testing.assert_array_equal, loaded, model(name).init())
        assert [*purenn.tree.flatten(loaded[0])] == [*purenn.tree.flatten(model(name).init()[0])]
    del whole["stem.bias"]
    purenn.save_safetensors(tmp_path / "less.safetensors", whole | {"other": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"less.safetensors' must hold the model's names, got missing=\['stem.bias'\] "
                                         r"and unexpected=\['other'\]"):  # fmt: skip
        functions(text("resnet"))["load"](tmp_path / "less.safetensors")
    both = {"wte.weight": jnp.ones(2), "head.weight": jnp.zeros(2)}
    purenn.save_safetensors(tmp_path / "untied.safetensors", both)
    with pytest.raises(
        ValueError, match=r"tied names must have equal arrays, got names=\('wte.weight', 'head.weight'\)"
    ):
        purenn.load_named(tmp_path / "untied.safetensors", "wte.weight", tied={"head.weight": "wte.weight"})
    purenn.save_safetensors(tmp_path / "wide.safetensors", {"w": np.ones(2), "n": np.array(3), "big": np.array(2**40)})
    with pytest.warns(UserWarning, match=r"wide.safetensors' become 32-bit ones, as jax_enable_x64 is off: "
                                         r"big \(int64\), w \(float64\)$"):  # fmt: skip
        loaded, _ = purenn.load_named(tmp_path / "wide.safetensors", "w n big")
    assert [x.dtype for x in loaded.values()] == ["float32", "int32", "int32"]


def test_names_are_written_short():
    names = ["a.weight", "a.bias", "b.0.w", "b.1.w", "b.2.w", "c.x"]
    assert short_names(names) == "a.{weight,bias} b.{0..2}.w c.x"
    assert [*expand(short_names(names))] == names
    assert [*expand(short_names(["l.weight_ih_l0", "l.weight_hh_l0", "l.bias_ih_l0", "l.bias_hh_l0"]))] == [
        "l.weight_ih_l0", "l.weight_hh_l0", "l.bias_ih_l0", "l.bias_hh_l0",
    ]  # fmt: skip
    assert short_names([]) == ""
    with pytest.raises(ValueError, match=r"load: every brace of a pattern must be closed, got pattern='a{b'"):
        list(expand("a{b"))


def test_keys_are_folded_from_numbered_names():
    keys = Keys(KEY, ["drop_1"])
    drawn = [keys("drop"), keys("drop"), keys("other")]
    assert drawn == [fold_name(KEY, "drop"), fold_name(KEY, "drop_2"), fold_name(KEY, "other")]
    assert Keys(None)("drop") is None
    with pytest.raises(ValueError, match="randn: rng must be given"):
        Keys(None).required("randn")


def test_statements_that_repeat_become_loops():
    assert folded(['x = f(p["0"], x)', 'x = f(p["1"], x)']) == ["for i in range(2):", "    x = f(p[str(i)], x)"]
    assert folded(['a = f(p["l1"])', 'a = f(p["l2"])']) == ["for i in range(1, 3):", '    a = f(p[f"l{i}"])']
    pairs = [line for k in range(3) for line in (f'x = f(p["{k}"], x)', f"y = x[{2 * k}]")]
    assert folded(pairs) == ["for i in range(3):", "    x = f(p[str(i)], x)", "    y = x[(2 * i)]"]
    assert folded(["x = f(x)", "y = g(y)"]) == ["x = f(x)", "y = g(y)"]


@pytest.mark.parametrize(("array", "written"), [
    (np.arange(3), "jnp.arange(3)"), (np.zeros((2, 2), np.float32), "jnp.full((2, 2), 0.0, jnp.float32)"),
    (np.tril(np.ones((3, 3), bool)), "jnp.tril(jnp.ones((3, 3), bool))"),
    (np.float32(2), "jnp.array(2.0, jnp.float32)"),
    (np.arange(4).reshape(1, 4), "jnp.arange(4).reshape(1, 4)"), (np.array([3, 1]), "jnp.array([3, 1], int)"),
    (np.random.default_rng(0).normal(size=100), None),
])  # fmt: skip
def test_constants_are_written_down(array, written):
    assert array_text(np.asarray(array)) == written
    if written:
        made = eval(written, {"jnp": jnp})
        np.testing.assert_array_equal(made, array)


def test_every_spelled_operator_is_one_that_from_torch_maps():
    made = {"dropout"}  # that of training, in both modes
    assert set(SPELLINGS) - made <= set(OPERATORS)
    assert len(SPELLINGS) > 400
    assert all(hasattr(ported, name) for name in ported.__all__)


class Odd(nn.Module):
    def forward(self, x):
        x = torch.special.bessel_j0(x) if False else torch.nn.functional.fractional_max_pool2d(x, 2, output_size=2)
        return torch.linalg.qr(x)[0]


def test_what_has_no_spelling_is_listed_at_once():
    with pytest.raises(NotImplementedError) as caught:
        transforms.to_source(Odd(), (torch.randn(1, 1, 4, 4),))
    words = str(caught.value)
    assert words.startswith("to_source: every operator must have a spelling, Odd has ")
    assert "aten.linalg_qr.default" in words
    assert "test_to_source.py" in words
    assert "torch.linalg.qr(x)[0]" in words
    assert "fractional_max_pool2d" in words


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.randn(100)

    def forward(self, x):
        return x + self.table


def test_a_large_constant_is_refused():
    with pytest.raises(
        NotImplementedError, match=r"a constant of 100 numbers\n.*make it a buffer with register_buffer"
    ):
        transforms.to_source(Constant(), (torch.randn(100),))


def test_what_did_not_come_from_torch_is_refused():
    message = (
        "to_source: model must be a torch module or one that came from from_torch, got type.model.='Linear'. A model"
    )
    for ours in (purenn.layers.Linear(2, 3), nn_of_purenn.Linear(2, 3)):
        with pytest.raises(TypeError, match=message):
            transforms.to_source(ours, (jnp.ones((1, 2)),))


def test_a_missing_ruff_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ruff", None)
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    with pytest.raises(
        RuntimeError, match=r"to_source: ruff must be installed, which formats the text. pip install 'p"
    ):
        printing.formatted("x = 1\n")


def test_lengths_that_vary_stay_free():
    batch = torch.export.Dim("batch")
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    source = transforms.to_source(net, (torch.randn(3, 1, 4, 4),), dynamic_shapes=({0: batch},))
    params, buffers = transforms.from_torch(net, (torch.randn(3, 1, 4, 4),)).init()
    for n in (2, 5):
        x = torch.randn(n, 1, 4, 4)
        out, _ = functions(source)["apply"](params, buffers, jnp.asarray(x.numpy()))
        np.testing.assert_allclose(out, net(x).detach().numpy(), atol=1e-5)


class NoTraining(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        if self.training and x.sum() > 0:
            x = -x
        return self.fc(x)


def test_a_model_without_a_training_mode_says_so():
    net = NoTraining()
    source = transforms.to_source(net, (torch.ones(1, 2),))
    converted = transforms.from_torch(net, (torch.ones(1, 2),))
    apply = functions(source)["apply"]
    np.testing.assert_array_equal(*(run(*converted.init(), jnp.ones((1, 2)))[0] for run in (apply, converted.apply)))
    with pytest.raises(ValueError, match="NoTraining: train must be False, torch could not export the training mode"):
        apply(*converted.init(), jnp.ones((1, 2)), train=True)


def test_names_of_operators_become_names_of_values():
    torch_names = "transpose_3", "__and___1", "p_fc_weight", "relu_default_2~", "sort"
    assert [*map(plain, torch_names)] == ["transpose", "and_", "fc_weight", "relu", "sort_"]
