"""The state of training: a plain pytree whose memory a step may take, and give back as the next one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.model import Buffers, Params
from transforms.averaging import Average
from transforms.scaling import LossScale


class TrainState(NamedTuple):
    """All that training changes, or needs to go on: a plain pytree."""

    params: Params
    buffers: Buffers
    opt_state: Any
    rng: jax.Array  # a key, from which those of all steps are folded
    step: jax.Array  # () int32: steps done, skipped ones too
    ema: Average | None = None  # None costs nothing
    loss_scale: LossScale | None = None


def strong(tree: Any) -> Any:
    """Gives numbers dtypes of their own: Python's would be traced as weaker ones, and once more after the step.

    Args:
        tree: any pytree of numbers.

    Returns:
        The same numbers, as arrays.
    """

    def one(leaf: Any) -> Any:
        weak = getattr(leaf, "weak_type", not isinstance(leaf, jax.Array))
        return jax.lax.convert_element_type(leaf, jnp.result_type(leaf)) if weak else leaf

    return jax.tree.map(one, tree)


def distinct(state: TrainState) -> TrainState:
    """Copies what shares its memory: some optimizers keep the first params, and memory is given to a step only once.

    Args:
        state: the first one.

    Returns:
        The state, no two of whose arrays share memory.
    """
    seen: set[Any] = set()

    def own(leaf: Any) -> Any:
        places = _places(leaf)
        if seen.intersection(places):
            return jnp.copy(leaf)
        seen.update(places)
        return leaf

    return jax.tree.map(own, state)


def _places(leaf: Any) -> list[Any]:
    """Where the numbers of a leaf are: arrays that are two objects may share their memory."""
    if not isinstance(leaf, jax.Array) or is_traced(leaf) or not leaf.size:
        return [id(leaf)]
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        leaf = jax.random.key_data(leaf)
    return [(shard.device, shard.data.unsafe_buffer_pointer()) for shard in leaf.addressable_shards]


def check_same(old: TrainState, new: TrainState) -> None:
    """Refuses a step whose state could not be given to it again: it would be traced again, and donate nothing.

    Args:
        old: before the step.
        new: after it.

    Errors:
        ValueError that names what changes its shape or dtype.
    """
    before, after = (dict(jax.tree_util.tree_leaves_with_path(state)) for state in (old, new))
    changed = {
        f"state{jax.tree_util.keystr(path)}": tuple(
            _kind(tree[path]) if path in tree else "none" for tree in (before, after)
        )
        for path in {**before, **after}
        if path not in before or path not in after or _kind(before[path]) != _kind(after[path])
    }
    if changed:
        rule = "a step must keep the shapes and dtypes of the state"
        raise refusal("train_step", rule, changed, "Cast what changes where it is computed.")


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__
