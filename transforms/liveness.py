"""Which arrays a call of a model uses, read off its program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from purenn.errors import refusal


class Uses(NamedTuple):
    """What a call does with what it is given."""

    unused: list[str]  # params on which nothing depends, and buffers that are neither read nor updated
    updated: list[str]  # buffers that come out as others
    draws: bool  # whether it draws numbers


def uses_of(run: Callable[[dict[int, Any]], tuple[Any, Any]], arrays: dict[int, Any], inputs: Any) -> Uses:
    """Traces a call, and sees what becomes of its inputs.

    Args:
        run: ``run(arrays) -> (out, buffers)``.
        arrays: the leaves of ``inputs`` that are arrays, by their place.
        inputs: ``(params, buffers, args, rng, kwargs)``.

    Returns:
        What it uses; whatever goes into a compiled function or loop inside counts as used.

    Errors:
        ValueError where a key is used twice.
    """
    try:
        with jax.debug_key_reuse(True):
            traced, (out, after) = jax.make_jaxpr(run, return_shape=True)(arrays)
    except jax.errors.KeyReuseError as error:
        remedy = "Draw from a key of its own each time: m.rng(), or jax.random.split."
        got = {"rng": "one used before"}
        raise refusal("checked", "a key must be used once in a call", got, remedy) from error
    return _read(traced.jaxpr, sorted(arrays), inputs, len(jax.tree.leaves(out)), _paths(after))


def _read(jaxpr: Any, places: list[int], inputs: Any, outs: int, after: list[str]) -> Uses:
    params, buffers, args, rng, _ = inputs
    entry = dict(zip(places, jaxpr.invars, strict=True))
    of_params = {path: entry[i] for i, path in enumerate(_paths(params))}
    of_buffers = {path: entry[len(of_params) + i] for i, path in enumerate(_paths(buffers))}
    left = dict(zip(after, jaxpr.outvars[outs:], strict=True))
    updated = [path for path, var in of_buffers.items() if left.get(path) is not var]
    live = _live(jaxpr, [*jaxpr.outvars[:outs], *(left[path] for path in updated if path in left)])
    unused = [path for path, var in of_params.items() if id(var) not in live]
    unused += [path for path, var in of_buffers.items() if id(var) not in live and path not in updated]
    key = len(of_params) + len(of_buffers) + len(jax.tree.leaves(args))
    return Uses(unused, updated, rng is not None and id(entry[key]) in live)


def _paths(tree: Any) -> list[str]:
    """Dotted paths, in the order in which JAX flattens."""
    return [".".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _live(jaxpr: Any, wanted: list[Any]) -> set[int]:
    """The ids of the variables on which what is wanted depends."""
    live = {id(var) for var in wanted}
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(id(var) in live for var in eqn.outvars):
            live |= {id(var) for var in eqn.invars}
    return live
