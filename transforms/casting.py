"""precision: weights kept in float32, computed with in less."""

import fnmatch
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from purenn.calling import Interceptor, Paths, Run, intercepted
from purenn.errors import refusal
from purenn.layering import names
from purenn.model import Buffers, Leaf, Model, Params, check_model, structure
from purenn.tree import Tree, Where, flatten, selected, unflatten
from transforms.dtypes import cast, cast_leaves, floating
from transforms.viewing import View


def precision(
    model: Model,
    compute: Any = jnp.bfloat16,
    param: Any = jnp.float32,
    output: Any = jnp.float32,
    reduce: Any = jnp.float32,
    where: Where | None = None,
) -> "Precision":
    """Chooses the dtypes of a model: of what it keeps, computes with, gives, and takes statistics in.

    What goes into a module is cast to the dtype it computes with, so that those in ``compute`` and those that were not
    chosen may follow each other. Buffers, such as running statistics, keep the dtype they have. Sums inside
    `purenn.functional` (of normalisers, softmax, losses) are taken in float32 at least, whatever is said here.

    Args:
        model: any model.
        compute: of weights and inputs during a call.
        param: of the weights that are kept, trained and saved.
        output: of the model's output, so that losses are taken in it.
        reduce: of the scales and shifts of normalisers; a dtype wider than float32 is that of their statistics too.
        where: which weights (see `purenn.tree`), frozen ones too; a glob may name a module, for all that is in it. None
            is all. The others keep and compute with the dtype they have.

    Returns:
        The model; its params have the dtype ``param``. For each dtype None leaves what there is.

    Errors:
        TypeError for what is no model, or a dtype that is not floating; ValueError where ``where`` matches no floating
        weight, or one that another `precision` inside has chosen.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = transforms.precision(L.Sequential(L.Linear(3, 4), L.LayerNorm(4), jnp.tanh), output=None)
    >>> params, buffers = net.init(jax.random.key(0))
    >>> params["0"]["weight"].dtype, net.apply(params, buffers, jnp.ones((5, 3)))[0].dtype
    (dtype('float32'), dtype(bfloat16))

    Source:
        Micikevicius et al., "Mixed Precision Training" (2018).

    Torch:
        ``torch.autocast``, differs in that dtypes go by module, not by operation.
    """
    check_model("precision", model)
    dtypes = {
        name: floating(name, dtype)
        for name, dtype in (("compute", compute), ("param", param), ("output", output), ("reduce", reduce))
    }
    weights = _weights(structure(model))
    paths = frozenset(weights if where is None else selected(unflatten(weights), _wider(where, weights), "precision"))
    for inner in _precisions(model):
        if both := sorted(paths & inner.paths):
            remedy = "Say it in one place, or choose the others."
            raise refusal("precision", "a weight must be chosen once", {"chosen twice": both}, remedy)
    return Precision(model, paths, **dtypes)


def _weights(tree: Tree) -> dict[str, Leaf]:
    """Floating parameters, frozen ones too."""
    flat: dict[str, Leaf] = flatten(tree)
    return {path: leaf for path, leaf in flat.items() if leaf.parameter and jnp.issubdtype(leaf.dtype, jnp.floating)}


def _wider(where: Where, weights: Mapping[str, Any]) -> Where:
    """A glob that names a module, as one that names what is in it."""
    if callable(where):
        return where
    wider = []
    for glob in [where] if isinstance(where, str) else where:
        both = [g for g in (glob, f"{glob}.*") if any(fnmatch.fnmatchcase(path, g) for path in weights)]
        wider += both or [glob]
    return wider


def _precisions(model: Any) -> Iterator["Precision"]:
    """Those around the innermost model, from the outermost inwards."""
    while model is not None:
        if isinstance(model, Precision):
            yield model
        model = getattr(model, "model", None)


