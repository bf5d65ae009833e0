"""Like layers that are found inside a model, and run by `scan`.

The model calls its layers one after the other, in whatever code it has. The first ones only note what they were given,
and give a `Pending` output, of which nothing can be made but the input of the next; the last one runs them all in one
compiled body. So a Sequential, and a loop over a ModuleList, need not be written anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from purenn.calling import intercepted, join
from purenn.deferring import Deferred
from purenn.errors import refusal
from purenn.model import Buffers, Leaf, Model, Params, bind, structure, submodels
from purenn.random import as_key, fold_name
from purenn.tree import Tree, Where, choose, flatten, stack, unflatten
from transforms.gathering import Gathering, Group
from transforms.stacked_layers import Scan
from transforms.viewing import BoundView, View


def find_layers(model: Model, where: Where, unroll: int) -> "Found":
    """Finds the layers for `scan`.

    Args:
        model: any model with children.
        where: which of them.
        unroll: as in `scan`.

    Returns:
        The model.

    Errors:
        ValueError where ``where`` matches nothing, or layers of one parent differ.
    """
    inside = submodels(model)
    if len(inside) == 1:
        got = {"type(model)": type(model).__name__}
        remedy = "Transforms hide them: apply scan first, and the others around it."
        raise refusal("scan", "model must have children that can be seen", got, remedy)
    chosen = set(choose({path: inner for path, inner in inside.items() if path}, where, "scan"))
    outermost = [path for path in chosen if not any(path.startswith(f"{other}.") for other in chosen)]
    parents: dict[str, list[str]] = {}
    for path in inside:
        if path in outermost:
            parents.setdefault(path.rpartition(".")[0], []).append(path.rpartition(".")[2])
    groups = tuple(Group(parent, tuple(names)) for parent, names in parents.items())
    leaves = flatten(structure(model))
    for group in groups:
        _check_alike(group, [inside[path] for path in group.layers], leaves)
    return Found(model, groups, unroll)


def _check_alike(group: Group, layers: list[Any], leaves: dict[str, Leaf]) -> None:
    first, *others = layers
    arrays = [_below(leaves, path) for path in group.layers]
    for path, other, mine in zip(group.layers[1:], others, arrays[1:], strict=True):
        kinds = [
            {p: (leaf.shape, leaf.dtype, leaf.trainable) for p, leaf in tree.items()} for tree in (arrays[0], mine)
        ]
        if _likeness(first) != _likeness(other) or kinds[0] != kinds[1]:
            remedy = "Choose fewer with where; layers that share arrays with others cannot be stacked either."
            raise refusal("scan", "layers of one parent must be alike", {"differ": [group.layers[0], path]}, remedy)


def _likeness(layer: Any) -> Any:
    return layer.likeness() if hasattr(layer, "likeness") else layer


def _below(flat: dict[str, Any], path: str) -> dict[str, Any]:
    return {name[len(path) + 1 :]: leaf for name, leaf in flat.items() if name.startswith(f"{path}.")}


@dataclass(frozen=True)
class Found(View):
    """The model that `scan` gives with ``where``."""

    model: Model
    groups: tuple[Group, ...]
    unroll: int = 1

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        params, buffers = self.model.init(rng)
        return self.stacked(params), self.stacked(buffers)

    def structure(self) -> Tree:
        """Lists the model's leaves; those of the layers have their axis."""
        return self.stacked(structure(self.model))

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Any]:
        """Shows each layer its own arrays; params cost nothing where they are not read."""
        state = {group: _below(flatten(buffers), group.node) for group in self.groups}
        weights = {group: _below(flatten(params), group.node) for group in self.groups}
        shown = self.apart(buffers)
        late = getattr(self.model, "reads_late", False)
        return self.apart(params, late), shown, _Call(self, weights, state, flatten(shown), rng, train)

    def leave(self, buffers: Buffers, note: "_Call") -> Buffers:
        """Takes the stacked buffers that the layers left; those of layers that were called by themselves, too."""
        flat = flatten(buffers)
        kept = {path: leaf for path, leaf in flat.items() if self._group(path) is None}
        for group in self.groups:
            alone = any(flat[path] is not leaf for path, leaf in note.shown.items() if self._group(path) == group)
            kept |= _stack(flat, group) if alone else {join(group.node, p): a for p, a in note.state[group].items()}
        return unflatten(kept)

    def bind(self, params: Params, buffers: Buffers, rng: Any = None, train: bool = False) -> "BoundFound":
        """Puts the arrays in; the children are those of the model."""
        shown, state, note = self.enter(params, buffers, rng, train)
        return BoundFound(self, bind(self.model, shown, state, rng, train), note)

    def layer(self, group: Group) -> Model:
        """The model that stands for the layers of a group."""
        return submodels(self.model)[group.layers[0]]

    def _group(self, path: str) -> Group | None:
        """The group that holds the layer in which a path lies."""
        for group in self.groups:
            prefix = f"{group.parent}." if group.parent else ""
            if path.startswith(prefix) and path[len(prefix) :].partition(".")[0] in group.names:
                return group
        return None

    def stacked(self, tree: Tree) -> Tree:
        """The arrays, or their declarations, with the layers stacked."""
        flat = flatten(tree)
        done: set[Group] = set()
        result: dict[str, Any] = {}
        for path, leaf in flat.items():
            if (group := self._group(path)) is None:
                result[path] = leaf
            elif group not in done:  # the stacks stand where the first layer stood
                done.add(group)
                result |= _stack(flat, group)
        return unflatten(result)

    def apart(self, tree: Tree, late: bool = False) -> Tree:
        """The arrays with the layers apart; late ones are computed where they are read."""
        result: dict[str, Any] = {}
        for path, leaf in flatten(tree).items():
            group = next((group for group in self.groups if path.startswith(f"{group.node}.")), None)
            if group is None:
                result[path] = leaf
            else:
                rest = path[len(group.node) :]
                parts = [Deferred(partial(_layer, leaf, i)) if late else leaf[i] for i in range(len(group.names))]
                result |= {f"{layer}{rest}": part for layer, part in zip(group.layers, parts, strict=True)}
        return unflatten(result)


