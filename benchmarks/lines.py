"""How long the transforms are: lines of code of each, without docstrings, comments and blanks.

    python benchmarks/lines.py

A transform is counted by the file that it stands in; what several of them stand on is listed after them.
"""

import ast
from collections import defaultdict
from pathlib import Path

import transforms

SHARED = {
    "viewing": "what most of them stand on",
    "merging": "ways back to the plain model",
    "parametrization": "of parametrize and its cases",
    "claims": "of parametrize and its cases",
    "claiming": "of parametrize and its cases",
    "stacked_layers": "of scan",
    "found_layers": "of scan(where=)",
    "gathering": "of scan(where=)",
    "dtypes": "of precision",
    "liveness": "of checked",
    "gradient_probes": "of find_nonfinite",
    "batching": "of accumulate and per_example_grad",
    "train_state": "of train_step",
    "scaling": "of train_step and precision",
    "measuring": "of train_step and eval_step",
}


def lines(path: Path) -> int:
    """Lines of code of a file: no docstrings, comments or blanks."""
    source = path.read_text()
    documented = set()
    for node in ast.walk(ast.parse(source)):
        first = node.body[0] if isinstance(getattr(node, "body", None), list) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            documented.update(range(first.lineno, first.end_lineno + 1))
    text = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in documented for n, line in text)


def by_file() -> dict[str, list[str]]:
    """The exported functions by the file of `transforms` that they stand in."""
    files = defaultdict(list)
    for name in transforms.__all__:
        module = getattr(getattr(transforms, name), "__module__", "")
        if name[0].islower() and module.count(".") == 1 and module.startswith("transforms."):
            files[module.partition(".")[2]].append(name)
    return files


if __name__ == "__main__":
    folder = Path(transforms.__file__).parent
    files = by_file()
    for file, names in sorted(files.items(), key=lambda item: item[1]):
        print(f"{', '.join(names)}: {lines(folder / f'{file}.py')}")
    for file, use in SHARED.items():
        if file not in files:
            print(f"({file}.py, {use}): {lines(folder / f'{file}.py')}")
