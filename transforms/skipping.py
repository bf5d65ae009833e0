"""Steps that are not finite, and change nothing."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from transforms.scaling import LossScaling
from transforms.train_state import TrainState, check_same


def unless_lost(finite: jax.Array | None, update: Callable[[], TrainState], old: TrainState) -> TrainState:
    """The state that a step makes, or the old one where the step is lost.

    Args:
        finite: () bool, whether the step counts; None where nobody asks.
        update: makes the new state.
        old: before the step.

    Returns:
        One of the two.

    Errors:
        ValueError where the new state has other shapes or dtypes than the old one.
    """

    def checked() -> TrainState:
        new = update()
        check_same(old, new)
        return new

    if finite is None:
        return checked()
    # not a where over all leaves: it keeps XLA from writing into the old ones, and copies them
    parts = jax.lax.cond(finite, lambda: _changing(checked()), lambda: _changing(old))
    return old._replace(**parts)


def _changing(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("params", "buffers", "opt_state", "ema")}


def judged(
    scaling: LossScaling | None, state: TrainState, value: jax.Array, finite: jax.Array | None, skips: bool
) -> tuple[jax.Array | None, TrainState, dict[str, jax.Array]]:
    """Judges a step.

    Args:
        scaling: how the loss scale moves; None where there is none.
        state: before the step.
        value: the loss.
        finite: () bool, whether its gradients are; None where nobody asks.
        skips: whether a loss that is not finite is a step lost.

    Returns:
        ``(whether the step counts, the state with the next loss scale, what the metrics say)``.
    """
    if finite is None:
        return None, state, {}
    counts, metrics, hopeless = finite, {}, ~finite
    if scaling is not None:
        assert state.loss_scale is not None
        scale = state.loss_scale.scale
        metrics = {"loss_scale": scale, "overflow": ~finite}
        hopeless &= scale <= 1  # before that, a smaller scale may help
        state = state._replace(loss_scale=scaling.update(state.loss_scale, finite))
    if skips:
        counts &= jnp.isfinite(value)
        metrics["nonfinite"] = hopeless | ~jnp.isfinite(value)
    return counts, state, metrics
