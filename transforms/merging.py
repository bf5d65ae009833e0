"""Rewriting: the base of the transforms after which a model can be plain again; and `merge`, the way back.

`parametrize` and its cases, `tie` and `ema` keep other arrays than the model has, from which the model's follow. So
arrays can go both ways: `merge` computes those of the plain model, ``model.from_plain`` takes some in.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.random import as_key
from purenn.tree import reorder
from transforms.viewing import View

Merge = Callable[[Any, Params, Buffers], tuple[Model, Params, Buffers]]


class Rewriting(View):
    """A view whose arrays come from those of the plain model, and give them."""

    def from_plain(self, params: Params, buffers: Buffers, rng: Any = None) -> tuple[Params, Buffers]:
        """Takes arrays of the plain model in: the inverse of `merge`.

        Args:
            params: of the plain model.
            buffers: of the plain model.
            rng: PRNG key, where this model draws arrays of its own.

        Returns:
            ``(params, buffers)`` of this model, such that it shows the plain model the arrays given.
        """
        raise NotImplementedError

    def sources(self, path: str) -> list[str]:
        """Lists what an array of the plain model follows from.

        Args:
            path: in the plain model.

        Returns:
            Paths in this model.
        """
        return [path]

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws, and takes it in."""
        rng = as_key(f"{type(self).__name__}.init", rng)
        return self.from_plain(*self.model.init(rng), rng)

    def arranged(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        """Both trees in the order of the structure."""
        return reorder(params, self._order), self.ordered(buffers)


def merge(model: Model, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
    """Undoes a transform of weights, arrays included: computes the weights of the model that was transformed.

    Args:
        model: what `parametrize` or one of its cases, `tie` or `ema` gave; or `ensemble`, `scan`, `remat`, `freeze`,
            `checked`, `capture` or `patch` around that, which stay around the plain model.
        params: its params.
        buffers: its buffers.

    Returns:
        ``(plain_model, params, buffers)``, which computes what the model computes in evaluation. Under `freeze`, an
        array is frozen if all that it follows from is.

    Errors:
        TypeError where there is nothing to merge, or it stands inside another transform.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> model = transforms.weight_norm(L.Linear(3, 2), "weight")
    >>> plain, params, buffers = transforms.merge(model, *model.init(jax.random.key(0)))
    >>> plain == L.Linear(3, 2), sorted(params)
    (True, ['bias', 'weight'])
    """
    check_model("merge", model)
    if isinstance(model, Rewriting):
        plain = model.model
        params, buffers, _ = model.enter(params, buffers, None, False)
    elif hasattr(type(model), "merge_inside"):
        plain, params, buffers = model.merge_inside(merge, params, buffers)  # type: ignore[attr-defined]
    else:
        rule = "model must be what parametrize, one of its cases, tie or ema gave"
        remedy = "Undo transforms from the outermost inwards."
        raise refusal("merge", rule, {"type(model)": type(model).__name__}, remedy, TypeError)
    order = structure(plain)
    return plain, reorder(params, order), reorder(buffers, order)


def sources_of(model: Any, path: str) -> list[str]:
    """Lists what an array of a merged model follows from.

    Args:
        model: what is to be merged.
        path: in what `merge` gives.

    Returns:
        Paths in the model.
    """
    if isinstance(model, Rewriting):
        return model.sources(path)
    node = f"{model.node}." if hasattr(model, "node") else ""  # layers that are kept stacked lie below one
    return [f"{node}{source}" for source in sources_of(model.model, path.removeprefix(node))]


def merged_around(model: Any, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
    """What ``merge_inside`` does for a transform whose arrays are those of the model inside.

    Args:
        model: the transform, a dataclass with a field ``model``.
        merge: for the model inside.
        params: of both.
        buffers: of both.

    Returns:
        The transform around the plain model, and its arrays.
    """
    plain, params, buffers = merge(model.model, params, buffers)
    return replace(model, model=plain), params, buffers


def merged_each(model: Any, merge: Merge, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
    """What ``merge_inside`` does for a transform that keeps members or layers along the first axis of each array.

    Args:
        model: the transform, a dataclass with a field ``model``.
        merge: for the model inside.
        params: the stacked ones of the model inside.
        buffers: likewise.

    Returns:
        The transform around the plain model, and the stacked arrays of the plain model.
    """
    plain: list[Model] = []

    def one(params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        inner, *arrays = merge(model.model, params, buffers)
        plain.append(inner)
        return arrays[0], arrays[1]

    params, buffers = jax.vmap(one)(params, buffers)
    return replace(model, model=plain[0]), params, buffers
