"""Which format a file has, and the one way to open and to write all of them."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from purenn.files.atomic import replacing
from purenn.files.content import Content
from purenn.files.safetensors import open_safetensors, write_safetensors
from stateful.checkpoint_npz import open_npz, write_npz
from stateful.checkpoint_sharded import open_sharded, write_sharded
from stateful.checkpoint_torch import LEGACY, open_torch
from stateful.checkpoint_torch_writing import Name, write_torch
from stateful.checkpoint_zip import infos

SHARD_BYTES = 5_000_000_000


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], verify: bool = True) -> Iterator[Content]:
    """Opens a checkpoint of any format; its arrays can be read until it is closed.

    Args:
        path: of the file, or of the index of a set.
        verify: whether checksums are checked.

    Yields:
        What it holds.

    Errors:
        CheckpointError for a file that is damaged, or of none of the formats.
    """
    with _opener(path)(path, verify) as content:
        yield content


def _opener(path: str | os.PathLike[str]) -> Callable[..., contextlib.AbstractContextManager[Content]]:
    if os.fspath(path).endswith(".json"):
        return open_sharded
    with open(path, "rb", buffering=0) as file:
        start = file.read(len(LEGACY))
        if start == LEGACY:
            return open_torch
        if not start.startswith(b"PK"):
            return open_safetensors
        _, members = infos(path, file)
        return open_npz if members and all(name.endswith(".npy") for name in members) else open_torch


def write(
    path: str | os.PathLike[str],
    content: Content,
    fsync: bool = True,
    shard_bytes: int = SHARD_BYTES,
    structure: Any = None,
) -> None:
    """Writes a checkpoint in the format that the name asks for, whole or not at all.

    Args:
        path: ``*.index.json`` for a set, ``.npz``, ``.pt`` and ``.pth``; everything else is safetensors.
        content: what is saved.
        fsync: whether a power cut after the return cannot undo it.
        shard_bytes: that a file of a set may hold.
        structure: for torch's files, the dicts and lists around the arrays; None is a flat dict.

    Errors:
        OSError where a file cannot be written.
    """
    if Path(path).name.endswith(".json"):
        write_sharded(path, content, shard_bytes, fsync)
        return
    with replacing(path, fsync) as file:
        if is_torch(path):
            write_torch(file, flat_structure(content) if structure is None else structure, content)
        elif Path(path).suffix == ".npz":
            write_npz(file, content)
        else:
            write_safetensors(file, content)


def is_torch(path: str | os.PathLike[str]) -> bool:
    """Whether a name asks for torch's format.

    Args:
        path: of the file.

    Returns:
        True for ``.pt`` and ``.pth``.
    """
    return Path(path).suffix in (".pt", ".pth")


def flat_structure(content: Content) -> dict[str, Any]:
    """A content as torch keeps a state_dict.

    Args:
        content: any.

    Returns:
        A flat dict of names and scalars.
    """
    return {name: content.scalars[name] if name in content.scalars else Name(name) for name in content.names}
