"""Rewriting: the base of the transforms after which a model can be plain again; and `merge`, the way back.

`parametrize` and its cases, `tie` and `ema` keep other arrays than the model has, from which the model's follow. So
arrays can go both ways: `merge` computes those of the plain model, ``model.from_plain`` takes some in.
"""

from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.random import as_key
from purenn.tree import reorder
from transforms.viewing import View


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

    def init(self, rng: Any) -> tuple[Params, Buffers]:
        """Draws what the model draws, and takes it in."""
        rng = as_key(f"{type(self).__name__}.init", rng)
        return self.from_plain(*self.model.init(rng), rng)

    def arranged(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        """Both trees in the order of the structure."""
        return reorder(params, self._order), self.ordered(buffers)


def merge(model: Model, params: Params, buffers: Buffers) -> tuple[Model, Params, Buffers]:
    """Undoes the outermost transform, arrays included: computes the weights of the model that was transformed.

    Args:
        model: what `parametrize` or one of its cases, `tie` or `ema` gave.
        params: its params.
        buffers: its buffers.

    Returns:
        ``(plain_model, params, buffers)``, which computes what the model computes in evaluation.

    Errors:
        TypeError where the outermost transform is none of these.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> model = transforms.weight_norm(L.Linear(3, 2), "weight")
    >>> plain, params, buffers = transforms.merge(model, *model.init(jax.random.key(0)))
    >>> plain == L.Linear(3, 2), sorted(params)
    (True, ['bias', 'weight'])
    """
    check_model("merge", model)
    if not isinstance(model, Rewriting):
        rule = "model must be what parametrize, one of its cases, tie or ema gave"
        remedy = "Undo transforms from the outermost inwards."
        raise refusal("merge", rule, {"type(model)": type(model).__name__}, remedy, TypeError)
    shown, state, _ = model.enter(params, buffers, None, False)
    order = structure(model.model)
    return model.model, reorder(shown, order), reorder(state, order)
