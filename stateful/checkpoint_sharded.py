"""Sets of safetensors files with an index, as Hugging Face has them: ``{"weight_map": {name: file}}``.

A set is committed by its index. The files of a new set have names of their own, made of what is in them, so that the
old set stays whole until the new index takes the place of the old one; then the files of the old set are removed.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from purenn.errors import refusal
from purenn.files.atomic import (
    folder_locked,
    remove_litter,
    replacing,
    sync,
    sync_folder,
    write_all,
    writing_beside,
)
from purenn.files.content import Content, Entry
from purenn.files.error import CheckpointError, broken
from purenn.files.notes import HEADER_CHECK, check_itself, no_duplicates, with_check
from purenn.files.safetensors import open_safetensors, write_safetensors

SUFFIX = ".safetensors.index.json"
_LIMIT = 100_000_000  # bytes of an index
_ATTEMPTS = 8  # the last one after a quarter of a second


@contextlib.contextmanager
def open_sharded(path: str | os.PathLike[str], verify: bool = True) -> Iterator[Content]:
    """Opens a set by its index; its arrays can be read until it is closed.

    Args:
        path: of the index.
        verify: whether checksums are checked.

    Yields:
        What it holds.

    Errors:
        CheckpointError where the index, or a file of the set, is not as it must be.
    """
    with contextlib.ExitStack() as stack:
        yield _open(Path(path), verify, stack)


def _open(path: Path, verify: bool, stack: contextlib.ExitStack) -> Content:
    for attempt in range(_ATTEMPTS):
        index = path.read_bytes() if path.stat().st_size <= _LIMIT else b""
        names, check = _weight_map(path, index)
        if verify and check is not None:
            check_itself(path, index, str(check))
        with contextlib.ExitStack() as files:
            try:
                parts = {
                    name: files.enter_context(open_safetensors(path.parent / name, verify))
                    for name in sorted(set(names.values()))
                }
            except FileNotFoundError as error:
                # a saver that has just finished has removed the files of the old index
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(0.001 * 2**attempt)
                    continue
                raise broken(path, "every file of the index must be there", {"missing": error.filename}) from error
            if check is None and any(part.shard for part in parts.values()):
                raise broken(path, "the index must have its checksum, because its files are of a set that has one")
            _check_complete(path, parts)
            content = _joined(path, names, parts)
            stack.push(files.pop_all())
            return content
    raise AssertionError


def _weight_map(path: Path, index: bytes) -> tuple[dict[str, str], Any]:
    try:
        content = json.loads(index.decode(), object_pairs_hook=no_duplicates)
        metadata, entries = content.get("metadata"), list(content["weight_map"].items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, "the index must be JSON with a weight_map", {"error": str(error)}) from error
    for name, file in entries:
        # a base name only: an index must not reach outside of its folder; links are allowed, caches are made of them
        if not isinstance(file, str) or not file.endswith(".safetensors") or re.search(r"[/\\\0:]", file):
            raise broken(path, "weight_map must name files beside the index", {name: file})
    return dict(entries), metadata.get(HEADER_CHECK) if isinstance(metadata, dict) else None


def _check_complete(path: Path, parts: Mapping[str, Content]) -> None:
    shards = {part.shard for part in parts.values()}
    count = max((shard.rpartition("-")[2] for shard in shards), default="")
    if count and (len(shards) != len(parts) or count != f"{len(parts):05d}"):
        raise broken(path, "every file of the set must be in the index", {"files": [*parts], "shards": sorted(shards)})


def _joined(path: Path, names: Mapping[str, str], parts: Mapping[str, Content]) -> Content:
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    scalars: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for file, part in parts.items():
        for name in part.entries:
            if names.get(name) != file:
                got = {"name": name, "its file": file, "in the index": names.get(name)}
                raise broken(path, "the index must name the file of every array", got)
        aliases |= part.aliases
        scalars |= part.scalars
        keys |= part.keys
    for name, file in names.items():
        if name in parts[file].entries:
            entries[name] = parts[file].entries[name]
        else:
            raise broken(path, "a file must hold the arrays that the index says", {"name": name, "file": file})
    aliases = {alias: name for alias, name in aliases.items() if alias not in entries and alias not in scalars}
    files = (str(path), *(str(path.parent / file) for file in parts))
    return Content(entries, aliases, scalars, keys, "safetensors set", "", files)


def write_sharded(path: str | os.PathLike[str], content: Content, shard_bytes: int, fsync: bool) -> None:
    """Writes a content as a set, and removes the set that was there.

    Args:
        path: of the index.
        content: what is saved.
        shard_bytes: that a file may hold, unless one array is larger.
        fsync: whether a power cut after the return cannot undo it.

    Errors:
        OSError where a file cannot be written, and the old set stays; ValueError for a name that is no index's.
    """
    target = Path(os.path.realpath(path))
    stem = target.name.removesuffix(SUFFIX)
    if stem == target.name or not stem:
        raise refusal("save", f"the path of an index must end in {SUFFIX}", {"path": os.fspath(path)})
    shards = _split(content, shard_bytes)
    with contextlib.ExitStack() as locks:
        # their locks are kept until the commit, so that nobody takes finished files for litter
        files = [_write_shard(target, part, fsync, locks) for part in shards]
        if fsync:
            sync_folder(target.parent)
        with folder_locked(target.parent):
            with replacing(target, fsync) as file:
                write_all(file, _index(content, files, shards))
            _remove_others(target, stem)


def _index(content: Content, files: list[str], shards: list[Content]) -> bytes:
    weight_map = {name: file for file, part in zip(files, shards, strict=True) for name in part.entries}
    total = sum(entry.nbytes for entry in content.entries.values())
    index = {"metadata": {"total_size": total, HEADER_CHECK: "00000000"}, "weight_map": weight_map}
    return with_check(json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode())


def _split(content: Content, shard_bytes: int) -> list[Content]:
    if isinstance(shard_bytes, bool) or not isinstance(shard_bytes, int) or shard_bytes < 1:
        raise refusal("save", "shard_bytes must be a positive integer", {"shard_bytes": shard_bytes})
    groups: list[list[str]] = [[]]
    size = 0
    for name, entry in content.entries.items():
        if groups[-1] and size + entry.nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += entry.nbytes
    shards = []
    for number, group in enumerate(groups):
        kept = set(group)
        shards.append(
            Content(
                {name: content.entries[name] for name in group},
                {alias: name for alias, name in content.aliases.items() if name in kept},
                content.scalars if number == 0 else {},
                {name: impl for name, impl in content.keys.items() if name in kept},
                shard=f"{number + 1:05d}-of-{len(groups):05d}",
            )
        )
    return shards


def _write_shard(target: Path, part: Content, fsync: bool, locks: contextlib.ExitStack) -> str:
    stem = target.name.removesuffix(SUFFIX)
    file = locks.enter_context(writing_beside(target.with_name(f"{stem}-{part.shard}.safetensors"), fsync))
    check = write_safetensors(file, part)
    name = f"{stem}-{check}-{part.shard}.safetensors"
    if fsync:
        sync(file.fileno())
    with folder_locked(target.parent):
        os.replace(file.name, target.with_name(name))
    return name


def _remove_others(target: Path, stem: str) -> None:
    """Removes the files of older sets, and of savers that were killed."""
    try:
        named = set(_weight_map(target, target.read_bytes())[0].values())
    except (OSError, CheckpointError):
        return
    shard = re.escape(stem) + r"-(?:[0-9a-f]{8}-)?\d{5}-of-\d{5}\.safetensors"
    ours = re.compile(rf"{shard}|\.{shard}\.[0-9a-f]{{16}}\.tmp")
    for file in target.parent.iterdir():
        if ours.fullmatch(file.name) and file.name not in named:
            remove_litter(file)
