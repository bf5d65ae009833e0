"""The members of a zip archive, with bounds: what is opened is not larger than it says."""

import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from purenn.files.error import broken

_MAX_DIRECTORY = 20_000_000  # bytes: three hundred thousand members


class Member(NamedTuple):
    """One member of an archive, not compressed."""

    start: int
    size: int
    crc32: int


def infos(path: str | os.PathLike[str], file: Any) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Lists the members of an archive.

    Args:
        path: for errors.
        file: open for reading.

    Returns:
        The archive, and its members by name.

    Errors:
        CheckpointError for an archive that is damaged, too large, or has a member twice.
    """
    _check_directory(path, file)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, EOFError) as error:
        raise broken(path, "the file must be a whole zip archive", {"error": str(error)}) from error
    members = archive.infolist()
    names = {member.filename: member for member in members}
    if len(names) != len(members):
        raise broken(path, "an archive must have no member twice", {"members": len(members), "names": len(names)})
    return archive, names


def _check_directory(path: Any, file: Any) -> None:
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 65_557))
    end = file.read()
    place = end.rfind(b"PK\5\6")
    if place < 0 or len(end) < place + 22:
        raise broken(path, "the file must be a whole zip archive", {"error": "it has no directory at its end"})
    length = struct.unpack("<I", end[place + 12 : place + 16])[0]
    wide = end.rfind(b"PK\6\6")
    if length == 0xFFFFFFFF and wide >= 0 and len(end) >= wide + 48:
        length = struct.unpack("<Q", end[wide + 40 : wide + 48])[0]
    if length > min(_MAX_DIRECTORY, size):
        raise broken(path, "the directory of an archive must fit into memory", {"its bytes": length})


def open_zip(path: str | os.PathLike[str], file: Any) -> Mapping[str, Member]:
    """Finds the bytes of the members of an archive that compresses nothing.

    Args:
        path: for errors.
        file: open for reading.

    Returns:
        The members by name.

    Errors:
        CheckpointError for an archive that is damaged or compressed, or whose members overlap.
    """
    _, names = infos(path, file)
    size = os.fstat(file.fileno()).st_size
    members, total = {}, 0
    for name, info in names.items():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise broken(path, "members must not be compressed or encrypted", {"member": name})
        file.seek(info.header_offset)
        head = file.read(30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise broken(path, "a member must be where the directory says", {"member": name})
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        total += info.file_size
        if start + info.file_size > size or total > size:
            raise broken(path, "members must lie within the file, each in its place", {"member": name})
        members[name] = Member(start, info.file_size, info.CRC)
    return members
