"""Files that are replaced whole or not at all, and stay replaced.

A new file is written beside the old one under a name of its own, synced, and renamed over it; then the folder is
synced. The writer holds a lock on its unfinished file, which ends with its process: so whoever saves next can tell
the litter of a killed process from the work of one that still runs.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from purenn.errors import refusal

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: an open file cannot be unlinked there, which does for a lock
    fcntl = None

_TOKEN = "[0-9a-f]" * 16


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], fsync: bool = True) -> Iterator[FileIO]:
    """Opens a file beside ``path`` that takes its place once it is written.

    At any instant the old file is there, or the new one, whole. Several writers do not mix: the last one to finish
    stays. What killed writers left beside ``path`` is removed. A link is followed, so that it stays a link.

    Args:
        path: of the file; its folder must be there.
        fsync: whether a power cut after the return cannot undo it.

    Yields:
        The file, unbuffered, open for writing, reading and seeking.

    Errors:
        OSError, with the room wanted and left where the disk is full; the old file stays.
    """
    target = Path(os.path.realpath(path))
    with writing_beside(target, fsync) as file:
        yield file
        _finish(file, fsync)
        os.replace(file.name, target)
    if fsync:
        sync_folder(target.parent)


@contextlib.contextmanager
def writing_beside(target: Path, fsync: bool = True) -> Iterator[FileIO]:
    """Opens an unfinished, locked file beside ``target``; it is removed unless it has been renamed.

    Args:
        target: what the file will become, a path without links.
        fsync: as in `replacing`.

    Yields:
        The file.

    Errors:
        IsADirectoryError where the target is a folder; FileNotFoundError where it would stand in none; OSError as in
        `replacing`.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder of the file must be there", str(target.parent))
    _sweep(target)
    file = _create(target)
    try:
        with file:
            yield file
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(target, Path(file.name), error) from error
        raise
    finally:
        # after the rename there is nothing under this name
        Path(file.name).unlink(missing_ok=True)


def _create(target: Path) -> FileIO:
    while True:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        file = open(beside, "x+b", buffering=0)  # noqa: SIM115 -- its caller closes it
        # between the two calls another saver may have taken it for litter
        if lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _finish(file: FileIO, fsync: bool) -> None:
    file.flush()
    if fsync:
        sync(file.fileno())


def sync(number: int) -> None:
    """Waits until the disk has a file.

    Args:
        number: its descriptor.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync leaves the data in the drive's cache
    if full is None:
        os.fsync(number)
    else:
        fcntl.fcntl(number, full)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Waits until the disk has the names in a folder.

    Args:
        folder: its path.
    """
    if os.name == "nt":
        return  # folders cannot be opened; NTFS journals names
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def lock(number: int) -> bool:
    """Takes the lock of an open file, which the death of its holder releases, if nobody holds it.

    Args:
        number: its descriptor.

    Returns:
        False if another holds it; True also where the file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Keeps other savers of sets out of a folder, for the moment of a commit.

    Args:
        folder: its path.

    Yields:
        Nothing.
    """
    if fcntl is None:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def remove_litter(path: Path) -> None:
    """Removes a file unless somebody is writing it.

    Args:
        path: of the file.
    """
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if lock(file.fileno()):
            path.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    for beside in target.parent.glob(f".{_literal(target.name)}.{_TOKEN}.tmp"):
        remove_litter(beside)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _full(target: Path, beside: Path, error: OSError) -> Exception:
    written = beside.stat().st_size if beside.exists() else 0
    got = {"path": str(target), "written": written, "free": shutil.disk_usage(target.parent).free}
    remedy = f"What was there before is untouched. {error.strerror}."
    full = refusal("save", "the disk must have room for the file", got, remedy, OSError)
    full.errno = error.errno  # type: ignore[attr-defined]
    return full


def write_all(file: FileIO, data: Any) -> None:
    """Writes all bytes to an unbuffered file, which may take fewer at a time.

    Args:
        file: open for writing.
        data: bytes, or a view of them.
    """
    view = memoryview(data).cast("B")
    while view.nbytes:
        view = view[file.write(view) :]
