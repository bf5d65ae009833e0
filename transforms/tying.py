"""tie: one array under several paths of a model."""

from dataclasses import dataclass
from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Leaf, Model, Params, check_model, structure
from purenn.random import as_key
from purenn.tree import Tree, combine, flatten, selected, unflatten
from transforms.merging import Rewriting


def tie(model: Model, *paths: str) -> "Tied":
    """Makes one array of several: one leaf in params, one gradient, one state in the optimizer.

    Args:
        model: any model.
        *paths: two or more dotted paths of params, of one shape and dtype.

    Returns:
        The model; the array stands under the path that comes first in the model. `merge` writes it under all of them
        again, so a state_dict with all of torch's names is that of the merged model.

    Errors:
        TypeError for what is no model, or a path that is no string; ValueError where there are less than two paths, one
        is no param, or their shapes, dtypes or trainings differ.

    Torch:
        ``model.head.weight = model.embed.weight``.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> model = transforms.tie(L.Sequential(L.Embedding(9, 4), L.Linear(4, 9)), "0.weight", "1.weight")
    >>> params, buffers = model.init(jax.random.key(0))
    >>> sorted(params["0"]), sorted(params["1"])
    (['weight'], ['bias'])
    """
    check_model("tie", model)
    if bad := [path for path in paths if not isinstance(path, str)]:
        raise refusal("tie", "a path must be a string", {"path": bad[0]}, kind=TypeError)
    if len(set(paths)) < 2:
        raise refusal("tie", "two paths or more must be given", {"paths": paths})
    leaves: dict[str, Leaf] = {path: leaf for path, leaf in flatten(structure(model)).items() if leaf.parameter}
    for path in paths:
        if path not in leaves:
            selected(unflatten(leaves), path, "tie")  # names the nearest
    kinds = {path: (leaves[path].shape, str(leaves[path].dtype), leaves[path].trainable) for path in paths}
    if len(set(kinds.values())) > 1:
        rule = "tied params must have one shape and dtype, and be trained or frozen alike"
        raise refusal("tie", rule, {"shape, dtype, trained": kinds})
    return Tied(model, tuple(path for path in leaves if path in paths))


@dataclass(frozen=True)
class Tied(Rewriting):
    """The model that `tie` gives; the first of the paths is kept."""

    model: Model
    paths: tuple[str, ...]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws; the array is what the first path draws."""
        params, buffers = self.model.init(as_key("tie.init", rng))
        return self._without(params), self._without(buffers)

    def from_plain(self, params: Params, buffers: Buffers, rng: Any = None) -> tuple[Params, Buffers]:
        """Takes arrays of the plain model in; see `Rewriting.from_plain`.

        Args:
            params: of the plain model; of the tied paths one is enough.
            buffers: of the plain model.
            rng: not used.

        Returns:
            ``(params, buffers)``: the array of the first path that is there.
        """
        del rng
        return self._first(params), self.ordered(self._first(buffers))

    def sources(self, path: str) -> list[str]:
        """Lists the path that is kept; see `Rewriting.sources`."""
        return [self.paths[0]] if path in self.paths else [path]

    def structure(self) -> Tree:
        """Lists the model's leaves, the tied ones once."""
        return self._without(structure(self.model))

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Tree]:
        """Hands the array over under all paths."""
        del rng, train
        kept, *others = self.paths
        trees = [flatten(params), flatten(buffers)]
        holding = [tree for tree in trees if kept in tree]
        if not holding:
            remedy = "params and buffers come from the tied model's own init or from_plain."
            raise refusal("tie", "params and buffers must hold the tied array", {"missing": kept}, remedy)
        holding[0].update(dict.fromkeys(others, holding[0][kept]))
        return unflatten(trees[0]), unflatten(trees[1]), {}

    def leave(self, buffers: Buffers, note: Tree) -> Buffers:
        """Keeps a frozen array once."""
        return self._without(combine(buffers, note))

    def _without(self, tree: Tree) -> Tree:
        return unflatten({path: leaf for path, leaf in flatten(tree).items() if path not in self.paths[1:]})

    def _first(self, tree: Tree) -> Tree:
        flat = flatten(tree)
        given = [path for path in self.paths if path in flat]
        if given:
            flat = {self.paths[0] if path == given[0] else path: leaf for path, leaf in flat.items()}
        return self._without(unflatten(flat))
