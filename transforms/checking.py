"""checked: a model that names what goes wrong in it, while somebody is looking."""

import weakref
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import Interceptor, Paths, Run, intercepted
from purenn.checks import checked as checked_function
from purenn.checks import is_checking, is_traced, require
from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.tree import Tree, flatten
from transforms.liveness import Uses, uses_of
from transforms.merging import Merge, merged_around
from transforms.viewing import View


def checked(model: Model, *, finite: bool = True, unused: bool = True, reused: bool = True) -> "Checked":
    """Makes a model that looks at the values and names what is wrong: for debugging.

    Called outside a trace, it compiles the checks in and raises. Inside a trace it adds them where `purenn.checked` is
    around, as in ``purenn.checked(trainer.step)``; elsewhere it adds nothing at all.

    Args:
        model: any model.
        finite: whether the output of each module is looked at. What is checked beside it is indices out of range, and
            whatever else `purenn.functional` can tell by values alone.
        unused: outside a trace, whether a training call must use every param, and read or update every buffer.
        reused: outside a trace, whether a training call must have a key of its own, use no key twice, and be given the
            buffers that the last one returned.

    Returns:
        The model.

    Errors:
        TypeError for what is no model. In a call, ``checkify.JaxRuntimeError`` for values, with the path of the module;
        ValueError for arrays that are not used, keys that are used again, and buffers that were discarded.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = transforms.checked(L.Sequential(L.Linear(3, 2), jnp.log))
    >>> try:
    ...     net.apply(*net.init(jax.random.key(0)), -1e3 * jnp.ones((1, 3)))
    ... except Exception as error:
    ...     print(str(error).splitlines()[0])
    checked: the output of 1 must be finite. (`check` failed)
    """
    check_model("checked", model)
    return Checked(model, finite, unused, reused)


@dataclass(frozen=True)
class Checked(View):
    """The model that `checked` gives."""

    model: Model
    finite: bool = True
    unused: bool = True
    reused: bool = True

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
        """Shows what there is."""
        del rng, train
        return params, buffers, None

    def leave(self, buffers: Buffers, note: None) -> Buffers:
        """Keeps what there is."""
        del note
        return buffers

    def around(self) -> AbstractContextManager[None]:
        """Looks at what each module gives, where checks are compiled in."""
        return intercepted(_Looking()) if self.finite and is_checking() else nullcontext()

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model; see `purenn.Model`."""
        inputs = params, buffers, args, rng, kwargs
        leaves, tree = jax.tree.flatten(inputs)
        if is_checking() or is_traced(*leaves):
            return super().apply(params, buffers, *args, rng=rng, train=train, **kwargs)
        arrays = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}
        fixed = tuple(None if i in arrays else leaf for i, leaf in enumerate(leaves))

        def run(arrays: dict[int, Any]) -> tuple[Any, Buffers]:
            full = [arrays.get(i, leaf) for i, leaf in enumerate(fixed)]
            params, buffers, args, rng, kwargs = jax.tree.unflatten(tree, full)
            return View.apply(self, params, buffers, *args, rng=rng, train=train, **kwargs)

        shapes = tuple((i, array.shape, str(array.dtype)) for i, array in arrays.items())
        fn, uses = self._calls.get((tree, fixed, shapes, train), (None, None))
        if fn is None:
            uses = uses_of(run, arrays, inputs)
            fn = checked_function(run)
            self._calls[tree, fixed, shapes, train] = fn, uses
        if train:
            self._look(uses, buffers, rng)
        out, after = fn(arrays)
        if train:
            self._memory.note(uses, buffers, rng)
        return out, self.ordered(after)

    def _look(self, uses: Uses, buffers: Buffers, rng: Any) -> None:
        if self.unused and uses.unused:
            remedy = "Leave them out, or freeze what is kept on purpose: checked(model, unused=False)."
            raise refusal("checked", "a training call must use every array", {"unused": uses.unused}, remedy)
        if self.reused:
            self._memory.look(uses, buffers, rng)

    @cached_property
    def _calls(self) -> dict[Any, Any]:
        return {}

    @cached_property
    def _memory(self) -> "_Memory":
        return _Memory()

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _Looking(Interceptor):
    """Checks that what a module gives is finite; the innermost and first one is named."""

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the child, and looks."""
        out = run(*args, **kwargs)
        name = " or ".join(dict.fromkeys([paths[0], paths[-1]])) if len(paths) < 3 else f"{paths[0]} to {paths[-1]}"
        for leaf in jax.tree.leaves(out):
            if isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.inexact):
                require(jnp.isfinite(leaf), "checked", f"the output of {name or 'the model'} must be finite")
        return out


class _Memory:
    """What earlier training calls used up: keys, and the buffers that they replaced."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.replaced: dict[int, Any] = {}  # weak references by id

    def look(self, uses: Uses, buffers: Buffers, rng: Any) -> None:
        flat = flatten(buffers)
        stale = [path for path in uses.updated if self.replaced.get(id(flat[path]), _nothing)() is flat[path]]
        if stale:
            remedy = "Keep them: out, buffers = model.apply(params, buffers, ...)."
            rule = "a training call must be given the buffers that the last one returned"
            raise refusal("checked", rule, {"discarded": stale}, remedy)
        if uses.draws and _bytes(rng) in self.keys:
            remedy = "Fold the step into it: jax.random.fold_in(rng, step)."
            raise refusal("checked", "a training call must have a key of its own", {"rng": "one used before"}, remedy)

    def note(self, uses: Uses, buffers: Buffers, rng: Any) -> None:
        flat = flatten(buffers)
        alive = {place: array for place, array in self.replaced.items() if array() is not None}
        self.replaced = alive | {id(flat[path]): weakref.ref(flat[path]) for path in uses.updated}
        if uses.draws:
            self.keys.add(_bytes(rng))


def _nothing() -> None:
    return None


def _bytes(rng: Any) -> bytes:
    typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(rng) if typed else rng).tobytes()