@dataclass(frozen=True)
class Precision(View):
    """The model that `precision` gives."""

    model: Model
    paths: frozenset[str]
    compute: Any
    param: Any
    output: Any
    reduce: Any

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws, and casts it."""
        return self.kept(*self.model.init(rng))

    def kept(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        """Casts arrays to the dtypes that are kept.

        Args:
            params: of this model, in any dtype.
            buffers: likewise.

        Returns:
            ``(params, buffers)``.
        """
        dtypes = dict.fromkeys(self.paths, self.param)
        return cast_leaves(params, dtypes), cast_leaves(buffers, dtypes)

    def structure(self) -> Tree:
        """Lists the model's leaves, the chosen ones in the dtype that is kept."""
        leaves = flatten(structure(self.model))
        return unflatten({path: self._keeps(leaf) if path in self.paths else leaf for path, leaf in leaves.items()})

    def _keeps(self, leaf: Leaf) -> Leaf:
        if self.param is None or self.param == leaf.dtype:
            return leaf
        return replace(leaf, dtype=self.param, initializer=None)  # drawn in the model's own dtype, and cast

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Tree]:
        """Casts the chosen weights; those among the buffers are frozen."""
        del rng, train
        frozen = {path: array for path, array in flatten(buffers).items() if path in self._shown}
        return cast_leaves(params, self._shown), cast_leaves(buffers, self._shown), frozen

    def leave(self, buffers: Buffers, note: Mapping[str, Any]) -> Buffers:
        """Takes the frozen weights back as they were, and the rest in the dtypes it has."""
        return unflatten({**flatten(cast_leaves(buffers, self._kept_dtypes)), **note})

    def run(self, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the model, and casts its output."""
        return cast(super().run(bound, args, kwargs), self.output)

    def around(self) -> AbstractContextManager[None]:
        """Casts what goes into each module."""
        return intercepted(_Casting(self))

    @cached_property
    def _shown(self) -> dict[str, Any]:
        """The dtypes in which the chosen weights are seen."""
        leaves = flatten(self._order)
        return {path: self.reduce if leaves[path].norm else self.compute for path in leaves if path in self.paths}

    @cached_property
    def _kept_dtypes(self) -> dict[str, Any]:
        return {path: leaf.dtype for path, leaf in flatten(self._order).items()}

    @cached_property
    def entries(self) -> dict[str, Any]:
        """The dtypes that modules compute with, by path: that of their own weights, or of all those below."""
        own: dict[str, set[Any]] = defaultdict(set)
        below: dict[str, set[Any]] = defaultdict(set)
        weights = _weights(self._order)
        # layers that are kept stacked are called by their own names
        for name, (path, _) in names(flatten(self._order)).items():
            if path not in weights:
                continue
            dtype = self.compute if path in self.paths else weights[path].dtype
            parent = name.rpartition(".")[0]
            own[parent].add(dtype)
            while parent:
                parent = parent.rpartition(".")[0]
                below[parent].add(dtype)
        dtypes = {path: own.get(path) or below[path] for path in {*own, *below}}
        return {path: next(iter(found)) for path, found in dtypes.items() if len(found) == 1}

    @cached_property
    def wide_norms(self) -> frozenset[str]:
        """The chosen normalisers, where they are to take their statistics in more than float32."""
        if self.reduce is None or jnp.promote_types(self.reduce, jnp.float32) == jnp.float32:
            return frozenset()
        leaves = flatten(self._order)
        chosen = {path for path in self.paths if leaves[path].norm}
        return frozenset(name.rpartition(".")[0] for name, (path, _) in names(leaves).items() if path in chosen)


class _Casting(Interceptor):
    """Casts the inputs of each module to the dtype that it computes with."""

    def __init__(self, policy: Precision):
        self.policy = policy

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the child on what is cast."""
        entries = [self.policy.entries.get(path) for path in paths]
        if len(set(entries)) > 1:
            got = {path: str(entry) for path, entry in zip(paths, entries, strict=True)}
            raise refusal("precision", "layers that share one compiled body must have one dtype", got)
        if paths[0] in self.policy.wide_norms:
            args, kwargs = cast((args, kwargs), self.policy.reduce)
            return cast(run(*args, **kwargs), entries[0])
        args, kwargs = cast((args, kwargs), entries[0])
        return run(*args, **kwargs)


def precise(op: str, model: Model, choice: Any) -> Model:
    """Wraps a model in `precision`, for another transform that takes it as an option.

    Args:
        op: name of the caller, for errors.
        model: any model.
        choice: None for none, a dtype to compute with, or the options of `precision`.

    Returns:
        The model.

    Errors:
        TypeError for unknown options, and what `precision` says.
    """
    if choice is None:
        return model
    if not isinstance(choice, Mapping):
        return precision(model, choice)
    known = [name for name in inspect.signature(precision).parameters if name != "model"]
    if unknown := [name for name in choice if name not in known]:
        got = {"unknown": unknown, "known": known}
        raise refusal(op, "precision must be a dtype or options of transforms.precision", got, kind=TypeError)
    return precision(model, **choice)


def computes_in(model: Model, dtype: Any) -> bool:
    """Whether a `precision` around or inside a model computes in a dtype.

    Args:
        model: any; transforms are looked through.
        dtype: which.

    Returns:
        The answer.
    """
    return any(found.compute == dtype for found in _precisions(model))
