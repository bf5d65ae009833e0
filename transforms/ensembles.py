"""ensemble: n members in one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from purenn.calling import through
from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.model import Buffers, Leaf, Model, Params, check_model, structure
from purenn.random import as_key
from purenn.state import load_state_dict, state_dict
from purenn.tree import Tree, flatten, stack, unflatten
from transforms.merging import Merge, merged_each


def ensemble(model: Model, n: int, in_axes: Any = None) -> "Ensemble":
    """Makes n independent members of a model into one: every array gets a first axis of length n.

    Args:
        model: any model.
        n: number of members.
        in_axes: which axis of the positional inputs is that of the members, one for all or a tuple, as in
            ``jax.vmap``; None gives every member the same input.

    Returns:
        The model; its output is ``(n, *shape)``. Member i draws from ``fold_in(rng, i)``, in init and in apply.

    Errors:
        TypeError for what is no model; ValueError unless n is positive.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = transforms.ensemble(L.Linear(3, 2), 8)
    >>> params, buffers = net.init(jax.random.key(0))
    >>> out, buffers = net.apply(params, buffers, jnp.ones((5, 3)))
    >>> out.shape
    (8, 5, 2)
    """
    check_model("ensemble", model)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise refusal("ensemble", "n must be a positive integer", {"n": n})
    return Ensemble(model, n, in_axes)


@dataclass(frozen=True)
class Ensemble:
    """The model that `ensemble` gives."""

    model: Model
    n: int
    in_axes: Any = None

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws every member from its own key."""
        rng = as_key("ensemble.init", rng)
        if is_traced(rng):
            return jax.vmap(self.model.init)(self._keys(rng))
        # outside a trace the members are drawn one by one: nothing is compiled for their shapes
        members = [self.model.init(jax.random.fold_in(rng, i)) for i in range(self.n)]
        return stack([params for params, _ in members]), stack([buffers for _, buffers in members])

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs all members at once."""
        keys = None if rng is None else self._keys(as_key("ensemble.apply", rng))
        axes = self.in_axes if isinstance(self.in_axes, tuple) else (self.in_axes,) * len(args)
        self._check("params", params)
        self._check("buffers", buffers)

        def member(params: Params, buffers: Buffers, key: Any, *args: Any) -> tuple[Any, Buffers]:
            return self.model.apply(params, buffers, *args, rng=key, train=train, **kwargs)

        def members(run: Any) -> Any:
            return jax.vmap(run, (0, 0, 0, None if keys is None else 0, *axes), axis_size=self.n)

        return through(member, members, params, buffers, keys, *args)

    def _check(self, which: str, tree: Tree) -> None:
        wrong = {path: jnp.shape(leaf) for path, leaf in flatten(tree).items() if jnp.shape(leaf)[:1] != (self.n,)}
        if wrong:
            got = {"n": self.n, "shapes": dict(list(wrong.items())[:3])}
            remedy = "They come from the ensemble's own init or stack."
            raise refusal("ensemble", f"{which} must have the members as first axis", got, remedy)

    def structure(self) -> Tree:
        """Lists the model's leaves with the axis of the members."""
        leaves: dict[str, Leaf] = flatten(structure(self.model))
        return unflatten({path: leaf.times(self.n) for path, leaf in leaves.items()})

    def merge_inside(self, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
        """Merges each member; see `transforms.merge`."""
        return merged_each(self, merge, params, buffers)

    def stack(self, states: Sequence[Mapping[str, Any]]) -> tuple[Params, Buffers]:
        """Makes the arrays of the ensemble from models that were trained by themselves.

        Args:
            states: n state_dicts of the model; what torch saved is taken as it is.

        Returns:
            ``(params, buffers)``, with the axis of the members.

        Errors:
            ValueError where there are not n of them, or one does not fit the model.
        """
        if len(states) != self.n:
            raise refusal(
                "ensemble.stack",
                "there must be one state_dict for each member",
                {"their number": len(states), "n": self.n},
            )
        members = [load_state_dict(self.model, state) for state in states]
        return stack([params for params, _ in members]), stack([buffers for _, buffers in members])

    def unstack(self, params: Params, buffers: Buffers) -> list[dict[str, jax.Array]]:
        """Takes the members apart: the inverse of `stack`.

        Args:
            params: of the ensemble.
            buffers: of the ensemble.

        Returns:
            n state_dicts of the model, in torch's names and order.
        """

        def member(i: int) -> dict[str, jax.Array]:
            return state_dict(self.model, *jax.tree.map(lambda leaf: leaf[i], (params, buffers)))

        return [member(i) for i in range(self.n)]

    def _keys(self, rng: jax.Array) -> jax.Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(self.n, dtype=jnp.uint32))
