"""The table of torch operators: for each name a call, made by torch itself and by the mapped function.

A case names operators that are called alike. Arrays are drawn as in the functional tables. Operators that draw numbers,
make arrays without reading any, or take subprograms have tables of their own at the end.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from oracle import ints, t, v


@dataclass(frozen=True, eq=False)
class OpCase:
    """One call of one operator."""

    name: str
    args: tuple
    kwargs: dict = field(default_factory=dict)
    grad: bool = True
    vmap: bool = True
    half: bool = True  # 16-bit inputs give torch's dtype
    scale: float = 1.0  # multiplies the tolerance; the reason stands beside it
    number: int = 0
    slopes: int | None = None  # of how many floating arrays the gradient is taken; None: all
    outputs: tuple[int, ...] | None = None  # which of several results are compared

    def __str__(self):
        return f"{self.name}-{self.number}"


CASES: list[OpCase] = []


def op(names: str, *args: Any, kw: dict | None = None, **flags: Any) -> None:
    """Adds a case for each of the names, which stand without ``aten.``."""
    for name in names.split():
        full = name if name.startswith(("prims.", "_operator.", "purenn.")) else f"aten.{name}"
        full = full if full.count(".") > 1 or full.startswith(("_op", "purenn")) else f"{full}.default"
        CASES.append(OpCase(full, args, kw or {}, number=len(CASES), **flags))


X, Y, POS, UNIT = t(2, 3), t(2, 3), t(2, 3, kind="positive"), t(2, 3, kind="uniform")

IDX, J, B = ints(2, 3), ints(2, 3, low=1, high=5), t(2, 3, kind="bool")
S = t(3, 3)
Z = t(2, 3, dtype="complex64")

# arithmetic
op("maximum minimum max.other min.other fmax fmin hypot mul.Tensor multiply.Tensor logaddexp logaddexp2", X, Y)
op("div.Tensor true_divide.Tensor divide.Tensor atan2 arctan2 add.Tensor sub.Tensor subtract.Tensor rsub.Tensor", X, Y)
op("mul.Tensor add.Tensor sub.Tensor div.Tensor", IDX, t(2, 1))
op("mul.Tensor add.Tensor div.Tensor", t(2, 3, dtype="float16"), t())
op("mul.Tensor add.Tensor", IDX, 2.5)
op("mul.Tensor add.Tensor", B, 2)
op("mul.Tensor", Z, X)
op("div.Tensor", Z, POS)
op("mul.Scalar multiply.Scalar add.Scalar sub.Scalar subtract.Scalar rsub.Scalar div.Scalar", X, 2.5)
op("add.Tensor sub.Tensor rsub.Tensor", X, Y, kw={"alpha": 2})
op("fmod.Tensor remainder.Tensor", X, t(2, 3, kind="positive"))
op("fmod.Scalar remainder.Scalar", X, 0.7)
op("floor_divide.Scalar", X, 0.7, grad=False)
op("remainder.Scalar_Tensor", 2.3, POS, grad=False)
op("floor_divide", X, POS, grad=False)
op("floor_divide remainder.Tensor", ints(2, 3, low=-9), J)
op("div.Tensor_mode divide.Tensor_mode", X, POS, kw={"rounding_mode": "floor"})
op("div.Tensor_mode", ints(2, 3, low=-9), J, kw={"rounding_mode": "trunc"})
op("div.Tensor_mode", X, POS, kw={"rounding_mode": "trunc"})
op("div.Tensor_mode", X, POS, kw={"rounding_mode": None})
op("div.Scalar_mode divide.Scalar_mode", X, 0.7, kw={"rounding_mode": "floor"})
op("gcd lcm", J, ints(2, 3, low=1, high=20))
op("nextafter copysign.Tensor heaviside", X, Y, grad=False)
op("copysign.Scalar", X, -2.0)
op("square neg negative positive sign abs absolute", X)
op("sgn", X, grad=False)
op("abs sgn neg angle", Z, half=False)
op("exp exp2 expm1 sin cos tan asinh atan arctan sinh cosh tanh sigmoid erf erfc arcsinh sinc special_sinc", X)
op("special_erf special_erfc special_erfcx special_expm1 special_exp2 special_ndtr special_log_ndtr", X)
op("special_expit deg2rad rad2deg i0 special_i0 special_i0e special_i1 special_i1e", X)
op("log log2 log10 log1p sqrt rsqrt lgamma digamma reciprocal special_gammaln special_digamma special_log1p", POS)
op("special_entr", POS)
op("exp sqrt sigmoid", J)
op("asin acos atanh arcsin arccos arctanh erfinv special_erfinv special_ndtri", UNIT)
op("acosh arccosh", v([[1.5, 2.0, 3.0], [4.0, 1.1, 2.2]]))
op("igamma igammac special_gammainc special_gammaincc", POS, POS, grad=False)
op("special_zeta", v([1.5, 2.0, 3.5]), v([1.0, 2.0, 0.5]), grad=False)
op("ceil floor round trunc fix frac", X)
op("ceil floor round trunc", IDX)
op("round.decimals", X, kw={"decimals": 1})
for exponent in (2, 3, 0, -1, 0.5, 1.7, -0.3):
    op("pow.Tensor_Scalar", POS, exponent)
op("pow.Tensor_Scalar", J, 3)
op("pow.Scalar", 2.0, X)
op("pow.Tensor_Tensor", POS, Y)
op("float_power.Tensor_Tensor", POS, Y, grad=False, half=False)
op("ldexp.Tensor", X, J)
op("xlogy.Tensor special_xlogy special_xlog1py", X, POS)
op("xlogy.Scalar_Other", X, 2.0)
op("xlogy.Scalar_Self", 2.0, POS)
op("logit special_logit", UNIT, kw={"eps": 0.1})
op("logit", UNIT)
op("polygamma special_polygamma", 1, POS)
op("mvlgamma special_multigammaln", v([2.5, 3.5]), 2)
op("clamp clip", X, -0.5, 0.5)
op("clamp", v([-1.0, 0.5, 2.0]), 0.5, 2.0)  # at the bounds
op("clamp", X, kw={"max": 0.1})
op("clamp.Tensor clip.Tensor", X, t(2, 3, kind="zeros"), t(2, 3, kind="ones"))
op("clamp_min clamp_max", X, 0.1)
op("clamp_min.Tensor clamp_max.Tensor", X, Y)
op("addcmul addcdiv", X, Y, POS, kw={"value": 0.5})
op("lerp.Scalar", X, Y, 0.3)
op("lerp.Tensor", X, Y, UNIT)
op("nan_to_num", v([1.0, np.nan, np.inf, -np.inf]))
op("nan_to_num", v([1.0, np.nan, np.inf, -np.inf]), 0.5, 9.0, -9.0)
op("frexp.Tensor", X, grad=False, half=False)
op("signbit", X)
op("_to_copy", X, kw={"dtype": np.dtype("int32")})
op("_to_copy to.dtype", Z, kw={"dtype": np.dtype("float32")})
op("to.dtype", X, np.dtype("float16"))
op("to.device", X, "cpu", np.dtype("float16"))
op("prims.convert_element_type", X, np.dtype("float16"), grad=False)  # torch has no gradient of it
op("to.other type_as", X, IDX)
op("to.dtype_layout", X, kw={"dtype": np.dtype("float16")})

# comparison, logic, bits
for kind in ("eq", "ne", "lt", "le", "gt", "ge", "less", "less_equal", "greater", "greater_equal", "not_equal"):
    op(f"{kind}.Tensor", IDX, J)
    op(f"{kind}.Scalar", IDX, 2.5)
op("logical_and logical_or logical_xor", X, B)
op("logical_not", IDX)
op("bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor __and__.Tensor __or__.Tensor __xor__.Tensor", IDX, J)
op("bitwise_left_shift.Tensor bitwise_right_shift.Tensor __lshift__.Tensor __rshift__.Tensor", IDX, J)
op("bitwise_and.Scalar bitwise_or.Scalar bitwise_xor.Scalar __and__.Scalar __or__.Scalar __xor__.Scalar", IDX, 3)
op("bitwise_left_shift.Tensor_Scalar bitwise_right_shift.Tensor_Scalar __lshift__.Scalar __rshift__.Scalar", IDX, 1)
op("bitwise_and.Scalar_Tensor bitwise_or.Scalar_Tensor bitwise_xor.Scalar_Tensor", 6, IDX)
op("bitwise_left_shift.Scalar_Tensor bitwise_right_shift.Scalar_Tensor", 64, J)
op("bitwise_and.Tensor bitwise_or.Tensor __and__.Tensor __or__.Tensor", B, t(2, 3, kind="bool"))
op("bitwise_not", B)
op("bitwise_not", IDX)
NAN = v([1.0, np.nan, np.inf, -np.inf])
op("isnan isinf isfinite isposinf isneginf isreal", NAN)
op("isposinf isneginf", IDX)
op("isclose allclose", X, X)
op("equal", X, X, vmap=False)
op("isin.Tensor_Tensor", IDX, v([1, 2, 3], "int32"))
op("isin.Tensor_Scalar", IDX, 3)
op("isin.Scalar_Tensor", 3, IDX)
op("where.self", B, X, Y)
op("where.ScalarOther", B, X, 0.0)
op("where.ScalarSelf", B, 1.0, X)
op("where.Scalar", B, 1.0, 2)
op("masked_fill.Scalar", X, B, -1.5)
op("masked_fill.Tensor", X, B, t())
op("_is_all_true _is_any_true", B)
op("is_nonzero", t(), vmap=False)
op("bucketize.Tensor", X, v([-1.0, 0.0, 0.5]))
op("bucketize.Scalar", 0.3, v([-1.0, 0.0, 0.5]))
op("searchsorted.Tensor", v([[1.0, 2.0, 3.0], [0.0, 5.0, 9.0]]), v([[2.0, 2.5], [5.0, -1.0]]), kw={"right": True})
op("searchsorted.Tensor", v([1.0, 2.0, 3.0]), v([[2.0, 2.5], [5.0, -1.0]]))
op("searchsorted.Scalar", v([1.0, 2.0, 3.0]), 2.5)

# shapes
op("clone alias contiguous alias_copy lift_fresh_copy resolve_conj resolve_neg detach", X)
op("prims.view_of.default detach_copy lift_fresh lift", X, grad=False)
op("view reshape _unsafe_view view_copy _reshape_copy", X, [3, -1])
op("view_as reshape_as", X, t(3, 2))
op("view.dtype", X, np.dtype("int32"), grad=False, half=False)
op("view.dtype", t(2, 4), np.dtype("float16"), grad=False, half=False)
op("view.dtype", t(2, 4, dtype="float16"), np.dtype("float32"), grad=False, half=False)
op("flatten.using_ints", t(2, 3, 4), 1)
op("unflatten.int", t(2, 6), 1, [2, -1])
op("ravel t numpy_T t_copy squeeze_copy squeeze", t(1, 3))
op("expand expand_copy broadcast_to", t(3, 1), [2, -1, 4], grad=True)
op("expand_as", t(1, 3), X)
op("broadcast_tensors", [t(2, 1), t(3)])
op("unsqueeze unsqueeze_copy", X, -1)
op("squeeze.dim squeeze_copy.dim", t(2, 1, 3), 1)
op("squeeze.dims squeeze_copy.dims", t(2, 1, 1), [0, 1])
op("permute permute_copy", t(2, 3, 4), [2, 0, -2])
op("transpose.int transpose_copy.int swapaxes swapdims", t(2, 3, 4), 0, -1)
op("matrix_H", Z, half=False)
op("adjoint mT mH", t(2, 3, 4))
op("movedim.intlist moveaxis.intlist", t(2, 3, 4), [0, 1], [2, 0])
op("movedim.int moveaxis.int", t(2, 3, 4), 0, 2)
op("cat concat concatenate", [X, t(2, 1), IDX], 1, half=False)
op("stack", [X, Y], 1)
op("hstack vstack dstack", [X, Y])
op("split.Tensor split_copy.Tensor", t(5, 2), 2)
op("split_with_sizes split.sizes split_with_sizes_copy", t(5, 2), [2, 3])
op("chunk", t(5, 2), 3)
op("tensor_split.sections", t(5, 2), 3)
op("tensor_split.indices", t(5, 2), [1, 3])
op("unbind.int unbind_copy.int", X, 1)
op("repeat", X, [2, 1, 2])
op("tile", X, [2])
op("repeat_interleave.self_int", X, 2, 1)
op("repeat_interleave.self_Tensor", X, v([1, 2], "int32"), 0, kw={"output_size": 3})
op("repeat_interleave.Tensor", v([1, 2], "int32"), kw={"output_size": 3})
op("flip", X, [0, 1])
op("fliplr flipud", X)
op("rot90", X, 1, [0, 1])
op("roll", X, [1], [1])
op("roll", X, [2])
op("meshgrid.indexing", [t(2), t(3)], kw={"indexing": "xy"})
op("meshgrid", [t(2), t(3)])
op("diagonal diagonal_copy linalg_diagonal", t(2, 3, 3), kw={"offset": 1})
op("diagonal", t(2, 3, 4), -1, 1, 2)
op("diag diagflat diag_embed", t(3), 1)
op("diag", S, -1)
op("diag_embed", X, -1, 0, 2)
op("tril triu", S, 1)
op("unfold unfold_copy", t(2, 7), 1, 3, 2)
op("as_strided as_strided_copy", t(2, 6), [3, 2], [1, 3], 1, vmap=True)
op("pad", t(2, 5), [1, 2], "reflect")
op("constant_pad_nd", X, [1, -1], 2.0)
op("reflection_pad1d replication_pad1d", t(2, 5), [1, 2])
op("reflection_pad2d replication_pad2d", t(2, 4, 5), [1, 2, 0, 1])
op("reflection_pad3d replication_pad3d", t(2, 3, 4, 5), [1, 2, 0, 1, 1, 1])
op("cartesian_prod", [t(2), t(3)])
op("block_diag", [t(2, 2), t(1, 3)])
op("atleast_1d atleast_2d", t())
op("atleast_1d.Sequence atleast_2d.Sequence", [t(), t(2)])
op("size.int sym_size.int sym_stride.int", X, 1, vmap=False)
op("numel sym_numel sym_storage_offset", X, vmap=False)
op("item _local_scalar_dense", t(), vmap=False, grad=False, half=False)

# new arrays that follow another
op("zeros_like ones_like zero", X)
op("empty_like", v(np.zeros((0, 3))))
op("new_empty_strided", X, [0, 2], [2, 1])
op("full_like", X, 2.5)
op("full_like", IDX, 3, kw={"dtype": np.dtype("float32")})
op("new_zeros new_ones", X, [2, 2])
op("new_empty", X, [0, 2])
op("new_full", IDX, [2, 2], 7)
op("fill.Scalar", X, 2.0)
op("fill.Tensor", X, t())
op("copy", X, t(3), grad=False)
op("vander linalg_vander", t(3), grad=False)

# reductions
for name in ("sum", "nansum", "mean", "nanmean"):
    op(f"{name}.dim" if name == "mean" else f"{name}.dim_IntList" if name == "sum" else name, X, [1], True)
op("sum mean prod std var max min median nanmedian all any count_nonzero norm.Scalar", X)
op("sum.dim_IntList", IDX, [0])
op("sum.dim_IntList", X, [])
op("prod", v([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]]))
op("prod.dim_int", X, 1, True)
op("var.correction std.correction var_mean.correction std_mean.correction", X, [1], kw={"correction": 0})
op("var.dim std.dim var_mean.dim std_mean.dim", X, [1], True, True)
op("var std var_mean std_mean", X, False)
op("std.dim", t(2, 3, kind="ones"), [1])
op("amax amin", X, [1])
op("amax", v([[1.0, 1.0, 0.0]]), [1])
op("aminmax", X, kw={"dim": 1})
op("max.dim min.dim", X, 1, True)
op("argmax argmin", X, 1)
op("argmax", X)
op("all.dim any.dim", B, 1)
op("all.dims any.dims", B, [0, 1])
op("all", v([1, 0], "uint8"))
op("count_nonzero.dim_IntList", IDX, [1])
op("logsumexp special_logsumexp", X, [1], True)
op("cumsum cumprod logcumsumexp cummax cummin", t(2, 5), 1)
op("cumsum", IDX, 1)
op("diff", t(2, 5), 2, 1)
op("diff", t(5, kind="bool"))
op("trapezoid.dx trapz.dx", X)
op("trapezoid.x trapz.x", X, Y)
op("linalg_vector_norm", X, 3, [1])
op("linalg_vector_norm", t(2, 3, kind="zeros"), 2, [1])
op("norm.ScalarOpt_dim", X, 1, [1])
op("norm.ScalarOpt_dim_dtype", X, 2, [1], kw={"keepdim": False, "dtype": np.dtype("float32")}, half=False)
op("norm.ScalarOpt_dtype", X, 2, kw={"dtype": np.dtype("float32")}, half=False)
op("dist", X, Y, 2)
op("renorm", X, 2, 0, 0.5)

# order
op("sort argsort", t(2, 5), 1, True)
op("sort", v([3.0, np.nan, 1.0, 3.0]), 0, True)
op("sort.stable argsort.stable", ints(2, 5, high=3), kw={"stable": True, "dim": 1, "descending": True})
op("msort", t(4, 2))
op("topk", t(2, 5), 2)
op("topk", t(2, 5), 2, 1, False)
op("kthvalue", t(2, 5), 2)
op("median.dim nanmedian.dim", t(2, 5), 1)
op("median.dim", v([[1.0, np.nan, 0.0], [3.0, 2.0, 1.0]]), 1, grad=False)
op("nanmedian.dim", v([[1.0, np.nan, 0.0], [3.0, 2.0, 1.0]]), 1, grad=False)
op("mode", ints(2, 6, high=3), 1, outputs=(0,))  # which place of several is not said
op("quantile.scalar nanquantile.scalar", t(2, 5), 0.3, 1, half=False)
op("quantile nanquantile", t(2, 5), v([0.1, 0.6]), 1, half=False, grad=False)
op("histc", t(20), 5, -1, 1, grad=False, half=False)
op("histc", t(20), 5, grad=False, half=False)
op("bincount", ints(9, high=4), kw={"minlength": 6})
op("bincount", ints(9, high=4), t(9), 6, grad=False, half=False)

# places
op("slice.Tensor slice_copy.Tensor", t(5, 3), 0, 1, -1, 2)
op("slice.Tensor", t(5, 3), 0, 0, 9223372036854775807)
op("narrow narrow_copy", t(5, 3), 0, 1, 3)
op("select.int select_copy.int", t(5, 3), 1, -1)
op("slice_scatter", t(5, 3), t(2, 3), 0, 1, 5, 2)
op("select_scatter", t(5, 3), t(3), 0, -2)
op("diagonal_scatter", t(3, 4), t(3), 1)
# torch gives the input the gradient of the places that were overwritten, and none to the others
op("as_strided_scatter", t(2, 6), t(3, 2), [3, 2], [1, 3], 1, grad=False)
op("index.Tensor _unsafe_index.Tensor", t(4, 5), [None, ints(2, 2, low=-5, high=5)])
op("index.Tensor", t(4, 5, 3), [ints(3, high=4), None, ints(3, high=3)])
op("index_put _unsafe_index_put", t(4, 5), [ints(6, high=4), ints(6, high=5)], t(6), True)
op("index_put", t(4, 5), [None, v([3, 0], "int32")], t(4, 2))
op("index_put", t(2, 3), [B], t())
op("index_put", t(2, 3), [v([[True, False, True], [False, True, False]], "bool")], t(3))
op("index_put", t(2, 3), [v([True, False], "bool")], t(3))
op("index_select", t(4, 5), 1, ints(3, high=5))
op("take", t(4, 5), ints(3, high=20))
op("put", t(4, 5), v([0, 7, 19], "int32"), t(3))
op("put", t(4, 5), v([0, 7, 7], "int32"), t(3), True)
op("take_along_dim", t(2, 5), ints(2, 3, high=5), 1)
op("take_along_dim", t(2, 5), ints(4, high=10))
op("gather", t(4, 5), 1, ints(3, 2, high=5))
W = v([[0, 1, 3], [2, 0, 1]], "int32")
# torch has no gradient where src is longer than index
op("scatter.src", t(2, 4), 1, W, t(3, 3), grad=False)
op("scatter.src", t(2, 4), 1, W, t(2, 3))
op("scatter.value", t(2, 4), 1, W, 2.5)
op("scatter_add", t(2, 4), 1, ints(2, 5, high=4), t(2, 6), grad=False)
op("scatter_add", t(2, 4), 1, ints(2, 5, high=4), t(2, 5))
op("scatter.reduce", t(2, 4), 1, W, t(2, 3), kw={"reduce": "add"}, grad=False)
op("scatter.value_reduce", t(2, 4), 1, W, 2.0, kw={"reduce": "multiply"}, grad=False)
op(
    "scatter_reduce.two",
    v([[1.0, 0.0], [2.0, 3.0]]),
    1,
    v([[0, 0], [1, 0]], "int32"),
    v([[0.0, 2.0], [0.5, 3.0]]),
    "prod",
)
for how in ("sum", "prod", "mean", "amax", "amin"):
    for self_too in (True, False):
        op("scatter_reduce.two", t(2, 4), 1, W, t(2, 3), how, kw={"include_self": self_too})
op("index_reduce", t(4, 3), 0, v([0, 2, 0], "int32"), t(3, 3), "amax", grad=False)
op("index_reduce", t(4, 3), 0, v([0, 2, 0], "int32"), t(3, 3), "mean", kw={"include_self": False}, grad=False)
op("index_reduce", t(4, 3), 0, v([0, 2, 0], "int32"), t(3, 3), "prod")
op("index_add", t(4, 3), 0, v([0, 2, 0], "int32"), t(3, 3), kw={"alpha": 2})
op("index_copy", t(4, 3), 0, v([0, 2], "int32"), t(2, 3))
op("index_fill.int_Scalar", t(4, 3), 0, v([0, 2], "int32"), 1.5)
op("index_fill.int_Tensor", t(4, 3), 0, v([0, 2], "int32"), t())
op("masked_scatter", t(2, 3), B, t(6))
op("nonzero_static", IDX, kw={"size": 4, "fill_value": -1})

# quantisation
STEP, ZERO = v([0.1]), v([1], "int32")
op("fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask", X, 0.1, 1, -8, 7)
op("fake_quantize_per_tensor_affine.tensor_qparams", X, STEP, ZERO, -8, 7, slopes=1)
op("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", X, STEP, ZERO, v([1], "int32"), -8, 7, slopes=1)
op(
    "fake_quantize_per_channel_affine fake_quantize_per_channel_affine_cachemask",
    X, v([0.1, 0.2, 0.3]), v([0.0, 1.0, 2.0]), 1, -8, 7, slopes=1, half=False,
)  # fmt: skip

# products
op("linear", t(2, 3), t(4, 3), t(4))
op("bilinear", t(5, 2), t(5, 3), t(4, 2, 3), t(4))
op("matmul", t(2, 3, 4), t(4, 5))
op("linalg_matmul", t(2, 3, 4), t(4))
op("mm", t(2, 3), t(3, 4))
op("bmm", t(2, 2, 3), t(2, 3, 4))
op("mv", t(2, 3), t(3))
op("dot inner vdot linalg_vecdot", t(3), t(3))
op("vdot linalg_vecdot", t(3, dtype="complex64"), t(3, dtype="complex64"), grad=False, half=False)
op("outer ger", t(2), t(3))
op("addmm", t(2, 4), t(2, 3), t(3, 4), kw={"beta": 0.5, "alpha": 2})
op("addmv", t(2), t(2, 3), t(3))
op("baddbmm", t(2, 2, 4), t(2, 2, 3), t(2, 3, 4), kw={"beta": 0})
op("addbmm", t(2, 4), t(5, 2, 3), t(5, 3, 4))
op("addr", t(2, 3), t(2), t(3))
op("einsum", "bij,bkj->bik", [t(2, 3, 4), t(2, 5, 4)], vmap=False)
op("tensordot", t(2, 3, 4), t(4, 3, 5), [1, 2], [1, 0])
op("kron", t(2, 2), t(2, 3))
op("chain_matmul linalg_multi_dot", [t(2, 3), t(3, 4), t(4, 2)], scale=2.0)
op("linalg_cross cross", t(2, 3), t(2, 3))
op("trace", S)
op("cdist", t(2, 3, 4), t(2, 5, 4), 2.0)
op("cdist", t(3, 4), t(5, 4), 1.0)
op("_cdist_forward", t(3, 4), t(5, 4), 2.0, None, half=False)
op("_euclidean_dist", t(3, 4), t(5, 4), scale=10.0, half=False, grad=False)  # torch takes the square's way: 2e-6
op("pdist _pdist_forward", t(4, 3), 2.0, half=False)

# activations
op("relu relu6 hardtanh selu celu leaky_relu hardswish hardsigmoid silu mish gelu softplus hardshrink softshrink", X)
op("log_sigmoid elu", X)
op("log_sigmoid_forward", X, outputs=(0,))
op("gelu", X, kw={"approximate": "tanh"})
op("threshold", X, 0.1, 2.0)
op("elu", X, 1.5, 2.0, 0.5)
op("glu", t(2, 4), 1)
op("prelu _prelu_kernel", X, t(1))
op("softmax.int log_softmax.int special_softmax special_log_softmax", X, 1)
op("_softmax _log_softmax", X, 1, False)
op("_safe_softmax", v([[-np.inf, -np.inf], [1.0, 2.0]]), 1, half=False)

# layers
op("conv1d", t(2, 4, 7), t(6, 2, 3), t(6), [2], [1], [1], 2)
op("conv2d", t(2, 4, 6, 6), t(3, 4, 3, 3), None, [1, 1], [1, 1])
op("conv3d", t(1, 2, 4, 4, 4), t(2, 2, 2, 2, 2))
op("conv1d.padding", t(2, 4, 7), t(6, 4, 3), t(6), [1], "same")
op("conv2d.padding", t(2, 4, 6, 6), t(3, 4, 3, 3), None, [1, 1], "same")
op("conv3d.padding", t(1, 2, 4, 4, 4), t(2, 2, 2, 2, 2), None, [1, 1, 1], "valid")
op("conv_transpose1d", t(2, 4, 5), t(4, 3, 3), t(3), [2], [1], [1])
op("conv_transpose2d.input", t(2, 4, 5, 5), t(4, 3, 3, 3), None, [2, 2])
op("conv_transpose3d.input", t(1, 2, 3, 3, 3), t(2, 2, 2, 2, 2))
op("conv_tbc", t(5, 2, 3), t(2, 3, 4), t(4), 1)
op("convolution", t(2, 4, 6, 6), t(3, 4, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
op("convolution", t(2, 4, 5), t(4, 3, 3), t(3), [2], [1], [1], True, [0], 1)
HINTS = ([0, 0], 1, False, False, True)
op("_convolution", t(2, 4, 6, 6), t(3, 4, 3, 3), None, [1, 1], [1, 1], [1, 1], False, *HINTS, True)
op("_convolution.deprecated", t(2, 4, 6, 6), t(3, 4, 3, 3), None, [1, 1], [1, 1], [1, 1], False, *HINTS)
op("_weight_norm", t(3, 4), t(3, 1))
op("_weight_norm_interface", t(3, 4), t(3, 1), outputs=(0,), half=False)
A5, M5 = t(4, 5, 3), (t(5), t(5), t(5), t(5, kind="positive"))
# running statistics have no gradient in torch
op("batch_norm", A5, *M5, False, 0.1, 1e-5, False, half=False, slopes=3)
op("_native_batch_norm_legit_no_training", A5, *M5, 0.1, 1e-5, half=False, outputs=(0,), slopes=3)
op("_native_batch_norm_legit_functional", A5, *M5, True, 0.1, 1e-5, half=False, outputs=(0, 1, 2, 3, 4), grad=False)
op("_native_batch_norm_legit_functional", A5, *M5, True, 0.1, 1e-5, half=False, outputs=(0,), slopes=3)
# the statistics that the native operators give beside the output have no gradient in torch
op("_native_batch_norm_legit.no_stats", A5, t(5), t(5), True, 0.1, 1e-5, half=False, grad=False)
op("_native_batch_norm_legit.no_stats", A5, t(5), t(5), True, 0.1, 1e-5, half=False, outputs=(0,))
op("native_batch_norm", A5, *M5, False, 0.1, 1e-5, half=False, outputs=(0,), slopes=3)
op("instance_norm", A5, t(5), t(5), None, None, True, 0.1, 1e-5, False, half=False)
op("layer_norm", X, [3], t(3), t(3), half=False)
op("native_layer_norm", X, [3], t(3), t(3), 1e-5, half=False, grad=False)
op("native_layer_norm", X, [3], t(3), t(3), 1e-5, half=False, outputs=(0,))
op("group_norm", t(2, 4, 3), 2, t(4), t(4), half=False)
op("native_group_norm", t(2, 4, 3), t(4), t(4), 2, 4, 3, 2, 1e-5, half=False)
op("rms_norm", X, [3], t(3), half=False)
op("_fused_rms_norm", X, [3], t(3), 1e-5, half=False)
op("scaled_dot_product_attention", t(2, 3, 4), t(2, 5, 4), t(2, 5, 6), half=False)
op("scaled_dot_product_attention", t(1, 4, 5, 4), t(1, 2, 5, 4), t(1, 2, 5, 4), None, 0.0, True,
   kw={"scale": 0.3, "enable_gqa": True}, half=False)  # fmt: skip
RNN = ([t(12, 3), t(12, 3), t(12), t(12)], True, 1, 0.0, False, False, True)
op("lstm.input", t(2, 4, 3), [t(1, 2, 3), t(1, 2, 3)], *RNN, half=False)
op("gru.input", t(2, 4, 4), t(1, 2, 4), [t(12, 4), t(12, 4), t(12), t(12)], *RNN[1:], half=False)
op("rnn_tanh.input rnn_relu.input", t(2, 4, 3), t(1, 2, 5), [t(5, 3), t(5, 5), t(5), t(5)], *RNN[1:], half=False)
op("lstm_cell", t(2, 3), [t(2, 3), t(2, 3)], t(12, 3), t(12, 3), t(12), t(12), half=False)
op("gru_cell", t(2, 4), t(2, 4), t(12, 4), t(12, 4), t(12), t(12), half=False)
op("rnn_tanh_cell rnn_relu_cell", t(2, 3), t(2, 5), t(5, 3), t(5, 5), t(5), t(5), half=False)
op("embedding", t(6, 3), ints(2, 4, high=6), 2)
op("embedding_renorm", t(6, 3), ints(4, high=6), 1.0, 2.0, grad=False)
op("embedding_bag", t(6, 3), ints(5, high=6), v([0, 2], "int32"), outputs=(0,), vmap=False)
op("embedding_bag.padding_idx", t(6, 3), ints(5, high=6), v([0, 2], "int32"), False, 1, False, None, False, 1,
   outputs=(0,), vmap=False)  # fmt: skip
op("one_hot", ints(4, high=3), 5)

# vision
op("avg_pool1d", t(2, 3, 7), [3], [2], [1])
op("avg_pool2d", t(2, 3, 6, 6), [2, 2])
op("avg_pool3d", t(1, 2, 4, 4, 4), [2, 2, 2], half=False)
op("max_pool1d", t(2, 3, 7), [3], [2])
op("max_pool2d", t(2, 3, 6, 6), [3, 3], [2, 2], [1, 1])
op("max_pool3d", t(1, 2, 4, 4, 4), [2, 2, 2])
op("max_pool1d_with_indices", t(2, 3, 7), [3], [2])
op("max_pool2d_with_indices", t(2, 3, 6, 6), [3, 3], [2, 2], [1, 1])
op("max_pool3d_with_indices", t(1, 2, 4, 4, 4), [2, 2, 2])
op("adaptive_avg_pool1d adaptive_max_pool1d", t(2, 3, 7), [3])
op("adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d", t(2, 3, 5, 5), [2, 3])
op("adaptive_avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d", t(1, 2, 4, 4, 4), [2, 2, 2])
op("max_unpool2d", t(1, 1, 2, 2), v([[[[0, 3], [8, 11]]]], "int32"), [4, 4])
op("max_unpool3d", t(1, 1, 1, 2, 2), v([[[[[0, 3], [8, 15]]]]], "int32"), [2, 4, 4], [2, 2, 2], [0, 0, 0])
op("fractional_max_pool2d", t(1, 2, 6, 6), [2, 2], [3, 3], t(1, 2, 2, kind="uniform"), half=False, slopes=1)
op("fractional_max_pool3d", t(1, 2, 6, 6, 6), [2, 2, 2], [3, 3, 3], t(1, 2, 3, kind="uniform"), half=False, slopes=1)
for n, linear in ((1, "upsample_linear1d"), (2, "upsample_bilinear2d"), (3, "upsample_trilinear3d")):
    SHAPE = t(1, 2, *[3] * n)
    op(f"upsample_nearest{n}d.vec _upsample_nearest_exact{n}d.vec", SHAPE, [5] * n, None, half=False)
    op(f"upsample_nearest{n}d _upsample_nearest_exact{n}d", SHAPE, [6] * n, *[2.0] * n, half=False)
    op(f"{linear}.vec", SHAPE, None, False, [1.5] * n, half=False)
    op(linear, SHAPE, [5] * n, True, half=False)
op("upsample_bicubic2d.vec _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec", t(1, 2, 6, 6), [4, 4], False, None,
   half=False)  # fmt: skip
op("upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa", t(1, 2, 6, 6), [4, 4], False, half=False)
op("grid_sampler grid_sampler_2d", t(1, 2, 4, 4), t(1, 3, 3, 2, kind="uniform"), 0, 0, False, half=False)
op("grid_sampler_3d", t(1, 2, 4, 4, 4), t(1, 3, 3, 3, 3, kind="uniform"), 0, 1, True, half=False)
op("affine_grid_generator", t(1, 2, 3), [1, 1, 3, 4], False, half=False)
op("im2col", t(1, 2, 5, 5), [2, 2], [1, 1], [1, 1], [2, 2])
op("col2im", t(1, 8, 9), [5, 5], [2, 2], [1, 1], [1, 1], [2, 2], half=False)
op("pixel_shuffle", t(1, 8, 2, 2), 2)
op("pixel_unshuffle", t(1, 2, 4, 4), 2)
op("channel_shuffle", t(1, 4, 2, 2), 2, half=False)
op("native_channel_shuffle", t(1, 4, 2, 2), 2, half=False, grad=False)

# losses
op("mse_loss l1_loss smooth_l1_loss huber_loss", X, Y, 2)
op("soft_margin_loss", X, Y, 2, slopes=1)
op("mse_loss", X, Y, 0)
op("kl_div", X, UNIT, 1)
op("binary_cross_entropy", UNIT, UNIT, half=False)
op("binary_cross_entropy_with_logits", X, UNIT, None, t(3, kind="positive"), 2, half=False, slopes=1)
op(
    "cross_entropy_loss",
    t(4, 3),
    v([0, 2, -100, 1], "int32"),
    t(3, kind="positive"),
    1,
    -100,
    0.1,
    half=False,
    slopes=1,
)
op("nll_loss_nd nll_loss", t(4, 3), v([0, 2, 1, 1], "int32"), None, 2, half=False)
op("nll_loss2d", t(2, 3, 2, 2), ints(2, 2, 2, high=3), half=False)
op("poisson_nll_loss", X, POS, True, False, 1e-8, 1)
op("hinge_embedding_loss", X, v([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]), 0.5, 2)
op("multi_margin_loss", t(4, 3), v([0, 2, 1, 1], "int32"), half=False)
op("multilabel_margin_loss", t(2, 3), v([[0, 2, -1], [1, -1, 0]], "int32"), half=False)
op("margin_ranking_loss", t(4), t(4), v([1.0, -1.0, 1.0, 1.0]), 0.1, 1)
op("cosine_embedding_loss", t(4, 3), t(4, 3), v([1.0, -1.0, 1.0, 1.0]), 0.1, 1, half=False)
op("triplet_margin_loss", t(4, 3), t(4, 3), t(4, 3))
CTC = (t(6, 2, 4, kind="logprobs"), v([[1, 2, 1], [3, 1, 2]], "int32"))
op("ctc_loss.IntList", *CTC, [6, 5], [3, 2], half=False, vmap=False)
op("ctc_loss.Tensor", *CTC, v([6, 5], "int32"), v([3, 2], "int32"), half=False, vmap=False)
op("cosine_similarity pairwise_distance", t(4, 3), t(4, 3))

# complex numbers and Fourier transforms
op("complex", X, Y, half=False)
op("polar", POS, Y, half=False)
op("view_as_real view_as_real_copy real imag _conj conj conj_physical _conj_physical _neg_view", Z, half=False)
op("view_as_complex", t(3, 2), half=False)
op("view_as_complex_copy", t(3, 2), half=False, grad=False)
op("angle", X, half=False)
op("fft_fft fft_ifft fft_rfft fft_ihfft", t(2, 8), 6, -1, "ortho", half=False)
op("fft_irfft fft_hfft", t(2, 5, dtype="complex64"), 8, half=False)
op("fft_fft2 fft_ifft2 fft_rfft2 fft_fftn fft_ifftn fft_rfftn", t(2, 4, 6), half=False)
op("fft_irfft2 fft_irfftn", t(2, 4, 4, dtype="complex64"), half=False)
op("fft_fftn", t(2, 4, 6), [3, 4], half=False)
op("fft_fftshift fft_ifftshift", t(2, 5))
op("fft_fftshift fft_ifftshift", t(2, 5), [1])
op("stft", t(2, 32), 8, 4, 6, t(6, kind="positive"), False, True, True, half=False)
op("stft.center", t(2, 32), 8, 4, 8, None, True, "reflect", False, True, True, half=False)
op("istft", t(2, 5, 9, dtype="complex64"), 8, 4, 8, t(8, kind="positive"), True, False, True, half=False)

# linear algebra
WELL = v([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])
FLAGS = {"half": False}
op(
    "linalg_inv inverse linalg_det det logdet linalg_slogdet slogdet linalg_svdvals linalg_eigvalsh matrix_exp",
    WELL,
    **FLAGS,
)
op("linalg_matrix_exp linalg_cholesky cholesky linalg_eigh pinverse", WELL, scale=2.0, **FLAGS)
op("linalg_pinv", WELL, 1e-6, scale=2.0, **FLAGS)
op("linalg_inv_ex linalg_cholesky_ex", WELL, **FLAGS)
op("linalg_pinv.atol_rtol_float", t(4, 3), kw={"rtol": 1e-6}, scale=5.0, **FLAGS)
op("linalg_pinv.atol_rtol_tensor", t(4, 3), kw={"rtol": v(1e-6)}, scale=5.0, slopes=1, **FLAGS)
op("linalg_solve", WELL, t(3, 2), **FLAGS)
op("linalg_solve", WELL, t(3), **FLAGS)
op("linalg_solve_ex", WELL, t(3, 2), **FLAGS)
op("linalg_solve_triangular", WELL, t(3, 2), kw={"upper": False}, **FLAGS)
op("triangular_solve", t(3, 2), WELL, outputs=(0,), **FLAGS)
# torch gives a gradient to the triangle that is not read as well
op("cholesky_solve", t(3, 2), WELL, slopes=1, **FLAGS)
op("cholesky_inverse", WELL, grad=False, **FLAGS)
op("linalg_qr qr", t(4, 3), **FLAGS)
op("linalg_qr", t(4, 3), "r", outputs=(1,), grad=False, **FLAGS)
op("linalg_svd", t(3, 3), kw={"full_matrices": False}, outputs=(1,), **FLAGS)  # the vectors have free signs
op("_linalg_svd svd", t(4, 3), outputs=(1,), **FLAGS)
op("_linalg_eigh", WELL, outputs=(0,), **FLAGS)
op("linalg_eig linalg_eigvals", WELL, grad=False, outputs=(0,), **FLAGS)
op("_linalg_det", WELL, outputs=(0,), **FLAGS)
op("_linalg_slogdet", WELL, outputs=(0, 1), **FLAGS)
op("linalg_lu_factor linalg_lu_factor_ex linalg_lu", t(3, 3), **FLAGS)
op("linalg_lstsq", t(4, 3), t(4, 2), outputs=(0,), scale=5.0, **FLAGS)
op("linalg_matrix_power matrix_power", WELL, -2, scale=5.0, **FLAGS)
op("linalg_matrix_rank", WELL, 2.5, grad=False, **FLAGS)
op("linalg_matrix_rank.atol_rtol_float", WELL, kw={"rtol": 0.5}, grad=False, **FLAGS)
op("linalg_matrix_rank.atol_rtol_tensor", WELL, kw={"rtol": v(0.5)}, grad=False, **FLAGS)
op("linalg_norm", t(3, 4), **FLAGS)
op("linalg_norm", t(3, 4), 1, [0, 1], **FLAGS)
op("linalg_norm.ord_str", t(3, 4), "nuc", scale=5.0, **FLAGS)
op("linalg_matrix_norm", t(3, 4), 2, scale=5.0, **FLAGS)
op("linalg_matrix_norm.str_ord", t(3, 4), "fro", **FLAGS)
op("linalg_cond", WELL, **FLAGS)
op("linalg_cond.p_str", WELL, "fro", scale=5.0, grad=False, **FLAGS)
op("linalg_householder_product", t(4, 3), t(3), scale=5.0, **FLAGS)
op("linalg_tensorinv", t(4, 2, 2), 1, scale=50.0, **FLAGS)
op("linalg_tensorsolve", t(2, 2, 4), t(2, 2), scale=50.0, **FLAGS)


F32 = np.dtype("float32")
# name: (args, kwargs) of calls that read no array
WITHOUT_ARRAYS: dict = {
    "aten.zeros.default": (([2, 3],), {}),
    "aten.ones.default": (([2, 3],), {"dtype": np.dtype("int64")}),
    "aten.empty.memory_format": (([0, 3],), {}),
    "aten.empty_strided.default": (([0, 3], [3, 1]), {}),
    "aten.empty_permuted.default": (([0, 3], [1, 0]), {}),
    "aten.full.default": (([2], 3), {}),
    "aten.scalar_tensor.default": ((2.5,), {}),
    "aten.arange.default": ((5,), {}),
    "aten.arange.start": ((2, 5), {"dtype": F32}),
    "aten.arange.start_step": ((1.0, 2.0, 0.3), {}),
    "aten.linspace.default": ((0.0, 1.0, 5), {}),
    "aten.linspace.Tensor_Tensor": ((np.zeros((), np.float32), np.ones((), np.float32), 5), {}),
    "aten.linspace.Tensor_Scalar": ((np.zeros((), np.float32), 2.0, 5), {}),
    "aten.linspace.Scalar_Tensor": ((0.5, np.ones((), np.float32), 5), {}),
    "aten.logspace.default": ((0.0, 2.0, 5), {}),
    "aten.eye.default": ((3,), {}),
    "aten.eye.m": ((2, 3), {}),
    "aten.tril_indices.default": ((3, 4, 1), {}),
    "aten.triu_indices.default": ((3, 4, -1), {}),
    "aten.fft_fftfreq.default": ((6,), {}),
    "aten.fft_rfftfreq.default": ((6, 0.5), {}),
    **{
        f"aten.{window}_window.{overload}": ((6, *rest), {})
        for window in ("hann", "hamming", "blackman", "bartlett")
        for overload, rest in (("default", ()), ("periodic", (False,)))
    },
    **{
        f"_operator.{name}": ((7, 2), {})
        for name in [
            "add",
            "sub",
            "mul",
            "floordiv",
            "truediv",
            "mod",
            "pow",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "and_",
            "or_",
            "xor",
        ]
    },
    **{f"_operator.{name}": ((7,), {}) for name in ("neg", "pos", "abs", "not_")},
    "_operator.getitem": (([3, 4], 1), {}),
    "torch.sym_max": ((3, 4), {}),
    "torch.sym_min": ((3, 4), {}),
    "builtins.max": ((3, 4), {}),
    "builtins.min": ((3, 4), {}),
    "torch.sym_ite": ((True, 3, 4), {}),
    "torch.sym_not": ((True,), {}),
    "torch.sym_float": ((3,), {}),
    "torch.sym_int": ((3.7,), {}),
    "torch.sym_sum": (([1, 2, 3],), {}),
    "torch._sym_sqrt": ((4,), {}),
    "math.sqrt": ((4,), {}),
    "math.ceil": ((3.2,), {}),
    "math.floor": ((3.7,), {}),
    "math.trunc": ((3.7,), {}),
    "builtins.float": ((3,), {}),
    "builtins.int": ((3.7,), {}),
    "builtins.round": ((3.7,), {}),
}


@dataclass(frozen=True)
class Full:
    """An array of one value."""

    value: float = 1.0
    shape: tuple[int, ...] = (40, 25)
    dtype: str = "float32"


# name: (args, kwargs, mean, deviation) of what the operator draws, None where another test says it
RANDOM: dict = {
    "aten.dropout.default": ((Full(), 0.5, True), {}, 1.0, 1.0),
    "aten.native_dropout.default": ((Full(), 0.5, True), {}, 1.0, 1.0),
    "aten.feature_dropout.default": ((Full(shape=(40, 25, 2)), 0.5, True), {}, None, None),
    "aten.alpha_dropout.default": ((Full(0.0), 0.5, True), {}, None, None),
    "aten.feature_alpha_dropout.default": ((Full(0.0, (40, 25, 2)), 0.5, True), {}, None, None),
    "aten.rrelu.default": ((Full(-1.0), 0.1, 0.3, True), {}, -0.2, 0.0577),
    "aten.rrelu_with_noise_functional.default": ((Full(-1.0), Full(), 0.1, 0.3, True), {}, -0.2, 0.0577),
    "aten.rand.default": (([40, 25],), {}, 0.5, 0.2887),
    "aten.rand_like.default": ((Full(),), {}, 0.5, 0.2887),
    "aten.randn.default": (([40, 25],), {}, 0.0, 1.0),
    "aten.randn_like.default": ((Full(),), {}, 0.0, 1.0),
    "aten.randint.default": ((10, [40, 25]), {}, 4.5, 2.872),
    "aten.randint.low": ((5, 10, [40, 25]), {}, 7.0, 1.414),
    "aten.randint_like.default": ((Full(), 10), {}, 4.5, 2.872),
    "aten.randint_like.low_dtype": ((Full(), 5, 10), {}, 7.0, 1.414),
    "aten.randperm.default": ((100,), {}, 49.5, 28.87),
    "aten.bernoulli.default": ((Full(0.3),), {}, 0.3, 0.4583),
    "aten.bernoulli.p": ((Full(), 0.3), {}, 0.3, 0.4583),
    "aten.bernoulli.Tensor": ((Full(), Full(0.3)), {}, 0.3, 0.4583),
    "aten.normal.float_float": ((1.0, 2.0, [40, 25]), {}, 1.0, 2.0),
    "aten.normal.Tensor_float": ((Full(), 2.0), {}, 1.0, 2.0),
    "aten.normal.float_Tensor": ((1.0, Full(2.0)), {}, 1.0, 2.0),
    "aten.normal.Tensor_Tensor": ((Full(), Full(2.0)), {}, 1.0, 2.0),
    "aten.normal_functional.default": ((Full(), 1.0, 2.0), {}, 1.0, 2.0),
    "aten.uniform.default": ((Full(), 1.0, 3.0), {}, 2.0, 0.577),
    "aten.exponential.default": ((Full(), 2.0), {}, 0.5, 0.5),
    "aten.cauchy.default": ((Full(),), {}, None, None),
    "aten.log_normal.default": ((Full(), 0.0, 0.25), {}, 1.0317, 0.262),
    "aten.geometric.default": ((Full(), 0.5), {}, 2.0, 1.414),
    "aten.poisson.default": ((Full(4.0),), {}, 4.0, 2.0),
    "aten.multinomial.default": ((Full(0.25, (50, 4)), 2, True), {}, 1.5, 1.118),
}

# What only a model can call: bodies of control flow, rewritten operators, lengths that values decide.
IN_MODELS = (
    "cond", "while_loop", "scan", "map_impl", "map", "associative_scan",
    "purenn_whole.ctc_loss.default", "purenn_whole.gaussian_nll_loss.default", "purenn_whole.pack.default",
    "purenn_whole.pad_packed.default", "purenn_whole.recurrent.default",
    "purenn.custom_function", "purenn.instance_norm_update", "purenn.as_strided", "aten.nonzero.default",
    "aten.where.default", "aten.argwhere.default", "aten.nonzero_numpy.default", "aten.masked_select.default",
    "aten.unique_consecutive.default", "aten._unique2.default", "transformers.grouped_mm_fallback.default",
    "aten._grouped_mm.default",
    "aten.linalg_lu_solve.default",
)  # fmt: skip
