"""What ends a run that has left the finite numbers: steps in a row that were lost, or params that are spoilt."""

from collections import deque
from typing import Any

import jax

from purenn.errors import refusal
from purenn.model import Params
from purenn.tree import flatten
from transforms.scaling import all_finite

# A flag is read this many steps late, when it is there already: the devices never wait for the host.
_LATE = 2


class NonFiniteError(FloatingPointError):
    """The loss or its gradients were not finite several times in a row, or the params are not.

    The message names the first module that is not finite.
    """


class Watch:
    """Looks at the flags of lost steps, a little late.

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


def check_params(params: Params, step: int) -> None:
    """Refuses to save params that are not finite: an optimizer that divides by zero makes them of finite gradients.

    Args:
        params: of the state.
        step: how many have been done.

    Raises:
        NonFiniteError: names the first of them.
    """
    if not _all_finite(params):
        path = next(path for path, leaf in flatten(params).items() if not _all_finite(leaf))
        raise NonFiniteError(f"fit: params must be finite to be saved, and {path} is not at step {step}. {SPOILT}")


_all_finite = jax.jit(all_finite)
SPOILT = "Its gradients were: look at the optimizer's learning rate and eps."
