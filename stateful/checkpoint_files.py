"""Which format a file has, and the one way to open and to write all of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from stateful.checkpoint_atomic import replacing
from stateful.checkpoint_content import Content
from stateful.checkpoint_safetensors import open_safetensors, write_safetensors
from stateful.checkpoint_sharded import open_sharded, write_sharded

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
    opener = open_sharded if os.fspath(path).endswith(".json") else open_safetensors
    with opener(path, verify) as content:
        yield content


def write(path: str | os.PathLike[str], content: Content, fsync: bool = True, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a checkpoint in the format that the name asks for, whole or not at all.

    Args:
        path: ``*.index.json`` for a set; everything else is safetensors.
        content: what is saved.
        fsync: whether a power cut after the return cannot undo it.
        shard_bytes: that a file of a set may hold.

    Errors:
        OSError where a file cannot be written.
    """
    if Path(path).name.endswith(".json"):
        write_sharded(path, content, shard_bytes, fsync)
        return
    with replacing(path, fsync) as file:
        write_safetensors(file, content)
