"""One safetensors file: opened for reading array by array, and written."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from functools import partial
from io import FileIO
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.files.atomic import write_all
from purenn.files.content import Content, Entry
from purenn.files.dtypes import from_bytes, to_bytes
from purenn.files.error import broken
from purenn.files.header import LIMIT, Header, Place, header_maker, read_header
from purenn.files.notes import ZEROS, scalars_of

CHUNK = 1 << 20  # bytes that stay in the cache between the checksum and the copy
SMALL = 1 << 16  # bytes of an array that is read or written together with its neighbours
_ALIGNED = 64  # bytes: jax takes such an array on the CPU as it is, without a copy


@contextlib.contextmanager
def open_safetensors(path: str | os.PathLike[str], verify: bool = True) -> Iterator[Content]:
    """Opens a file; its arrays can be read until it is closed.

    Args:
        path: of the file.
        verify: whether checksums are checked. Files of others have none.

    Yields:
        What it holds.

    Errors:
        CheckpointError for a file that is not as the format has it.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        header = read_header(path, file, size, verify)
        source = _Source(path, file)
        yield Content(
            {name: _entry(source, header, name, place, verify) for name, place in header.places.items()},
            header.aliases,
            scalars_of(path, header.notes),
            header.notes.keys if header.notes else {},
            "safetensors",
            header.notes.shard if header.notes else "",
            (os.fspath(path),),
        )


def _entry(source: "_Source", header: Header, name: str, place: Place, verify: bool) -> Entry:
    crc32 = header.notes.crc32[name] if header.notes and verify else None
    read = partial(source.array, header.length + place.start, place, name, crc32)
    return Entry(place.shape, place.dtype, read, header.notes is not None)


class _Source:
    """The bytes of an open file. Small arrays that lie together are read in one call."""

    def __init__(self, path: Any, file: Any):
        self.path, self.file = path, file
        self.window: memoryview = memoryview(b"")
        self.start = self.end = 0  # of what is in the window
        self.room = np.empty(0, np.uint8)  # for small arrays: to ask for memory of each takes longer than to fill it

    def array(self, offset: int, place: Place, name: str, crc32: str | None) -> np.ndarray:
        """Reads an array, in memory of its own, and checks it."""
        size = place.end - place.start
        raw, found = (self.small if size <= SMALL else self.large)(offset, size, crc32 is not None)
        if crc32 is not None and f"{found:08x}" != crc32:
            raise broken(self.path, f"{name} must have its checksum", {"written": crc32, "found": f"{found:08x}"})
        if place.dtype == np.bool_ and raw.size and raw.max() > 1:
            raise broken(self.path, f"{name} must hold booleans", {"a byte": int(raw.max())})
        return from_bytes(raw, place.dtype, place.shape)

    def large(self, offset: int, size: int, check: bool) -> tuple[np.ndarray, int]:
        """Bytes and their checksum, by chunks."""
        raw = aligned(size)
        view, found = raw.data, 0
        self.file.seek(offset)
        for start in range(0, size, CHUNK):
            chunk = view[start : start + CHUNK]
            read_whole(self.path, self.file, chunk)
            found = zlib.crc32(chunk, found) if check else found
        return raw, found

    def small(self, offset: int, size: int, check: bool) -> tuple[np.ndarray, int]:
        """The same, out of the window."""
        if not self.start <= offset <= offset + size <= self.end:
            self.window = self.window or memoryview(bytearray(CHUNK))
            self.file.seek(offset)
            self.start, self.end = offset, offset + self.file.readinto(self.window)
        if offset + size > self.end:  # the file has been cut since, or the system gives less at a time
            return self.large(offset, size, check)
        view = self.window[offset - self.start :][:size]
        if size > self.room.size:
            self.room = aligned(CHUNK // 4)
        raw, self.room = self.room[:size], self.room[-(-size // _ALIGNED) * _ALIGNED :]
        raw.data[:] = view
        return raw, zlib.crc32(view) if check else 0


def aligned(size: int) -> np.ndarray:
    """Memory for an array that jax can take as it is.

    Args:
        size: in bytes.

    Returns:
        uint8 of one axis, not written to.
    """
    raw = np.empty(size + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + size]


def read_whole(path: str | os.PathLike[str], file: Any, view: memoryview) -> None:
    """Fills a view from a file.

    Args:
        path: for errors.
        file: open for reading.
        view: of bytes.

    Errors:
        CheckpointError where the file ends before.
    """
    while view.nbytes:
        count = file.readinto(view)
        if not count:
            raise broken(path, "the file must not end within an array", {"bytes missing": view.nbytes})
        view = view[count:]


def write_safetensors(file: FileIO, content: Content) -> str:
    """Writes a content as one file: the arrays first, and the header with their checksums when they are known.

    Args:
        file: open for writing and seeking, at its beginning.
        content: what is saved.

    Returns:
        The checksums, as one text that depends on everything in the file.

    Errors:
        ValueError for a content whose header would be larger than the format has it.
    """
    # wide items first, so that every array is aligned to its own
    order = sorted(content.entries, key=lambda name: -content.entries[name].dtype.itemsize)
    make = header_maker(content, order)
    blank = make(dict.fromkeys(order, ZEROS))
    if len(blank) - 8 > LIMIT:
        raise refusal("save", "the names must fit into the header", {"its bytes": len(blank), "limit": LIMIT})
    write_all(file, blank)
    header = make(_write_arrays(file, [(name, content.entries[name]) for name in order]))
    file.seek(0)
    write_all(file, header)
    return f"{zlib.crc32(header):08x}"


def _write_arrays(file: FileIO, entries: list[tuple[str, Entry]]) -> dict[str, str]:
    """Writes arrays one after the other, small ones together; gives their checksums."""
    crc32: dict[str, str] = {}
    waiting: list[memoryview] = []
    size = 0
    for name, entry in entries:
        raw = to_bytes(entry.read())
        if raw.size > SMALL or size > CHUNK:
            write_all(file, b"".join(waiting))
            waiting, size = [], 0
        if raw.size > SMALL:
            crc32[name] = _write(file, raw)
        else:
            crc32[name] = f"{zlib.crc32(raw.data):08x}"
            waiting.append(raw.data)
            size += raw.size
    write_all(file, b"".join(waiting))
    return crc32


def _write(file: FileIO, raw: np.ndarray) -> str:
    crc32 = 0
    for start in range(0, raw.size, CHUNK):
        chunk = raw[start : start + CHUNK]
        crc32 = zlib.crc32(chunk.data, crc32)
        write_all(file, chunk)
    return f"{crc32:08x}"
