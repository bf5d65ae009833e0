"""Checkpoints: state_dicts and whole trees in files, written whole or not at all, and checked when they are read.

What is written is an ordinary safetensors file (or a set of them, or another format by the name of the file), with a
checksum of every array in its metadata. Nothing in a file is ever run.
"""

import os
from typing import Any

from purenn.errors import refusal
from purenn.files.content import Content
from purenn.tree import Where
from stateful.checkpoint_files import SHARD_BYTES, is_torch, opened, write
from stateful.checkpoint_into import fill
from stateful.checkpoint_names import Renaming, chosen
from stateful.checkpoint_placing import Placement, arrays_of, as_dtype
from stateful.checkpoint_report import LoadReport
from stateful.checkpoint_restoring import restored
from stateful.checkpoint_tree import content_of, structure_of
from stateful.module import Module

Path = str | os.PathLike[str]


def save(path: Path, module_or_tree: Any, *, fsync: bool = True, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the arrays of a module, or of any tree, to a file.

    Args:
        path: of the file; what is there is replaced, whole, or stays. A name that ends in ``.safetensors.index.json``
            makes a set of files, ``.npz`` numpy's format, ``.pt`` and ``.pth`` torch's, everything else safetensors.
        module_or_tree: a Module (its state_dict is saved), a dict of arrays, nested or with dotted names, or any
            pytree: a TrainState with its optimizer state and rng, for example. Leaves are arrays, PRNG keys, Python
            numbers, strings and None. A leaf that stands in two places is stored once.
        fsync: whether a power cut after the return cannot undo it; False is quicker.
        shard_bytes: that one file of a set may hold.

    Errors:
        TypeError for leaves that cannot be saved; OSError where the file cannot be written, with the numbers where the
        disk is full.

    >>> import os, tempfile, stateful as nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> nn.save(path, nn.Linear(3, 2))
    >>> sorted(nn.load(path))
    ['bias', 'weight']
    """
    structure = structure_of(module_or_tree) if is_torch(path) else None
    write(path, content_of(module_or_tree), fsync, shard_bytes, structure)


def load(
    path: Path,
    *,
    dtype: Any = None,
    where: Where | None = None,
    map: Renaming | None = None,
    prefix: str = "",
    device: Placement = None,
    verify: bool = True,
) -> dict[str, Any]:
    """Reads a file: safetensors, a set by its index, ``.npz``, or what ``torch.save`` wrote.

    Args:
        path: of the file. Its content says what it is, not its name.
        dtype: that floating arrays are cast to.
        where: chooses names, as everywhere: a glob, several, or a predicate ``(name, entry) -> bool``.
        map: renames: ``{regular expression: replacement}``, each replaced in every name, or a function of a name.
        prefix: takes only names that begin with it, without it.
        device: a device or sharding, or a function ``(name, shape, dtype)`` that gives one; arrays go there one by one.
        verify: whether checksums are checked before a value is used. Files of others have none.

    Returns:
        ``{dotted name: array}``, for ``module.load_state_dict`` or ``purenn.load_state_dict``; keys are typed PRNG keys
        again, scalars Python's. Arrays of 64-bit dtypes stay numpy's where x64 is off, so that nothing is narrowed.

    Errors:
        CheckpointError for a file that is damaged, or made to deceive; ValueError where ``prefix``, ``map`` or
        ``where`` matches nothing; TypeError for a ``dtype`` that is not floating.
    """
    dtype = as_dtype("load", dtype)
    with opened(path, verify) as content:
        return arrays_of(chosen("load", content, prefix, map, where), dtype, device, os.fspath(path))


def load_into(
    module: Module,
    path: Path,
    *,
    strict: bool = True,
    where: Where | None = None,
    map: Renaming | None = None,
    prefix: str = "",
    verify: bool = True,
) -> LoadReport:
    """Loads a file into a module: in its dtypes, to its devices, one array after the other.

    What does not fit is known before a number is read, and nothing changes unless everything can be done. A module
    that has not drawn its arrays yet never does.

    Args:
        module: a Module.
        path: of the file; see `load`.
        strict: whether missing and unexpected names are errors.
        where: see `load`; the other names of the file are not unexpected.
        map: see `load`.
        prefix: see `load`.
        verify: see `load`.

    Returns:
        The report: what was loaded, missing, unexpected, and cast to a dtype that holds less.

    Errors:
        TypeError for what is no Module; MisfitError, with the report, where the file does not fit; CheckpointError
        for a damaged file.

    >>> import os, tempfile, stateful as nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> nn.save(path, nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> report = nn.load_into(nn.Linear(3, 2), path, prefix="0.")
    >>> report.loaded, report.verified
    (('weight', 'bias'), True)
    """
    if not isinstance(module, Module):
        remedy = "For a pure model: purenn.load_state_dict(model, nn.load(path)); for a tree: nn.restore."
        raise refusal("load_into", "module must be a Module", {"type": type(module).__name__}, remedy, TypeError)
    with opened(path, verify) as content:
        content = chosen("load_into", content, prefix, map, where)
        return fill(module, content, strict, os.fspath(path), verify and content.checked)


def restore(path: Path, like: Any, *, strict: bool = True, device: Placement = None, verify: bool = True) -> Any:
    """Reads a file that `save` made of a tree back into a tree.

    Args:
        path: of the file.
        like: a tree of the structure wanted: arrays, ``jax.ShapeDtypeStruct`` (of ``jax.eval_shape``), PRNG keys and
            scalars. Their values do not count, and arrays may have been donated. Shapes and dtypes must be the
            file's. numpy arrays come back as numpy's.
        strict: whether missing and unexpected names are errors; with False a missing leaf keeps its value.
        device: see `load`; None puts each array where its leaf of ``like`` was put on purpose, by its sharding.
        verify: see `load`.

    Returns:
        A tree like ``like``; every array has memory of its own.

    Errors:
        MisfitError, with the report, where the file does not fit; CheckpointError for a damaged file.
    """
    with opened(path, verify) as content:
        return restored(content, like, strict, device, os.fspath(path))


def inspect(path: Path, *, verify: bool = True) -> Content:
    """Lists what a file holds, without its numbers.

    Args:
        path: of the file; see `load`.
        verify: whether the checksum of the header is checked.

    Returns:
        Names, shapes and dtypes. Its arrays can no longer be read.

    Errors:
        CheckpointError for a file that is not as its format has it.
    """
    with opened(path, verify) as content:
        return content
