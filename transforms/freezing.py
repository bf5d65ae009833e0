"""freeze: weights that are not trained, and cost nothing in the step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.tree import Tree, Where, combine, flatten, selected, unflatten
from transforms.merging import Merge, sources_of
from transforms.viewing import View, trained_leaves, untrained


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
    trained = unflatten(trained_leaves(structure(model)))
    return Frozen(model, frozenset(selected(trained, where, "freeze")))


def unfreeze(model: Model, where: Where = "*") -> Model:
    """Undoes `freeze`, for all that it froze or a part of it.

    Args:
        model: what `freeze` gave.
        where: which of the frozen leaves are to be trained again.

    Returns:
        The model with those leaves among its params; the model that was frozen, where none is left.

    Errors:
        TypeError where the outermost transform is not `freeze`; ValueError where ``where`` matches nothing frozen.
    """
    if not isinstance(model, Frozen):
        remedy = "Undo transforms from the outermost inwards."
        got = {"type(model)": type(model).__name__}
        raise refusal("unfreeze", "model must be what freeze gave", got, remedy, TypeError)
    thawed = selected(unflatten(dict.fromkeys(sorted(model.paths))), where, "unfreeze")
    left = model.paths.difference(thawed)
    return Frozen(model.model, left) if left else model.model


@dataclass(frozen=True)
class Frozen(View):
    """The model that `freeze` gives."""

    model: Model
    paths: frozenset[str]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        params, buffers = self.model.init(rng)
        frozen, rest = self._parts(params)
        return rest, self.ordered(combine(buffers, frozen))

    def structure(self) -> Tree:
        """Lists the model's leaves, the chosen ones as not trained."""
        leaves = flatten(structure(self.model))
        return unflatten({path: untrained(leaf) if path in self.paths else leaf for path, leaf in leaves.items()})

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Tree]:
        """Hands the frozen arrays over as params."""
        if missing := self.paths.difference(flatten(buffers)):
            remedy = "params and buffers come from the frozen model's own init."
            raise refusal("freeze", "buffers must hold the frozen arrays", {"missing": sorted(missing)}, remedy)
        frozen, state = self._parts(buffers)
        return combine(params, frozen), state, frozen

    def leave(self, buffers: Buffers, note: Tree) -> Buffers:
        """Takes the frozen arrays back."""
        return combine(buffers, note)

    def merge_inside(self, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
        """Merges the model inside, and freezes again; see `transforms.merge`."""
        thawed, state, _ = self.enter(params, buffers, None, False)
        plain, params, buffers = merge(self.model, thawed, state)
        inner = trained_leaves(structure(self.model))
        frozen = {path for path in trained_leaves(structure(plain)) if self._is_frozen(path, inner)}
        if not frozen:
            return plain, params, buffers
        again = Frozen(plain, frozenset(frozen))
        kept, rest = again._parts(params)
        return again, rest, combine(buffers, kept)

    def _is_frozen(self, path: str, inner: Mapping[str, Any]) -> bool:
        """Whether an array of the plain model follows from frozen ones alone."""
        sources = [source for source in sources_of(self.model, path) if source in inner]
        return bool(sources) and self.paths.issuperset(sources)

    def _parts(self, tree: Tree) -> tuple[Tree, Tree]:
        flat = flatten(tree)
        return (
            unflatten({path: leaf for path, leaf in flat.items() if path in self.paths}),
            unflatten({path: leaf for path, leaf in flat.items() if path not in self.paths}),
        )
