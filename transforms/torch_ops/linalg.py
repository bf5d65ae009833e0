"""Linear algebra: torch.linalg, through the same LAPACK."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from purenn.errors import refusal
from transforms.torch_ops.promotion import canonical
from transforms.torch_ops.reduce import _vector_norm as vector_norm
from transforms.torch_ops.registry import register_op


def _adjoint(x: Any) -> Any:
    return jnp.swapaxes(x, -2, -1).conj()


def _info(self: Any) -> Any:
    """LAPACK's code, 0 for success; a matrix that has no factors gives NaN instead."""
    return jnp.zeros(self.shape[:-2], jnp.int32)


@register_op("aten.linalg_inv.default", "aten.inverse.default")
def _inv(self: Any) -> Any:
    return jnp.linalg.inv(self)


@register_op("aten.linalg_inv_ex.default")
def _inv_ex(self: Any, *, check_errors: bool = False) -> Any:
    return jnp.linalg.inv(self), _info(self)


@register_op("aten.linalg_pinv.default", "aten.pinverse.default")
def _pinv(self: Any, rcond: Any = 1e-15, hermitian: bool = False) -> Any:
    return jnp.linalg.pinv(self, rtol=rcond, hermitian=hermitian)


@register_op("aten.linalg_pinv.atol_rtol_float", "aten.linalg_pinv.atol_rtol_tensor")
def _pinv_rtol(self: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    if atol is not None and not (isinstance(atol, (int, float)) and atol == 0):
        raise refusal("linalg.pinv", "atol must be 0", {"atol": atol}, "Use rtol.", NotImplementedError)
    return jnp.linalg.pinv(self, rtol=rtol, hermitian=hermitian)


def _vector_like(A: Any, B: Any) -> bool:
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and A.shape[:-1] == B.shape)


@register_op("aten.linalg_solve.default")
def _solve(A: Any, B: Any, *, left: bool = True) -> Any:
    if not left:
        return _adjoint(_solve(_adjoint(A), _adjoint(B)))
    if _vector_like(A, B):
        return jnp.linalg.solve(A, B[..., None])[..., 0]
    return jnp.linalg.solve(A, B)


@register_op("aten.linalg_solve_ex.default")
def _solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    return _solve(A, B, left=left), _info(A)


