"""What the metadata of our safetensors files says beyond the format, and the checksum of the header in it."""

import json
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from purenn.files.content import scalar_from_text
from purenn.files.error import broken

NOTES, HEADER_CHECK = "purenn", "purenn.header"
RESERVED = ("format", NOTES, HEADER_CHECK, "__metadata__")
ZEROS = "00000000"


@dataclass
class Notes:
    """What the metadata says beyond the format."""

    crc32: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, list[str]] = field(default_factory=dict)
    stored: dict[str, list[Any]] = field(default_factory=dict)  # name: [dtype, shape], where the format has another
    shard: str = ""  # which of a set


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a name that stands twice in one object: two readers would see two things.

    Args:
        pairs: from ``json.loads(object_pairs_hook=)``.

    Returns:
        The object.

    Raises:
        ValueError: a name stands twice.
    """
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands twice")
    return content


def read_notes(path: Any, metadata: Mapping[str, str], places: Collection[str]) -> Notes | None:
    """Reads and checks what the metadata says beyond the format.

    Args:
        path: for errors.
        metadata: of the file.
        places: names of its arrays.

    Returns:
        The notes; None for a file of others.

    Errors:
        CheckpointError where they are not as `save` writes them, or do not fit the arrays.
    """
    if NOTES not in metadata and HEADER_CHECK not in metadata:
        return None
    rule = "the notes must be those that save writes"
    try:
        raw = json.loads(metadata[NOTES], object_pairs_hook=no_duplicates)
        notes = Notes(**{key: value for key, value in raw.items() if key != "version"})
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, rule, {"error": str(error)}) from error
    if HEADER_CHECK not in metadata or not _sound(notes, places):
        raise broken(path, rule, {NOTES: metadata[NOTES]})
    return notes


def _sound(notes: Notes, places: Collection[str]) -> bool:
    tables: tuple[Any, ...] = (notes.crc32, notes.keys, notes.scalars, notes.stored)
    typed = all(isinstance(table, dict) for table in tables) and isinstance(notes.shard, str)
    if not typed or set(notes.crc32) != set(places):
        return False
    strings = [*notes.crc32.values(), *notes.keys.values()]
    pairs = [*notes.scalars.values(), *notes.stored.values()]
    return (
        all(isinstance(text, str) for text in strings)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
        and set(notes.keys) | set(notes.stored) <= set(places)
        and not set(notes.scalars) & set(places)
    )


def check_itself(path: str | os.PathLike[str], text: bytes, written: str) -> None:
    """Checks a text that contains its own checksum (see `with_check`).

    Args:
        path: for errors.
        text: JSON, as it was read.
        written: the checksum in it.

    Errors:
        CheckpointError where it is another.
    """
    blank = text.replace(_check(written), _check(ZEROS))
    found = f"{zlib.crc32(blank):08x}"
    if text.count(_check(written)) != 1 or found != written:
        raise broken(path, "the header must have its checksum", {"written": written, "found": found})


def with_check(text: bytes) -> bytes:
    """Puts the checksum of a text into it, which is computed with zeros in its place.

    Args:
        text: JSON without blanks, with ``"purenn.header":"00000000"`` in it.

    Returns:
        The text, of the same length.
    """
    return text.replace(_check(ZEROS), _check(f"{zlib.crc32(text):08x}"), 1)


def _check(digits: str) -> bytes:
    return f'"{HEADER_CHECK}":"{digits}"'.encode()


def aliases_of(metadata: Mapping[str, str], places: Collection[str], notes: Notes | None) -> dict[str, str]:
    """Finds the other names of tied arrays.

    Args:
        metadata: of the file.
        places: names of its arrays.
        notes: of the file.

    Returns:
        ``{other name: name}``.
    """
    taken = {*RESERVED, *places, *(notes.scalars if notes else {})}
    return {alias: name for alias, name in metadata.items() if name in places and alias not in taken}


def scalars_of(path: str | os.PathLike[str], notes: Notes | None) -> dict[str, Any]:
    """Reads the Python scalars in the notes.

    Args:
        path: for errors.
        notes: of the file.

    Returns:
        ``{name: scalar}``.

    Errors:
        CheckpointError for a text that is none.
    """
    scalars = {}
    for name, (kind, text) in (notes.scalars if notes else {}).items():
        try:
            scalars[name] = scalar_from_text(kind, text)
        except (ValueError, KeyError, TypeError) as error:
            raise broken(path, "a scalar must be written as save does", {name: [kind, text]}) from error
    return scalars
