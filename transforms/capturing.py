"""capture and patch: activations by their torch paths, out of a model and back in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from purenn.calling import Interceptor, Paths, Run, intercepted, shared
from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.recording import Recording
from purenn.tree import Tree, Where, choose, matches
from transforms.merging import Merge, merged_around
from transforms.viewing import View


def capture(model: Model, where: Where) -> "Captured":
    """Also gives the outputs of chosen children, under their torch paths.

    Args:
        model: any model.
        where: which children: a glob on the paths that torch's ``named_modules`` has, several, or a predicate
            ``(path, output) -> bool``.

    Returns:
        The model; its output is ``(out, {path: output})``. Where a child is called more than once, its later outputs
        are called ``path:1``, ``path:2``. Inside an `ensemble` they have the axis of the members; layers that `scan`
        runs have a name each. What is captured is part of the program: it can be differentiated, and `patch` puts it
        back in.

    Errors:
        TypeError for what is no model; in a call, ValueError where ``where`` matches nothing. A child that the model
        calls under a ``jax.vmap`` or ``jax.lax.scan`` of its own cannot be captured: jax.errors.UnexpectedTracerError.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = transforms.capture(L.Sequential(L.Linear(3, 4), jnp.tanh, L.Linear(4, 2)), "1")
    >>> (out, taken), _ = net.apply(*net.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> out.shape, taken["1"].shape
    ((5, 2), (5, 4))
    """
    check_model("capture", model)
    return Captured(model, where if isinstance(where, str) or callable(where) else tuple(where))


def patch(model: Model) -> "Patched":
    """Replaces the outputs of children: the inverse of `capture`.

    Args:
        model: any model.

    Returns:
        The model with one more input, before the others: ``{path: value}``, in the names of `capture`. A value has the
        structure, shapes and dtypes of the output that it replaces, or is a function of that output. A child that is
        replaced runs all the same: its buffers move. Gradients with respect to a value are those with respect to the
        activation.

    Errors:
        TypeError for what is no model; in a call, ValueError for a path at which no child is called, or a value that
        does not fit.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = transforms.patch(L.Sequential(L.Linear(3, 4), jnp.tanh, L.Linear(4, 2, bias=False)))
    >>> out, _ = net.apply(*net.init(jax.random.key(0)), {"1": lambda h: 0 * h}, jnp.ones((5, 3)))
    >>> float(jnp.abs(out).max())
    0.0
    """
    check_model("patch", model)
    return Patched(model)


class _Passing(View):
    """A model whose arrays are those of the model inside."""

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws."""
        return self.model.init(rng)

    def structure(self) -> Tree:
        """Lists the model's leaves."""
        return structure(self.model)

    def merge_inside(self, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
        """Merges the model inside; see `transforms.merge`."""
        return merged_around(self, merge, params, buffers)

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, None]:
        """Hands the arrays over."""
        return params, buffers, None

    def leave(self, buffers: Buffers, note: None) -> Buffers:
        """Takes the buffers."""
        return buffers

    def ordered(self, buffers: Buffers) -> Buffers:
        """Leaves them as the model has them."""
        return buffers


@dataclass(frozen=True)
class Captured(_Passing):
    """The model that `capture` gives."""

    model: Model
    where: Where

    def run(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the bound model, and gives what it captured beside its output."""
        seen: dict[str, Any] = {}

        def note(paths: Paths, args: Any, kwargs: Any, out: Any) -> Any:
            seen.update(dict.fromkeys(filter(None, paths), out))
            return out if any(matches(self.where, path, out) for path in paths if path) else None

        record = Recording(note)
        with intercepted(record):
            out = bound(*args, **kwargs)
        if not record.calls:
            choose(seen, self.where, "capture")
        return out, self._named(record, seen)

    def _named(self, record: Recording, seen: dict[str, Any]) -> dict[str, Any]:
        chosen = set(choose(seen, self.where, "capture"))
        taken: dict[str, Any] = {}
        for (path,), values in record.calls.items():
            if path in chosen:
                taken |= {_of_call(path, i): value for i, value in enumerate(values)}
        return taken


@dataclass(frozen=True)
class Patched(_Passing):
    """The model that `patch` gives."""

    model: Model

    def run(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the bound model with other activations."""
        if not args or not isinstance(args[0], Mapping):
            got = {"its type": type(args[0]).__name__ if args else None}
            raise refusal("patch", "the first input must be a dict of values by path", got, kind=TypeError)
        replacing = _Replacing({(path,): [(None, value)] for path, value in args[0].items()})
        with intercepted(replacing):
            out = bound(*args[1:], **kwargs)
        if unused := [path for (path,) in replacing.values if (path,) not in replacing.used]:
            remedy = "Paths are those that capture gives."
            raise refusal("patch", "a path must be that of a child that is called", {"unknown": unused}, remedy)
        return out


# A replacement, for the layers where the mask is true; None for all.
Replacement = tuple[jax.Array | None, Any]


class _Replacing(Interceptor):
    """Replaces the outputs at some paths; inside a scanned body, at those of some of the layers."""

    def __init__(self, values: dict[Paths, list[Replacement]], counts: dict[Paths, int] | None = None):
        self.values = values
        self.counts: dict[Paths, int] = {} if counts is None else counts
        self.used: set[Paths] = set()

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the child; its output may be replaced."""
        out = run(*args, **kwargs)
        count = self.counts[paths] = self.counts.get(paths, -1) + 1
        key = tuple(_of_call(path, count) for path in paths)
        for mask, value in self.values.get(key, ()):
            self.used.add(key)
            out = _replaced(key[0], mask, value, out)
        return out

    def given(self, base: Paths, names: Sequence[str] | None) -> Any:
        """Lists the values for what is inside; per layer, where there are some, with their masks."""
        entries = [entry for below in self._below(base, names).values() for entry in below]
        return [(None if names is None else mask, {} if callable(value) else value) for mask, value in entries]

    def inside(self, given: Any, base: Paths, names: Sequence[str] | None) -> "_Replacing":
        """Replaces inside with the values of this member, or this layer."""
        arrays = iter(given)
        values: dict[Paths, list[Replacement]] = {}
        for key, entries in self._below(base, names).items():
            for mask, value in entries:
                own_mask, array = next(arrays)
                # a mask over layers has no axis of members: it is closed over, not mapped
                own: Replacement = (mask if names is None else own_mask, value if callable(value) else array)
                values.setdefault(key, []).append(own)
        counts = [(_in_body(key, base, names), count) for key, count in self.counts.items()]
        return _Replacing(values, {body[1]: count for body, count in counts if body})

    def outside(self, inner: "_Replacing", taken: Any, names: Sequence[str] | None) -> None:
        """Learns which values have been used, and which calls made."""
        step = 1 if names is None else len(names)
        for i in range(step):
            self.used |= {key[i::step] for key in inner.used}
            self.counts |= {key[i::step]: count for key, count in inner.counts.items()}

    def _below(self, base: Paths, names: Sequence[str] | None) -> dict[Paths, list[Replacement]]:
        """The replacements at paths below this place: as they are, or stacked over the layers of one body."""
        below: dict[Paths, list[Replacement]] = {}
        for key, entries in self.values.items():
            if body := _in_body(key, base, names):
                layer, shared_key = body
                for mask, value in entries:
                    own = (mask, value) if names is None else _in_layer(layer, len(names), mask, value)
                    below.setdefault(shared_key, []).append(own)
        return below


def _in_body(key: Paths, base: Paths, names: Sequence[str] | None) -> tuple[int, Paths] | None:
    """Which layer a call belongs to, and its paths in the body that the layers share; None for a call elsewhere."""
    if base[0] and not key[0].startswith(f"{base[0]}."):
        return None
    if names is None:
        return 0, key
    rest = key[0][len(base[0]) :].lstrip(".")
    name = re.split("[.:]", rest, maxsplit=1)[0]
    if name not in names:
        return None
    return names.index(name), tuple(f"{path}{rest[len(name) :]}" for path in shared(base, names))


def _in_layer(layer: int, n: int, mask: jax.Array | None, value: Any) -> Replacement:
    """A replacement for one of n layers, with the layers as first axis."""
    here = jnp.arange(n) == layer
    both = here if mask is None else here & mask
    if callable(value):
        return both, value
    return both, jax.tree.map(lambda a: jnp.broadcast_to(a, (n, *jnp.shape(a))), value)


def _replaced(path: str, mask: jax.Array | None, value: Any, out: Any) -> Any:
    new = value(out) if callable(value) else value
    wanted, got = (jax.tree.map(lambda a: f"{jnp.result_type(a)}{list(jnp.shape(a))}", tree) for tree in (out, new))
    if wanted != got:
        rule = "a value must have the structure, shapes and dtypes of the output it replaces"
        raise refusal("patch", rule, {"path": path, "value": got, "output": wanted})
    return new if mask is None else jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, out)


def _of_call(path: str, count: int) -> str:
    return f"{path}:{count}" if count else path
