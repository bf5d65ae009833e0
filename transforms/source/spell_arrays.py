"""Spellings of products, reductions, order and new arrays."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from transforms.source.spelling import axes, cast, floats, spelled
from transforms.source.text import Expr, array_text, called, dtype_text, operand, python
from transforms.torch_ops import OPERATORS
from transforms.torch_ops.promotion import canonical, default_float, integral, long


@spelled("aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.linalg_matmul.default")
def _matmul(self: Expr, mat2: Expr) -> str:
    return f"{operand(self)} @ {operand(mat2)}"


@spelled("aten.dot.default", "aten.inner.default")
def _inner(self: Expr, other: Expr) -> str:
    return called("jnp.inner", self, other)


@spelled("aten.outer.default", "aten.ger.default")
def _outer(self: Expr, vec2: Expr) -> str:
    return f"{operand(self)}[:, None] * {operand(vec2)}[None, :]"


@spelled("aten.addmm.default", "aten.addmv.default", "aten.baddbmm.default")
def _addmm(self: Expr, mat1: Expr, mat2: Expr, *, beta: Any = 1, alpha: Any = 1) -> str:
    product = f"{operand(mat1)} @ {operand(mat2)}"
    product = product if alpha == 1 else f"({product}) * {operand(alpha)}"
    scaled = operand(self) if beta == 1 else f"{operand(self)} * {operand(beta)}"
    return product if beta == 0 else f"{scaled} + {product}"


@spelled("aten.einsum.default")
def _einsum(equation: str, tensors: Any, *, path: Any = None) -> str:
    return called("jnp.einsum", equation, *tensors)


@spelled("aten.kron.default")
def _kron(self: Expr, other: Expr) -> str:
    return called("jnp.kron", self, other)


def _reduced(self: Expr, method: str, dim: Any, keepdim: bool, dtype: Any = None) -> str:
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    options |= {"keepdims": True} if keepdim else {}
    chosen = axes(dim, self.ndim)
    return called(f"{operand(self)}.{method}", *([] if chosen is None else [chosen]), **options)


def _summed(method: str) -> Callable[..., str]:
    def text(self: Expr, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
        wide = np.dtype(np.int64) if integral(self.dtype) else None
        return _reduced(self, method, dim, keepdim, wide if dtype is None else np.dtype(dtype))

    return text


spelled("aten.sum.default", "aten.sum.dim_IntList")(_summed("sum"))
spelled("aten.prod.dim_int")(_summed("prod"))
spelled("aten.prod.default")(lambda self, dtype=None: _summed("prod")(self, dtype=dtype))


@spelled("aten.mean.dim")
def _mean(self: Expr, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
    return _reduced(self, "mean", dim, keepdim, None if dtype is None else np.dtype(dtype))


@spelled("aten.mean.default")
def _mean_all(self: Expr, dtype: Any = None) -> str:
    return _mean(self, None, False, dtype)


def _extreme(method: str) -> Callable[..., str]:
    def text(self: Expr, dim: Any = None, keepdim: bool = False) -> str:
        return _reduced(self, method, dim, keepdim)

    return text


spelled("aten.amax.default", "aten.max.default")(_extreme("max"))
spelled("aten.amin.default", "aten.min.default")(_extreme("min"))
for _name in ("any", "all"):
    spelled(f"aten.{_name}.default", f"aten.{_name}.dim", f"aten.{_name}.dims")(
        lambda self, dim=None, keepdim=False, fn=_name: (
            None if self.dtype == jnp.uint8 else called(f"jnp.{fn}", self, axes(dim, self.ndim), keepdims=keepdim)
        )
    )
for _name in ("argmax", "argmin"):
    spelled(f"aten.{_name}.default")(
        lambda self, dim=None, keepdim=False, fn=_name: _reduced(self, fn, dim if self.ndim else None, keepdim)
    )


def _with_places(arg: str) -> Callable[..., str | None]:
    def text(self: Expr, dim: int, keepdim: bool = False) -> str | None:
        options: dict[str, Any] = {"keepdims": True} if keepdim else {}
        options |= {} if arg == "argmax" else {"arg": Expr(f"jnp.{arg}")}
        return called("max_along", self, dim, **options) if self.ndim else None

    return text


spelled("aten.max.dim", arity=2)(_with_places("argmax"))
spelled("aten.min.dim", arity=2)(_with_places("argmin"))


@spelled("aten.sort.default", arity=2)
def _sort(self: Expr, dim: int = -1, descending: bool = False) -> str | None:
    return called("sort", self, dim, **({"descending": True} if descending else {})) if self.ndim else None


@spelled("aten.sort.stable", arity=2)
def _sort_stable(self: Expr, stable: Any = None, dim: int = -1, descending: bool = False) -> str | None:
    return _sort(self, dim, descending)


@spelled("aten.argsort.default")
def _argsort(self: Expr, dim: int = -1, descending: bool = False) -> str | None:
    if not self.ndim:
        return None
    return f"sort({python(self)}, {dim}, descending=True)[1]" if descending else called("jnp.argsort", self, dim)


@spelled("aten.topk.default", arity=2)
def _topk(self: Expr, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> str | None:
    options: dict[str, Any] = {} if largest else {"largest": False}
    return called("topk", self, k, dim, **options) if self.ndim and isinstance(k, int) else None


@spelled("aten.cumsum.default")
def _cumsum(self: Expr, dim: int, dtype: Any = None) -> str | None:
    return _running(self, dim, dtype, "cumsum")


@spelled("aten.cumprod.default")
def _cumprod(self: Expr, dim: int, dtype: Any = None) -> str | None:
    return _running(self, dim, dtype, "cumprod")


def _running(self: Expr, dim: int, dtype: Any, fn: str) -> str | None:
    wide = np.dtype(np.int64) if integral(self.dtype) else None
    dtype = wide if dtype is None else np.dtype(dtype)
    return called(f"jnp.{fn}", self, dim, **({} if dtype is None else {"dtype": dtype})) if self.ndim else None


@spelled("aten.logsumexp.default")
def _logsumexp(self: Expr, dim: Any, keepdim: bool = False) -> str:
    options: dict[str, Any] = {"keepdims": True} if keepdim else {}
    return called("jax.scipy.special.logsumexp", floats(self), axes(dim, self.ndim), **options)


def _spread(self: Expr, dim: Any, correction: Any, keepdim: bool) -> str:
    options: dict[str, Any] = {} if correction in (None, 1) else {"correction": correction}
    options |= {"keepdims": True} if keepdim else {}
    return called("variance", self, axes(dim, self.ndim), **options)


@spelled("aten.var.correction")
def _var(self: Expr, dim: Any = None, correction: Any = None, keepdim: bool = False) -> str:
    return _spread(self, dim, correction, keepdim)


@spelled("aten.var.dim", "aten.var.default")
def _var_unbiased(self: Expr, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> str:
    dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
    return _spread(self, dim, int(unbiased), keepdim)


@spelled("aten.std.correction")
def _std(self: Expr, dim: Any = None, correction: Any = None, keepdim: bool = False) -> str:
    return f"root({_spread(self, dim, correction, keepdim)})"


@spelled("aten.std.dim", "aten.std.default")
def _std_unbiased(self: Expr, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> str:
    return f"root({_var_unbiased(self, dim, unbiased, keepdim)})"


@spelled("aten.var_mean.correction", arity=2)
def _var_mean(self: Expr, dim: Any = None, correction: Any = None, keepdim: bool = False) -> str | None:
    if not self.text.isidentifier():
        return None
    return f"({_spread(self, dim, correction, keepdim)}, {_reduced(self, 'mean', dim, keepdim)})"


@spelled("aten.linalg_vector_norm.default")
def _vector_norm(self: Expr, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
    x = self if dtype is None else cast(self, canonical(dtype))
    chosen = axes(dim, x.ndim)
    chosen = tuple(range(x.ndim)) if chosen is None else (chosen,) if isinstance(chosen, int) else chosen
    return called("vector_norm", x, float(ord), chosen, *([True] if keepdim else []))


# new arrays


def _kind(dtype: Any) -> str:
    return dtype_text(default_float() if dtype is None else dtype)


def _filled(fn: str) -> Callable[..., str]:
    def text(size: Any, *layout: Any, dtype: Any = None, **kwargs: Any) -> str:
        kind = [] if dtype is None or np.dtype(dtype) == default_float() else [np.dtype(dtype)]
        return called(f"jnp.{fn}", tuple(size), *kind)

    return text


spelled("aten.zeros.default", "aten.empty.memory_format", "aten.empty_strided.default")(_filled("zeros"))
spelled("aten.ones.default")(lambda size, dtype=None, **kwargs: _filled("ones")(size, dtype=dtype))


def _like(fn: str) -> Callable[..., str]:
    def text(self: Expr, dtype: Any = None, **kwargs: Any) -> str:
        same = dtype is None or canonical(dtype) == self.dtype
        return called(f"jnp.{fn}_like", self, **({} if same else {"dtype": np.dtype(dtype)}))

    return text


spelled("aten.zeros_like.default", "aten.empty_like.default")(_like("zeros"))
spelled("aten.ones_like.default")(_like("ones"))


def _new(fn: str) -> Callable[..., str]:
    def text(self: Expr, size: Any, *layout: Any, dtype: Any = None, **kwargs: Any) -> str:
        return called(f"jnp.{fn}", tuple(size), self.dtype if dtype is None else np.dtype(dtype))

    return text


spelled("aten.new_zeros.default", "aten.new_empty.default")(_new("zeros"))
spelled("aten.new_ones.default")(_new("ones"))


@spelled("aten.full.default", out=True)
def _full(size: Any, fill_value: Any, dtype: Any = None, *, out: Expr, **kwargs: Any) -> str:
    return called("jnp.full", tuple(size), fill_value, out.dtype if dtype is None else np.dtype(dtype))


@spelled("aten.full_like.default")
def _full_like(self: Expr, fill_value: Any, dtype: Any = None, **kwargs: Any) -> str:
    same = dtype is None or canonical(dtype) == self.dtype
    return called("jnp.full_like", self, fill_value, **({} if same else {"dtype": np.dtype(dtype)}))


@spelled("aten.new_full.default")
def _new_full(self: Expr, size: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> str:
    return called("jnp.full", tuple(size), fill_value, self.dtype if dtype is None else np.dtype(dtype))


@spelled("aten.fill.Scalar", "aten.fill.Tensor")
def _fill(self: Expr, value: Any) -> str:
    return called("jnp.full_like", self, value)


@spelled("aten.copy.default")
def _copy(self: Expr, src: Expr, non_blocking: bool = False) -> str:
    x = cast(src, self.dtype)
    return python(x) if src.shape == self.shape else f"jnp.broadcast_to({python(x)}, {python(self.shape)})"


@spelled("aten.scalar_tensor.default")
def _scalar_tensor(s: Any, dtype: Any = None, **kwargs: Any) -> str:
    return f"jnp.array({python(s)}, {_kind(dtype)})"


def _counted(name: str) -> Callable[..., str | None]:
    """A range: as jnp writes it, if that gives from_torch's numbers, else the numbers, if they are few."""

    def text(*bounds: Any, dtype: Any = None, **kwargs: Any) -> str | None:
        options = {} if dtype is None or np.dtype(dtype) == np.int64 else {"dtype": np.dtype(dtype)}
        short = bounds[1:] if len(bounds) == 2 and bounds[0] == 0 else bounds
        made = called("jnp.arange", *short, **options)
        if any(isinstance(bound, Expr) for bound in bounds):
            return made if not any(isinstance(bound, float) for bound in bounds) else None
        value = np.asarray(OPERATORS[name].fn(*bounds, dtype=dtype))
        ours = _jnp_range(list(bounds), value.dtype)
        return made if np.array_equal(ours, value) and _says_dtype(options, bounds, value) else array_text(value)

    return text


