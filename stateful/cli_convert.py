"""``purenn convert``: a file in another format."""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.console import Console

from purenn.errors import refusal
from purenn.files.content import Content, Entry
from purenn.files.dtypes import BY_NAME
from stateful.checkpoint_files import opened, write
from stateful.checkpoint_placing import as_dtype, cast, wanted_dtype
from stateful.cli_text import printable, selected, size


def convert(console: Console, options: argparse.Namespace) -> int:
    """Writes a file again, one array after the other.

    Args:
        console: where to say what was done.
        options: file, out, dtype, prefix, map, where, shard_bytes.

    Returns:
        0.

    Errors:
        CheckpointError for a damaged file; ValueError, TypeError for what the other format cannot hold.
    """
    dtype = _dtype(options.dtype)
    with opened(options.file) as content:
        content = _in_dtype(selected("convert", content, options), dtype)
        write(options.out, content, shard_bytes=options.shard_bytes)
    total = size(sum(entry.nbytes for entry in content.entries.values()))
    checked = "verified" if content.checked else "without checksums in the source"
    text = f"{options.file} -> {options.out}: {len(content.entries)} arrays, {total}, {checked}"
    console.print(printable(text), markup=False, soft_wrap=True)
    return 0


def _dtype(name: str | None) -> np.dtype | None:
    if name is None:
        return None
    if name not in BY_NAME:
        raise refusal("convert", "dtype must be one that files have", {"dtype": name}, f"{', '.join(BY_NAME)}.")
    return as_dtype("convert", BY_NAME[name])


def _in_dtype(content: Content, dtype: np.dtype | None) -> Content:
    def entry_in(entry: Entry) -> Entry:
        wanted = wanted_dtype(entry, dtype)
        return entry if wanted == entry.dtype else Entry(entry.shape, wanted, _casting(entry, wanted), entry.checked)

    return replace(content, entries={name: entry_in(entry) for name, entry in content.entries.items()}, shard="")


def _casting(entry: Entry, dtype: np.dtype) -> Callable[[], np.ndarray]:
    return lambda: cast(entry.read(), dtype)
