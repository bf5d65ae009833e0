"""parametrize: weights computed from other weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Keys, Leaf, Model, Params, check_model, structure
from purenn.random import as_key
from purenn.tree import Tree, Where, combine, flatten, selected, unflatten
from transforms.claiming import claim
from transforms.claims import Arrays, Claim
from transforms.merging import Rewriting
from transforms.parametrization import as_parametrization


def parametrize(model: Model, where: Where, p: Any, *more: Any) -> "Parametrized":
    """Computes chosen weights from other arrays, which are kept and trained in their place.

    Args:
        model: any model.
        where: which params (see `purenn.tree`), frozen ones too: what a frozen weight comes from is frozen.
        p: a `Parametrization`, such as ``WeightNorm()``, or a function of one array.
        *more: others, each applied to what the one before gave. On a weight that is parametrised already, all are added
            behind those it has.

    Returns:
        The model. The arrays that a weight comes from are params, statistics are buffers, both under torch's names:
        ``layer.parametrizations.weight.original`` (``original0``, ``original1``, ... where there are several) and
        ``layer.parametrizations.weight.0.<name>``. `merge` computes the plain model's arrays, ``from_plain`` takes
        some in.

    Errors:
        TypeError for what is no model, or no parametrization; ValueError where ``where`` matches nothing, where two
        claim one name, or where a weight would change its shape or dtype.

    Torch:
        ``torch.nn.utils.parametrize.register_parametrization``, differs in that a weight is computed once in a call,
        however often it is read: `torch.nn.utils.parametrize.cached` always.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> positive = transforms.parametrize(L.Linear(3, 2), "weight", jnp.exp)
    >>> params, buffers = positive.init(jax.random.key(0))
    >>> params["parametrizations"]["weight"]["original"].shape
    (2, 3)
    """
    return apply_chain("parametrize", model, where, p, *more)


def apply_chain(op: str, model: Model, where: Where, *chain: Any) -> "Parametrized":
    """What `parametrize` does, under the name of the transform that asks.

    Args:
        op: name of the caller.
        model: any model.
        where: which params.
        *chain: parametrizations.

    Returns:
        The model.
    """
    check_model(op, model)
    fitted = tuple(as_parametrization(op, p) for p in chain)
    claims = {}
    if isinstance(model, Parametrized):
        claims = {each.path: each for each in model.claims}
        model = model.model
    leaves: dict[str, Leaf] = {path: leaf for path, leaf in flatten(structure(model)).items() if leaf.parameter}
    _check_unclaimed(op, leaves, where)
    for path in selected(unflatten(leaves), where, op):
        before = claims[path].chain if path in claims else ()
        claims[path] = claim(op, path, leaves[path], before + fitted)
    result = Parametrized(model, tuple(claims.values()))
    _check_free(op, result)
    return result


def _check_unclaimed(op: str, leaves: Mapping[str, Leaf], where: Where) -> None:
    """Refuses a glob that matches nothing but a weight which a transform further in has replaced."""
    if callable(where):
        return
    inner = {re.sub(r"parametrizations\.([^.]+)\.original\d*$", r"\1", path.removesuffix("_orig")) for path in leaves}
    for glob in [where] if isinstance(where, str) else where:
        claimed = [path for path in sorted(inner - set(leaves)) if fnmatchcase(path, glob)]
        if claimed and not any(fnmatchcase(path, glob) for path in leaves):
            remedy = "Another transform inside the model computes it already: merge that first, or chain both there."
            raise refusal(op, "a weight must be claimed once", {"path": claimed[0]}, remedy)


def _check_free(op: str, model: "Parametrized") -> None:
    taken = set(model._plain).difference(each.path for each in model.claims)
    for each in model.claims:
        names = each.leaves()
        if both := sorted(taken & set(names)):
            rule = "the names of the arrays that a weight comes from must be free"
            raise refusal(op, rule, {"path": each.path, "taken": both}, "Another transform claims them.")
        taken |= set(names)


@dataclass(frozen=True)
class Parametrized(Rewriting):
    """The model that `parametrize` gives."""

    model: Model
    claims: tuple[Claim, ...]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws; the weights begin as the nearest that the parametrizations can give."""
        rng = as_key("parametrize.init", rng)
        return self._start(*self.model.init(rng), rng, exact=False)

    def from_plain(self, params: Params, buffers: Buffers, rng: Any = None) -> tuple[Params, Buffers]:
        """Takes arrays of the plain model in; see `Rewriting.from_plain`.

        Args:
            params: of the plain model.
            buffers: of the plain model.
            rng: PRNG key, where a parametrization draws arrays of its own, as `lora` does.

        Returns:
            ``(params, buffers)``, from which the weights given are computed, as near as the parametrizations can.

        Errors:
            NotImplementedError where a parametrization has no inverse; ValueError where ``rng`` is needed, or an array
            is missing.
        """
        return self._start(params, buffers, rng, exact=True)

    def _start(self, params: Params, buffers: Buffers, rng: Any, exact: bool) -> tuple[Params, Buffers]:
        arrays = flatten(combine(params, buffers))
        keys = Keys.root("from_plain", rng)
        if missing := [each.path for each in self.claims if each.path not in arrays]:
            remedy = "They are those of the plain model."
            raise refusal("from_plain", "params and buffers must hold the weights", {"missing": missing}, remedy)
        for each in self.claims:
            arrays |= each.start(arrays.pop(each.path), keys, exact)
        trained = {path for path, leaf in flatten(self._order).items() if leaf.trainable}
        return self.arranged(*_divide(arrays, trained))

    def sources(self, path: str) -> list[str]:
        """Lists what a weight is computed from; see `Rewriting.sources`."""
        return next(([*each.leaves()] for each in self.claims if each.path == path), [path])

    def structure(self) -> Tree:
        """Lists the model's leaves, and in place of the weights what they are computed from."""
        kept: dict[str, Leaf] = {}
        for each in self.claims:
            kept |= each.leaves()
        claimed = {each.path for each in self.claims}
        rest = {path: kept.get(path, leaf) for path, leaf in self._plain.items() if path in kept or path not in claimed}
        return _in_torchs_order(unflatten(rest | kept))

    @cached_property
    def _plain(self) -> dict[str, Leaf]:
        return flatten(structure(self.model))

    def enter(self, params: Params, buffers: Buffers, rng: Any, train: bool) -> tuple[Params, Buffers, Arrays]:
        """Computes the weights, and hands them over."""
        arrays = flatten(combine(params, buffers))
        kept = {path: leaf for each in self.claims for path, leaf in each.leaves().items()}
        if missing := [path for path in kept if path not in arrays]:
            remedy = "params and buffers come from the parametrised model's own init or from_plain."
            rule = "params and buffers must hold what the weights are computed from"
            raise refusal("parametrize", rule, {"missing": missing}, remedy)
        note = {path: arrays.pop(path) for path in kept}
        keys = Keys.root("parametrize", rng)
        trained = set(flatten(params)).difference(kept)
        for each in self.claims:
            arrays[each.path], after = each.compute(note, keys, bool(train))
            note |= after
            if self._plain[each.path].trainable:
                trained.add(each.path)
        unchanged = {path: array for path, array in note.items() if not kept[path].trainable}
        return *_divide(arrays, trained), unchanged

    def leave(self, buffers: Buffers, note: Arrays) -> Buffers:
        """Keeps the statistics of the parametrizations, and not the weights."""
        claimed = {each.path for each in self.claims}
        rest = {path: array for path, array in flatten(buffers).items() if path not in claimed}
        return unflatten(rest | note)


def _divide(arrays: Mapping[str, Any], trained: set[str]) -> tuple[Params, Buffers]:
    return (
        unflatten({path: array for path, array in arrays.items() if path in trained}),
        unflatten({path: array for path, array in arrays.items() if path not in trained}),
    )


def _in_torchs_order(tree: Tree) -> Tree:
    """At each node parameters, then buffers, then branches; what was added comes last among its like."""

    def rank(node: Any) -> int:
        return 1 - node.parameter if isinstance(node, Leaf) else 2

    nodes = {name: node if isinstance(node, Leaf) else _in_torchs_order(node) for name, node in tree.items()}
    return dict(sorted(nodes.items(), key=lambda item: rank(item[1])))
