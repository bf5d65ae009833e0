"""``purenn diff``: two files compared."""

import argparse
from typing import Any

from rich.console import Console

from purenn.files.content import SCALARS, Content
from stateful.checkpoint_files import opened
from stateful.checkpoint_names import chosen
from stateful.cli_text import add_row, number, selected, table
from stateful.cli_values import difference


def diff(console: Console, options: argparse.Namespace) -> int:
    """Prints what differs between two files.

    Args:
        console: where to.
        options: file, other, prefix, map, where, all.

    Returns:
        0 where nothing differs, 1 where something does.

    Errors:
        CheckpointError for a damaged file.
    """
    with opened(options.file) as first, opened(options.other) as second:
        a, b = selected("diff", first, options), chosen("diff", second, where=options.where or None)
        names = dict.fromkeys([*a.names, *b.names])
        made = table("name", "difference", "largest", "relative", right=("largest", "relative"))
        different = 0
        for name in names:
            text, largest, relative = _compare(a, b, name)
            different += bool(text)
            if text or options.all:
                add_row(made, name, text or "equal", number(largest), number(relative))
        if made.row_count:
            console.print(made)
        console.print(f"{len(names) - different} of {len(names)} names are equal.", markup=False)
    return 1 if different else 0


def _compare(a: Content, b: Content, name: str) -> tuple[str, float | None, float | None]:
    if name not in a.names or name not in b.names:
        return f"only in {'A' if name in a.names else 'B'}", None, None
    x, y = a.leaf(name), b.leaf(name)
    if type(x) in SCALARS or type(y) in SCALARS:
        same = type(x) is type(y) and (x == y or x != x)
        return "" if same else f"{_scalar(x)} and {_scalar(y)}", None, None
    if x.shape != y.shape:
        return f"shape {x.shape} and {y.shape}", None, None
    if a.key(name) != b.key(name):
        return f"keys of {a.key(name)} and {b.key(name)}", None, None
    found = difference(x.read(), y.read())
    texts = [f"dtype {x.dtype} and {y.dtype}"] if x.dtype != y.dtype else []
    texts += ["values"] if found.largest else []
    texts += [f"{found.strange} non-finite"] if found.strange else []
    return ", ".join(texts), found.largest, found.relative


def _scalar(value: Any) -> str:
    return repr(value)[:40] if type(value) in SCALARS else "an array"