def _jnp_range(bounds: list[Any], dtype: Any) -> Any:
    start, end, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    return jnp.arange(start, end, step, dtype=dtype)


def _says_dtype(options: Any, bounds: Any, value: np.ndarray) -> bool:
    floating = any(isinstance(bound, float) for bound in bounds)
    return bool(options) or value.dtype == (default_float() if floating else long())


for _overload in ("default", "start", "start_step"):
    spelled(f"aten.arange.{_overload}")(_counted(f"aten.arange.{_overload}"))


@spelled("aten.linspace.default")
def _linspace(start: Any, end: Any, steps: Any, dtype: Any = None, **kwargs: Any) -> str | None:
    if any(isinstance(value, Expr) for value in (start, end, steps)):
        return None
    value = np.asarray(OPERATORS["aten.linspace.default"].fn(start, end, steps, dtype=dtype))
    same = value.dtype == default_float() and np.array_equal(jnp.linspace(start, end, steps), value)
    return called("jnp.linspace", start, end, steps) if same else array_text(value)


@spelled("aten.eye.default", "aten.eye.m")
def _eye(*sizes: Any, dtype: Any = None, **kwargs: Any) -> str:
    return called("jnp.eye", *sizes, **({} if dtype is None else {"dtype": np.dtype(dtype)}))