@dataclass(frozen=True)
class Separate(View):
    """A `Found` whose arrays are kept layer by layer."""

    model: Found

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        return self.model.model.init(rng)

    def structure(self) -> Tree:
        """Lists the model's leaves."""
        return structure(self.model.model)

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, None]:
        """Stacks the layers."""
        return self.model.stacked(params), self.model.stacked(buffers), None

    def leave(self, buffers: Buffers, note: None) -> Buffers:
        """Takes them apart."""
        return self.model.apart(buffers)


def _layer(array: Any, i: int) -> Any:
    return array[i]


def _stack(flat: dict[str, Any], group: Group) -> dict[str, Any]:
    """The arrays of a group, or their declarations, stacked."""
    layers = [_below(flat, path) for path in group.layers]
    if not layers[0]:
        return {}
    if isinstance(next(iter(layers[0].values())), Leaf):
        stacked: Tree = {path: leaf.times(len(layers), True) for path, leaf in layers[0].items()}
    else:
        stacked = flatten(stack([unflatten(layer) for layer in layers]))
    return {join(group.node, path): leaf for path, leaf in stacked.items()}


@dataclass
class _Call:
    """What a bound model knows of its stacked arrays."""

    view: Found
    weights: dict[Group, dict[str, Any]]
    state: dict[Group, dict[str, Any]]  # changes as the layers run
    shown: dict[str, Any]
    rng: Any
    train: bool
    runs: int = 0

    def run(self, group: Group, x: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Runs the layers of a group, compiled once."""
        layers = Scan(self.view.layer(group), group.names, self.view.unroll)
        params, buffers = (
            {layers.node: unflatten(part)} if part else {} for part in (self.weights[group], self.state[group])
        )
        out, after = layers.apply(params, buffers, x, *args, rng=self._key(group), train=self.train, **kwargs)
        self.state[group] = flatten(after.get(layers.node, {}))
        self.runs += 1
        return out

    def _key(self, group: Group) -> Any:
        """The key of the parent, as it is without scan; another one each time that the layers run again."""
        if self.rng is None:
            return None
        key = as_key("scan", self.rng)
        for name in group.parent.split(".") if group.parent else ():
            key = fold_name(key, name)
        return jax.random.fold_in(key, self.runs) if self.runs else key


class BoundFound(BoundView):
    """A `Found` with its arrays, for one pure call."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model; its layers are run together."""
        gathering = Gathering(self._note.view.groups, self._note.run)
        with intercepted(gathering):
            out = super().__call__(*args, **kwargs)
        gathering.check_done(out)
        return out
