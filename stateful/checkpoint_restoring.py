"""A tree filled with the arrays of a file, in the structure, dtypes and places of another tree."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from purenn.errors import refusal
from purenn.files.content import SCALARS, Content
from stateful.checkpoint_placing import Piece, Placement, placed
from stateful.checkpoint_report import LoadReport, MisfitError
from stateful.checkpoint_tree import entry_text, is_key


class _Kind(NamedTuple):
    """What an array is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    key: str | None  # the implementation, where it holds PRNG keys

    def __str__(self) -> str:
        return f"{f'{self.key} keys in words of ' if self.key else ''}{self.dtype}{list(self.shape)}"


def restored(content: Content, like: Any, strict: bool, device: Placement, path: str) -> Any:
    """Fills a tree.

    Args:
        content: what there is.
        like: the tree to look like; see `stateful.restore`.
        strict: whether missing and unexpected names are errors.
        device: see `Placement`; None puts each array where its leaf of ``like`` is.
        path: of the file, for errors.

    Returns:
        The tree.

    Errors:
        MisfitError where it does not fit, CheckpointError for damage.
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(like, is_leaf=lambda leaf: leaf is None)
    names = [".".join(entry_text(key) for key in keys) for keys, _ in paths]
    leaves = dict(zip(names, (leaf for _, leaf in paths), strict=True))
    if len(leaves) != len(names):
        raise refusal("restore", "two leaves must not have one name", {"names": sorted(names)})
    report = _compare(content, leaves)
    without_value = [name for name in report.missing if isinstance(leaves[name], jax.ShapeDtypeStruct)]
    if report.mismatched or without_value or (strict and (report.missing or report.unexpected)):
        raise MisfitError("restore", path, report)
    found = _read(content, {name: leaves[name] for name in report.loaded}, device, path)
    return jax.tree.unflatten(treedef, [found.get(name, leaf) for name, leaf in leaves.items()])


def _compare(content: Content, leaves: Mapping[str, Any]) -> LoadReport:
    names = dict.fromkeys(content.names)
    problems = {name: _mismatch(content, name, leaf) for name, leaf in leaves.items() if name in names}
    return LoadReport(
        loaded=tuple(name for name, problem in problems.items() if not problem),
        missing=tuple(name for name in leaves if name not in names),
        unexpected=tuple(name for name in names if name not in leaves),
        mismatched={name: problem for name, problem in problems.items() if problem},
    )


def _mismatch(content: Content, name: str, leaf: Any) -> str:
    found = content.leaf(name)
    if type(leaf) in SCALARS or name in content.scalars:
        has, wants = (type(value).__name__ if type(value) in SCALARS else "an array" for value in (found, leaf))
    else:
        has, wants = str(_Kind(found.dtype, found.shape, content.key(name))), str(_kind(name, leaf))
    return "" if has == wants else f"{has} in the file, {wants} in the tree"


def _kind(name: str, leaf: Any) -> _Kind:
    if is_key(leaf):
        impls = []

        def words_of(key: Any) -> Any:
            impls.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        words = jax.eval_shape(words_of, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        return _Kind(words.dtype, words.shape, impls[0])
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        raise refusal("restore", "a leaf must be an array or a scalar", {name: type(leaf).__name__}, kind=TypeError)
    return _Kind(np.dtype(leaf.dtype), tuple(leaf.shape), None)


def _read(content: Content, leaves: Mapping[str, Any], device: Placement, path: str) -> dict[str, Any]:
    """Every leaf gets an array of its own: a compiled step may take the memory of each."""
    found = {name: content.scalars[name] for name in leaves if name in content.scalars}
    pieces = (
        Piece(name, content.entry(name).read(), content.key(name), isinstance(leaf, (np.ndarray, np.generic)))
        for name, leaf in leaves.items()
        if name not in found
    )

    def place(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        if content.key(name) is not None:
            return None  # the sharding of keys is not that of their words
        if device is None:
            return _sharding(leaves[name])
        return device(name, shape, dtype) if callable(device) else device

    for name, array in placed(pieces, place, path):
        sharding = _sharding(leaves[name]) if is_key(array) and device is None else None
        found[name] = array if sharding is None else jax.device_put(array, sharding)
    return found


def _sharding(leaf: Any) -> Any:
    """Where an array was put on purpose; None leaves it to jax."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.sharding
    return leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None
