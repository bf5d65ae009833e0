"""The command: tables, conversions, comparisons and exit codes."""

# ruff: noqa: E501 -- tables and texts stand whole

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

import stateful as nn
from stateful import cli, cli_values

KEY = jax.random.key(0)


@pytest.fixture
def run(capsys):
    def call(*args):
        code = cli.main([str(arg) for arg in args])
        out, errors = capsys.readouterr()
        return code, out, errors

    return call


@pytest.fixture
def file(tmp_path):
    x = jnp.array([1.0, 2, np.nan, 5])
    nn.save(tmp_path / "a.safetensors", {
        "enc.w": x, "enc.half": x.astype(jnp.bfloat16)[:2], "tied": x, "n": np.int64(2**60), "b": np.array([True, False]), "k": KEY, "step": 7,
        "note": "a\x1b[31mred", "none": np.zeros((0, 3)), "c": np.complex64([3 + 4j]), "i4": jnp.arange(3, dtype=jnp.int4),
    })  # fmt: skip
    return tmp_path / "a.safetensors"


def rows(out):
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}


def test_inspect(run, file):
    code, out, _ = run("inspect", file)
    assert code == 0
    table = rows(out)
    assert table["name"] == ["shape", "dtype", "bytes", "min", "mean", "max", "non-finite", "checksum"]
    assert table["enc.w"] == ["4", "float32", "16", "B", "1", "2.667", "5", "1", "ok"]
    assert table["enc.half"] == ["2", "bfloat16", "4", "B", "1", "1.5", "2", "ok"]
    assert table["tied"] == ["=", "enc.w"]
    assert table["n"] == ["()", "int64", "8", "B", "1.153e+18", "1.153e+18", "1.153e+18", "ok"]
    assert table["b"] == ["2", "bool", "2", "B", "0", "0.5", "1", "ok"]
    assert table["k"][:6] == ["2", "uint32", "(key,", "threefry2x32)", "8", "B"]
    assert table["none"] == ["0x3", "float64", "0", "B", "ok"]
    assert table["c"] == ["1", "complex64", "8", "B", "5", "5", "5", "ok"]
    assert table["i4"] == ["3", "int4", "2", "B", "0", "1", "2", "ok"]
    assert table["step"] == ["7", "int"]
    assert "\x1b" not in out
    assert " ".join(table["safetensors:"]) == "8 arrays, 15 numbers, 48 B, 1 tied names"
    code, out, _ = run("inspect", file, "--no-values", "--where", "enc.*")
    assert rows(out)["enc.w"] == ["4", "float32", "16", "B", "not", "read"]
    assert "n" not in rows(out)


def test_inspect_of_damage_of_sets_and_of_others(run, file, tmp_path):
    content = bytearray(file.read_bytes())
    content[content.find(np.float32([1, 2]).tobytes())] ^= 1
    file.write_bytes(content)
    code, out, _ = run("inspect", file)
    assert code == 1
    assert rows(out)["enc.w"] == ["4", "float32", "16", "B", "DAMAGED"]
    assert out.rstrip().endswith("1 DAMAGED")
    nn.save(tmp_path / "m.safetensors.index.json", {"a": np.ones(3), "b": np.ones(3)}, shard_bytes=30)
    code, out, _ = run("inspect", tmp_path / "m.safetensors.index.json")
    assert (code, out.splitlines()[-1]) == (0, "safetensors set: 2 arrays, 6 numbers, 48 B, 2 files")
    torch.save({"model": torch.nn.Linear(3, 2).state_dict(), "epoch": 3}, tmp_path / "a.pt")
    code, out, _ = run("inspect", tmp_path / "a.pt", "--prefix", "model.")
    assert (code, rows(out)["weight"][-1]) == (0, "ok")
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "theirs")
    assert rows(run("inspect", tmp_path / "theirs")[1])["w"][-1] == "none"


OUT = ["b.safetensors", "b.safetensors.index.json", "b.npz"]


@pytest.mark.parametrize("out", OUT)
def test_convert_keeps_everything(run, file, tmp_path, out):
    code, text, _ = run("convert", file, tmp_path / out)
    assert code == 0
    assert text == f"{file} -> {tmp_path / out}: 8 arrays, 48 B, verified\n"
    code, text, _ = run("diff", file, tmp_path / out, "--all")
    assert code == 0, text
    assert text.splitlines()[-1] == "11 of 11 names are equal."
    assert run("convert", tmp_path / out, tmp_path / "again.safetensors")[0] == 0
    again, first = nn.load(tmp_path / "again.safetensors"), nn.load(file)
    assert {name: str(getattr(x, "dtype", x)) for name, x in again.items()} == {
        name: str(getattr(x, "dtype", x)) for name, x in first.items()
    }
    assert again["tied"] is again["enc.w"]


def test_convert_to_torch_with_another_dtype_and_names(run, file, tmp_path):
    code, _, _ = run(
        "convert", file, tmp_path / "b.pt", "--dtype", "float16", "--map", r"^enc\.=e_", "--where", "e_*", "--where", "n"
    )  # fmt: skip
    assert code == 0
    back = torch.load(tmp_path / "b.pt", weights_only=True)
    assert list(back) == ["e_w", "e_half", "n"]
    assert back["e_w"].dtype == back["e_half"].dtype == torch.float16
    assert back["n"].item() == 2**60
    assert run("convert", tmp_path / "b.pt", tmp_path / "c.safetensors")[0] == 0
    assert nn.load(tmp_path / "c.safetensors")["e_w"].dtype == jnp.float16
    code, _, _ = run(
        "convert", tmp_path / "c.safetensors", tmp_path / "d.safetensors.index.json", "--shard-bytes", "12"
    )
    assert code == 0
    assert len(set(json.loads((tmp_path / "d.safetensors.index.json").read_text())["weight_map"].values())) == 2


