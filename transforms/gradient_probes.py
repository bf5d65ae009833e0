"""Probes: what is known of the gradients inside a model, by the module and in the order of the backward pass."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import Interceptor, Paths, Run, shared
from purenn.model import Params


def is_floating(leaf: Any) -> bool:
    """Says whether a leaf is an array that may be not finite.

    Args:
        leaf: any.

    Returns:
        Whether it is.
    """
    return isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.inexact)


class Site(NamedTuple):
    """A call: when it begins and ends, by its place in each region around it, and the layers of these regions."""

    start: tuple[int, ...]
    end: tuple[int, ...]
    sizes: tuple[int, ...]


Key = tuple[Paths, int]  # the places of a call, and which of the calls there it is


class Survey(Interceptor):
    """Lists the calls of a model."""

    def __init__(self, sites: dict[Key, Site], regions: tuple[int, ...] = (), sizes: tuple[int, ...] = ()):
        self.sites, self.regions, self.sizes = sites, regions, sizes
        self.clock = count()
        self.seen: Counter[Paths] = Counter()

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Notes when it takes place."""
        start, key = next(self.clock), (paths, self.seen[paths])
        self.seen[paths] += 1
        out = run(*args, **kwargs)
        self.sites[key] = Site((*self.regions, start), (*self.regions, next(self.clock)), self.sizes)
        return out

    def inside(self, given: Any, base: Paths, names: Sequence[str] | None) -> "Survey":
        """Lists those of layers that share a body with their number."""
        del given, base
        if names is None:
            return self
        return Survey(self.sites, (*self.regions, next(self.clock)), (*self.sizes, len(names)))


class Probing(Interceptor):
    """Brings a probe into each call, whose gradient is what is to be known of the call's gradients."""

    def __init__(self, probes: dict[Key, jax.Array]):
        self.probes = probes  # (*sizes, 2), without the sizes of the regions that this one is in
        self.seen: Counter[Paths] = Counter()

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Watches the inputs and the output."""
        probe = self.probes[paths, self.seen[paths]]
        self.seen[paths] += 1
        args, kwargs = _watched((args, kwargs), probe, 0)
        return _watched(run(*args, **kwargs), probe, 1)

    def given(self, base: Paths, names: Sequence[str] | None) -> dict[Key, jax.Array]:
        """Lists the probes of calls in layers that share a body, by layer."""
        if names is None:
            return {}
        first = shared(base, names)[0]
        return {key: probe for key, probe in self.probes.items() if f"{key[0][0]}.".startswith(f"{first}.")}

    def inside(self, given: dict[Key, jax.Array], base: Paths, names: Sequence[str] | None) -> "Probing":
        """Takes those of one layer."""
        del base
        return self if names is None else Probing(given)


def _watched(tree: Any, probe: jax.Array, slot: int) -> Any:
    return jax.tree.map(lambda leaf: _watch(slot, leaf, probe) if is_floating(leaf) else leaf, tree)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _watch(slot: int, x: jax.Array, probe: jax.Array) -> jax.Array:
    """``x``; the gradient of the probe is the number of numbers in that of ``x`` which are not finite."""
    del slot, probe
    return x


def _watch_fwd(slot: int, x: jax.Array, probe: jax.Array) -> tuple[jax.Array, None]:
    del slot, probe
    return x, None


def _watch_bwd(slot: int, residual: None, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    del residual
    return g, jnp.zeros(2).at[slot].set(jnp.sum(~jnp.isfinite(g)).astype(jnp.float32))


_watch.defvjp(_watch_fwd, _watch_bwd)


def events(paths: Paths, site: Site, found: np.ndarray, grads: Params) -> Iterator[tuple[Any, str, str, int]]:
    """What is known of a call's gradients, as ``(time, path, what, count)``, for each layer."""
    for layers in np.ndindex(site.sizes):
        path = paths[int(np.ravel_multi_index(layers, site.sizes)) if layers else 0]
        yield (*_time(site.end, layers), 1), path, "output gradient", int(found[layers][1])
        yield (*_time(site.start, layers), 1), path, "input gradient", int(found[layers][0])
        for name, wrong in grads.items():
            if name.rpartition(".")[0] == path:
                yield (*_time(site.start, layers), 0), name, "param gradient", int(wrong)


def _time(places: tuple[int, ...], layers: tuple[int, ...]) -> tuple[int, ...]:
    """The place in each region, then which layer of it."""
    return tuple(number for pair in zip(places, (*layers, 0), strict=True) for number in pair)
