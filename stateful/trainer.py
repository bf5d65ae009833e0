"""Trainer: the object face of `transforms.train_step`.

It holds the state of a run, feeds it batches, tells how it goes, and makes it survive: what a checkpoint holds (state,
step, position in the data, rows of the log) is all that the next step depends on, so a run that was killed and started
again by the same command ends in the same bits.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from rich.console import Console

import transforms
from purenn.errors import refusal
from purenn.model import Model, check_model
from purenn.random import as_key
from stateful.checkpointer import Checkpointer
from stateful.data import Batches, Feed, check_finite, place
from stateful.module import Module
from stateful.random import key_of, take_ticket
from stateful.trainer_guard import SPOILT, NonFiniteError, check_patience
from stateful.trainer_history import History
from stateful.trainer_loop import Loop, Plan
from stateful.trainer_report import JsonLines, Screen, TensorBoard
from stateful.trainer_signals import stopping
from transforms.nonfinite import find_nonfinite

Callback = Callable[["Trainer", dict[str, Any]], Any]


class Trainer:
    """Trains a module, and can stop and go on at any step.

    A step whose loss or gradients are not finite leaves the state as it was, and is counted.

    Args:
        module: a Module, or any model, which becomes one.
        loss: ``loss(m, batch) -> value`` or ``-> (value, metrics)`` with a dict of scalars; ``m`` is the model, bound.
        optimizer: from optax.
        rng: PRNG key of the run's randomness; None draws from the ambient seed (`manual_seed`).
        max_nonfinite: how many steps in a row may be lost before the run stops; None never stops.
        sharding: where batches go: a device, a sharding, or a pytree of them; None is the default device.
        **options: for `transforms.train_step`.

    Errors:
        TypeError for what is no model, loss or optimizer.

    >>> import numpy as np, optax, stateful as nn
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> trainer = nn.Trainer(nn.Linear(1, 1), lambda m, x: ((m(x) - 3 * x) ** 2).mean(), optax.adam(0.1))
    >>> history = trainer.fit(nn.batches(x, 16), steps=200, log_every=100, progress=False)
    >>> [row["step"] for row in history], history[-1]["loss"] < 1e-3
    ([100, 200], True)
    """

    def __init__(
        self,
        module: Module | Model,
        loss: Callable[..., Any],
        optimizer: optax.GradientTransformation,
        *,
        rng: Any = None,
        max_nonfinite: int | None = 3,
        sharding: Any = None,
        **options: Any,
    ):
        check_model("Trainer", module)
        check_patience(max_nonfinite)
        self.module = module if isinstance(module, Module) else Module(module)
        self.max_nonfinite, self.sharding, self.history = max_nonfinite, sharding, History()
        self._loss = loss
        pair = transforms.train_step(self.module, loss, optimizer, **{"skip_nonfinite": True, **options})
        self._step = pair.step
        known = {name: options[name] for name in ("metrics", "precision") if name in options}
        self._evaluate = transforms.eval_step(self.module, loss, **known)
        key = key_of(take_ticket()) if rng is None else as_key("Trainer", rng)
        self.state = pair.init(key, *self.module.split())

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.state.step)

    def advance(self, batch: Any) -> dict[str, jax.Array]:
        """Does one step.

        Args:
            batch: for the loss.

        Returns:
            The metrics, on the devices; ``nonfinite`` says whether the step was lost.
        """
        self.state, metrics = self._step(self.state, batch)
        return metrics

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Runs the loss in evaluation mode; nothing changes.

        Args:
            batches: finite iterable of batches.

        Returns:
            ``{"loss": mean, metric: mean}``, over examples.

        Errors:
            ValueError where there is no batch, or no end of them; TypeError for what is no iterable of batches.
        """
        check_finite("evaluate", batches)
        rows = [self._evaluate(self.state, place(batch, self.sharding)) for batch in batches]
        if not rows:
            remedy = "An iterator can be read once: pass nn.batches(...) or a list."
            raise refusal("evaluate", "batches must not be empty", {"batches": type(batches).__name__}, remedy)
        found = {name: float(value) for name, value in jax.device_get(transforms.aggregate(rows)).items()}
        return {"loss": found.pop("loss"), **found}

    def fit(
        self,
        batches: Iterable[Any],
        *,
        steps: int | None = None,
        epochs: int | None = None,
        eval_batches: Iterable[Any] | None = None,
        eval_every: int | None = None,
        checkpoint: Checkpointer | str | os.PathLike[str] | None = None,
        save_every: int | None = None,
        resume: bool | str = "auto",
        log_every: int = 50,
        log: str | os.PathLike[str] | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        console: Console | None = None,
    ) -> History:
        """Trains until ``steps`` or ``epochs`` are done, counted from the run's first step.

        Ctrl-C and SIGTERM end the run after the step under way, save it, and say how to go on; a second one ends at
        once. Afterwards the module holds what was trained, however the run ended.

        Args:
            batches: iterable of batches. `nn.batches` and grain's loaders know their position; any other is read again
                from its start after a crash, and must give the same batches.
            steps: of the whole run, those before a crash too; batches that end are read again.
            epochs: of the whole run, in place of ``steps``.
            eval_batches: finite iterable to evaluate on; metrics are named ``eval_...``.
            eval_every: steps between evaluations; None is each epoch, where its length is known, and the end.
            checkpoint: folder, or a `Checkpointer`.
            save_every: steps between checkpoints; None is each epoch, where its length is known, else 1000.
            resume: ``"auto"`` goes on where the folder's newest checkpoint is, if there is one; True wants one; False
                wants none.
            log_every: steps between rows; metrics are means over the examples in between.
            log: file for the rows, one JSON object each.
            tensorboard: folder for TensorBoard; wants the extra ``tensorboard``.
            callbacks: functions ``fn(trainer, row)``, called with every row; `stop` ends the run.
            progress: whether to show anything.
            console: rich's, to show it on.

        Returns:
            The rows, also as ``trainer.history``.

        Errors:
            `NonFiniteError` where steps in a row were lost, or params are not finite; ValueError for contradictory
            arguments or a checkpoint of another model; FileNotFoundError, FileExistsError by ``resume``.
        """
        feed, plan = self._plan(batches, steps, epochs, eval_every, save_every, log_every)
        if eval_batches is not None:
            check_finite("fit", eval_batches)
        store = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpointer) else Checkpointer(checkpoint)
        position = self._resume(store, resume)
        with ExitStack() as stack:
            screen = stack.enter_context(Screen(plan.total, self.step, progress, console))
            writers = [
                make(place, self.step) for make, place in ((JsonLines, log), (TensorBoard, tensorboard)) if place
            ]
            for writer in writers:
                stack.callback(writer.close)
            loop = Loop(self, feed, plan, screen, eval_batches, store, writers, callbacks)
            if position is not None:
                screen.say(f"goes on from step {self.step} in {store.directory}" if store else "")
            elif self._last is not None and self._last[0] is batches:
                position = self._last[1]  # a second call goes on in the data, as it does in the state
            if position is not None:
                loop.resume(position)
            if plan.total is not None and self.step >= plan.total:
                screen.say(f"at step {self.step} of {plan.total} nothing is left to do: steps count from the first one")
            self._run(loop, screen)
            self._last = batches, loop.position()
        loop.stop.leave()
        return self.history

    def stop(self) -> None:
        """Ends the run after the step under way, from a callback; what `fit` does at its end is done."""
        if self._loop is not None:
            self._loop.plan = replace(self._loop.plan, total=self._loop.step)

    _loop: Loop | None = None
    _last: tuple[Any, dict[str, Any]] | None = None  # batches of the last fit, and the position in them

    def _run(self, loop: Loop, screen: Screen) -> None:
        self._loop, self.history = loop, loop.history
        try:
            with stopping(loop.stop):
                loop.run()
                loop.finish()
            if loop.stop and loop.checkpointer is not None:
                screen.say(f"stopped at step {self.step}, saved: the same command goes on from there.")
            elif loop.stop:
                screen.say(f"stopped at step {self.step}; it was not saved, fit(checkpoint=...) would have.")
            if loop.watch.skipped:
                screen.say(f"{loop.watch.skipped} steps were not finite and left the state as it was.")
        finally:
            self._loop = None
            self._hand_over()

    def _hand_over(self) -> None:
        """Gives the module what was trained, in memory of its own: the next step may take that of the state."""
        trees = self.state.params, self.state.buffers
        if not any(leaf.is_deleted() for leaf in jax.tree.leaves(trees)):  # a step that failed may have taken them
            self.module.update(*jax.tree.map(jnp.copy, trees))

    def _plan(self, batches: Any, steps: Any, epochs: Any, eval_every: Any, save_every: Any, log_every: Any) -> Any:
        for name, value in (("steps", steps), ("epochs", epochs)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise refusal("fit", f"{name} must be an integer that is not negative", {name: value})
        for name, value in (("log_every", log_every), ("eval_every", eval_every), ("save_every", save_every)):
            optional = value is None and name != "log_every"
            if not optional and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise refusal("fit", f"{name} must be a positive integer", {name: value})
        if steps is not None and epochs is not None:
            raise refusal("fit", "steps or epochs must be None", {"steps": steps, "epochs": epochs})
        own = isinstance(batches, Batches)
        per_epoch = batches.per_epoch if own else len(batches) if hasattr(batches, "__len__") else None
        endless = own and batches.epochs is None
        if steps is None and epochs is None and endless:
            raise refusal("fit", "steps or epochs must be given", {"steps": None, "epochs": None}, "The batches go on.")
        if epochs is not None and own and not endless and batches.epochs != epochs:
            got = {"epochs": epochs, "batches.epochs": batches.epochs}
            raise refusal("fit", "epochs must be those of the batches", got, "Give it in one of the two places.")
        total = steps if steps is not None else epochs * per_epoch if epochs is not None and per_epoch else None
        passes = 1 if own or (steps is None and epochs is None) else epochs
        if total is None and per_epoch and passes:
            total = len(batches)
        plan = Plan(total, log_every, eval_every or per_epoch, save_every or per_epoch or 1000, per_epoch)
        return Feed(batches, passes, self.sharding), plan

    def _resume(self, store: Checkpointer | None, resume: bool | str) -> dict[str, Any] | None:
        if resume not in (True, False, "auto"):
            raise refusal("fit", 'resume must be True, False or "auto"', {"resume": resume})
        latest = None if store is None else store.latest()
        if store is None or latest is None:
            if resume is True:
                got = {"checkpoint": None if store is None else str(store.directory)}
                raise refusal("fit", "there must be a checkpoint to resume", got, kind=FileNotFoundError)
            return None
        if resume is False:
            remedy = "Choose another folder, or resume."
            folder = {"checkpoint": str(store.directory), "its steps": store.steps()}
            raise refusal("fit", "the folder must hold no run yet", folder, remedy, FileExistsError)
        found = store.restore(self.state)
        self.state = found.state
        return found.extra

    def nonfinite(self, step: int, batch: Any, patience: int | None) -> NonFiniteError:
        """The error for a run that does not come back to finite numbers.

        Args:
            step: the one too many.
            batch: of that step.
            patience: how many there were in a row.

        Returns:
            The error, with the first module whose output or gradient is not finite.
        """
        trees, key = (
            (self.state.params, self.state.buffers),
            jax.random.fold_in(as_key("fit", self.state.rng), step - 1),
        )
        place = find_nonfinite(self.module, *trees, batch, loss=self._loss, rng=key, train=True)
        where = (
            f"the first that is not finite is {place}" if place else "loss and gradients of the last batch are finite"
        )
        spoilt = place is not None and place.what == "param"
        remedy = "Lower the learning rate, clip gradients, or look at the batch."
        return NonFiniteError(
            f"fit: the loss must be finite, and was not for {patience} steps in a row up to step {step}; {where}. "
            + (SPOILT if spoilt else f"The state is that of the last finite step. {remedy}")
        )
