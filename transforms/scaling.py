"""Loss scaling: what keeps the small gradients of float16 from becoming zero, and the large ones from the params.

The loss is multiplied by a scale before it is differentiated, and the gradients are divided by it. Where they are not
finite the scale was too large: the step is skipped and the scale backs off; after many good steps it grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Params
from purenn.tree import flatten


class LossScale(NamedTuple):
    """The state of dynamic loss scaling."""

    scale: jax.Array  # () float32
    good: jax.Array  # () int32: finite steps since the scale last changed
    skipped: jax.Array  # () int32: steps skipped in all


@dataclass(frozen=True)
class LossScaling:
    """How the scale of the loss begins and moves; the defaults are torch's.

    Args:
        init_scale: the first scale.
        growth_factor: what it is multiplied by after ``growth_interval`` finite steps; 1 keeps it.
        backoff_factor: what it is multiplied by after a step that was not finite; 1 keeps it.
        growth_interval: number of finite steps.

    Torch:
        ``torch.amp.GradScaler``, the same scale at every step.
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        rules = {
            "init_scale": (self.init_scale > 0, "be positive"),
            "growth_factor": (self.growth_factor >= 1, "be at least 1"),
            "backoff_factor": (0 < self.backoff_factor <= 1, "lie in (0, 1]"),
            "growth_interval": (self.growth_interval >= 1, "be at least 1"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise refusal("LossScaling", f"{name} must {rule}", {name: getattr(self, name)})

    def init(self) -> LossScale:
        """Makes the state.

        Returns:
            Of the first step.
        """
        zero = jnp.zeros((), jnp.int32)
        return LossScale(jnp.full((), self.init_scale, jnp.float32), zero, jnp.copy(zero))

    def update(self, state: LossScale, finite: jax.Array) -> LossScale:
        """Moves the scale.

        Args:
            state: of the step.
            finite: () bool, whether all of its gradients were finite.

        Returns:
            The state of the next step.
        """
        grows = state.good + 1 >= self.growth_interval
        larger = state.scale * self.growth_factor
        grown = jnp.where(grows & jnp.isfinite(larger), larger, state.scale)
        scale = jnp.where(finite, grown, state.scale * self.backoff_factor)
        good = jnp.where(finite & ~grows, state.good + 1, 0)
        return LossScale(scale, good, state.skipped + ~finite)


def scaled(value: Any, scale: jax.Array) -> jax.Array:
    """Scales a loss.

    Args:
        value: () float32 or wider: the gradient of a float16 could not hold the scale.
        scale: () float32.

    Returns:
        The product.

    Errors:
        TypeError for a loss in half precision.
    """
    dtype = jnp.result_type(value)
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
        remedy = "Compute it from float32 outputs: precision(..., output=jnp.float32)."
        raise refusal("train_step", "a scaled loss must be float32", {"its dtype": str(dtype)}, remedy, TypeError)
    return value * scale.astype(dtype)


def unscaled(grads: Params, scale: jax.Array) -> tuple[Params, jax.Array]:
    """Takes the scale out of gradients.

    Args:
        grads: of the scaled loss.
        scale: () float32.

    Returns:
        ``(grads, finite)``; finite is () bool.

    Errors:
        TypeError for gradients in half precision, which the scale would have to leave in it.
    """
    _check_wide(grads)
    grads = jax.tree.map(lambda g: g * (1 / scale).astype(g.dtype), grads)
    return grads, all_finite(grads)


def all_finite(tree: Any) -> jax.Array:
    """Whether every floating number in a tree is finite.

    Args:
        tree: any pytree of arrays.

    Returns:
        () bool.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    # 0 for finite numbers, NaN for others: a sum of floats is compiled to half the time of one of flags
    zeros = [jnp.sum(leaf * jnp.zeros((), leaf.dtype)) for leaf in leaves]
    return jnp.stack([jnp.isfinite(zero) for zero in zeros]).all() if leaves else jnp.array(True)


def _check_wide(grads: Mapping[str, Any]) -> None:
    for path, grad in flatten(grads).items():
        if jnp.issubdtype(grad.dtype, jnp.floating) and jnp.finfo(grad.dtype).bits < 32:
            got = {path: str(grad.dtype)}
            remedy = "Keep them so: precision(..., param=jnp.float32)."
            raise refusal("train_step", "with a scaled loss, params must be float32", got, remedy, TypeError)
