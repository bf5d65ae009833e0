"""remat: activations computed again in the backward pass, instead of kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from purenn.calling import through
from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.tree import Tree
from transforms.merging import Merge, merged_around

# Of jax.checkpoint_policies, those that are policies themselves; the others make one of their arguments.
_POLICIES = (
    "everything_saveable", "nothing_saveable", "dots_saveable", "checkpoint_dots", "dots_with_no_batch_dims_saveable",
    "checkpoint_dots_with_no_batch_dims",
)  # fmt: skip


def remat(model: Model, policy: str | Callable[..., Any] | None = None) -> "Remat":
    """Trades time for memory: the backward pass computes the model's activations again.

    Args:
        model: any model.
        policy: what is kept all the same: the name of one of ``jax.checkpoint_policies``, such as
            ``"dots_with_no_batch_dims_saveable"``, or a function; None keeps nothing.

    Returns:
        The model; numbers, buffers and randomness are those of the plain one.

    Errors:
        TypeError for what is no model, or no policy; ValueError for an unknown policy.
    """
    check_model("remat", model)
    if isinstance(policy, str) and policy not in _POLICIES:
        remedy = f"Known: {', '.join(_POLICIES)}; another one is passed as a function."
        raise refusal("remat", "policy must be one of jax.checkpoint_policies", {"policy": policy}, remedy)
    if not (policy is None or isinstance(policy, str) or callable(policy)):
        got = {"type(policy)": type(policy).__name__}
        raise refusal("remat", "policy must be a name, a function or None", got, kind=TypeError)
    return Remat(model, policy)


@dataclass(frozen=True)
class Remat:
    """The model that `remat` gives."""

    model: Model
    policy: str | Callable[..., Any] | None = None

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        return self.model.init(rng)

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model under ``jax.checkpoint``."""
        leaves, tree = jax.tree.flatten((params, buffers, args, rng, kwargs))
        # flags and strings among the inputs stay what they are; only arrays go through the checkpoint
        arrays = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}

        def run(arrays: dict[int, Any]) -> tuple[Any, Buffers]:
            full = [arrays.get(i, leaf) for i, leaf in enumerate(leaves)]
            params, buffers, args, rng, kwargs = jax.tree.unflatten(tree, full)
            return self.model.apply(params, buffers, *args, rng=rng, train=train, **kwargs)

        policy = getattr(jax.checkpoint_policies, self.policy) if isinstance(self.policy, str) else self.policy
        return through(run, partial(jax.checkpoint, policy=policy), arrays)

    def structure(self) -> Tree:
        """Lists the model's leaves."""
        return structure(self.model)

    def merge_inside(self, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
        """Merges the model inside; see `transforms.merge`."""
        return merged_around(self, merge, params, buffers)