@register_op("aten.linalg_solve_triangular.default")
def _solve_triangular(self: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    batch = jnp.broadcast_shapes(self.shape[:-2], B.shape[:-2])
    a = jnp.broadcast_to(self, (*batch, *self.shape[-2:]))
    b = jnp.broadcast_to(B, (*batch, *B.shape[-2:]))
    return jax.lax.linalg.triangular_solve(a, b, left_side=left, lower=not upper, unit_diagonal=unitriangular)


@register_op("aten.triangular_solve.default")
def _old_triangular_solve(
    self: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    solution = jax.lax.linalg.triangular_solve(
        A, self, left_side=True, lower=not upper, transpose_a=transpose, unit_diagonal=unitriangular
    )
    return solution, A


@register_op("aten.linalg_cholesky.default", "aten.cholesky.default")
def _cholesky(self: Any, upper: bool = False) -> Any:
    """Reads one triangle, and spreads the gradient over both, as torch does."""
    triangle = jnp.triu(self) if upper else jnp.tril(self)
    read = triangle + _adjoint(triangle) - jnp.eye(self.shape[-1], dtype=self.dtype) * self
    whole = (self + _adjoint(self)) / 2
    return jnp.linalg.cholesky(whole + jax.lax.stop_gradient(read - whole), upper=upper, symmetrize_input=True)


@register_op("aten.linalg_cholesky_ex.default")
def _cholesky_ex(self: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    return _cholesky(self, upper), _info(self)


@register_op("aten.cholesky_solve.default")
def _cholesky_solve(self: Any, input2: Any, upper: bool = False) -> Any:
    factor = _adjoint(input2) if upper else input2
    half = _solve_triangular(factor, self, upper=False)
    return _solve_triangular(_adjoint(factor), half, upper=True)


@register_op("aten.cholesky_inverse.default")
def _cholesky_inverse(self: Any, upper: bool = False) -> Any:
    eye = jnp.broadcast_to(jnp.eye(self.shape[-1], dtype=self.dtype), self.shape)
    return _cholesky_solve(eye, self, upper)


@register_op("aten.linalg_qr.default")
def _qr(A: Any, mode: str = "reduced") -> Any:
    if mode == "r":
        return jnp.zeros((0,), A.dtype), jnp.linalg.qr(A, "r")
    return tuple(jnp.linalg.qr(A, mode))


@register_op("aten.qr.default")
def _old_qr(self: Any, some: bool = True) -> Any:
    return _qr(self, "reduced" if some else "complete")


@register_op("aten.linalg_svd.default")
def _svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    return tuple(jnp.linalg.svd(A, full_matrices))


@register_op("aten._linalg_svd.default")
def _inner_svd(A: Any, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None) -> Any:
    return _svd(A, full_matrices)


@register_op("aten.svd.default")
def _old_svd(self: Any, some: bool = True, compute_uv: bool = True) -> Any:
    u, s, vh = jnp.linalg.svd(self, not some)
    return u, s, _adjoint(vh)


@register_op("aten.linalg_svdvals.default")
def _svdvals(A: Any, *, driver: str | None = None) -> Any:
    return jnp.linalg.svd(A, compute_uv=False)


@register_op("aten.linalg_eigh.default")
def _eigh(self: Any, UPLO: str = "L") -> Any:
    return tuple(jnp.linalg.eigh(self, UPLO))


@register_op("aten._linalg_eigh.default")
def _inner_eigh(A: Any, UPLO: str = "L", compute_v: bool = True) -> Any:
    return _eigh(A, UPLO)


@register_op("aten.linalg_eigvalsh.default")
def _eigvalsh(self: Any, UPLO: str = "L") -> Any:
    return jnp.linalg.eigvalsh(self, UPLO)


@register_op("aten.linalg_eig.default")
def _eig(self: Any) -> Any:
    return tuple(jnp.linalg.eig(self))


@register_op("aten.linalg_eigvals.default")
def _eigvals(self: Any) -> Any:
    return jnp.linalg.eigvals(self)


@register_op("aten.linalg_det.default", "aten.det.default")
def _det(A: Any) -> Any:
    return jnp.linalg.det(A)


@register_op("aten._linalg_det.default")
def _inner_det(A: Any) -> Any:
    lu, pivots, _ = jax.lax.linalg.lu(A)
    return jnp.linalg.det(A), lu, pivots + 1


@register_op("aten.linalg_slogdet.default", "aten.slogdet.default")
def _slogdet(A: Any) -> Any:
    return tuple(jnp.linalg.slogdet(A))


@register_op("aten._linalg_slogdet.default")
def _inner_slogdet(A: Any) -> Any:
    lu, pivots, _ = jax.lax.linalg.lu(A)
    return *jnp.linalg.slogdet(A), lu, pivots + 1


@register_op("aten.logdet.default")
def _logdet(self: Any) -> Any:
    sign, logabs = jnp.linalg.slogdet(self)
    return jnp.where(sign < 0, jnp.nan, logabs) if not jnp.iscomplexobj(sign) else logabs + jnp.log(sign)


@register_op("aten.linalg_lu_factor.default")
def _lu_factor(A: Any, *, pivot: bool = True) -> Any:
    lu, pivots, _ = jax.lax.linalg.lu(A)
    return lu, pivots + 1  # LAPACK counts from one


@register_op("aten.linalg_lu_factor_ex.default")
def _lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    return *_lu_factor(A), _info(A)


@register_op("aten.linalg_lu.default")
def _lu(A: Any, *, pivot: bool = True) -> Any:
    return tuple(jsl.lu(A))


@register_op("aten.linalg_lu_solve.default")
def _lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    if not left or adjoint:
        got = {"left": left, "adjoint": adjoint}
        raise refusal("linalg.lu_solve", "left must be True and adjoint False", got, kind=NotImplementedError)
    return jsl.lu_solve((LU, pivots - 1), B)


@register_op("aten.linalg_lstsq.default")
def _lstsq(self: Any, b: Any, rcond: Any = None, *, driver: str | None = None) -> Any:
    q, r = jnp.linalg.qr(self) if self.shape[-2] >= self.shape[-1] else (None, None)
    vector = _vector_like(self, b)
    b = b[..., None] if vector else b
    solution = jnp.linalg.pinv(self) @ b if q is None else _solve_triangular(r, _adjoint(q) @ b, upper=True)
    solution = solution[..., 0] if vector else solution
    return solution, jnp.zeros((0,), self.dtype), _info(self), jnp.zeros((0,), self.dtype)


@register_op("aten.linalg_matrix_power.default", "aten.matrix_power.default")
def _matrix_power(self: Any, n: int) -> Any:
    return jnp.linalg.matrix_power(self, n)


@register_op("aten.linalg_matrix_exp.default", "aten.matrix_exp.default")
def _matrix_exp(self: Any) -> Any:
    return jsl.expm(self)


@register_op("aten.linalg_matrix_rank.default")
def _matrix_rank(self: Any, tol: Any = None, hermitian: bool = False) -> Any:
    return (jnp.linalg.svd(self, compute_uv=False) > tol).sum(-1)


@register_op("aten.linalg_matrix_rank.atol_rtol_float", "aten.linalg_matrix_rank.atol_rtol_tensor")
def _matrix_rank_rtol(self: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    s = jnp.linalg.svd(self, compute_uv=False)
    largest = s.max(-1, keepdims=True)
    if rtol is None:
        rtol = max(self.shape[-2:]) * jnp.finfo(s.dtype).eps if atol is None else 0
    return (s > jnp.maximum(0 if atol is None else atol, rtol * largest)).sum(-1)


@register_op("aten.linalg_norm.default", "aten.linalg_norm.ord_str")
def _norm(self: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if ord is None:
        return vector_norm(self, 2, dim, keepdim, dtype)
    over = tuple(range(self.ndim)) if dim is None else tuple([dim] if isinstance(dim, int) else dim)
    if len(over) == 1:
        return vector_norm(self, ord, over, keepdim, dtype)
    return _matrix_norm(self, ord, over, keepdim, dtype=dtype)


@register_op("aten.linalg_matrix_norm.default", "aten.linalg_matrix_norm.str_ord")
def _matrix_norm(self: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    x = self if dtype is None else self.astype(canonical(dtype))
    if ord == "fro":
        return vector_norm(x, 2, tuple(dim), keepdim)
    return jnp.linalg.norm(x, ord, tuple(dim), keepdim)


@register_op("aten.linalg_cond.default", "aten.linalg_cond.p_str")
def _cond(self: Any, p: Any = None) -> Any:
    return jnp.linalg.cond(self, p)


@register_op("aten.linalg_householder_product.default")
@jax.custom_jvp
def _householder_product(input: Any, tau: Any) -> Any:  # torch's name
    return jax.lax.linalg.householder_product(input, tau)


@_householder_product.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return _householder_product(*primals), jax.jvp(_reflections, primals, tangents)[1]


def _reflections(input: Any, tau: Any) -> Any:
    """The same product, one reflection after another: ``Q - tau v v^H Q`` from the last v to the first."""
    m, n = input.shape[-2:]
    v = jnp.moveaxis(jnp.tril(input, -1) + jnp.eye(m, n, dtype=input.dtype), -1, 0)[: tau.shape[-1], ..., None]

    def reflect(Q: Any, now: Any) -> Any:
        v, t = now  # (*, m, 1), (*)
        return Q - t[..., None, None] * v * (jnp.conj(v).swapaxes(-1, -2) @ Q), None

    start = jnp.broadcast_to(jnp.eye(m, n, dtype=input.dtype), input.shape)
    return jax.lax.scan(reflect, start, (v, jnp.moveaxis(tau, -1, 0)), reverse=True)[0]


@register_op("aten.linalg_tensorinv.default")
def _tensorinv(self: Any, ind: int = 2) -> Any:
    return jnp.linalg.tensorinv(self, ind)


@register_op("aten.linalg_tensorsolve.default")
def _tensorsolve(self: Any, other: Any, dims: Any = None) -> Any:
    return jnp.linalg.tensorsolve(self, other, None if dims is None else tuple(dims))