def _window(name: str) -> Callable[..., str | None]:
    def text(*args: Any, **kwargs: Any) -> str | None:
        return array_text(np.asarray(OPERATORS[name].fn(*args, **kwargs)))

    return text


for _name in ("hann_window", "hamming_window"):
    for _overload in ("default", "periodic"):
        spelled(f"aten.{_name}.{_overload}")(_window(f"aten.{_name}.{_overload}"))

for _name in ("fft", "ifft", "rfft", "irfft"):
    spelled(f"aten.fft_{_name}.default")(
        lambda self, n=None, dim=-1, norm=None, fn=_name: called(f"jnp.fft.{fn}", floats(self), n, dim, norm)
    )


@spelled("aten.diff.default")
def _diff(self: Expr, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> str | None:
    if self.dtype == jnp.bool_:
        return None
    ends = {name: value for name, value in (("prepend", prepend), ("append", append)) if value is not None}
    return called("jnp.diff", self, n, dim, **ends)


@spelled("aten.broadcast_tensors.default", arity=len)
def _broadcast_tensors(tensors: Any) -> str:
    return called("jnp.broadcast_arrays", *tensors)


@spelled("aten.zero.default")
def _zero(self: Expr) -> str:
    return called("jnp.zeros_like", self)


@spelled("aten.diag.default")
def _diag(self: Expr, diagonal: int = 0) -> str:
    return called("jnp.diag", self, *([diagonal] if diagonal else []))


@spelled("aten.angle.default")
def _angle(self: Expr) -> str | None:
    return called("jnp.angle", self) if jnp.issubdtype(self.dtype, jnp.complexfloating) else None


@spelled("aten.count_nonzero.default", "aten.count_nonzero.dim_IntList")
def _count_nonzero(self: Expr, dim: Any = None) -> str:
    chosen = axes(dim, self.ndim)
    return called("jnp.count_nonzero", self, *([] if chosen is None else [chosen]))


@spelled("aten.nan_to_num.default")
def _nan_to_num(self: Expr, nan: Any = None, posinf: Any = None, neginf: Any = None) -> str:
    given = {"nan": nan or None, "posinf": posinf, "neginf": neginf}
    named = {name: value for name, value in given.items() if value is not None}
    return python(self) if integral(self.dtype) else called("jnp.nan_to_num", self, **named)


@spelled("aten.logcumsumexp.default")
def _logcumsumexp(self: Expr, dim: int) -> str | None:
    return called("jax.lax.cumlogsumexp", self, dim % self.ndim) if self.ndim else None


@spelled("aten.take_along_dim.default")
def _take_along_dim(self: Expr, indices: Expr, dim: int | None = None) -> str | None:
    return None if dim is None else called("jnp.take_along_axis", self, indices, dim, mode="fill")


@spelled("aten.cdist.default")
def _cdist(x1: Expr, x2: Expr, p: Any = 2.0, compute_mode: Any = None) -> str:
    return f"vector_norm({operand(x1)}[..., :, None, :] - {operand(x2)}[..., None, :, :], {float(p)}, (-1,))"


@spelled("aten.linalg_inv.default", "aten.inverse.default")
def _inv(self: Expr) -> str:
    return called("jnp.linalg.inv", self)


@spelled("aten.linalg_det.default", "aten.det.default")
def _det(A: Expr) -> str:
    return called("jnp.linalg.det", A)


@spelled("aten.matrix_exp.default", "aten.linalg_matrix_exp.default")
def _matrix_exp(self: Expr) -> str:
    return called("jax.scipy.linalg.expm", self)


@spelled("aten.trace.default")
def _trace(self: Expr) -> str:
    return called("jnp.trace", self)


def _several(fn: str, default: Any) -> Any:
    def text(self: Expr, s: Any = None, dim: Any = default, norm: Any = None) -> str:
        over = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        over = tuple(range(-len(s), 0)) if s is not None and over is None else over
        return called(f"jnp.fft.{fn}", floats(self), None if s is None else tuple(s), over, norm)

    return text


for _name, _fn in (("fft", "fftn"), ("ifft", "ifftn"), ("rfft", "rfftn"), ("irfft", "irfftn")):
    spelled(f"aten.fft_{_name}2.default")(_several(_fn, (-2, -1)))
    spelled(f"aten.fft_{_name}n.default")(_several(_fn, None))


@spelled("aten.histc.default")
def _histc(self: Expr, bins: int = 100, min: Any = 0, max: Any = 0) -> str:  # torch's names
    return called("histc", self, bins, *([] if min == max else [min, max]))


@spelled("aten._grouped_mm.default", "transformers.grouped_mm_fallback.default")
def _grouped_mm(input: Expr, weight: Expr, offs: Any, bias: Any = None, out_dtype: Any = None) -> str | None:
    return called("F.grouped_mm", input, weight, offs=offs) if bias is None and out_dtype is None else None
