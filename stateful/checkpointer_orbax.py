"""The store of a run on several hosts: orbax's folders, of which each host writes and reads its part."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from purenn.errors import refusal
from purenn.files.error import CheckpointError

T = TypeVar("T")


class OrbaxStore:
    """Orbax's checkpoints in a folder that all hosts see.

    A state is stored leaf by leaf under its path, so that what holds no array is no trouble. Saving waits until it is
    done: orbax loses what is still under way when a program ends.

    Args:
        directory: the folder, which is there.

    Errors:
        ImportError: orbax is not installed.
    """

    threaded = False

    def __init__(self, directory: Path):
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            remedy = 'pip install "purenn[orbax]" brings it.'
            raise refusal("Checkpointer", "orbax must be installed", remedy=remedy, kind=ImportError) from error
        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(max_to_keep=None, enable_async_checkpointing=False)
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item, kind in (("state", "Standard"), ("notes", "Json")):
            handler = getattr(ocp, f"{kind}CheckpointHandler")()
            registry.add(item, getattr(ocp.args, f"{kind}Save"), handler)
            registry.add(item, getattr(ocp.args, f"{kind}Restore"), handler)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options, handler_registry=registry)
        self.directory = directory

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.directory / str(step)

    def steps(self) -> list[int]:
        """The steps there are, ascending."""
        self._manager.reload()  # another process may have written
        return sorted(self._manager.all_steps())

    def write(self, step: int, content: Mapping[str, Any]) -> None:
        """Saves ``state``, ``step`` and ``notes``; every host calls it."""
        if step in self.steps():
            self._manager.delete(step)  # orbax keeps the old one otherwise
        args = self._ocp.args
        leaves = {name: _global(leaf) for name, leaf in _leaves(content["state"]).items()}
        notes = {"step": content["step"], "notes": content["notes"]}
        self._manager.save(step, args=args.Composite(state=args.StandardSave(leaves), notes=args.JsonSave(notes)))
        self._manager.wait_until_finished()

    def read(self, step: int, like: Any) -> tuple[Any, int, str]:
        """Loads state, step and notes; every host calls it.

        Args:
            step: of the checkpoint.
            like: a state of its structure, whose shardings may be others; None gives a flat dict on this host.

        Returns:
            ``(state, step, notes)``.

        Errors:
            `CheckpointError` on every host where one cannot read it, ValueError for another structure.
        """
        args = self._ocp.args
        stored = self._agreed(step, lambda: _tree(self._manager.item_metadata(step)["state"]))
        wanted = stored if like is None else _leaves(like)
        self._compare(step, stored, wanted)
        target = {name: _target(leaf) for name, leaf in wanted.items()}
        composite = args.Composite(state=args.StandardRestore(target), notes=args.JsonRestore())
        found = self._agreed(step, lambda: self._manager.restore(step, args=composite))
        notes = found["notes"]
        if like is None:
            return dict(found["state"]), notes["step"], notes["notes"]
        leaves = [_as(found["state"][name], leaf) for name, leaf in _leaves(like).items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), notes["step"], notes["notes"]

    def notes(self, step: int) -> str:
        """The notes alone."""
        args = self._ocp.args.Composite(notes=self._ocp.args.JsonRestore())
        return self._agreed(step, lambda: self._manager.restore(step, args=args))["notes"]["notes"]

    def remove(self, step: int) -> None:
        """Removes a checkpoint."""
        self._manager.delete(step)

    def _agreed(self, step: int, read: Callable[[], T]) -> T:
        """What was read, if every host could: they must all go on from one step."""
        problem: Exception | None = None
        found: Any = None
        try:
            found = read()
        except Exception as error:  # orbax raises whatever the layer that found the damage raises
            problem = error
        flags = multihost_utils.process_allgather(jnp.asarray(problem is None))
        if not np.all(flags):
            said = problem or "another host could not read it"
            raise CheckpointError(f"restore: {self.path(step)} must be whole. {said}") from problem
        return found

    def _compare(self, step: int, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        has, wants = ({name: _kind(leaf) for name, leaf in tree.items()} for tree in (stored, wanted))
        names = dict.fromkeys([*has, *wants])
        wrong = {f"state{n}": (has.get(n), wants.get(n)) for n in names if has.get(n) != wants.get(n)}
        if wrong:
            rule = f"the state must have the structure that {self.path(step)} has"
            raise refusal("restore", rule, wrong, "Each pair is what is in the checkpoint, and what is wanted.")


def _tree(metadata: Any) -> dict[str, Any]:
    return dict(getattr(metadata, "tree", metadata))


def _leaves(state: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _plain(leaf: Any) -> Any:
    """The leaf as arrays of numbers have it: a PRNG key is its words."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _global(leaf: Any) -> Any:
    """What orbax takes from several hosts: global arrays, and numpy's that are alike on all of them."""
    leaf = _plain(leaf)
    return np.asarray(leaf) if leaf.is_fully_addressable else leaf


def _kind(leaf: Any) -> str:
    leaf = _plain(leaf)
    return f"{leaf.dtype}{list(leaf.shape)}"


def _target(leaf: Any) -> Any:
    leaf = _plain(leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return np.zeros(leaf.shape, leaf.dtype)


def _as(found: Any, like: Any) -> Any:
    """What was found, as its place in the state had it."""
    if not isinstance(like, jax.Array):
        return type(like)(found) if isinstance(like, (bool, int, float)) else np.asarray(found)
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(found), impl=jax.random.key_impl(like))
    if like.is_fully_addressable:
        return jax.device_put(found, like.sharding) if like.committed else jnp.asarray(found)
    return found
