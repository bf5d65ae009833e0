"""linearize: a model that is linear in its params."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.tree import Tree, flatten, unflatten

# Under which name the params of the expansion stand among the buffers.
ORIGIN = "origin"


def linearize(model: Model) -> "Linearized":
    """Expands a model to first order in its params: ``f(θ₀, x) + J(θ₀, x) (θ - θ₀)``.

    Args:
        model: any model with params.

    Returns:
        The model: its params θ have the names of the model's, and θ₀ stands among the buffers, under ``origin``.
        What ``init`` draws has θ = θ₀; ``around`` expands at arrays that there are. Buffers after a call are those
        of the model at θ₀; of an output that is not floating the value at θ₀ is given.

    Errors:
        TypeError for what is no model; ValueError for one without params, or with a child called ``origin``.

    Source:
        Lee et al., "Wide neural networks of any depth evolve as linear models under gradient descent", 2019.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> model = L.Sequential(L.Linear(2, 4), jnp.tanh, L.Linear(4, 1))
    >>> net = transforms.linearize(model)
    >>> params, buffers = net.around(*model.init(jax.random.key(0)))
    >>> x = jnp.ones((1, 2))
    >>> bool((net.apply(params, buffers, x)[0] == model.apply(params, {}, x)[0]).all())
    True
    """
    check_model("linearize", model)
    leaves = structure(model)
    if ORIGIN in leaves:
        raise refusal("linearize", f"no child may be called {ORIGIN!r}", {"its names": [*leaves]})
    if not any(leaf.trainable for leaf in flatten(leaves).values()):
        raise refusal("linearize", "model must have params", {"its names": [*leaves]})
    return Linearized(model)


@dataclass(frozen=True)
class Linearized:
    """The model that `linearize` gives."""

    model: Model

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws, and expands there."""
        return self.around(*self.model.init(rng))

    def around(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        """Expands at given arrays.

        Args:
            params: of the model; copied to become the origin.
            buffers: of the model.

        Returns:
            ``(params, buffers)`` of the linear model, where both models are one.
        """
        return params, {**buffers, ORIGIN: jax.tree.map(jnp.copy, params)}

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model at the origin, and its derivative in the direction of the params."""
        if ORIGIN not in buffers:
            remedy = "They come from the linear model's own init, or from around."
            raise refusal("linearize", "buffers must hold the origin", {"its names": [*buffers]}, remedy)
        state = {name: child for name, child in buffers.items() if name != ORIGIN}

        def at(params: Params) -> tuple[Any, Buffers]:
            return self.model.apply(params, state, *args, rng=rng, train=train, **kwargs)

        origin = buffers[ORIGIN]
        direction = jax.tree.map(jnp.subtract, params, origin)
        out, slope, after = jax.jvp(at, (origin,), (direction,), has_aux=True)
        return jax.tree.map(_moved, out, slope), {**after, ORIGIN: origin}

    def structure(self) -> Tree:
        """Lists the model's leaves, and the origin."""
        leaves = structure(self.model)
        flat = flatten(leaves)
        origin = {
            f"{ORIGIN}.{path}": replace(leaf, trainable=False, parameter=False, initializer=None)
            for path, leaf in flat.items()
            if leaf.trainable
        }
        return unflatten({**flat, **origin})


def _moved(out: jax.Array, slope: jax.Array) -> jax.Array:
    return out + slope if jnp.issubdtype(jnp.result_type(out), jnp.inexact) else out
