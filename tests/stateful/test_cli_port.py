"""The command that ports a torch model to source."""

import ast

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
from stateful import cli

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, wide, out=2):
        super().__init__()
        self.fc = nn.Linear(3, wide)
        self.head = nn.Linear(wide, out)

    def forward(self, x, *, scale):
        x = torch.tanh(self.fc(x))
        return self.head(x) * scale


def number():
    return 3


net = Net(4)
"""


@pytest.fixture
def run(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)

    def call(name, *options):
        out = ["-o", str(tmp_path / "out.py")]
        code = cli.main(["port", f"{tmp_path / 'net.py'}{name}", *map(str, options), *out])
        return code, *capsys.readouterr()

    return call


INPUTS = ("--args", "torch.ones(2, 3)", "--kwargs", "scale=torch.tensor(2.0)")


def test_a_class_is_written_with_its_weights_and_checked(run, tmp_path):
    torch.manual_seed(1)
    state = {"fc.weight": torch.randn(5, 3), "fc.bias": torch.randn(5), "head.weight": torch.randn(1, 5)}
    torch.save(state | {"head.bias": torch.zeros(1)}, tmp_path / "given.pt")
    code, out, errors = run(":Net", *INPUTS, "--init", "5, out=1", "--weights", tmp_path / "given.pt",
                            "--save-weights", tmp_path / "w.safetensors", "--check")  # fmt: skip
    assert (code, errors) == (0, "")
    assert "out.py: " in out
    assert "w.safetensors: 4 arrays" in out
    assert "comparisons agree to 1e-06" in out
    assert "training output" in out
    names = {}
    exec((tmp_path / "out.py").read_text(), names)
    params, buffers = names["load"](tmp_path / "w.safetensors")
    got, _ = names["apply"](params, buffers, jnp.ones((2, 3)), jnp.float32(2))
    want = torch.tanh(torch.ones(2, 3) @ state["fc.weight"].T + state["fc.bias"]) @ state["head.weight"].T * 2
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_array_equal(purenn.load_safetensors(tmp_path / "w.safetensors")["fc.bias"], state["fc.bias"])


def test_an_instance_is_written_for_batches_of_any_length(run, tmp_path):
    shapes = "{'x': {0: Dim('batch')}, 'scale': None}"
    code, out, errors = run(":net", *INPUTS, "--dynamic-shapes", shapes, "--check")
    assert (code, errors) == (0, "")
    assert "agree to 1e-06" in out
    assert "The file is not the one" not in out
    text = (tmp_path / "out.py").read_text()
    assert ast.get_docstring(ast.parse(text)).startswith("Net in JAX")
    exec(text, names := {})
    params = {"fc": {"weight": jnp.ones((4, 3))}, "head": {"weight": jnp.ones((2, 4)), "bias": jnp.zeros(2)}}
    params["fc"]["bias"] = jnp.zeros(4)
    assert names["apply"](params, {}, jnp.ones((7, 3)), jnp.float32(2))[0].shape == (7, 2)


@pytest.mark.parametrize(("name", "options", "message"), [
    (":Other", INPUTS, "port: net.py must have the model, got name='Other'."),
    ("x", INPUTS, "port: the model must be FILE.py:NAME, got model="),
    (":number", INPUTS, "port: the model must be a torch.nn.Module, or give one, got type='int'."),
    (":Net", INPUTS, "port: --init must be Python that can be evaluated, got init='__model__()' and error="),
    (":net", ("--args", "torch.ones("), "port: --args must be Python that can be evaluated, got args='(torch.ones(,)'"),
])  # fmt: skip
def test_what_cannot_be_ported_is_said(run, tmp_path, name, options, message):
    code, out, errors = run(name, *options)
    assert (code, out) == (2, "")
    assert errors.startswith(f"purenn: {message}")
    assert not (tmp_path / "out.py").exists()


def test_a_missing_file_and_a_wrong_state_dict_are_said(run, tmp_path, capsys):
    assert cli.main(["port", str(tmp_path / "no.py:Net"), "-o", str(tmp_path / "o.py")]) == 2
    assert "port: the file must exist, got file=" in capsys.readouterr().err
    torch.save({"fc.weight": torch.ones(1, 1)}, tmp_path / "bad.pt")
    code, _, errors = run(":net", *INPUTS, "--weights", tmp_path / "bad.pt")
    assert code == 2
    assert "port: weights must be a state_dict of the model, got weights=" in errors
    assert "Missing key(s)" in errors
