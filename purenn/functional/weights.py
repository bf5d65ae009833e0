"""What is done to weights and their gradients: reparametrisation, clipping, and trees as vectors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from purenn import checks
from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional.distance import vector_norm, wide_dtype
from purenn.functional.normalization import normalize


def weight_norm(v: jax.Array, g: jax.Array, dim: int | None = 0) -> jax.Array:
    """Separates a weight's length from its direction: ``w = g v / ‖v‖``.

    Args:
        v: the direction, any shape, floating.
        g: the length, broadcastable to ``v``: one for each slice along ``dim``, ``(n, 1, ..., 1)`` for the first axis.
        dim: the axis whose slices have lengths of their own; None or -1: there is one length for all of ``v``.

    Returns:
        The shape and dtype of ``v``; NaN where the norm is 0.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit.
        IndexError: ``dim`` is no axis.

    Torch:
        ``torch._weight_norm``, under ``torch.nn.utils.parametrizations.weight_norm``, identical.

    Source:
        Salimans & Kingma 2016 (arXiv:1602.07868).
    """
    v, g = as_array("weight_norm", "v", v), as_array("weight_norm", "g", g)
    check_same_dtype("weight_norm", v=v, g=g)
    check_floating("weight_norm", "v", v)
    if not -v.ndim <= (dim or 0) < max(v.ndim, 1):
        raise refusal("weight_norm", "dim must be an axis of v", {"dim": dim, "v.shape": v.shape}, kind=IndexError)
    kept = None if dim in (None, -1) else dim % v.ndim
    fits = g.ndim <= v.ndim and all(m in (1, n) for m, n in zip(g.shape[::-1], v.shape[::-1], strict=False))
    if not fits:
        raise refusal("weight_norm", "g must broadcast to v", {"g.shape": g.shape, "v.shape": v.shape})
    wide = v.astype(wide_dtype(v.dtype))
    norm = vector_norm(wide, 2, tuple(axis for axis in range(v.ndim) if axis != kept), keepdims=True)
    return (wide * (g / norm)).astype(v.dtype)


def spectral_norm(
    weight: jax.Array,
    u: jax.Array | None,
    v: jax.Array | None,
    n_power_iterations: int = 1,
    dim: int = 0,
    eps: float = 1e-12,
) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
    """Divides a weight by its largest singular value: ``W / (uᵀ W v)``, u and v improved by the power method.

    Args:
        weight: any shape, floating; W is the matrix whose rows are its slices along ``dim``. A vector is divided by its
            length, and u and v are passed on.
        u: ``(rows,)``, the left singular vector so far, of length 1.
        v: ``(columns,)``, the right one.
        n_power_iterations: steps to make, ``u = W v / ‖W v‖`` and ``v = Wᵀ u / ‖Wᵀ u‖`` each; 0 in evaluation.
        dim: the axis of the rows.
        eps: least divisor of a vector.

    Returns:
        The weight, in its shape and dtype, and the new ``(u, v)``, through which no gradient flows.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit, or ``n_power_iterations`` is negative.
        IndexError: ``dim`` is no axis.

    Torch:
        ``torch.nn.utils.parametrizations.spectral_norm``, differs in that the vectors are arguments and results.

    Source:
        Miyato et al. 2018 (arXiv:1802.05957).
    """
    op = "spectral_norm"
    weight = as_array(op, "weight", weight)
    check_floating(op, "weight", weight)
    if not -weight.ndim <= dim < weight.ndim:
        raise refusal(op, "dim must be an axis of weight", {"dim": dim, "weight.shape": weight.shape}, kind=IndexError)
    if n_power_iterations < 0:
        rule = "n_power_iterations must not be negative"
        raise refusal(op, rule, {"n_power_iterations": n_power_iterations})
    if weight.ndim == 1:
        return normalize(weight, dim=0, eps=eps), (u, v)
    W = jnp.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)
    u, v = _check_vector(W, "u", u, 0), _check_vector(W, "v", v, 1)
    fixed = lax.stop_gradient(W)
    for _ in range(n_power_iterations):
        u = normalize(fixed @ v, dim=0, eps=eps)
        v = normalize(u @ fixed.conj(), dim=0, eps=eps)
    u, v = lax.stop_gradient((u, v))
    return weight / jnp.vdot(u, W @ v), (u, v)


def _check_vector(W: jax.Array, name: str, vector: jax.Array | None, axis: int) -> jax.Array:
    vector = as_array("spectral_norm", name, vector)
    check_same_dtype("spectral_norm", **{"weight": W, name: vector})
    if vector.shape != (W.shape[axis],):
        got = {f"{name}.shape": vector.shape, "weight as a matrix": W.shape}
        raise refusal("spectral_norm", f"{name} must be {(W.shape[axis],)}", got)
    return vector


def clip_grad_norm(
    grads: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> tuple[Any, jax.Array]:
    """Shrinks gradients together, so that their norm is at most ``max_norm``: ``g min(1, max_norm / (‖g‖ + 1e-6))``.

    Args:
        grads: any tree of floating arrays; the norm is the one of all their numbers as one vector.
        max_norm: largest norm.
        norm_type: exponent of the norm, ``float("inf")`` for the largest magnitude.
        error_if_nonfinite: refuses a norm that is infinite or NaN, where values can be read.

    Returns:
        The clipped tree, and the norm before, ``()``, in float32 at least.

    Errors:
        TypeError: a leaf is no floating array.
        ValueError: the norm is not finite, with ``error_if_nonfinite``, outside a trace.

    Torch:
        ``torch.nn.utils.clip_grad_norm_``, differs in that gradients are argument and result, and in that the norm of
        half precision stays in float32 (in float16 it would overflow, and the gradients become 0).
    """
    total = total_norm(grads, norm_type, error_if_nonfinite, op="clip_grad_norm")
    return scale_to_norm(grads, max_norm, total, op="clip_grad_norm"), total


def scale_to_norm(grads: Any, max_norm: float, norm: Any, op: str = "clip_grads_with_norm") -> Any:
    """Shrinks gradients of a known norm: ``g min(1, max_norm / (norm + 1e-6))``.

    Args:
        grads: any tree of floating arrays.
        max_norm: largest norm.
        norm: ``()``, of all of them, see `total_norm`.
        op: name of the caller.

    Returns:
        The tree, with the dtypes of ``grads``.

    Errors:
        TypeError: a leaf is no floating array.

    Torch:
        ``torch.nn.utils.clip_grads_with_norm_``, differs in that gradients are argument and result.
    """
    leaves, tree = _floating_leaves(op, "grads", grads)
    factor = jnp.minimum(max_norm / (norm + 1e-6), 1.0)
    return jax.tree.unflatten(tree, [(x * factor).astype(x.dtype) for x in leaves])


def total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, op: str = "get_total_norm"
) -> jax.Array:
    """The norm of all numbers of a tree, as one vector.

    Args:
        tensors: any tree of floating arrays.
        norm_type: exponent of the norm, ``float("inf")`` for the largest magnitude.
        error_if_nonfinite: refuses a norm that is infinite or NaN, where values can be read.
        op: name of the caller.

    Returns:
        ``()``, float32 at least.

    Errors:
        TypeError: a leaf is no floating array.
        ValueError: the norm is not finite, with ``error_if_nonfinite``, outside a trace.

    Torch:
        ``torch.nn.utils.get_total_norm``, differs in that half precisions are summed in float32.
    """
    leaves, _ = _floating_leaves(op, "grads", tensors)
    order = float(norm_type)
    total = _total_norm(leaves, order)
    if error_if_nonfinite:
        remedy = "Pass error_if_nonfinite=False to clip by it all the same."
        checks.require(jnp.isfinite(total), op, f"the norm of order {order} must be finite", remedy)
    return total


def _total_norm(leaves: list[jax.Array], order: float) -> jax.Array:
    wide = [x.astype(wide_dtype(x.dtype)) for x in leaves if x.size]
    if not wide:
        return jnp.zeros(())
    norms = [vector_norm(x, order, tuple(range(x.ndim))) for x in wide]
    return vector_norm(jnp.stack(norms), order, (0,))


def clip_grad_value(grads: Any, clip_value: float) -> Any:
    """Limits every gradient to an interval: ``min(max(g, -clip_value), clip_value)``.

    Args:
        grads: any tree of floating arrays.
        clip_value: largest magnitude.

    Returns:
        The clipped tree, with the dtypes of ``grads``.

    Errors:
        TypeError: a leaf is no floating array.

    Torch:
        ``torch.nn.utils.clip_grad_value_``, differs in that gradients are argument and result.
    """
    leaves, tree = _floating_leaves("clip_grad_value", "grads", grads)
    return jax.tree.unflatten(tree, [jnp.clip(x, -clip_value, clip_value).astype(x.dtype) for x in leaves])


def parameters_to_vector(parameters: Any) -> jax.Array:
    """Lays all numbers of a tree into one vector.

    Args:
        parameters: any tree of arrays. Its leaves follow each other as ``jax.tree.leaves`` has them: lists in their
            order, the keys of a dict sorted.

    Returns:
        ``(count,)``, in the dtype that the leaves' dtypes promote to.

    Errors:
        TypeError: a leaf is no array.
        ValueError: there is no leaf.

    Torch:
        ``torch.nn.utils.parameters_to_vector``, identical for a list; a tree may be any other, too.
    """
    op = "parameters_to_vector"
    leaves, _ = _leaves(op, "parameters", parameters)
    if not leaves:
        raise refusal(op, "parameters must hold at least one array")
    return jnp.concatenate([x.reshape(-1) for x in leaves])


def vector_to_parameters(vector: jax.Array, parameters: Any) -> Any:
    """Cuts a vector into a tree, the inverse of ``parameters_to_vector``.

    Args:
        vector: ``(count,)``.
        parameters: a tree of arrays, or of ``jax.ShapeDtypeStruct``, that says structure, shapes and dtypes.

    Returns:
        A tree like ``parameters``, filled from ``vector``.

    Errors:
        TypeError: ``vector`` is no array.
        ValueError: ``vector`` is not as long as the tree has numbers.

    Torch:
        ``torch.nn.utils.vector_to_parameters``, differs in that the tree is a result, in its own dtypes, and in that a
        vector that is too long is refused.
    """
    op = "vector_to_parameters"
    vector = as_array(op, "vector", vector)
    leaves, tree = jax.tree.flatten(parameters)
    sizes = [math.prod(x.shape) for x in leaves]
    if vector.shape != (sum(sizes),):
        raise refusal(op, f"vector must be {(sum(sizes),)}", {"vector.shape": vector.shape})
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    pieces = [vector[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    shaped = [p.reshape(x.shape).astype(x.dtype) for p, x in zip(pieces, leaves, strict=True)]
    return jax.tree.unflatten(tree, shaped)


def _leaves(op: str, argument: str, tree: Any) -> tuple[list[jax.Array], Any]:
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    return [as_array(op, _dotted(argument, path), leaf) for path, leaf in paths], structure


def _floating_leaves(op: str, argument: str, tree: Any) -> tuple[list[jax.Array], Any]:
    leaves, structure = _leaves(op, argument, tree)
    for (path, _), leaf in zip(jax.tree_util.tree_flatten_with_path(tree)[0], leaves, strict=True):
        check_floating(op, _dotted(argument, path), leaf)
    return leaves, structure


def _dotted(argument: str, path: tuple) -> str:
    return ".".join((argument, *(jax.tree_util.keystr((key,), simple=True) for key in path)))
