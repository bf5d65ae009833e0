"""Spectral normalisation: a weight divided by its largest singular value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn import init
from purenn.errors import refusal
from purenn.model import Leaf, Model, buffer
from purenn.tree import Where
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain
from transforms.weight_norms import check_axis


@dataclass(frozen=True)
class SpectralNorm(Parametrization):
    """``W / σ(W)``, with the largest singular value from the power method; ``_u`` and ``_v`` are its buffers.

    Args:
        n_power_iterations: steps of the power method for each call in training.
        eps: least divisor of a vector.
        dim: the axis of the rows of the matrix W.
        shape: of the weight; filled in by `fit`.
        dtype: of the weight; filled in by `fit`.

    Torch:
        ``torch.nn.utils.parametrizations.spectral_norm``.
    """

    # steps made at the beginning, and whether a step improves v before u
    warm: ClassVar[int] = 15
    v_first: ClassVar[bool] = False

    n_power_iterations: int = 1
    eps: float = 1e-12
    dim: int = 0
    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.n_power_iterations <= 0:
            rule = "n_power_iterations must be positive"
            raise refusal("spectral_norm", rule, {"n_power_iterations": self.n_power_iterations})

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape."""
        check_axis("spectral_norm", self.dim, weight)
        return replace(self, shape=weight.shape, dtype=weight.dtype)

    def children(self) -> Mapping[str, Any]:
        """Names the singular vectors; a weight of one axis needs none."""
        if len(self.shape) < 2:
            return {}
        rows = self.shape[self.dim]
        columns = math.prod(self.shape) // rows if rows else 0
        return {
            "_u": buffer(init.normal, (rows,), self.dtype),
            "_v": buffer(init.normal, (columns,), self.dtype),
        }

    def begin(self, m: Any, weight: Any) -> None:
        """Draws the vectors, and brings them near the singular ones."""
        if len(self.shape) > 1:
            m._u, m._v = _unit(m._u, self.eps), _unit(m._v, self.eps)
            self._step(m, weight, self.warm)

    def iterate(self, m: Any, weight: Any) -> None:
        """Makes the steps of one call in training.

        Args:
            m: the vectors.
            weight: raw.
        """
        if len(self.shape) > 1:
            self._step(m, weight, self.n_power_iterations)

    def divide(self, m: Any, weight: Any) -> jax.Array:
        """Computes the weight with the vectors as they are.

        Args:
            m: the vectors.
            weight: raw.

        Returns:
            The weight divided by the estimate of its largest singular value.
        """
        if len(self.shape) < 2:
            return F.spectral_norm(weight, None, None, 0, 0, self.eps)[0]
        return F.spectral_norm(weight, m._u, m._v, 0, self.dim, self.eps)[0]

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Computes the weight; in training the vectors are improved first."""
        weight = args[0].astype(self.dtype)  # that of the vectors, where a transform around casts weights alone
        if m.training:
            self.iterate(m, weight)
        return self.divide(m, weight)

    def right_inverse(self, m: Any, weight: Any) -> Any:
        """The weight itself: what is divided by its norm again stays nearly what it was."""
        del m
        return weight

    def _step(self, m: Any, weight: Any, n: int) -> None:
        if n:
            m._u, m._v = _power(weight, m._u, m._v, n, self.dim, self.eps, self.v_first)


@dataclass(frozen=True)
class OldSpectralNorm(SpectralNorm):
    """`SpectralNorm` under the names ``weight_orig``, ``weight_u`` and ``weight_v``, with v improved before u.

    Torch:
        ``torch.nn.utils.spectral_norm``.
    """

    warm: ClassVar[int] = 0
    v_first: ClassVar[bool] = True

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """The older names."""
        return f"{name}_orig" if i is None else f"{name}{array}"


@partial(jax.jit, static_argnums=(3, 4, 5, 6))  # outside a trace one program, instead of one for each operation
def _power(W: Any, u: Any, v: Any, n: int, dim: int, eps: float, v_first: bool) -> tuple[Any, Any]:
    if not v_first:
        return F.spectral_norm(W, u, v, n, dim, eps)[1]
    W = jnp.moveaxis(W, dim, 0).reshape(W.shape[dim], -1)
    v, u = F.spectral_norm(W.T, v, u, n, 0, eps)[1]
    return u, v


def _unit(vector: Any, eps: float) -> jax.Array:
    return F.normalize(vector, dim=0, eps=eps)


def spectral_norm(
    model: Model, where: Where, n_power_iterations: int = 1, eps: float = 1e-12, dim: int = 0
) -> Parametrized:
    """Divides chosen weights by their largest singular value, followed by the power method in training.

    Args:
        model: any model.
        where: which params (see `purenn.tree`).
        n_power_iterations: steps of the power method for each call in training.
        eps: least divisor of a vector.
        dim: the axis of the rows of the matrix: that of the outputs, 1 for transposed convolutions.

    Returns:
        The model; the singular vectors are the buffers ``layer.parametrizations.weight.0._u`` and ``_v``.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing, or ``n_power_iterations`` is not
        positive; IndexError where dim is no axis.

    Source:
        Miyato et al. 2018 (arXiv:1802.05957).

    Torch:
        ``torch.nn.utils.parametrizations.spectral_norm``, differs in that ``dim`` is 0 for every layer.
    """
    return apply_chain("spectral_norm", model, where, SpectralNorm(n_power_iterations, eps, dim))
