"""state_dicts: params and buffers merged, flattened, and in torch's order."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.layering import assembled, named_arrays, named_leaves
from purenn.model import Buffers, Leaf, Model, Params, structure
from purenn.tree import combine, flatten, unflatten


def state_dict(model: Model, params: Params, buffers: Buffers) -> dict[str, jax.Array]:
    """Merges and flattens the arrays of a model, in torch's names and order.

    Args:
        model: any model.
        params: its params.
        buffers: its buffers.

    Returns:
        ``{dotted path: array}``, without the buffers that are not persistent.

    Errors:
        ValueError where the trees do not hold the model's names.
    """
    arrays = flatten(combine(params, buffers))
    leaves: dict[str, Leaf] = flatten(structure(model))
    if set(arrays) != set(leaves):
        got = {"missing": sorted(set(leaves) - set(arrays)), "unknown": sorted(set(arrays) - set(leaves))}
        raise refusal("state_dict", "params and buffers must hold the model's names", got)
    return named_arrays({path: arrays[path] for path, leaf in leaves.items() if leaf.persistent}, leaves)


def load_state_dict(
    model: Model, state: Mapping[str, Any], strict: bool = True, rng: Any = None
) -> tuple[Params, Buffers]:
    """Makes the arrays of a model from a state_dict; what torch saved loads as it is.

    Args:
        model: any model.
        state: ``{dotted path: array}``; numpy and jax arrays and torch tensors, cast to the model's dtypes.
        strict: whether missing and unexpected names are errors.
        rng: PRNG key for names that are missing when ``strict=False``.

    Returns:
        ``(params, buffers)``.

    Errors:
        ValueError that lists every missing, unexpected and mis-shaped name at once.
    """
    leaves: dict[str, Leaf] = flatten(structure(model))
    wanted = named_leaves(leaves)
    named, missing, _ = match(type(model).__name__, wanted, state, strict)
    transient = [name for name, leaf in wanted.items() if not leaf.persistent]
    if missing or transient:
        if missing and rng is None:
            remedy = "Pass rng=jax.random.key(0), or strict=True."
            raise refusal("load_state_dict", "rng must be given to draw what is missing", {"missing": missing}, remedy)
        fresh = named_arrays(flatten(combine(*model.init(jax.random.key(0) if rng is None else rng))), leaves)
        named |= {name: fresh[name] for name in (*missing, *transient)}
    arrays = assembled(named, leaves, named.__getitem__)
    return (
        unflatten({path: arrays[path] for path, leaf in leaves.items() if leaf.trainable}),
        unflatten({path: arrays[path] for path, leaf in leaves.items() if not leaf.trainable}),
    )


def match(
    name: str, leaves: Mapping[str, Leaf], state: Mapping[str, Any], strict: bool
) -> tuple[dict[str, jax.Array], list[str], list[str]]:
    """Holds a state_dict against the leaves of a model, and reports all that is wrong at once.

    Args:
        name: of the model, for the error.
        leaves: what is wanted, by name; leaves that are not persistent are left out.
        state: what there is; a further name of an array that is wanted under another one (a tied weight) is expected.
        strict: whether missing and unexpected names are errors.

    Returns:
        ``(arrays, missing, unexpected)``: the arrays in the dtypes wanted, and the names.

    Errors:
        ValueError that lists every problem; nothing has been changed then.
    """
    wanted = {path: leaf for path, leaf in leaves.items() if leaf.persistent}
    missing = [path for path in wanted if path not in state]
    known = {_identity(state[path]) for path in wanted if path in state}
    unexpected = [path for path in state if path not in wanted and _identity(state[path]) not in known]
    problems: list[str] = []
    if strict:
        problems += [f"missing: {path} {wanted[path].shape}" for path in missing]
        problems += [f"unexpected: {path}" for path in unexpected]
    arrays = {}
    for path, leaf in wanted.items():
        if path in state:
            try:
                arrays[path] = _convert(state[path], leaf)
            except (ValueError, TypeError) as error:
                problems.append(f"mismatched: {path}: {error}")
    if problems:
        raise ValueError(
            f"load_state_dict: the state_dict does not fit {name}, nothing was changed. {len(problems)} problems:\n    "
            + "\n    ".join(problems)
        )
    return arrays, missing, unexpected


def _identity(value: Any) -> Any:
    """What two names of one array share; torch makes a new tensor of it for each name."""
    pointer = value.data_ptr() if hasattr(value, "data_ptr") else 0  # 0 where there is nothing to point at
    return (pointer, value.shape, value.stride()) if pointer else id(value)


def _convert(value: Any, leaf: Leaf) -> jax.Array:
    value = as_numpy_or_jax(value)
    if tuple(value.shape) != leaf.shape:
        raise ValueError(f"shape {tuple(value.shape)}, the model has {leaf.shape}")
    if value.dtype == leaf.dtype:
        return jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jnp.complexfloating) and not jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        raise TypeError(f"dtype {value.dtype}, the model has {leaf.dtype}")
    if jnp.issubdtype(leaf.dtype, jnp.integer):
        cast = np.asarray(value).astype(leaf.dtype)
        if not np.array_equal(cast, np.asarray(value)):
            raise ValueError(f"values of {value.dtype} that {leaf.dtype} cannot hold")
        return jnp.asarray(cast)
    return (
        jnp.asarray(value).astype(leaf.dtype) if isinstance(value, jax.Array) else jnp.asarray(value.astype(leaf.dtype))
    )


def as_numpy_or_jax(value: Any) -> Any:
    """Takes an array as it is, and a torch tensor as numpy, without importing torch.

    Args:
        value: a jax or numpy array or scalar, or a tensor with torch's ``detach``.

    Returns:
        The array; a bfloat16 tensor as a bfloat16 array.
    """
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return value.float().numpy().astype(jnp.bfloat16)  # exact: every bfloat16 is a float32
        return value.resolve_conj().resolve_neg().numpy()
    return np.asarray(value)
