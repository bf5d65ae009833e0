"""Affine maps: the products of an input with weights, by one, in groups, or held in 8 bits and fewer."""

import enum
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from purenn.checks import require
from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional.distance import wide_dtype


class ScalingType(enum.IntEnum):
    """Which numbers of a matrix share a scale; torch's enum of this name is taken too."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """How the scales lie in memory; torch's enum of this name is taken too."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


Scales = jax.Array | Sequence[jax.Array]
Recipes = ScalingType | Sequence[ScalingType]
Swizzles = SwizzleType | Sequence[SwizzleType] | None


def linear(input: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Applies an affine map to the last axis: ``y = x Wᵀ + b``.

    Args:
        input: ``(*, in_features)``, any number of leading axes, none included.
        weight: ``(out_features, in_features)`` or ``(in_features,)``.
        bias: ``(out_features,)``, or what broadcasts to the result.

    Returns:
        ``(*, out_features)`` or ``(*)``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ, or are boolean.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.nn.functional.linear``, identical.
    """
    input, weight = as_array("linear", "input", input), as_array("linear", "weight", weight)
    bias = None if bias is None else as_array("linear", "bias", bias)
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    _check_linear(input, weight, bias)
    # (*, in) x (out, in) -> (*, out), contracted in place: no transpose is made.
    y = lax.dot_general(input, weight, (((input.ndim - 1,), (weight.ndim - 1,)), ((), ())))
    return y if bias is None else y + bias


def bilinear(input1: jax.Array, input2: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Applies a form to the last axes of two inputs: ``y_o = x1ᵀ W_o x2 + b_o``.

    Args:
        input1: ``(*, in1_features)``.
        input2: ``(*, in2_features)``, with the same leading axes.
        weight: ``(out_features, in1_features, in2_features)``.
        bias: ``(out_features,)``.

    Returns:
        ``(*, out_features)``, in the dtype of the inputs; 16-bit ones are summed in float32.

    Errors:
        TypeError: the dtypes differ.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.nn.functional.bilinear``, identical.
    """
    op = "bilinear"
    input1, input2 = as_array(op, "input1", input1), as_array(op, "input2", input2)
    weight = as_array(op, "weight", weight)
    bias = None if bias is None else as_array(op, "bias", bias)
    check_same_dtype(op, input1=input1, input2=input2, weight=weight, bias=bias)
    _check_bilinear(input1, input2, weight, bias)
    wide = _wide(input1.dtype)
    rows = jnp.einsum("...i,oij->...oj", input1, weight, preferred_element_type=wide)
    y = jnp.einsum("...oj,...j->...o", rows, input2.astype(wide))
    return (y if bias is None else y + bias.astype(wide)).astype(input1.dtype)


def grouped_mm(
    mat_a: jax.Array,
    mat_b: jax.Array,
    *,
    offs: jax.Array | None = None,
    bias: None = None,
    out_dtype: Any = None,
) -> jax.Array:
    """Multiplies matrices group by group, where groups may be slices of one axis (tokens of experts).

    Args:
        mat_a: ``(G, M, K)``, or ``(M, K)`` with groups along M (``mat_b`` 3-D) or along K (``mat_b`` 2-D).
        mat_b: ``(G, K, N)``, or ``(K, N)`` with groups along N (``mat_a`` 3-D) or along K (``mat_a`` 2-D).
        offs: ``(G,)`` int32, where each group ends, not decreasing; given exactly if a matrix is 2-D.
        bias: must be None.
        out_dtype: dtype of the result; None is that of ``mat_a``.

    Returns:
        ``(M, N)`` if one matrix is 2-D, else ``(G, M, N)``. Rows or columns beyond the last group are 0. 16-bit
        inputs are summed in float32. Every group is multiplied in full length, so the work is G times that of one.

    Errors:
        TypeError: the dtypes differ, are not floating, or ``offs`` is not int32.
        ValueError: the shapes do not fit, or ``offs`` decreases or passes the end.
        NotImplementedError: ``bias`` is given.

    Torch:
        ``torch.nn.functional.grouped_mm``, differs in that strides need no alignment, float64 and any floating
        ``out_dtype`` are taken, what lies beyond the last group is 0 and not undefined, and ``offs`` is checked.
    """
    op = "grouped_mm"
    mat_a, mat_b = as_array(op, "mat_a", mat_a), as_array(op, "mat_b", mat_b)
    check_same_dtype(op, mat_a=mat_a, mat_b=mat_b)
    check_floating(op, "mat_a", mat_a)
    offs = _check_groups(op, mat_a, mat_b, offs)
    if bias is not None:
        raise _past(op, "bias must be None", {"bias": type(bias).__name__}, "Add it to the result.")
    return _grouped_product(mat_a, mat_b, offs).astype(out_dtype or mat_a.dtype)


def scaled_mm(
    mat_a: jax.Array,
    mat_b: jax.Array,
    scale_a: Scales,
    scale_recipe_a: Recipes,
    scale_b: Scales,
    scale_recipe_b: Recipes,
    swizzle_a: Swizzles = None,
    swizzle_b: Swizzles = None,
    bias: jax.Array | None = None,
    output_dtype: Any = jnp.bfloat16,
    contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
) -> jax.Array:
    """Multiplies two scaled matrices of few bits: ``y = (a s_a) (b s_b) + bias``.

    Args:
        mat_a: ``(M, K)``, float8_e4m3fn or float8_e5m2; float4_e2m1fn, one number an element, for BlockWise1x16.
        mat_b: ``(K, N)``, likewise.
        scale_a: by recipe: one number; ``(M, 1)``; ``(M, K / block)``. A list for scales that multiply each other.
        scale_recipe_a: a `ScalingType` for each scale.
        scale_b: by recipe: one number; ``(1, N)``; ``(N, K / block)``. A list as for ``scale_a``.
        scale_recipe_b: the same as ``scale_recipe_a``.
        swizzle_a: None or ``NO_SWIZZLE``.
        swizzle_b: None or ``NO_SWIZZLE``.
        bias: ``(N,)``.
        output_dtype: dtype of the result; None is that of ``mat_a``.
        contraction_dim: ``()`` or ``(1, 0)``.
        use_fast_accum: accepted and ignored; sums are in float32.

    Returns:
        ``(M, N)``, in ``output_dtype``.

    Errors:
        TypeError: a dtype does not fit its recipe.
        ValueError: the shapes or the recipes do not fit.
        NotImplementedError: swizzled scales, BlockWise128x128, another ``contraction_dim``.

    Torch:
        ``torch.nn.functional.scaled_mm``, differs in that block scales lie unswizzled, and BlockWise128x128 is left
        out.
    """
    op = "scaled_mm"
    del use_fast_accum
    mat_a, mat_b = as_array(op, "mat_a", mat_a), as_array(op, "mat_b", mat_b)
    if mat_a.ndim != 2 or mat_b.ndim != 2 or mat_a.shape[1] != mat_b.shape[0]:
        shapes = {"mat_a.shape": mat_a.shape, "mat_b.shape": mat_b.shape}
        raise refusal(op, "mat_a and mat_b must be (M, K) and (K, N)", shapes)
    recipes = _check_recipes(op, scale_recipe_a, scale_recipe_b, swizzle_a, swizzle_b, contraction_dim)
    bias = _check_bias(op, bias, mat_b.shape[1])
    scales_a = _check_scales(op, "a", mat_a, scale_a, recipes)
    scales_b = _check_scales(op, "b", mat_b, scale_b, recipes)
    # both as (rows, K), so that blocks run along the last axis; a scale for each of b's columns is (1, N)
    scales_b = [s.T if r is ScalingType.RowWise else s for s, r in zip(scales_b, recipes, strict=True)]
    a, b = _descaled(op, "a", mat_a, scales_a, recipes), _descaled(op, "b", mat_b.T, scales_b, recipes)
    y = lax.dot_general(a, b, (((1,), (1,)), ((), ())))
    return (y if bias is None else y + bias.astype(y.dtype)).astype(output_dtype or mat_a.dtype)


def scaled_grouped_mm(
    mat_a: jax.Array,
    mat_b: jax.Array,
    scale_a: Scales,
    scale_recipe_a: Recipes,
    scale_b: Scales,
    scale_recipe_b: Recipes,
    swizzle_a: Swizzles = None,
    swizzle_b: Swizzles = None,
    bias: None = None,
    offs: jax.Array | None = None,
    output_dtype: Any = jnp.bfloat16,
    contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
) -> jax.Array:
    """Multiplies scaled matrices of few bits group by group: `grouped_mm` of ``a s_a`` and ``b s_b``.

    Args:
        mat_a: as for `grouped_mm`, float8_e4m3fn or float8_e5m2.
        mat_b: likewise.
        scale_a: float32, one number a row: ``(G, M)`` or ``(M,)``; ``(G M,)`` if both matrices are 2-D.
        scale_recipe_a: ``RowWise``.
        scale_b: float32, one number a column: ``(G, N)`` or ``(N,)``; ``(G N,)`` if both matrices are 2-D.
        scale_recipe_b: ``RowWise``.
        swizzle_a: None or ``NO_SWIZZLE``.
        swizzle_b: None or ``NO_SWIZZLE``.
        bias: must be None.
        offs: as for `grouped_mm`.
        output_dtype: dtype of the result; None is that of ``mat_a``.
        contraction_dim: ``()`` or ``(1, 0)``.
        use_fast_accum: accepted and ignored; sums are in float32.

    Returns:
        As `grouped_mm`, in ``output_dtype``.

    Errors:
        TypeError: a dtype does not fit.
        ValueError: the shapes do not fit.
        NotImplementedError: another recipe, swizzled scales, a ``bias``.

    Torch:
        ``torch.nn.functional.scaled_grouped_mm``, differs in that RowWise is the only recipe.
    """
    op = "scaled_grouped_mm"
    del use_fast_accum
    mat_a, mat_b = as_array(op, "mat_a", mat_a), as_array(op, "mat_b", mat_b)
    recipes = _check_recipes(op, scale_recipe_a, scale_recipe_b, swizzle_a, swizzle_b, contraction_dim)
    if recipes != [ScalingType.RowWise]:
        raise _past(op, "both recipes must be RowWise", {"scale_recipe_a": _names(recipes)})
    if bias is not None:
        raise _past(op, "bias must be None", {"bias": type(bias).__name__}, "Add it to the result.")
    offs = _check_groups(op, mat_a, mat_b, offs)
    within = offs.shape if offs is not None and mat_a.ndim == mat_b.ndim else ()
    # (M,) or (G, M), and (N,) or (G, N)
    a = _row_scales(op, "a", mat_a, scale_a, mat_a.shape[:-1], within)
    b = _row_scales(op, "b", mat_b, scale_b, (*mat_b.shape[:-2], mat_b.shape[-1]), within)
    x, w = mat_a.astype(jnp.float32), mat_b.astype(jnp.float32)
    if within:  # groups along K: a row has another scale in each group
        y = _grouped_product(x, w, offs) * a[:, :, None] * b[:, None, :]
    else:
        y = _grouped_product(x * a[..., :, None], w * b[..., None, :], offs)
    return y.astype(output_dtype or mat_a.dtype)


def _wide(dtype: Any) -> Any:
    return wide_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else dtype


def _past(op: str, rule: str, got: dict[str, Any], remedy: str = "") -> Exception:
    return refusal(op, f"{rule} (nothing else is implemented)", got, remedy, NotImplementedError)


def _grouped_product(a: jax.Array, b: jax.Array, offs: jax.Array | None) -> jax.Array:
    # A mask and one product; lax.ragged_dot would skip the zeros on some devices, but has no forward mode under vmap.
    wide = _wide(a.dtype)
    if offs is None:
        return jnp.einsum("gmk,gkn->gmn", a, b, preferred_element_type=wide)
    split = b.shape[1] if a.ndim == 3 else a.shape[3 - b.ndim]
    at, starts = jnp.arange(split), jnp.concatenate([jnp.zeros(1, offs.dtype), offs[:-1]])
    inside = (at >= starts[:, None]) & (at < offs[:, None])  # (G, M), (G, K) or (G, N)
    if a.ndim == 3:
        b = jnp.where(inside[:, None, :], b, 0)  # (G, K, N)
    else:
        a = jnp.where(inside[:, :, None] if b.ndim == 3 else inside[:, None, :], a, 0)  # (G, M, K)
    return jnp.einsum("gmk,kn->gmn" if b.ndim == 2 else "gmk,gkn->mn", a, b, preferred_element_type=wide)


def _descaled(op: str, side: str, mat: jax.Array, scales: list[jax.Array], recipes: list[ScalingType]) -> jax.Array:
    # (rows, K) in float32; XLA turns this and the product after it into one scaled product where the device has it
    rows, length = mat.shape
    x = mat.astype(jnp.float32)
    for scale, recipe in zip(scales, recipes, strict=True):
        block = _LENGTH.get(recipe, length)
        parts = -(-length // block) if block else 1
        wanted = (1,) * scale.ndim if recipe is ScalingType.TensorWise else (rows, parts)
        if scale.shape != wanted or parts * block != length:
            rule = f"scale_{side} must have one number for each {recipe.name} part of mat_{side}"
            raise refusal(op, rule, {f"scale_{side} as (rows, parts)": scale.shape, f"mat_{side}": mat.shape})
        scale = scale.astype(jnp.float32)
        x = x * (scale.reshape(()) if recipe is ScalingType.TensorWise else jnp.repeat(scale, block, axis=1))
    return x


_EIGHT_BITS = {jnp.dtype(jnp.float8_e4m3fn), jnp.dtype(jnp.float8_e5m2)}
_LENGTH = {ScalingType.BlockWise1x16: 16, ScalingType.BlockWise1x32: 32, ScalingType.BlockWise1x128: 128}
_SCALE_DTYPE = {ScalingType.BlockWise1x16: jnp.float8_e4m3fn, ScalingType.BlockWise1x32: jnp.float8_e8m0fnu}


def _check_scales(op: str, side: str, mat: jax.Array, scale: Scales, recipes: list[ScalingType]) -> list[jax.Array]:
    scales = [as_array(op, f"scale_{side}", s) for s in _listed(scale)]
    matrix = {jnp.dtype(jnp.float4_e2m1fn)} if ScalingType.BlockWise1x16 in recipes else _EIGHT_BITS
    if mat.dtype not in matrix:
        rule = f"mat_{side} must be {' or '.join(sorted(map(str, matrix)))} for {_names(recipes)}"
        raise refusal(op, rule, {f"mat_{side}.dtype": str(mat.dtype)}, kind=TypeError)
    if len(scales) != len(recipes):
        raise refusal(op, f"scale_{side} must hold one scale for each recipe", {f"len(scale_{side})": len(scales)})
    for array, recipe in zip(scales, recipes, strict=True):
        dtype = jnp.dtype(_SCALE_DTYPE.get(recipe, jnp.float32))
        if array.dtype != dtype:
            rule = f"scale_{side} must be {dtype} for {recipe.name}"
            raise refusal(op, rule, {f"scale_{side}.dtype": str(array.dtype)}, kind=TypeError)
    return scales


def _row_scales(
    op: str, side: str, mat: jax.Array, scale: Scales, rows: tuple[int, ...], within: tuple[int, ...]
) -> jax.Array:
    (scale,) = _check_scales(op, side, mat, scale, [ScalingType.RowWise])
    wanted = (within[0] * rows[0],) if within else rows
    if scale.shape != wanted:
        rule = f"scale_{side} must be {wanted}"
        raise refusal(op, rule, {f"scale_{side}.shape": scale.shape, f"mat_{side}.shape": mat.shape})
    return scale.reshape(*within, *rows)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _named(op: str, argument: str, value: Any, kind: type[enum.IntEnum]) -> list[Any]:
    # torch's enums are of another class, with the same names; numbers are taken too
    try:
        return [kind[v.name] if hasattr(v, "name") else kind(v) for v in _listed(value)]
    except (KeyError, ValueError):
        names = ", ".join(kind.__members__)
        raise refusal(op, f"{argument} must be among {names}", {argument: str(value)}) from None


def _names(recipes: Sequence[ScalingType]) -> str:
    return ", ".join(recipe.name for recipe in recipes)


def _check_recipes(
    op: str, recipe_a: Any, recipe_b: Any, swizzle_a: Any, swizzle_b: Any, contraction_dim: Sequence[int]
) -> list[ScalingType]:
    a, b = (_named(op, "scale_recipe_a", recipe_a, ScalingType), _named(op, "scale_recipe_b", recipe_b, ScalingType))
    if a != b:
        got = {"scale_recipe_a": _names(a), "scale_recipe_b": _names(b)}
        raise refusal(op, "both matrices must be scaled by the same recipe", got)
    if ScalingType.BlockWise128x128 in a:
        remedy = "Repeat each scale over its 128 rows, and call it BlockWise1x128."
        raise _past(op, "recipes must not be BlockWise128x128", {"scale_recipe_a": _names(a)}, remedy)
    for name, value in (("swizzle_a", swizzle_a), ("swizzle_b", swizzle_b)):
        if value is not None and any(_named(op, name, value, SwizzleType)):
            remedy = "Give the scales in plain order, (rows, K / block)."
            raise _past(op, f"{name} must be NO_SWIZZLE", {name: str(value)}, remedy)
    if tuple(contraction_dim) not in ((), (1, 0)):
        raise _past(op, "contraction_dim must be () or (1, 0)", {"contraction_dim": tuple(contraction_dim)})
    return a


def _check_groups(op: str, a: jax.Array, b: jax.Array, offs: Any) -> jax.Array | None:
    shapes = {"mat_a.shape": a.shape, "mat_b.shape": b.shape}
    if a.ndim not in (2, 3) or b.ndim not in (2, 3):
        raise refusal(op, "mat_a and mat_b must be 2-D or 3-D", shapes)
    if a.shape[-1] != b.shape[-2]:
        raise refusal(op, "the last axis of mat_a must equal the last but one of mat_b", shapes)
    if (offs is None) != (a.ndim == b.ndim == 3):
        raise refusal(op, "offs must be given exactly when a matrix is 2-D", {"offs": type(offs).__name__, **shapes})
    if offs is None:
        if a.shape[0] != b.shape[0]:
            raise refusal(op, "mat_a and mat_b must have as many groups", shapes)
        return None
    offs = as_array(op, "offs", offs)
    if offs.dtype != jnp.int32:
        raise refusal(op, "offs must be int32", {"offs.dtype": str(offs.dtype)}, kind=TypeError)
    if offs.ndim != 1 or any(x.ndim == 3 and x.shape[0] != offs.shape[0] for x in (a, b)):
        raise refusal(op, "offs must be (G,)", {"offs.shape": offs.shape, **shapes})
    split = b.shape[1] if a.ndim == 3 else a.shape[3 - b.ndim]
    ends = jnp.concatenate([jnp.zeros(1, offs.dtype), offs, jnp.full(1, split, offs.dtype)])
    require((ends[1:] >= ends[:-1]).all(), op, f"offs must not decrease, nor pass the end, {split}")
    return offs


def _check_bias(op: str, bias: Any, size: int) -> jax.Array | None:
    bias = None if bias is None else as_array(op, "bias", bias)
    if bias is not None and bias.shape != (size,):
        raise refusal(op, "bias must be (N,)", {"bias.shape": bias.shape, "N": size})
    return bias


def _check_linear(input: jax.Array, weight: jax.Array, bias: jax.Array | None) -> None:
    if input.dtype == jnp.bool_:
        raise refusal("linear", "input must not be boolean", {"input.dtype": "bool"}, kind=TypeError)
    if weight.ndim not in (1, 2):
        raise refusal("linear", "weight must be 1-D or 2-D", {"weight.shape": weight.shape})
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise refusal(
            "linear",
            "the last axis of input must equal the last axis of weight",
            {"input.shape": input.shape, "weight.shape": weight.shape},
            "A weight is (out_features, in_features).",
        )
    if bias is not None and not _broadcasts(bias.shape, (*input.shape[:-1], *weight.shape[:-1])):
        raise refusal(
            "linear", "bias must be (out_features,)", {"bias.shape": bias.shape, "weight.shape": weight.shape}
        )


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _check_bilinear(input1: jax.Array, input2: jax.Array, weight: jax.Array, bias: jax.Array | None) -> None:
    op = "bilinear"
    if weight.ndim != 3:
        rule = "weight must be (out_features, in1_features, in2_features)"
        raise refusal(op, rule, {"weight.shape": weight.shape})
    if not input1.ndim or not input2.ndim or input1.shape[:-1] != input2.shape[:-1]:
        rule = "input1 and input2 must have the same leading axes"
        raise refusal(op, rule, {"input1.shape": input1.shape, "input2.shape": input2.shape})
    for name, x, axis in (("input1", input1, 1), ("input2", input2, 2)):
        if x.shape[-1] != weight.shape[axis]:
            rule = f"the last axis of {name} must equal weight.shape[{axis}]"
            raise refusal(op, rule, {f"{name}.shape": x.shape, "weight.shape": weight.shape})
    if bias is not None and bias.shape != weight.shape[:1]:
        rule = "bias must be (out_features,)"
        raise refusal(op, rule, {"bias.shape": bias.shape, "weight.shape": weight.shape})
