"""The loop of `Trainer.fit`: steps, rows, evaluations and checkpoints, each at its step."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from stateful.checkpointer import Checkpointer
from stateful.data import Feed, examples_of
from stateful.trainer_guard import Watch, check_params
from stateful.trainer_history import History
from stateful.trainer_means import spelled_out, weighted_means
from stateful.trainer_report import Clock, Screen
from stateful.trainer_signals import Stop


@dataclass(frozen=True)
class Plan:
    """When what is done, in steps; None is never, but at the end."""

    total: int | None
    log_every: int
    eval_every: int | None
    save_every: int | None
    per_epoch: int | None


@dataclass
class Pending:
    """The metrics of steps that no row has told of yet; numbers on the devices until they are asked for."""

    metrics: list[dict[str, Any]] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)

    def add(self, metrics: dict[str, Any], examples: int) -> None:
        """Takes those of a step."""
        self.metrics.append(metrics)
        self.examples.append(examples)

    def on_host(self) -> list[dict[str, Any]]:
        """The metrics as Python numbers, one dict a step; they stay."""
        self.metrics = [spelled_out(row) for row in jax.device_get(self.metrics)]
        return self.metrics

    def take(self) -> tuple[dict[str, float], int, int]:
        """The means over examples, the number of steps and of examples; nothing is left."""
        means = weighted_means(self.on_host(), self.examples)
        counts = len(self.metrics), sum(self.examples)
        self.metrics, self.examples = [], []
        return means, *counts


class Loop:
    """One call of `Trainer.fit`.

    Args:
        trainer: whose state is trained.
        feed: the batches.
        plan: when what is done.
        screen: what the user sees.
        evaluation: batches to evaluate on, or None.
        checkpointer: where states go, or None.
        writers: functions of a row.
        callbacks: functions of the trainer and a row.
    """

    def __init__(
        self,
        trainer: Any,
        feed: Feed,
        plan: Plan,
        screen: Screen,
        evaluation: Iterable[Any] | None,
        checkpointer: Checkpointer | None,
        writers: Sequence[Callable[[dict[str, Any]], None]],
        callbacks: Sequence[Callable[[Any, dict[str, Any]], Any]],
    ):
        self.trainer, self.feed, self.plan, self.screen = trainer, feed, plan, screen
        self.evaluation, self.checkpointer = evaluation, checkpointer
        self.writers, self.callbacks = writers, callbacks
        self.history, self.pending = History(), Pending()
        self.stop, self.watch, self.clock = Stop(), Watch(trainer.max_nonfinite), Clock()
        self.step, self.evaluated, self.saved = trainer.step, -1, trainer.step

    def position(self) -> dict[str, Any]:
        """All besides the state that a run needs to go on, as JSON has it."""
        rows = {"rows": self.history.rows, "pending": self.pending.on_host(), "examples": self.pending.examples}
        return {"feed": self.feed.get_state(), "evaluated": self.evaluated, **rows}

    def resume(self, position: dict[str, Any]) -> None:
        """Goes on from a position.

        Args:
            position: from `position`.
        """
        self.feed.set_state(position["feed"])
        self.history = History(position["rows"])
        self.pending = Pending(position["pending"], position["examples"])
        self.step = self.saved = self.trainer.step
        self.evaluated = position["evaluated"]

    def run(self) -> None:
        """Trains until the plan, the data or somebody says stop."""
        while not self.stop and (self.plan.total is None or self.step < self.plan.total):
            if (batch := next(self.feed, _END)) is _END:
                self._tell_of_the_end()
                break
            self._advance(batch)
            last = self.step == self.plan.total
            self.tell(last or _due(self.step, self.plan.log_every), last or _due(self.step, self.plan.eval_every))
            if _due(self.step, self.plan.save_every):
                self.save()
        self._check(self.watch.finish())

    def finish(self) -> None:
        """The last row, evaluation and checkpoint, as far as they are not there."""
        if not self.stop:
            self.tell(bool(self.pending.metrics), self.evaluated != self.step)
        self.save(block=True)

    def tell(self, train: bool, evaluation: bool) -> None:
        """Writes a row, if there is something to tell.

        Args:
            train: whether of the steps since the last row.
            evaluation: whether of an evaluation, where there are batches for it.
        """
        row: dict[str, Any] = {"step": self.step}
        if self.plan.per_epoch:
            row["epoch"] = self.step / self.plan.per_epoch
        if train:
            means, steps, examples = self.pending.take()
            row |= means | self.clock.measures(steps, examples)
        if evaluation and self.evaluation is not None:
            self.evaluated = self.step
            row |= {f"eval_{name}": value for name, value in self.trainer.evaluate(self.evaluation).items()}
        elif not train:
            return
        self._write(row)

    def save(self, block: bool = False) -> None:
        """Saves state and position."""
        if self.checkpointer is None:
            return
        if self.saved != self.step or self.checkpointer.latest() is None:
            if self.watch.patience is not None:
                check_params(self.trainer.state.params, self.step)
            self.saved = self.step
            metrics: dict[str, float] = {}
            for row in self.history:
                metrics |= {name: value for name, value in row.items() if isinstance(value, float)}
            self.checkpointer.save(self.trainer.state, self.step, extra=self.position(), metrics=metrics)
        if block:
            self.checkpointer.wait()

    def _advance(self, batch: Any) -> None:
        metrics = self.trainer.advance(batch)
        self.step += 1
        self.pending.add(metrics, examples_of(batch))
        self.screen.step(self.step)
        if "nonfinite" in metrics:
            self._check(self.watch.see(self.step, metrics["nonfinite"], batch))

    def _tell_of_the_end(self) -> None:
        if self.plan.total is not None:
            text = f"fit: the batches ended at step {self.step} of {self.plan.total}; iterators can be read once."
            warnings.warn(text, stacklevel=4)
        elif self.step == 0:
            warnings.warn("fit: there was no batch, and nothing was trained.", stacklevel=4)

    def _check(self, found: Any) -> None:
        if found is not None:
            raise self.trainer.nonfinite(*found, self.watch.patience)

    def _write(self, row: dict[str, Any]) -> None:
        self.history.rows.append(row)
        self.screen.row(row)
        for write in self.writers:
            write(row)
        for callback in self.callbacks:
            callback(self.trainer, row)


_END: Any = object()


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
