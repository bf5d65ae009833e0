"""numpy's ``.npz``: a zip of ``.npy`` files. Dtypes that numpy lacks are stored as integers of their width.

What such a file cannot say (those dtypes, PRNG keys, tied names, Python scalars) stands in a member of its own,
``purenn.npy``, as JSON.
"""

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from io import FileIO
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.files.content import Content, Entry, scalar_from_text, scalar_to_text
from purenn.files.dtypes import BY_NAME, canonical, from_bytes, nbytes, to_bytes
from purenn.files.error import CheckpointError, broken
from purenn.files.header import MAX_RANK
from purenn.files.notes import no_duplicates
from purenn.files.safetensors import CHUNK, aligned
from stateful.checkpoint_zip import infos

_NOTES = "purenn"
_ERRORS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile, EOFError, zlib.error,
           RuntimeError, NotImplementedError)  # fmt: skip
_MAX_NOTES = 64_000_000


@contextlib.contextmanager
def open_npz(path: str | os.PathLike[str], verify: bool = True) -> Iterator[Content]:
    """Opens an archive; its arrays can be read until it is closed.

    Args:
        path: of the file.
        verify: makes no difference: zip's checksums are checked always.

    Yields:
        What it holds.

    Errors:
        CheckpointError for an archive that is damaged, or holds pickled objects.
    """
    del verify
    with open(path, "rb", buffering=0) as file:
        archive, members = infos(path, file)
        entries = {}
        for name, info in members.items():
            if not name.endswith(".npy"):
                raise broken(path, "every member must be an array", {"member": name})
            entries[name.removesuffix(".npy")] = _entry(path, archive, info)
        yield _with_notes(path, entries)


def _entry(path: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    try:
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
    except _ERRORS as error:
        raise broken(path, "every member must be an array", {"member": info.filename, "error": str(error)}) from error
    known = canonical(dtype)
    if known is None or len(shape) > MAX_RANK or start + nbytes(known, shape) != info.file_size:
        got = {"member": info.filename, "dtype": str(dtype), "shape": shape, "bytes": info.file_size}
        raise broken(path, "an array must be of numbers, and as large as its member", got)
    big = dtype.byteorder == ">"
    return Entry(shape, known, partial(_read, path, archive, info, (start, shape, fortran, known, big)), True)


def _read(path: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: tuple[Any, ...]) -> np.ndarray:
    start, shape, fortran, dtype, big = what
    raw = aligned(info.file_size - start)
    try:
        with archive.open(info) as file:
            file.read(start)
            for place in range(0, raw.size, CHUNK):
                chunk = raw[place : place + CHUNK]
                if file.readinto(chunk.data) != chunk.size:  # type: ignore[attr-defined]
                    raise EOFError("it ends too early")
    except _ERRORS as error:
        raise broken(path, "a member must be whole", {"member": info.filename, "error": str(error)}) from error
    array = raw.view(dtype.newbyteorder(">")).astype(dtype) if big else raw.view(dtype)
    return np.ascontiguousarray(array.reshape(shape[::-1]).T).reshape(shape) if fortran else array.reshape(shape)


def _with_notes(path: Any, entries: dict[str, Entry]) -> Content:
    source = entries.pop(_NOTES, None)
    if source is None:
        return Content(entries, kind="npz", files=(os.fspath(path),))
    try:
        if source.nbytes > _MAX_NOTES:
            raise ValueError("they are too large")
        notes = json.loads(source.read().tobytes().decode(), object_pairs_hook=no_duplicates)
        for name, (text, shape) in notes["stored"].items():
            entries[name] = _as_it_was(entries[name], BY_NAME[text], tuple(map(int, shape)))
        scalars = {name: scalar_from_text(*pair) for name, pair in notes["scalars"].items()}
        aliases, keys = dict(notes["aliases"]), dict(notes["keys"])
        if not set(aliases.values()) | set(keys) <= set(entries) or (set(aliases) | set(scalars)) & set(entries):
            raise ValueError("they do not fit the arrays")
    except CheckpointError:
        raise
    except _ERRORS as error:
        raise broken(path, "the notes must be those that save writes", {"error": str(error)}) from error
    return Content(entries, aliases, scalars, keys, "npz", "", (os.fspath(path),))


def _as_it_was(entry: Entry, dtype: np.dtype, shape: tuple[int, ...]) -> Entry:
    if entry.nbytes != nbytes(dtype, shape) or min(shape, default=0) < 0:
        raise ValueError("they do not fit an array")

    def read() -> np.ndarray:
        return from_bytes(entry.read().reshape(-1).view(np.uint8), dtype, shape)

    return Entry(shape, dtype, read, entry.checked)


def write_npz(file: FileIO, content: Content) -> None:
    """Writes a content as an archive, without compression and of the same bytes every time.

    Args:
        file: open for writing and seeking, at its beginning.
        content: what is saved.

    Errors:
        ValueError for names that an archive cannot hold.
    """
    notes = {
        "version": 1, "aliases": dict(content.aliases), "keys": dict(content.keys),
        "scalars": {name: scalar_to_text(value) for name, value in content.scalars.items()},
        "stored": {n: [str(e.dtype), list(e.shape)] for n, e in content.entries.items() if e.dtype.isbuiltin != 1},
    }  # fmt: skip
    if bad := [name for name in content.names if name == _NOTES or "\0" in name]:
        raise refusal("save", "an .npz must not hold such a name", {"name": bad[0]}, "Save as .safetensors.")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, entry in content.entries.items():
            _write(archive, name, entry)
        if any(value for key, value in notes.items() if key != "version"):
            text = np.frombuffer(json.dumps(notes, separators=(",", ":")).encode(), np.uint8)
            _write(archive, _NOTES, Entry(text.shape, text.dtype, lambda: text))


def _write(archive: zipfile.ZipFile, name: str, entry: Entry) -> None:
    raw = to_bytes(entry.read())
    dtype, shape = _plain(entry)
    header: Mapping[str, Any] = {
        "descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape,
    }  # fmt: skip
    info = zipfile.ZipInfo(f"{name}.npy")
    info.external_attr = 0o600 << 16
    with archive.open(info, "w", force_zip64=raw.size > 1 << 30) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
        for start in range(0, raw.size, CHUNK):
            file.write(raw[start : start + CHUNK].data)


def _plain(entry: Entry) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype and shape that numpy knows, for the bytes of an array."""
    if entry.dtype.isbuiltin == 1:
        return entry.dtype.newbyteorder("<"), entry.shape
    if nbytes(entry.dtype, (2,)) == 2 * entry.dtype.itemsize:
        return np.dtype(f"<u{entry.dtype.itemsize}"), entry.shape
    return np.dtype(np.uint8), (entry.nbytes,)
