"""What ``torch.save`` writes, read without torch and without running anything: zip archives, and the older form."""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from purenn.files.content import SCALARS, Content, Entry
from purenn.files.dtypes import BY_NAME
from purenn.files.error import broken
from purenn.files.safetensors import CHUNK, aligned, read_whole
from stateful.checkpoint_pickle import PickleError, read_pickle
from stateful.checkpoint_storage import Storage, Tensors, View
from stateful.checkpoint_zip import open_zip

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the magic number of the older form, as a pickle
_MAX_PICKLE = 64_000_000
_MAX_LEAVES = 1_000_000
_MAX_DEPTH = 100
_EXPANDED = 1 << 28  # bytes that views may take beyond four times the file: expanded tensors are small in it


@dataclass
class Record:
    """Where the bytes of a storage lie."""

    start: int
    size: int
    crc32: int | None  # to be checked; None where there is none, or once it has been


class _Reader(Protocol):
    def __call__(self, view: View) -> np.ndarray: ...


@contextlib.contextmanager
def open_torch(path: str | os.PathLike[str], verify: bool = True) -> Iterator[Content]:
    """Opens a file of ``torch.save``; its arrays can be read until it is closed.

    Args:
        path: of the file.
        verify: whether the checksums of the archive are checked; the older form has none.

    Yields:
        What it holds, nested dicts and lists under dotted names.

    Errors:
        CheckpointError for a file that holds anything but tensors and plain values.
    """
    with open(path, "rb", buffering=0) as file:
        legacy = file.read(len(LEGACY)) == LEGACY
        file.seek(0)
        root, tensors, records, swapped = _legacy(path, file) if legacy else _archive(path, file, verify)
        leaves = _leaves(path, root, tensors)
        _check_total(path, leaves, os.fstat(file.fileno()).st_size)
        kind = "torch, older form" if legacy else "torch"
        yield _content(path, leaves, partial(_read, path, file, records, swapped), kind, not legacy)


def _archive(path: Any, file: Any, verify: bool) -> tuple[Any, Tensors, Mapping[str, Record], bool]:
    members = open_zip(path, file)
    roots = [
        name.removesuffix("data.pkl") for name in members if name.split("/")[1:] == ["data.pkl"] or name == "data.pkl"
    ]
    if len(roots) != 1:
        raise broken(path, "the archive must hold one data.pkl", {"members": [*members][:5]})
    (root,) = roots
    tensors = Tensors(path)
    content = _unpickle(path, io.BytesIO(_member(path, file, members[f"{root}data.pkl"], _MAX_PICKLE)))
    order = members.get(f"{root}byteorder")
    swapped = order is not None and _member(path, file, order, 16) == b"big"
    records = {
        name.removeprefix(f"{root}data/"): Record(member.start, member.size, member.crc32 if verify else None)
        for name, member in members.items()
        if name.startswith(f"{root}data/")
    }
    return content, tensors, records, swapped


def _member(path: Any, file: Any, member: Any, limit: int) -> bytes:
    if member.size > limit:
        raise broken(path, f"a description must have at most {limit} bytes", {"bytes": member.size})
    raw = aligned(member.size)
    file.seek(member.start)
    read_whole(path, file, raw.data)
    if zlib.crc32(raw.data) != member.crc32:
        raise broken(path, "the description must have its checksum")
    return raw.tobytes()


def _unpickle(path: Any, file: Any) -> Any:
    try:
        return read_pickle(file)
    except PickleError as error:
        rule = "the pickle must be one of tensors and plain values"
        remedy = "Nothing in a file is ever run. Save a state_dict: tensors, numbers, strings, dicts and lists."
        raise broken(path, rule, {"error": str(error)}, remedy) from error


def _legacy(path: Any, file: Any) -> tuple[Any, Tensors, Mapping[str, Record], bool]:
    size = os.fstat(file.fileno()).st_size
    source = io.BytesIO(file.read(_MAX_PICKLE))  # the storages follow
    _, version, system, root, keys = (_unpickle(path, source) for _ in range(5))
    start = source.tell()
    little = system.get("little_endian") if isinstance(system, dict) else None
    if version != 1001 or not isinstance(little, bool) or not isinstance(keys, list):
        raise broken(path, "the file must be of torch's older form", {"version": version})
    tensors = Tensors(path)
    sizes = _legacy_sizes(path, root, tensors)
    records: dict[str, Record] = {}
    for key in keys:
        if not isinstance(key, str) or key in records or key not in sizes:
            raise broken(path, "every storage must be named once", {"key": key})
        file.seek(start)
        count = file.read(8)
        stored = sizes[key]
        nbytes = stored.count * (BY_NAME[stored.dtype].itemsize if stored.dtype else 1)
        if (
            len(count) < 8
            or struct.unpack("<q" if little else ">q", count)[0] != stored.count
            or start + 8 + nbytes > size
        ):
            raise broken(path, "a storage must have the size that is said", {"key": key, "count": stored.count})
        records[key] = Record(start + 8, nbytes, None)
        start += 8 + nbytes
    if start != size:
        raise broken(path, "the file must end with the last storage", {"size": size, "the last one ends": start})
    return root, tensors, records, not little


