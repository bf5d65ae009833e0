"""Like layers kept stacked and run by ``jax.lax.scan``: the models behind `scan`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import located, through
from purenn.checks import is_traced
from purenn.errors import refusal
from purenn.layering import stack_name
from purenn.model import Buffers, Leaf, Model, Params, bind, structure
from purenn.random import as_key, fold_name, name_hash
from purenn.tree import Tree, flatten, stack, unflatten, unstack
from transforms.merging import Merge, merged_each
from transforms.viewing import View


@dataclass(frozen=True)
class Scan:
    """The model that `scan` gives: like layers, stacked."""

    model: Model
    names: tuple[str, ...]
    unroll: int = 1

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws every layer from a key folded from its name."""
        rng = as_key("scan.init", rng)
        if is_traced(rng):
            drawn = jax.vmap(self.model.init)(self._keys(rng))
        else:
            # outside a trace the layers are drawn one by one: nothing is compiled for their shapes
            layers = [self.model.init(fold_name(rng, name)) for name in self.names]
            drawn = stack([params for params, _ in layers]), stack([buffers for _, buffers in layers])
        params, buffers = ({self.node: tree} if tree else {} for tree in drawn)
        return params, buffers

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the layers."""
        if not args:
            raise refusal("scan", "an input must be given", {"inputs": 0}, "The first one goes through the layers.")
        keys = None if rng is None else self._keys(as_key("scan.apply", rng))
        weights, state = self._layers("params", params), self._layers("buffers", buffers)

        def layer(x: Any, params: Params, buffers: Buffers, key: Any) -> tuple[Any, dict[str, Any]]:
            with located(self.node), located(""):
                bound = bind(self.model, params, buffers, key, train)
                out = bound(x, *args[1:], **kwargs)
                _check_like(x, out)
            return out, changes(buffers, bound.buffers)

        out, changed = through(layer, self._scanned, args[0], weights, state, keys, names=self.names)
        return out, {self.node: unflatten(flatten(state) | changed)} if state else {}

    def _scanned(self, region: Any) -> Any:
        def scanned(given: Any, x: Any, *stacks: Any) -> Any:
            def step(x: Any, item: Any) -> Any:
                taken, (x, changed) = region(item[0], x, *item[1:])
                return x, (taken, changed)

            x, (taken, changed) = jax.lax.scan(step, x, (given, *stacks), len(self.names), unroll=self.unroll)
            return taken, (x, changed)

        return scanned

    def structure(self) -> Tree:
        """Lists the layer's leaves with the axis of the layers."""
        leaves: dict[str, Leaf] = flatten(structure(self.model))
        return unflatten({f"{self.node}.{path}": leaf.times(len(self.names), True) for path, leaf in leaves.items()})

    def merge_inside(self, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
        """Merges each layer; see `transforms.merge`."""
        arrays = self._layers("params", params), self._layers("buffers", buffers)
        plain, params, buffers = merged_each(self, merge, *arrays)
        return plain, {self.node: params} if params else {}, {self.node: buffers} if buffers else {}

    @cached_property
    def node(self) -> str:
        """The name of the node that holds the stacked arrays."""
        return stack_name(self.names)

    def _layers(self, which: str, tree: Any) -> Any:
        if unknown := [name for name in tree if name != self.node]:
            remedy = "They come from init, or from purenn.load_state_dict."
            raise refusal("scan", f"{which} must hold the stacked layers", {"unknown": unknown}, remedy)
        return tree.get(self.node, {})

    def _keys(self, rng: jax.Array) -> jax.Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(rng, np.array([name_hash(name) for name in self.names]))


@dataclass(frozen=True)
class Apart(View):
    """A `Scan` whose arrays are kept layer by layer."""

    model: Scan

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws every layer from a key folded from its name."""
        params, buffers = self.model.init(rng)
        return self._apart(params), self._apart(buffers)

    def structure(self) -> Tree:
        """Lists the leaves of each layer."""
        layer = structure(self.model.model)
        return dict.fromkeys(self.model.names, layer) if layer else {}

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, None]:
        """Stacks the layers."""
        return self._together("params", params), self._together("buffers", buffers), None

    def leave(self, buffers: Buffers, note: None) -> Buffers:
        """Takes them apart."""
        return self._apart(buffers)

    def _apart(self, tree: Tree) -> Tree:
        return dict(zip(self.model.names, unstack(tree[self.model.node]), strict=True)) if tree else {}

    def _together(self, which: str, tree: Tree) -> Tree:
        if not tree:
            return {}
        if set(tree) != set(self.model.names):
            got = {"given": [*tree], "layers": [*self.model.names]}
            raise refusal("scan", f"{which} must hold the layers", got)
        return {self.model.node: stack([tree[name] for name in self.model.names])}


def changes(before: Buffers, after: Buffers) -> dict[str, Any]:
    """Lists the buffers that a call has replaced: those that it left are not worth copying.

    Args:
        before: what went in.
        after: what came out.

    Returns:
        ``{dotted path: array}``.
    """
    old = flatten(before)
    return {path: leaf for path, leaf in flatten(after).items() if old.get(path) is not leaf}


def _check_like(x: Any, out: Any) -> None:
    given, gave = (jax.tree.map(lambda a: f"{jnp.result_type(a)}{list(jnp.shape(a))}", tree) for tree in (x, out))
    if given != gave:
        remedy = "Scan layers whose output can be their input."
        got = {"its input": given, "its output": gave}
        raise refusal("scan", "a layer must give the shapes and dtypes it is given", got, remedy)
