"""Checkpointer: the checkpoints of one run, in one folder, the newest of which always loads.

A checkpoint holds the state, the step, and what else is wanted (metrics, the position in the data) as JSON. On one
host it is one file, ``step-120.safetensors``, replaced whole or not at all, which any safetensors reader opens; on
several it is orbax's. Saving copies the state to the host and writes in a thread that the interpreter waits for at its
end, however it ends short of a kill.
"""

import atexit
import contextlib
import json
import math
import os
import threading
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.files.atomic import sync_folder
from purenn.files.error import CheckpointError
from stateful.checkpointer_files import FileStore
from stateful.checkpointer_orbax import OrbaxStore


class Restored(NamedTuple):
    """What `Checkpointer.restore` gives."""

    state: Any
    step: int
    extra: dict[str, Any]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: a step stays if any of the three wants it; the newest always does."""

    last: int | None = 3
    every: int | None = None
    best: tuple[str, str] | None = None  # metric, "min" or "max"

    def __post_init__(self) -> None:
        for name, value in (("keep_last", self.last), ("keep_every", self.every)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise refusal("Checkpointer", f"{name} must be a positive integer or None", {name: value})
        if self.best is not None and (len(self.best) != 2 or self.best[1] not in ("min", "max")):
            rule = 'keep_best must be (metric, "min") or (metric, "max")'
            raise refusal("Checkpointer", rule, {"keep_best": self.best})

    def chosen(self, steps: list[int], scores: Mapping[int, float]) -> set[int]:
        """The steps that stay.

        Args:
            steps: all there are, ascending.
            scores: the metric of ``best`` by step, as far as it is known.

        Returns:
            Steps.
        """
        stay = set(steps if self.last is None else steps[-self.last :]) | set(steps[-1:])
        if self.every is not None:
            stay |= {step for step in steps if step % self.every == 0}
        if self.best is not None and scores:
            pick = min if self.best[1] == "min" else max
            stay.add(pick(scores, key=lambda step: (scores[step], -step)))
        return stay


class Checkpointer:
    """Saves a run's state step by step, and finds the newest one that is whole.

    Args:
        directory: of the run; it is made where it is missing.
        keep_last: how many of the newest stay; None keeps all.
        keep_every: steps that are multiples of it stay too.
        keep_best: ``(metric, "min" | "max")``: the best one stays too, by the metrics that `save` is given.
        asynchronous: whether `save` returns as soon as the state has been copied; with orbax it always waits.
        backend: ``"files"``, or ``"orbax"`` (extra ``orbax``), which several hosts need; None is what this run needs.

    Errors:
        ValueError for a policy that keeps nothing, or an unknown backend; ImportError where orbax is missing.

    >>> import tempfile, jax.numpy as jnp, stateful as nn
    >>> with nn.Checkpointer(tempfile.mkdtemp()) as run:
    ...     run.save({"w": jnp.ones(2)}, step=1)
    ...     run.save({"w": jnp.zeros(2)}, step=2, extra={"seen": 64})
    >>> run.steps(), run.restore({"w": jnp.ones(2)}).extra
    ([1, 2], {'seen': 64})
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_last: int | None = 3,
        keep_every: int | None = None,
        keep_best: tuple[str, str] | None = None,
        asynchronous: bool = True,
        backend: str | None = None,
    ):
        self._keep = Keep(keep_last, keep_every, keep_best)
        self.directory = Path(directory)
        _make_folder(self.directory)
        self._store = _store(self.directory, backend)
        self._asynchronous = asynchronous and self._store.threaded
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._scores: dict[int, float | None] = {}  # of the steps looked at; None for one without the metric
        _open.add(self)

    def save(
        self,
        state: Any,
        step: int,
        *,
        extra: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        block: bool = False,
    ) -> None:
        """Saves a state; what the policy does not keep is removed once the new file is there.

        Args:
            state: any pytree of arrays, PRNG keys and numbers; it may be donated as soon as this returns.
            step: its number; a checkpoint of the same step is replaced.
            extra: what JSON can hold: the position in the data, say.
            metrics: numbers by name, for ``keep_best``.
            block: whether to wait until the file is there.

        Errors:
            OSError, TypeError and others of this save with ``block``, else of the one before.
        """
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
            raise refusal("save", "step must be an integer that is not negative", {"step": step})
        notes = json.dumps({"extra": dict(extra or {}), "metrics": {k: float(v) for k, v in (metrics or {}).items()}})
        self.wait()
        blocking = block or not self._asynchronous
        content = {"state": state if blocking else _copied(state), "step": int(step), "notes": notes}
        if blocking:
            self._write(int(step), content)
        else:
            # no daemon: the interpreter joins the thread before it ends
            self._thread = threading.Thread(target=self._write_later, args=(int(step), content), name="checkpoint")
            self._thread.start()

    def wait(self) -> None:
        """Waits for the save that is under way; an error of it comes up here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def steps(self) -> list[int]:
        """The steps there are, ascending, as far as their files are finished."""
        return self._store.steps()

    def latest(self) -> int | None:
        """The newest step; None where there is none."""
        return max(self.steps(), default=None)

    def path(self, step: int) -> Path:
        """The file, or with orbax the folder, of a step."""
        return self._store.path(step)

    def restore(self, like: Any = None, step: int | None = None) -> Restored:
        """Loads the newest checkpoint that is whole, or the one of a step.

        Args:
            like: a state of the structure that was saved; arrays come in its dtypes and on its devices, however many
                those are. None gives a flat dict of names.
            step: which one; None is the newest, and passes over broken ones with a warning that names them.

        Returns:
            ``(state, step, extra, metrics)``.

        Errors:
            FileNotFoundError where there is none; `CheckpointError` where none is whole; ValueError where ``like`` has
            another structure.
        """
        self.wait()
        steps = self.steps() if step is None else [step]
        if not steps or not self.path(steps[-1]).exists():
            got = {"directory": str(self.directory), "step": step, "steps": self.steps()}
            raise refusal("restore", "there must be a checkpoint", got, kind=FileNotFoundError)
        for candidate in reversed(steps):
            try:
                return self._read(candidate, like)
            except CheckpointError as error:
                if step is not None:
                    raise
                warnings.warn(f"restore: {self.path(candidate)} is passed over: {error}", stacklevel=2)
        raise CheckpointError(f"restore: no checkpoint in {self.directory} is whole; tried steps {steps}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def _read(self, step: int, like: Any) -> Restored:
        state, number, notes = self._store.read(step, like)
        told = json.loads(notes)
        return Restored(state, number, told["extra"], told["metrics"])

    def _write(self, step: int, content: dict[str, Any]) -> None:
        self._store.write(step, content)
        self._scores.pop(step, None)
        if self._keep.best is not None:
            self._learn_scores()
        steps = self.steps()
        scores = {step: score for step, score in self._scores.items() if score is not None}
        for old in set(steps) - self._keep.chosen(steps, scores):
            self._store.remove(old)
            self._scores.pop(old, None)

    def _write_later(self, step: int, content: dict[str, Any]) -> None:
        try:
            self._write(step, content)
        except BaseException as error:  # comes up in `wait`
            self._error = error

    def _learn_scores(self) -> None:
        assert self._keep.best is not None
        for step in self.steps():
            if step not in self._scores:
                with contextlib.suppress(CheckpointError):
                    score = json.loads(self._store.notes(step))["metrics"].get(self._keep.best[0])
                    self._scores[step] = None if score is None or math.isnan(score) else score


def _make_folder(directory: Path) -> None:
    """Makes a folder and those around it, so that a power cut does not take them with what they hold."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _store(directory: Path, backend: str | None) -> Any:
    if backend not in (None, "files", "orbax"):
        raise refusal("Checkpointer", 'backend must be "files", "orbax" or None', {"backend": backend})
    if backend == "orbax" or (backend is None and jax.process_count() > 1):
        return OrbaxStore(directory)
    return FileStore(directory)


def _copied(state: Any) -> Any:
    """The state on the host, in memory of its own: the next step may take that of the original."""

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            return jnp.copy(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else np.array(leaf)
        return np.array(leaf) if isinstance(leaf, np.ndarray) else leaf

    return jax.tree.map(copy, state)


_open: "weakref.WeakSet[Checkpointer]" = weakref.WeakSet()


@atexit.register
def _tell_of_failures() -> None:
    """Threads have been joined by now: a save that failed, and that nobody asked about, is told of."""
    for checkpointer in _open:
        if checkpointer._error is not None:
            warnings.warn(f"the last save into {checkpointer.directory} failed: {checkpointer._error}", stacklevel=1)
