"""The header of a safetensors file: read with every rule of the format, and written.

``u64 length, JSON, arrays``: the JSON names each array's dtype, shape and place; the arrays lie one after the other,
without holes, in C order and little-endian. Metadata is a dict of strings, and holds here:

- ``"format": "pt"``: names and layouts are torch's, as readers of such files want to know;
- ``"purenn"``: JSON with the CRC-32 of every array, and with what the format cannot say (`purenn.files.notes.Notes`);
- ``"purenn.header"``: the CRC-32 of the header itself, computed with zeros in the place of its own digits;
- every other name of a tied array, with the name that it is stored by, as safetensors' own ``save_model`` does.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from purenn.files.content import Content, scalar_to_text
from purenn.files.dtypes import BY_NAME, FORMAT, bits, nbytes, stored_as
from purenn.files.error import broken
from purenn.files.notes import (
    HEADER_CHECK,
    NOTES,
    ZEROS,
    Notes,
    aliases_of,
    check_itself,
    no_duplicates,
    read_notes,
    with_check,
)

LIMIT = 100_000_000  # bytes of a header, by the format
MAX_RANK = 32
_WIDE_LIMIT = 25_000_000  # of one with other letters than ASCII, which take four times the memory
_MAX_VALUES = 3_000_000  # of values in a header: a hostile one is millions of empty lists


class Place(NamedTuple):
    """Where an array lies in a file, and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # after the header
    end: int


@dataclass
class Header:
    """A header, checked."""

    places: dict[str, Place]
    notes: Notes | None  # None: the file is not ours
    aliases: dict[str, str]
    length: int  # where the arrays begin


def read_header(path: str | os.PathLike[str], file: Any, size: int, verify: bool) -> Header:
    """Reads and checks the header of a file.

    Args:
        path: for errors.
        file: open for reading, at its beginning.
        size: bytes of the file.
        verify: whether to check the header's own checksum.

    Returns:
        What it says.

    Errors:
        CheckpointError where anything is not as the format has it.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(LIMIT, size - 8):
        got = {"size": size, "its length": length if len(start) == 8 else None}
        raise broken(path, "the file must be a whole safetensors file", got)
    text = file.read(length)
    content = _parse(path, text)
    metadata = _metadata(path, content.pop("__metadata__", {}))
    places = {name: _place(path, name, value) for name, value in content.items()}
    _check_layout(path, places, size - 8 - length)
    notes = read_notes(path, metadata, places)
    if notes is not None and verify:
        check_itself(path, text, metadata[HEADER_CHECK])
    return Header(_as_they_were(path, places, notes), notes, aliases_of(metadata, places, notes), 8 + length)


def _parse(path: Any, text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise broken(path, "the header must begin with a brace", {"its beginning": text[:16]})
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values > _MAX_VALUES or (len(text) > _WIDE_LIMIT and not text.isascii()):
        raise broken(path, "the header must fit into memory", {"bytes": len(text), "values": values})
    try:
        return json.loads(text.decode(), object_pairs_hook=no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise broken(path, "the header must be JSON", {"error": str(error)}) from error


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _metadata(path: Any, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken(path, "__metadata__ must be a dict of strings", {"__metadata__": metadata})
    return metadata


def _place(path: Any, name: str, value: Any) -> Place:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise broken(path, "an array must have dtype, shape and data_offsets", {name: value})
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in FORMAT:
        remedy = f"Known ones are {', '.join(FORMAT)}."
        raise broken(path, "an array must have a known dtype", {"name": name, "dtype": dtype}, remedy)
    if not _naturals(shape) or len(shape) > MAX_RANK or not _naturals(offsets) or len(offsets) != 2:
        got = {"name": name, "shape": shape, "data_offsets": offsets}
        raise broken(path, f"shape must be at most {MAX_RANK} sizes, and data_offsets two places", got)
    start, end = offsets
    if 8 * (end - start) != math.prod(shape) * bits(FORMAT[dtype]):
        got = {"name": name, "dtype": dtype, "shape": shape, "data_offsets": offsets}
        raise broken(path, "data_offsets must hold the bytes of the array", got)
    return Place(FORMAT[dtype], tuple(shape), start, end)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_layout(path: Any, places: Mapping[str, Place], size: int) -> None:
    end = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
        if place.start != end:
            got = {"name": name, "begins": place.start, "the last one ends": end}
            raise broken(path, "arrays must lie one after the other", got)
        end = place.end
    if end != size:
        raise broken(path, "the file must end with the last array", {"its bytes": size, "the last one ends": end})


def _as_they_were(path: Any, places: dict[str, Place], notes: Notes | None) -> dict[str, Place]:
    """The arrays of dtypes that the format lacks, as the notes say they were."""
    for name, (text, shape) in (notes.stored if notes else {}).items():
        dtype, place = BY_NAME.get(text) if isinstance(text, str) else None, places[name]
        known = dtype is not None and _naturals(shape) and len(shape) <= MAX_RANK
        if not known or nbytes(dtype, shape) != place.end - place.start:  # type: ignore[arg-type]
            raise broken(path, "the notes must fit the array", {"name": name, "dtype": text, "shape": shape})
        places[name] = Place(dtype, tuple(shape), place.start, place.end)  # type: ignore[arg-type]
    return places


def header_maker(content: Content, order: list[str]) -> Callable[[Mapping[str, str]], bytes]:
    """Prepares the header for a content.

    Args:
        content: what is saved.
        order: names of the arrays as they lie in the file.

    Returns:
        ``make(crc32)``, which gives the length and the JSON padded to eight bytes, for the checksums of all arrays; of
        one length whatever they are.
    """
    notes: dict[str, Any] = {
        "keys": dict(content.keys),
        "scalars": {name: scalar_to_text(value) for name, value in content.scalars.items()},
        "stored": {},
        "shard": content.shard,
    }
    places: dict[str, Any] = dict.fromkeys(content.entries)
    offset = 0
    for name in order:
        entry = content.entries[name]
        stored, shape, noted = stored_as(entry.dtype, entry.shape)
        end = offset + entry.nbytes
        places[name] = {"dtype": stored, "shape": shape, "data_offsets": [offset, end]}
        offset = end
        if noted:
            notes["stored"][name] = [str(entry.dtype), list(entry.shape)]
    told = {name: value for name, value in notes.items() if value}

    def make(crc32: Mapping[str, str]) -> bytes:
        written = {"version": 1, "crc32": {name: crc32[name] for name in content.entries}, **told}
        text = json.dumps(written, separators=(",", ":"))
        metadata = {"format": "pt", NOTES: text, HEADER_CHECK: ZEROS, **content.aliases}
        return _framed({"__metadata__": metadata, **places})

    return make


def _framed(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + with_check(text)
