"""Claims: one weight of a model, the parametrizations that compute it, and the names of the arrays they keep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from purenn.calling import located
from purenn.model import Bound, Keys, Leaf
from purenn.tree import flatten, unflatten
from transforms.parametrization import Parametrization

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """One weight, and the chain that computes it: the first from the raw arrays, each other from what came before.

    Args:
        path: of the weight in the plain model.
        chain: parametrizations, fitted to the weight.
        raws: names and declarations of the arrays that the first one takes.
        stack: axes of members or layers, each of which has such a weight, and is computed by itself.
        layer_axes: which of them are those of layers, as in `Leaf`.
    """

    path: str
    chain: tuple[Parametrization, ...]
    raws: tuple[tuple[str, Leaf], ...] = ()
    stack: tuple[int, ...] = ()
    layer_axes: tuple[int, ...] = ()

    def leaves(self) -> dict[str, Leaf]:
        """What is kept in place of the weight, by path."""
        if not self.stack:
            return self._leaves()
        axes: dict[str, Any] = {"layer_axes": self.layer_axes, "stacks": len(self.stack), "initializer": None}
        return {path: replace(leaf, shape=(*self.stack, *leaf.shape), **axes) for path, leaf in self._leaves().items()}

    def _leaves(self) -> dict[str, Leaf]:
        kept = {self._place(0, name, None): leaf for name, leaf in self.raws}
        for i, p in enumerate(self.chain):
            kept |= {self._place(i, name, i): leaf for name, leaf in flatten(p.structure()).items()}
        return kept

    def count(self) -> int:
        """How many arrays are kept; fewer paths mean that two claim one name."""
        return len(self.raws) + sum(len(flatten(p.structure())) for p in self.chain)

    def compute(self, arrays: Mapping[str, Any], keys: Keys, train: bool) -> tuple[Any, Arrays]:
        """Computes the weight.

        Args:
            arrays: what is kept, by path.
            keys: of the model.
            train: training or evaluation.

        Returns:
            ``(weight, buffers)``: the weight, in the dtype of what it comes from, and the own buffers afterwards, by
            path.
        """

        def one(own: Arrays, keys: Keys) -> tuple[Any, Arrays]:
            return self._compute(own, keys, train)

        return self._each(one, {path: arrays[path] for path in self._leaves()}, keys)

    def _each(self, one: Callable[[Any, Keys], Any], arrays: Any, keys: Keys) -> Any:
        """``one(arrays, keys)``, for each of the members or layers that have such a weight."""
        if not self.stack:
            return one(arrays, keys)

        def over(sizes: tuple[int, ...], arrays: Any, key: Any) -> Any:
            if not sizes:
                return one(arrays, Keys.root(self.path, key))
            inner = partial(over, sizes[1:])
            return jax.vmap(inner)(arrays, None if key is None else jax.random.split(key, sizes[0]))

        return over(self.stack, arrays, keys.own())

    def _compute(self, arrays: Mapping[str, Any], keys: Keys, train: bool) -> tuple[Any, Arrays]:
        weights = [arrays[self._place(0, name, None)] for name, _ in self.raws]
        after: Arrays = {}
        for i, p in enumerate(self.chain):
            m = self._bind(i, self._own(i, arrays), keys, train)
            with located(self.path):
                weights = [p.forward(m, *weights)]
            after |= {self._place(i, name, i): array for name, array in flatten(m.buffers).items()}
        return self._in_dtype(weights[0], arrays), after

    def _in_dtype(self, weight: Any, arrays: Mapping[str, Any]) -> Any:
        """The weight in the dtype to which a transform around has cast the raw arrays; statistics keep theirs."""
        given = [(arrays[self._place(0, name, None)].dtype, leaf.dtype) for name, leaf in self.raws]
        cast = [dtype for dtype, declared in given if dtype != declared]
        return weight.astype(jnp.result_type(*cast)) if cast else weight

    def start(self, weight: Any, keys: Keys, exact: bool, own: Mapping[str, Any] | None = None) -> Arrays:
        """Computes what is kept from the weight of the plain model.

        Args:
            weight: the array.
            keys: of the model.
            exact: whether the chain must give this weight; else each parametrization begins with what the one before
                gives, as torch registers them.
            own: the parametrizations' own arrays, by path, where they have been drawn.

        Returns:
            The arrays by path.
        """

        def one(arrays: Any, keys: Keys) -> Arrays:
            return self._start(arrays[0], arrays[1], keys, exact)

        return self._each(one, (weight, own), keys)

    def _start(self, weight: Any, own: Mapping[str, Any] | None, keys: Keys, exact: bool) -> Arrays:
        with located(self.path):
            bounds, raws = self.begin(weight, keys, exact, own)
            if exact and len(self.chain) > 1:
                raws = weight
                for p, m in reversed(list(zip(self.chain, bounds, strict=True))):
                    raws = p.right_inverse(m, raws)
        kept = {self._place(0, name, None): raw for name, raw in named(raws).items()}
        for i, m in enumerate(bounds):
            own = flatten(m._params) | flatten(m.buffers)
            kept |= {self._place(i, name, i): array for name, array in own.items()}
        return kept

    def begin(
        self, weight: Any, keys: Keys, exact: bool, own: Mapping[str, Any] | None = None
    ) -> tuple[list[Bound], Any]:
        """Binds the parametrizations to arrays that begin with the weight.

        Args:
            weight: of one member or layer, as the others are.
            keys: of the model.
            exact: as in `start`.
            own: as in `start`.

        Returns:
            ``(bound, raws)``: the parametrizations, bound, and what the first one takes.
        """
        bounds: list[Bound] = []
        raws: Any = ()
        for i, p in enumerate(self.chain):
            m = self._bind(i, self._draw(i, keys) if own is None else self._own(i, own), keys, False)
            p.begin(m, weight)
            if i == 0:
                raws = _inverse(p, m, weight, exact)
            if i + 1 < len(self.chain):
                weight = p.forward(m, *named(raws).values()) if i == 0 else p.forward(m, weight)
            bounds.append(m)
        return bounds, raws

    def _draw(self, i: int, keys: Keys) -> Arrays:
        if not self.chain[i].structure():
            return {}
        key = self._keys(i, keys).own()
        if key is None and self.chain[i].constant:
            key = jax.random.key(0)
        params, buffers = self.chain[i].init(key)
        return flatten(params) | flatten(buffers)

    def _own(self, i: int, arrays: Mapping[str, Any]) -> Arrays:
        return {name: arrays[self._place(i, name, i)] for name in flatten(self.chain[i].structure())}

    def bound(self, i: int, arrays: Mapping[str, Any], train: bool) -> Bound:
        """One parametrization with its own arrays.

        Args:
            i: which one.
            arrays: what is kept, by path.
            train: training or evaluation.

        Returns:
            Its children, with their arrays.
        """
        return self._bind(i, self._own(i, arrays), Keys(None), train)

    def _bind(self, i: int, own: Arrays, keys: Keys, train: bool) -> Bound:
        p = self.chain[i]
        leaves: dict[str, Leaf] = flatten(p.structure())
        params = unflatten({name: array for name, array in own.items() if leaves[name].trainable})
        buffers = unflatten({name: array for name, array in own.items() if not leaves[name].trainable})
        return Bound(p, params, buffers, self._keys(i, keys), train, type(p).__name__)

    def _keys(self, i: int, keys: Keys) -> Keys:
        *parents, name = self.path.split(".")
        for part in (*parents, "parametrizations", name, str(i)):
            keys = keys.child(part)
        return keys

    def _place(self, i: int, array: str, position: int | None) -> str:
        parent, _, name = self.path.rpartition(".")
        return f"{parent}.{self.chain[i].place(name, array, position)}".lstrip(".")


def named(raws: Any) -> Arrays:
    """Names what the first parametrization takes, as torch does.

    Args:
        raws: one array, or a tuple of them.

    Returns:
        The arrays by name.
    """
    if isinstance(raws, (tuple, list)):
        return {f"original{i}": raw for i, raw in enumerate(raws)}
    return {"original": raws}


def _inverse(p: Parametrization, m: Bound, weight: Any, exact: bool) -> Any:
    try:
        return p.right_inverse(m, weight)
    except NotImplementedError:
        if exact:
            raise
        return weight  # as torch does: the weight becomes the raw array
