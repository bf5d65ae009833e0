"""The guard of a run: a step that is not finite never reaches the state, and several in a row stop the run."""

from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal

# A flag is read this many steps late, when it is there already: the devices never wait for the host.
_LATE = 2


class NonFiniteError(FloatingPointError):
    """The loss, or what a step would have made of the state, was not finite several times in a row.

    The state is that of the last finite step.
    """


def guarded(step: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Makes a training step that keeps the old state where the new one is not finite; the step is counted all the same.

    Args:
        step: ``(state, batch) -> (state, metrics)``, with ``metrics["loss"]``.

    Returns:
        The same pair of arguments and results; ``metrics["nonfinite"]`` is a boolean.
    """

    def guarded_step(state: Any, batch: Any) -> tuple[Any, Any]:
        after, metrics = step(state, batch)
        # a loss scale deals with its overflows itself, and must be left to move
        fine = jnp.isfinite(metrics["loss"]) | metrics.get("overflow", False)
        for leaf in jax.tree.leaves((after.params, after.opt_state)):
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                fine &= jnp.isfinite(leaf).all()
        kept = jax.tree.map(lambda new, old: jnp.where(fine, new, old), after, state)
        kept = kept._replace(step=after.step, loss_scale=after.loss_scale)
        return kept, {**metrics, "nonfinite": ~fine}

    return guarded_step


class Watch:
    """Looks at the flags of the guard, a little late.

    Args:
        patience: how many steps in a row may be lost; None is without end.
    """

    def __init__(self, patience: int | None):
        self.patience, self.skipped, self._row = patience, 0, 0
        self._flags: deque[tuple[int, Any, Any]] = deque()

    def see(self, step: int, flag: Any, batch: Any) -> Any:
        """Takes the flag of a step, and looks at one that came before.

        Args:
            step: its number.
            flag: boolean scalar, perhaps still being computed.
            batch: of the step.

        Returns:
            The batch that was one too many, with its step; None as long as there is none.
        """
        self._flags.append((step, flag, batch))
        return self._look() if len(self._flags) > _LATE else None

    def finish(self) -> Any:
        """Looks at all flags that are left; as `see`."""
        while self._flags:
            if (found := self._look()) is not None:
                return found
        return None

    def _look(self) -> Any:
        step, flag, batch = self._flags.popleft()
        lost = bool(flag)
        self.skipped += lost
        self._row = self._row + 1 if lost else 0
        return (step, batch) if self.patience is not None and self._row >= max(1, self.patience) else None


def check_patience(patience: Any) -> None:
    """Refuses what is neither None nor a positive integer.

    Args:
        patience: of the trainer.
    """
    if patience is not None and (isinstance(patience, bool) or not isinstance(patience, int) or patience < 1):
        rule = "max_nonfinite must be a positive integer, or None to go on for ever"
        raise refusal("Trainer", rule, {"max_nonfinite": patience})
