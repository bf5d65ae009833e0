"""Recording: an interceptor that keeps something of every call, also of those inside vmap, scan and checkpoint."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from purenn.calling import Interceptor, Paths, Run

Note = Callable[[Paths, tuple[Any, ...], dict[str, Any], Any], Any]


class Recording(Interceptor):
    """Keeps what ``note`` says of each call, by path and in the order in which the calls ended.

    Args:
        note: ``note(paths, args, kwargs, out) -> kept``, a pytree, or None for nothing. Inside a body that like layers
            share, ``paths`` has one path for each, and what is kept is kept for all of them.

    >>> import jax, jax.numpy as jnp
    >>> from purenn import layers as L
    >>> from purenn.calling import intercepted
    >>> net = L.Sequential(L.Linear(3, 2), jnp.tanh)
    >>> record = Recording(lambda paths, args, kwargs, out: out.shape)
    >>> with intercepted(record):
    ...     _ = net.apply(*net.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> record.calls
    {('0',): [(5, 2)], ('1',): [(5, 2)], ('',): [(5, 2)]}
    """

    def __init__(self, note: Note):
        self.note = note
        self.calls: dict[Paths, list[Any]] = {}

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the child, and takes a note."""
        out = run(*args, **kwargs)
        kept = self.note(paths, args, kwargs, out)
        if kept is not None:
            self.calls.setdefault(paths, []).append(kept)
        return out

    def inside(self, given: Any, base: Paths, names: Sequence[str] | None) -> "Recording":
        """Records apart what is inside a region."""
        del given, base, names
        return Recording(self.note)

    def taken(self) -> dict[int, Any]:
        """Lists the arrays among what was kept."""
        leaves, _ = jax.tree.flatten(list(self.calls.values()))
        return {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}

    def outside(self, inner: "Recording", taken: dict[int, Any], names: Sequence[str] | None) -> None:
        """Adds what was recorded inside; with ``names``, to each layer what is its own."""
        if names is None:
            self._add(inner.calls, inner._with(taken))
            return
        for i in range(len(names)):
            layer = inner._with({place: array[i] for place, array in taken.items()})
            self._add([paths[i :: len(names)] for paths in inner.calls], layer)

    def _with(self, arrays: dict[int, Any]) -> list[list[Any]]:
        """What was kept, with other arrays in it."""
        leaves, tree = jax.tree.flatten(list(self.calls.values()))
        return jax.tree.unflatten(tree, [arrays.get(i, leaf) for i, leaf in enumerate(leaves)])

    def _add(self, places: Any, kept: list[list[Any]]) -> None:
        for paths, values in zip(places, kept, strict=True):
            self.calls.setdefault(paths, []).extend(values)
