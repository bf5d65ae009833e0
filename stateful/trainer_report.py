"""What a run tells while it goes: a progress bar, lines, a JSONL file, TensorBoard."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from purenn.errors import refusal
from purenn.files.atomic import replacing
from stateful.trainer_history import MEASURES


def spelled(row: Mapping[str, Any]) -> str:
    """A row as text.

    Args:
        row: of the log.

    Returns:
        ``loss 0.1234  accuracy 0.9876``, without what a bar shows itself.
    """
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in MEASURES)


class Screen:
    """A progress bar in a terminal or notebook, lines in a file.

    Args:
        total: steps of the run; None where nobody knows.
        done: steps done before.
        show: False shows nothing.
        console: to write to; standard output by default.
    """

    def __init__(self, total: int | None, done: int = 0, show: bool = True, console: Console | None = None):
        self.console = console or Console(highlight=False)
        self._total, self._show, self._bar = total, show, None
        if show and (self.console.is_terminal or self.console.is_jupyter):
            columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
            text = TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[row]}")
            self._bar = Progress(*columns, *text, console=self.console)
            self._task = self._bar.add_task("", total=total, completed=done, rate="", row="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def row(self, row: Mapping[str, Any]) -> None:
        """Shows a row."""
        rate = ""
        if "steps_per_second" in row:
            rate = (
                f"{row['steps_per_second']:.3g} steps/s  {row['examples_per_second']:.3g} examples/s{self._left(row)}"
            )
        if self._bar is not None:
            self._bar.update(self._task, rate=rate, row=spelled(row))
        elif self._show:
            of = "" if self._total is None else f"/{self._total}"
            self.say(f"step {row['step']}{of}  {spelled(row)}  {rate}".rstrip())

    def _left(self, row: Mapping[str, Any]) -> str:
        if self._total is None or self._bar is not None:
            return ""
        return f"  {(self._total - row['step']) / row['steps_per_second']:.0f} s left"

    def say(self, text: str) -> None:
        """Prints a line."""
        if self._show:
            self.console.print(text, soft_wrap=True)


class JsonLines:
    """A row per line, as JSON; what a resumed run will write again is taken out first.

    Args:
        path: of the file; it is added to.
        done: the step the run goes on from; rows behind it are dropped.
    """

    def __init__(self, path: str | os.PathLike[str], done: int = 0):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        kept = [line for line in lines if _step_of(line) <= done]
        if len(kept) < len(lines):
            with replacing(self._path) as file:
                file.write(b"".join(kept))

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        # JSON has no NaN or infinity: they are written as text, so that every reader takes the file
        clean = {k: v if not isinstance(v, float) or math.isfinite(v) else str(v) for k, v in row.items()}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def close(self) -> None:
        """Has nothing open."""


def _step_of(line: bytes) -> float:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return json.loads(line)["step"]
    return math.inf  # cut short by a crash


class TensorBoard:
    """Rows as TensorBoard's scalars.

    Args:
        folder: of the run's events.
        done: the step the run goes on from; events behind it are marked as superseded.

    Errors:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], done: int = 0):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            remedy = 'pip install "purenn[tensorboard]" brings it.'
            raise refusal("fit", "tensorboardX must be installed", remedy=remedy, kind=ImportError) from error
        self._writer = SummaryWriter(os.fspath(folder), purge_step=done + 1 if done else None)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        for name, value in row.items():
            if name not in ("step", "epoch", "seconds"):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Finishes the file."""
        self._writer.close()


class Clock:
    """Steps and examples per second since the last look."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()

    def measures(self, steps: int, examples: int) -> dict[str, float]:
        """What a row says about speed.

        Args:
            steps: done since the last call.
            examples: seen since the last call.

        Returns:
            ``seconds`` since the start, ``steps_per_second`` and ``examples_per_second``.
        """
        now = time.perf_counter()
        took, self._last = max(now - self._last, 1e-9), now
        return {
            "seconds": round(now - self._start, 3),
            "steps_per_second": steps / took,
            "examples_per_second": examples / took,
        }
