"""torch.nn.utils.clip_grad: gradients are values here, so they are taken and given back."""

import warnings
from collections.abc import Iterator
from typing import Any

import jax

from purenn.errors import refusal
from purenn.functional.weights import clip_grad_value, scale_to_norm, total_norm
from stateful.parameter import owner


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> jax.Array:
    """The norm of all numbers of a tree, as one vector.

    Args:
        tensors: any tree of floating arrays, or an iterator over them.
        norm_type: exponent of the norm, ``float("inf")`` for the largest magnitude.
        error_if_nonfinite: refuses a norm that is infinite or NaN, where values can be read.
        foreach: accepted for torch's sake.

    Returns:
        ``()``, float32 at least.

    Errors:
        TypeError: a leaf is no floating array.
        ValueError: the norm is not finite, with ``error_if_nonfinite``, outside a trace.

    Torch:
        ``torch.nn.utils.get_total_norm``, differs in that half precisions are summed in float32.
    """
    del foreach
    return total_norm(list(tensors) if isinstance(tensors, Iterator) else tensors, norm_type, error_if_nonfinite)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> Any:
    """Shrinks gradients of a known norm: ``g min(1, max_norm / (norm + 1e-6))``.

    Args:
        parameters: the gradients, any tree.
        max_norm: largest norm.
        total_norm: of all of them, see `get_total_norm`.
        foreach: accepted for torch's sake.

    Returns:
        The gradients.

    Errors:
        TypeError: parameters of a module were given, or what is no floating array.

    Torch:
        ``torch.nn.utils.clip_grads_with_norm_``, differs in that gradients are argument and result.
    """
    del foreach
    return scale_to_norm(_gradients("clip_grads_with_norm_", parameters), max_norm, total_norm)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> tuple[Any, jax.Array]:
    """Shrinks gradients together, so that their norm is at most ``max_norm``.

    Args:
        parameters: the gradients, any tree.
        max_norm: largest norm.
        norm_type: exponent of the norm.
        error_if_nonfinite: refuses a norm that is infinite or NaN, where values can be read.
        foreach: accepted for torch's sake.

    Returns:
        The gradients, and their norm before.

    Errors:
        TypeError: parameters of a module were given, or what is no floating array.
        ValueError: the norm is not finite, with ``error_if_nonfinite``, outside a trace.

    Torch:
        ``torch.nn.utils.clip_grad_norm_``, differs in that gradients are argument and result.
    """
    grads = _gradients("clip_grad_norm_", parameters)
    norm = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    return scale_to_norm(grads, max_norm, norm), norm


def clip_grad_norm(*args: Any, **kwargs: Any) -> tuple[Any, jax.Array]:
    """The older name of `clip_grad_norm_`; it warns.

    Args:
        *args: see there.
        **kwargs: see there.

    Returns:
        See there.
    """
    warnings.warn("clip_grad_norm is deprecated in favor of clip_grad_norm_.", FutureWarning, stacklevel=2)
    return clip_grad_norm_(*args, **kwargs)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> Any:
    """Limits every gradient to ``[-clip_value, clip_value]``.

    Args:
        parameters: the gradients, any tree.
        clip_value: largest magnitude.
        foreach: accepted for torch's sake.

    Returns:
        The gradients.

    Errors:
        TypeError: parameters of a module were given, or what is no floating array.

    Torch:
        ``torch.nn.utils.clip_grad_value_``, differs in that gradients are argument and result.
    """
    del foreach
    return clip_grad_value(_gradients("clip_grad_value_", parameters), float(clip_value))


def _gradients(op: str, grads: Any) -> Any:
    """The tree; refused where it holds parameters, as torch's does, for their gradients are not in them."""
    if isinstance(grads, Iterator):
        grads = list(grads)
    if any(owner(leaf) is not None for leaf in jax.tree.leaves(grads)):
        remedy = f"Gradients are values that jax.grad returns: clipped = {op}(grads, ...)."
        raise refusal(op, "gradients must be given, not the parameters of a module", remedy=remedy, kind=TypeError)
    return grads
