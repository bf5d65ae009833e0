"""A safetensors file as params and buffers, by names that are written short."""

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.files.arrays import load_safetensors
from purenn.files.narrowing import loses, to_jax
from purenn.tree import Tree, unflatten


def load_named(
    path: str | os.PathLike[str],
    params: str,
    buffers: str = "",
    *,
    tied: Mapping[str, str] | None = None,
    absent: Mapping[str, Any] | None = None,
) -> tuple[Tree, Tree]:
    """Reads the arrays of a model whose names are known, from a file of torch's or of ours.

    Args:
        path: of a safetensors file.
        params: the names of the params, with spaces between them; braces stand for several:
            ``"blocks.{0..3}.{weight,bias}"`` are eight.
        buffers: likewise.
        tied: further names of arrays; the file must have one of the names, and equal arrays where it has several.
        absent: arrays that the file may lack, because torch does not save them.

    Returns:
        ``(params, buffers)``, nested; 64-bit numbers as the x64 setting allows, with a warning where some are lost.

    Errors:
        ValueError that lists all missing and unexpected names; CheckpointError for a damaged file.

    >>> import os, tempfile, numpy as np, purenn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> purenn.save_safetensors(path, {"fc.weight": np.ones((2, 3), "f4"), "fc.bias": np.zeros(2, "f4")})
    >>> params, buffers = purenn.load_named(path, "fc.{weight,bias}")
    >>> list(params["fc"]), buffers
    (['weight', 'bias'], {})
    """
    arrays = _untied(load_safetensors(path), tied or {})
    arrays = {**(absent or {}), **arrays}
    names = [*expand(params)], [*expand(buffers)]
    wanted = {*names[0], *names[1]}
    missing, unexpected = (
        [name for name in wanted if name not in arrays],
        [name for name in arrays if name not in wanted],
    )
    if missing or unexpected:
        got = {"missing": sorted(missing), "unexpected": sorted(unexpected)}
        raise refusal("load", f"{os.fspath(path)!r} must hold the model's names", got)
    if lossy := [f"{name} ({arrays[name].dtype})" for name in wanted if loses(np.asarray(arrays[name]))]:
        text = f"load: 64-bit numbers of {os.fspath(path)!r} become 32-bit ones, as jax_enable_x64 is off: "
        warnings.warn(text + ", ".join(sorted(lossy)), UserWarning, stacklevel=3)
    first, second = (unflatten({name: to_jax(np.asarray(arrays[name])) for name in group}) for group in names)
    return first, second


def _untied(arrays: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, Any]:
    found = dict(arrays)
    for name, first in tied.items():
        if name in found:
            array = found.pop(name)
            if not np.array_equal(found.setdefault(first, array), array):
                raise refusal("load", "tied names must have equal arrays", {"names": (first, name)})
    return found


def expand(pattern: str) -> Iterator[str]:
    """Lists the names that a pattern stands for.

    Args:
        pattern: names with spaces between them, in which ``{a,b}`` stands for either and ``{0..3}`` for numbers.

    Yields:
        The names, in order.
    """
    for part in _split(pattern, " "):
        yield from _expanded(part)


def _expanded(part: str) -> Iterator[str]:
    start = part.find("{")
    if start < 0:
        yield part
        return
    end = _closing(part, start)
    inner = part[start + 1 : end]
    first, dots, last = inner.partition("..")
    several = first.isdigit() and dots and last.isdigit()
    choices = map(str, range(int(first), int(last) + 1)) if several else _split(inner, ",")
    rest = list(_expanded(part[end + 1 :]))
    for choice in choices:
        for middle in _expanded(choice):
            yield from (f"{part[:start]}{middle}{tail}" for tail in rest)


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise refusal("load", "every brace of a pattern must be closed", {"pattern": text})


def _split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand outside braces."""
    parts, depth, begin = [], 0, 0
    for at, letter in enumerate(text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == mark and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [part for part in [*parts, text[begin:]] if part]
