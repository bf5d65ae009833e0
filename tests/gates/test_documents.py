"""What the documents say is run, and what the design says of the files is read off them."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_run(path):
    """All blocks of one document, in order, in one namespace."""
    blocks = PYTHON.findall(path.read_text())
    exec(compile("\n".join(blocks), str(path), "exec"), {"__name__": path.stem})


def test_readme_commands_are_those_of_ci():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    assert '-m pip install -e ".[test]" && python examples/digits.py' in readme
    assert "python -m pytest -n 2" in readme
    assert "python -m pytest -n 2" in ci
    assert "python examples/digits.py" in ci


# Files of stateful that are the machinery, not layers.
MACHINERY = {
    *("__init__", "compiled", "context", "frame", "functional", "functional_module"),
    *("hooks", "in_place", "init", "likeness", "module", "node", "parameter"),
    *("random", "remembering", "state_hooks", "walking"),
}
FAMILIES = ("checkpoint", "cli", "data", "trainer")  # and those whose names begin so


def layer_files():
    return [
        path
        for path in sorted((ROOT / "stateful").glob("*.py"))
        if path.stem not in MACHINERY and not path.stem.startswith(FAMILIES)
    ]


@pytest.mark.parametrize("path", layer_files(), ids=lambda path: path.name)
def test_no_layer_file_of_stateful_computes(path):
    assert computations(path.read_text()) == []


def computations(source: str) -> list[str]:
    """Imports of numerical libraries, and uses of them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in ("jax", "numpy", "optax")]
        elif isinstance(node, ast.ImportFrom) and node.module:
            numerical = node.module.split(".")[0] in ("jax", "numpy") or node.module == "purenn.functional"
            found += [node.module] if numerical else []
            found += [alias.name for alias in node.names if alias.name == "functional"]
        elif isinstance(node, ast.MatMult):
            found.append("@")
    return found


def test_the_reading_of_layer_files_can_fail():
    assert computations("import jax.numpy as jnp") == ["jax.numpy"]
    assert computations("from jax import lax") == ["jax"]
    assert computations("from purenn import functional as F") == ["functional"]
    assert computations("y = a @ b") == ["@"]


def test_the_same_family_has_the_same_file_name_on_each_floor():
    layers = {path.stem for path in (ROOT / "purenn/layers").glob("*.py")} - {"__init__"}
    modules = {path.stem for path in layer_files()}
    assert layers <= modules | {"container"}