def test_diff_says_what_differs(run, tmp_path):
    a = {"w": np.float32([1, 2, 4]), "n": np.int64([2**60]), "s": np.ones(2), "d": np.ones(2, np.float16), "x": np.float32([np.nan, np.inf, 1]),
         "only": np.ones(1), "step": 1, "k": KEY, "kind": 1, "u": np.uint64([2**64 - 1])}  # fmt: skip
    b = {"w": np.float32([1, 2, 4.5]), "n": np.int64([2**60 + 1]), "s": np.ones(3), "d": np.ones(2), "x": np.float32([np.nan, 1, 1]),
         "other": np.ones(1), "step": 2, "k": jax.random.key_data(KEY), "kind": np.ones(1), "u": np.uint64([0])}  # fmt: skip
    nn.save(tmp_path / "a", a)
    nn.save(tmp_path / "b", b)
    code, out, _ = run("diff", tmp_path / "a", tmp_path / "b")
    assert code == 1
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert lines == {
        "name": "difference largest relative", "w": "values 0.5 0.1111", "n": "values 1 8.674e-19", "s": "shape (2,) and (3,)",
        "d": "dtype float16 and float64 0 0", "x": "1 non-finite 0 0", "only": "only in A", "other": "only in B", "step": "1 and 2",
        "k": "keys of threefry2x32 and None", "kind": "1 and an array", "u": "values 1.845e+19 1", "0": "of 11 names are equal.",
    }  # fmt: skip
    assert run("diff", tmp_path / "a", tmp_path / "a")[0] == 0
    code, out, _ = run("diff", tmp_path / "a", tmp_path / "b", "--where", "w")
    assert out.splitlines()[-1] == "0 of 1 names are equal."


def test_large_arrays_are_looked_at_in_pieces(monkeypatch):
    monkeypatch.setattr(cli_values, "_PIECE", 7)
    x = np.random.default_rng(0).standard_normal(100)
    y = x.copy()
    y[[3, 50]] += [0.5, -2]
    found = cli_values.range_of(x)
    np.testing.assert_allclose(found[:3], [x.min(), x.mean(), x.max()])
    np.testing.assert_allclose(cli_values.difference(x, y)[0], 2)
    assert cli_values.difference(x, x).none


def test_verify(run, file, tmp_path):
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "theirs")
    assert run("verify", file) == (0, f"{file}: ok: 8 arrays, 48 B\n", "")
    code, out, _ = run("verify", file, tmp_path / "theirs")
    assert (code, out.splitlines()[1]) == (3, f"{tmp_path / 'theirs'}: whole, but without checksums: 1 arrays, 8 B")
    content = bytearray(file.read_bytes())
    content[content.find(np.float32([1, 2]).tobytes())] ^= 1
    file.write_bytes(content)
    code, out, _ = run("verify", tmp_path / "theirs", file)
    assert code == 1
    assert out.splitlines()[1].startswith(f"{file}: DAMAGED: load: enc.w must have its checksum, got path=")
    file.write_bytes(content[:-3])
    assert run("verify", file)[0] == 1


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["inspect", "NONE"], 2, "purenn: [Errno 2] No such file or directory: "),
        (["inspect", "FILE", "--where", "z"], 2, "purenn: inspect: where must match something, got where='z'."),
        (["convert", "FILE", "OUT", "--map", "x"], 2, "purenn: convert: map must be PATTERN=REPLACEMENT, got map='x'."),
        (["convert", "FILE", "OUT", "--dtype", "f"], 2, "purenn: convert: dtype must be one that files have, got dtype='f'. float64,"),
        (["convert", "FILE", "OUT", "--dtype", "int8"], 2, "purenn: convert: dtype must be floating, got dtype=dtype('int8')."),
        (["convert", "FILE", "OUT.pt"], 2, "purenn: save: k must be no PRNG key in a file of torch's, got k='key'."),
        (["inspect", "TEXT"], 1, "purenn: load: the file must be a whole safetensors file, got path="),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_a_code(run, file, tmp_path, args, code, words):
    (tmp_path / "text").write_text("hello, this is text")
    names = {
        "FILE": file,
        "NONE": tmp_path / "none",
        "OUT": tmp_path / "out",
        "OUT.pt": tmp_path / "out.pt",
        "TEXT": tmp_path / "text",
    }
    found, out, errors = run(*(names.get(arg, arg) for arg in args))
    assert (found, out) == (code, "")
    assert errors.startswith(words)
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_interrupt_has_the_usual_code(run, file, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "verify", interrupted)
    assert run("verify", file)[0] == 130


def test_usage(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["transmogrify"])
    assert "invalid choice: 'transmogrify'" in capsys.readouterr().err


def test_the_command_is_installed_and_touches_no_device(file):
    root = pathlib.Path(nn.__file__).parents[1]
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"] == {"purenn": "stateful.cli:main"}
    # jax is told of a platform that is not there: a command that wanted a device would fail
    env = os.environ | {"JAX_PLATFORMS": "none"}
    command = [sys.executable, "-m", "stateful.cli", "verify", str(file)]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120)
    assert re.match(r".*: ok: 8 arrays, 48 B\n", done.stdout), done.stderr
