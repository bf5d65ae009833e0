"""vmap, with torch's rules for what is not mapped and for random numbers."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.random import as_key
from transforms.batching import Apart, take_apart
from transforms.func.ordering import noting, ordered


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Maps a function over an axis of its arguments.

    Random numbers come from keys that the caller passes. A key that has no axis of its own, as the keyword ``rng`` or
    among the arguments (a typed one, from ``jax.random.key``), would give every example the same numbers, and what to
    do with it is said by ``randomness``. Mapped keys belong to their examples and are used as they are.

    Args:
        func: of arrays, in dicts, lists and tuples.
        in_dims: the axis of each argument: one for all, a tuple, or trees of them; None for what is not mapped.
        out_dims: the axis in the results: one for all, or a tree of them.
        randomness: with a key that is not mapped, ``"error"`` refuses, ``"same"`` gives it to all, and ``"different"``
            gives ``fold_in(key, i)`` to example i.
        chunk_size: how many examples at a time, None all; saves memory, costs a loop.

    Returns:
        The mapped function. Keyword arguments are not mapped.

    Errors:
        ValueError for an unknown ``randomness``, a chunk that is not positive, axes that do not fit, or a key that is
        not mapped under ``"error"``.

    Torch:
        ``torch.func.vmap``, differs in how random numbers are found: by the keys among the arguments. Those that
        ``func`` closes over cannot be seen, and act as ``"same"``.

    >>> import jax.numpy as jnp
    >>> vmap(jnp.dot, in_dims=(0, None))(jnp.eye(2), jnp.array([3.0, 4.0]))
    Array([3., 4.], dtype=float32)
    """
    if randomness not in ("error", "same", "different"):
        rule = "randomness must be 'error', 'same' or 'different'"
        raise refusal("vmap", rule, {"randomness": randomness})
    check_chunk("vmap", chunk_size)

    @wraps(func, updated=())
    def mapped(*args: Any, **kwargs: Any) -> Any:
        apart = take_apart("vmap", args, in_dims, names=("args", "in_dims"))
        keys = _shared_keys(apart, args, kwargs)
        if keys and randomness == "error":
            remedy = "Say randomness='different' or 'same', or map one key for each example."
            raise refusal("vmap", "a key that is not mapped must be meant", {"randomness": "error"}, remedy)
        notes: list[Any] = []
        noted = noting(func, notes, args)

        def one(arrays: dict[int, Any], i: jax.Array) -> Any:
            own = {n: _fold(key, i) for n, key in keys.items()} if randomness == "different" else {}
            named = {**kwargs, "rng": own.pop("rng", keys["rng"])} if "rng" in keys else kwargs
            return noted(*apart.together({**own, **arrays}), **named)

        return ordered(_run(one, apart, out_dims, chunk_size), notes[-1])

    return mapped


def check_chunk(op: str, chunk_size: Any) -> None:
    """Refuses what is no size of a chunk, with a ValueError.

    Args:
        op: name of the caller.
        chunk_size: to be checked.
    """
    if chunk_size is not None and (isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1):
        raise refusal(op, "chunk_size must be a positive integer or None", {"chunk_size": chunk_size})


def _run(one: Callable[..., Any], apart: Apart, out_dims: Any, chunk_size: int | None) -> Any:
    index = jnp.arange(apart.size, dtype=jnp.uint32)
    if chunk_size is None:
        return jax.vmap(one, (apart.axes, 0), out_dims)(apart.arrays, index)
    first = {i: jnp.moveaxis(array, apart.axes[i], 0) for i, array in apart.arrays.items()}
    out = jax.lax.map(lambda part: one(*part), (first, index), batch_size=chunk_size)
    dims = jax.tree.broadcast(out_dims, out)
    return jax.tree.map(lambda array, dim: jnp.moveaxis(array, 0, dim), out, dims)


def _shared_keys(apart: Apart, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Any, jax.Array]:
    """The keys without an axis: typed ones by their place among the arguments, and ``rng``."""
    keys: dict[Any, jax.Array] = {
        i: leaf for i, leaf in enumerate(jax.tree.leaves(args)) if i not in apart.arrays and _is_key(leaf)
    }
    if kwargs.get("rng") is not None:
        keys["rng"] = as_key("vmap", kwargs["rng"])
    return keys


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _fold(keys: jax.Array, i: jax.Array) -> jax.Array:
    flat = jax.vmap(jax.random.fold_in, (0, None))(keys.reshape(-1), i)
    return flat.reshape(keys.shape)
