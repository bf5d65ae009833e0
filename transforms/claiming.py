"""How a claim is made: a chain of parametrizations fitted to a weight, by shapes alone."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Keys, Leaf
from transforms.claims import Arrays, Claim, named
from transforms.parametrization import Parametrization


def claim(op: str, path: str, weight: Leaf, chain: tuple[Parametrization, ...]) -> Claim:
    """Fits a chain to a weight; nothing is computed.

    Args:
        op: name of the caller.
        path: of the weight.
        weight: its declaration.
        chain: the parametrizations.

    Returns:
        The claim.

    Errors:
        ValueError where two of them claim one name, or the chain gives another shape or dtype.
    """
    stack, axes, weight = weight.shape[: weight.stacks], weight.layer_axes, weight.one()
    made = Claim(path, tuple(p.fit(weight) for p in chain))
    raws = _raws(op, made, weight)
    for p in made.chain[1:]:
        if len(_raws(op, Claim(path, (p,)), weight)) > 1:
            got: dict[str, Any] = {"path": path, "parametrizations": [type(each).__name__ for each in chain]}
            rule = f"{type(p).__name__}, which takes several arrays, must be the first of its weight"
            raise refusal(op, rule, got)
    made = replace(made, raws=tuple((name, _raw(made.chain[0], weight, raw)) for name, raw in raws.items()))
    if len(made.leaves()) < made.count():
        names = [type(p).__name__ for p in chain]
        rule = "no two parametrizations of one weight may keep an array under one name"
        raise refusal(op, rule, {"path": path, "parametrizations": names}, "Merge the first before the second.")
    leaves = made.leaves()
    given = jax.eval_shape(
        lambda rng, arrays: made.compute(arrays, Keys.root(op, rng), False)[0],
        jax.random.key(0),
        {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in leaves.items()},
    )
    if (given.shape, given.dtype) != (weight.shape, weight.dtype):
        got = {"path": path, "shape": weight.shape, "dtype": str(weight.dtype)}
        got |= {"computed shape": given.shape, "computed dtype": str(given.dtype)}
        raise refusal(op, "a parametrization must keep the shape and dtype of the weight", got)
    return replace(made, stack=stack, layer_axes=axes)


def _raws(op: str, made: Claim, weight: Leaf) -> dict[str, Any]:
    """The shapes of the arrays that the first of a chain takes."""

    def begin(rng: Any, weight: Any) -> Arrays:
        return named(made.begin(weight, Keys.root(op, rng), False)[1])

    return jax.eval_shape(begin, jax.random.key(0), jax.ShapeDtypeStruct(weight.shape, weight.dtype))


def _raw(p: Parametrization, weight: Leaf, raw: Any) -> Leaf:
    floating = bool(jnp.issubdtype(raw.dtype, jnp.inexact))
    trained = weight.trainable and p.trains and floating
    return Leaf(raw.shape, raw.dtype, trainable=trained, parameter=weight.parameter and floating)