def _legacy_sizes(path: Any, root: Any, tensors: Tensors) -> Mapping[str, Storage]:
    _leaves(path, root, tensors)
    return tensors.storages


def _leaves(path: Any, root: Any, tensors: Tensors) -> dict[str, Any]:
    """Views and scalars by name."""
    leaves: dict[str, Any] = {}
    stack: list[tuple[str, Any, int]] = [("", root, 0)]
    visited = 0
    while stack:
        name, node, depth = stack.pop()
        visited += 1
        if visited > _MAX_LEAVES or depth > _MAX_DEPTH:
            raise broken(path, "the content must not be nested without end", {"values": visited, "depth": depth})
        node = node if isinstance(node, (dict, list, tuple)) else tensors.value(node)
        if isinstance(node, (dict, list, tuple)):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            stack += reversed([(f"{name}.{key}" if depth else str(key), child, depth + 1) for key, child in items])
            continue
        if depth == 0 or name in leaves:
            raise broken(path, "every tensor must have a name of its own", {"name": name})
        if not isinstance(node, View) and type(node) not in SCALARS:
            raise broken(path, "a value must be a tensor, a number or a string", {name: node})
        leaves[name] = node
    return leaves


def _check_total(path: Any, leaves: Mapping[str, Any], size: int) -> None:
    views = {view for view in leaves.values() if isinstance(view, View)}
    total = sum(int(np.prod(view.shape, dtype=object)) * view.itemsize for view in views)
    if total > 4 * size + _EXPANDED:
        raise broken(path, "tensors must not be larger than the file", {"their bytes": total, "size": size})


def _content(path: Any, leaves: Mapping[str, Any], read: _Reader, kind: str, checked: bool) -> Content:
    first: dict[View, str] = {}
    entries, aliases, scalars = {}, {}, {}
    for name, leaf in leaves.items():
        if not isinstance(leaf, View):
            scalars[name] = leaf
        elif leaf in first:
            aliases[name] = first[leaf]
        else:
            first[leaf] = name
            entries[name] = Entry(leaf.full_shape, leaf.dtype, partial(read, leaf), checked)
    return Content(entries, aliases, scalars, {}, kind, "", (os.fspath(path),))


def _read(path: Any, file: Any, records: Mapping[str, Record], swapped: bool, view: View) -> np.ndarray:
    if view.span == 0:
        return np.zeros(view.full_shape, view.dtype)
    storage = view.storage
    record = records.get(storage.key)
    if record is None or record.size != storage.count * (BY_NAME[storage.dtype].itemsize if storage.dtype else 1):
        got = {"storage": storage.key, "its bytes": record and record.size, "elements": storage.count}
        raise broken(path, "a storage must be there, in its size", got)
    start, size = view.offset * view.itemsize, view.span * view.itemsize
    if size < record.size:
        _verify(path, file, record, storage.key)
    raw = aligned(size)
    file.seek(record.start + start)
    read_whole(path, file, raw.data)
    _check(path, record, storage.key, partial(zlib.crc32, raw.data))
    if view.dtype == np.bool_ and raw.max() > 1:
        raise broken(path, "booleans must be 0 or 1", {"storage": storage.key, "a byte": int(raw.max())})
    return view.of(_swapped(raw, view.dtype) if swapped else raw)


def _verify(path: Any, file: Any, record: Record, key: str) -> None:
    """Checks a storage of several tensors, once."""

    def crc32() -> int:
        file.seek(record.start)
        found, left, chunk = 0, record.size, memoryview(bytearray(CHUNK))
        while left:
            part = chunk[: min(left, CHUNK)]
            read_whole(path, file, part)
            found, left = zlib.crc32(part, found), left - part.nbytes
        return found

    _check(path, record, key, crc32)


def _check(path: Any, record: Record, key: str, crc32: Callable[[], int]) -> None:
    if record.crc32 is None:
        return
    if (found := crc32()) != record.crc32:
        got = {"storage": key, "written": f"{record.crc32:08x}", "found": f"{found:08x}"}
        raise broken(path, "a storage must have its checksum", got)
    record.crc32 = None


def _swapped(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    return raw.view(f"u{width}").byteswap().view(np.uint8)
