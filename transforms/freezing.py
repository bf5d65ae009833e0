"""freeze: weights that are not trained, and cost nothing in the step."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Leaf, Model, Params, bind, check_model, structure
from purenn.tree import Tree, Where, combine, flatten, reorder, selected, unflatten


def freeze(model: Model, where: Where) -> "Frozen":
    """Moves chosen leaves from params to buffers: no gradient, no optimizer state, the same state_dict.

    Args:
        model: any model.
        where: which params (see `purenn.tree`).

    Returns:
        The model. Running statistics of frozen layers still move in training, as in torch.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> params, buffers = transforms.freeze(L.Linear(3, 2), "weight").init(jax.random.key(0))
    >>> sorted(params), sorted(buffers)
    (['bias'], ['weight'])
    """
    check_model("freeze", model)
    leaves: dict[str, Leaf] = flatten(structure(model))
    trained = unflatten({path: leaf for path, leaf in leaves.items() if leaf.trainable})
    return Frozen(model, frozenset(selected(trained, where, "freeze")))


@dataclass(frozen=True)
class Frozen:
    """The model that `freeze` gives."""

    model: Model
    paths: frozenset[str]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        params, buffers = self.model.init(rng)
        flat = flatten(params)
        frozen = {path: leaf for path, leaf in flat.items() if path in self.paths}
        rest = {path: leaf for path, leaf in flat.items() if path not in self.paths}
        return unflatten(rest), self._ordered(combine(buffers, unflatten(frozen)))

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model."""
        bound = self.bind(params, buffers, rng, train)
        out = bound(*args, **kwargs)
        return out, bound.buffers

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> "BoundFrozen":
        """Puts the arrays in; the children are those of the model."""
        flat = flatten(buffers)
        if missing := self.paths.difference(flat):
            remedy = "params and buffers come from the frozen model's own init."
            raise refusal("freeze", "buffers must hold the frozen arrays", {"missing": sorted(missing)}, remedy)
        frozen = unflatten({path: leaf for path, leaf in flat.items() if path in self.paths})
        state = unflatten({path: leaf for path, leaf in flat.items() if path not in self.paths})
        return BoundFrozen(bind(self.model, combine(params, frozen), state, rng, train), self, frozen)

    def structure(self) -> Tree:
        """Lists the model's leaves, the chosen ones as not trained."""
        leaves = flatten(structure(self.model))
        return unflatten(
            {path: replace(leaf, trainable=False) if path in self.paths else leaf for path, leaf in leaves.items()}
        )

    def _ordered(self, buffers: Buffers) -> Buffers:
        return reorder(buffers, self._order)

    @cached_property
    def _order(self) -> Tree:
        return self.structure()


class BoundFrozen:
    """A bound model whose frozen arrays stand among its buffers."""

    def __init__(self, bound: Any, model: Frozen, frozen: Tree):
        self._bound, self._model, self._frozen = bound, model, frozen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""
        return self._bound(*args, **kwargs)

    @property
    def buffers(self) -> Buffers:
        """The buffers after what has been called so far, with the frozen arrays."""
        return self._model._ordered(combine(self._bound.buffers, self._frozen))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bound, name)
