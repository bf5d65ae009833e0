"""orthogonal: weights whose columns, or rows, are orthonormal, from arrays that are free."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp

from purenn import init
from purenn.errors import refusal
from purenn.model import Leaf, Model, buffer
from purenn.tree import Where
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain

MAPS = ("matrix_exp", "cayley", "householder")


@dataclass(frozen=True)
class Orthogonal(Parametrization):
    """A matrix with orthonormal columns (rows, where it is wide), or a batch of them (see `orthogonal`).

    Args:
        orthogonal_map: ``"matrix_exp"``, ``"cayley"``, ``"householder"``; None chooses by the shape.
        use_trivialization: whether a buffer ``base`` is multiplied in, around which the map begins.
        shape: of the weight; filled in by `fit`.
        dtype: of the weight; filled in by `fit`.

    Torch:
        ``torch.nn.utils.parametrizations.orthogonal``.
    """

    orthogonal_map: str | None = None
    use_trivialization: bool = True
    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.orthogonal_map not in (None, *MAPS):
            rule = f"orthogonal_map must be one of {', '.join(MAPS)}, or None"
            raise refusal("orthogonal", rule, {"orthogonal_map": self.orthogonal_map})

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape, and chooses the map."""
        if len(weight.shape) < 2:
            remedy = "Choose the matrices of the model."
            raise refusal("orthogonal", "the weight must have two axes or more", {"shape": weight.shape}, remedy)
        is_complex = bool(jnp.issubdtype(weight.dtype, jnp.complexfloating))
        square = weight.shape[-1] == weight.shape[-2]
        chosen = self.orthogonal_map or ("matrix_exp" if square or is_complex else "householder")
        if is_complex and chosen == "householder":
            got = {"orthogonal_map": chosen, "dtype": str(weight.dtype)}
            raise refusal("orthogonal", "householder must be given real weights", got, "Take matrix_exp or cayley.")
        return replace(self, orthogonal_map=chosen, shape=weight.shape, dtype=weight.dtype)

    def children(self) -> Mapping[str, Any]:
        """Names the base, a square matrix."""
        if not self.use_trivialization:
            return {}
        n = max(self.shape[-2:])
        return {"base": buffer(init.zeros, (*self.shape[:-2], n, n), self.dtype)}

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Computes the matrix."""
        X, wide = _tall(args[0].astype(self.dtype))  # no decomposition takes 16 bits, which a transform around may give
        Q = _reflections(X) if self.orthogonal_map == "householder" else _rotation(X, self.orthogonal_map)
        if self.use_trivialization:
            Q = m.base @ Q
        return Q.mT if wide else Q

    def right_inverse(self, m: Any, weight: Any) -> jax.Array:
        """The raw array for a matrix; one that is not orthogonal is replaced by the Q of its QR decomposition."""
        if weight.shape != self.shape:
            got = {"its shape": weight.shape, "shape": self.shape}
            raise refusal("orthogonal", "the matrix must have the shape of the weight", got)
        Q, wide = _tall(weight)
        if self.use_trivialization:
            m.base = _completed(Q, m)
            n, k = weight.shape[-2:]
            return jnp.broadcast_to(-jnp.eye(n, k, dtype=weight.dtype), weight.shape)
        if self.orthogonal_map != "householder":
            rule = f"{self.orthogonal_map} without use_trivialization has no right_inverse"
            raise refusal("orthogonal", rule, kind=NotImplementedError)
        raw = _reflectors(Q)
        return raw.mT if wide else raw


def _tall(X: Any) -> tuple[Any, bool]:
    wide = X.shape[-2] < X.shape[-1]
    return (X.mT if wide else X), wide


def _rotation(X: jax.Array, name: str | None) -> jax.Array:
    """The first k columns of exp(A), or of (I + A/2)(I - A/2)^-1, for the skew A that is X below the diagonal."""
    n, k = X.shape[-2:]
    X = jnp.pad(jnp.tril(X), [(0, 0)] * (X.ndim - 1) + [(0, n - k)])
    A = X - X.mT.conj()
    if name == "matrix_exp":
        return jax.scipy.linalg.expm(A)[..., :k]
    identity = jnp.eye(n, dtype=A.dtype)
    return jnp.linalg.solve(identity - A / 2, identity + A / 2)[..., :k]


def _reflections(X: jax.Array) -> jax.Array:
    """The first k columns of H_1 ... H_k, with H_i = I - 2 v_i v_iᵀ / ‖v_i‖², the v_i below the diagonal of X."""
    n, k = X.shape[-2:]
    V = jnp.tril(X, -1) + jnp.eye(n, k, dtype=X.dtype)
    # H_1 ... H_k = I - V T Vᵀ, the inverse of T being the upper triangle of VᵀV with half its diagonal
    gram = V.mT @ V
    inverse = jnp.triu(gram, 1) + jnp.eye(k, dtype=X.dtype) * (gram / 2)
    T = jax.scipy.linalg.solve_triangular(inverse, V[..., :k, :].mT)
    signs = jax.lax.stop_gradient(jnp.trunc(jnp.diagonal(X, axis1=-2, axis2=-1)))
    return (jnp.eye(n, k, dtype=X.dtype) - V @ T) * signs[..., None, :]


def _reflectors(Q: jax.Array) -> jax.Array:
    """The inverse of `_reflections`: vectors below the diagonal, signs on it."""
    h, tau = jnp.linalg.qr(Q, mode="raw")
    A, k = h.mT, Q.shape[-1]
    diagonal = jnp.sign(jnp.diagonal(A, axis1=-2, axis2=-1))
    diagonal = jnp.where(tau == 0, -diagonal, diagonal)  # a reflection that was not needed
    at = jnp.arange(k)
    return A.at[..., at, at].set(diagonal)


def _completed(Q: jax.Array, m: Any) -> jax.Array:
    """A square orthogonal matrix whose first columns are those of Q, or span what they span."""
    n, k = Q.shape[-2:]
    if n != k:
        more = init.normal(m.rng(), (*Q.shape[:-2], n, n - k), Q.dtype)
        return _orthogonalized(jnp.concatenate([Q, more], -1))
    error = jnp.abs(Q.mT.conj() @ Q - jnp.eye(k, dtype=Q.dtype)).max()
    near = error <= 10 * n * float(jnp.finfo(Q.dtype).eps)
    return jnp.where(near, Q, _orthogonalized(Q))


def _orthogonalized(A: jax.Array) -> jax.Array:
    Q, R = jnp.linalg.qr(A)
    return Q * jnp.sign(jnp.diagonal(R, axis1=-2, axis2=-1))[..., None, :]


def orthogonal(
    model: Model, where: Where, orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Parametrized:
    """Keeps chosen weights orthogonal: ``QᵀQ = I``, or ``QQᵀ = I`` for wide ones.

    Args:
        model: any model.
        where: which params (see `purenn.tree`), of two axes or more: batches of matrices.
        orthogonal_map: ``"matrix_exp"``, ``"cayley"`` or ``"householder"``; None takes the first for square and complex
            matrices, the last for others.
        use_trivialization: whether a buffer ``base`` is multiplied in, around which the map begins; the weight begins
            as the plain one where that is orthogonal, as the Q of its QR decomposition where not.

    Returns:
        The model; the raw array is ``layer.parametrizations.weight.original``, the base
        ``layer.parametrizations.weight.0.base``.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing, or a vector, the map is unknown, or
        householder is asked for complex weights.

    Source:
        Lezcano-Casado 2019, "Trivializations for gradient-based optimization on manifolds" (arXiv:1909.09501).

    Torch:
        ``torch.nn.utils.parametrizations.orthogonal``.
    """
    return apply_chain("orthogonal", model, where, Orthogonal(orthogonal_map, use_trivialization))
