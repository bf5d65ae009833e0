"""torch.nn.utils.prune: zeros that stay, in a module's weights.

The weight becomes ``weight_mask * weight_orig``, computed at each read by `transforms.pruning.Masked`. Which numbers
are pruned is decided once, by a method: from the weight as it is, so that pruning again prunes more.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from purenn.errors import refusal
from stateful.module import Module
from stateful.utils.convert_parameters import parameters_to_vector
from stateful.utils.pruning_methods import (
    BasePruningMethod,
    CustomFromMask,
    Identity,
    L1Unstructured,
    LnStructured,
    Pruned,
    PruningContainer,
    RandomStructured,
    RandomUnstructured,
)

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


def identity(module: Module, name: str) -> Module:
    """Prunes nothing, but makes a mask.

    Args:
        module: changed in place.
        name: of the weight.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prunes numbers that are drawn, from the ambient seed.

    Args:
        module: changed in place.
        name: of the weight.
        amount: a fraction, float, or a count, int.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Any = None) -> Module:
    """Prunes the numbers of the least magnitude.

    Args:
        module: changed in place.
        name: of the weight.
        amount: a fraction, float, or a count, int.
        importance_scores: what ranks in the place of the weight, of its shape.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prunes slices that are drawn, from the ambient seed.

    Args:
        module: changed in place.
        name: of the weight.
        amount: a fraction, float, or a count, int.
        dim: axis of the slices.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: float, dim: int, importance_scores: Any = None
) -> Module:
    """Prunes the slices of the least norm.

    Args:
        module: changed in place.
        name: of the weight.
        amount: a fraction, float, or a count, int.
        n: exponent of the norm.
        dim: axis of the slices.
        importance_scores: what ranks in the place of the weight, of its shape.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Any) -> Module:
    """Prunes by a mask.

    Args:
        module: changed in place.
        name: of the weight.
        mask: 0 for what is pruned, of the shape of the weight.

    Returns:
        The module; it has ``weight_orig`` and the buffer ``weight_mask``.

    Errors:
        ValueError: there is no such parameter, or not that much to prune.
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Mapping[tuple[Module, str], Any] | None = None,
    **kwargs: Any,
) -> None:
    """Prunes several weights together, as if they were one.

    Args:
        parameters: pairs of a module and the name of its weight; the modules are changed in place.
        pruning_method: an unstructured one.
        importance_scores: what ranks in the place of a weight, by pair.
        **kwargs: for the method: ``amount``.

    Errors:
        TypeError: the method is not unstructured, or an argument is of another kind.
    """
    op = "global_unstructured"
    if not isinstance(parameters, Iterable):
        raise refusal(op, "parameters must be pairs of a module and a name", {"parameters": parameters}, kind=TypeError)
    given = {} if importance_scores is None else importance_scores
    if not isinstance(given, Mapping):
        got = {"type": type(given).__name__}
        raise refusal(op, "importance_scores must be a dict by pair", got, kind=TypeError)
    method: Any = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        got = {"PRUNING_TYPE": method.PRUNING_TYPE}
        raise refusal(op, "pruning_method must be unstructured", got, kind=TypeError)
    pairs = list(parameters)
    weights = [jnp.asarray(getattr(module, name)) for module, name in pairs]
    scores = parameters_to_vector([given.get(pair, weight) for pair, weight in zip(pairs, weights, strict=True)])
    masks = [getattr(m, f"{n}_mask", jnp.ones_like(w)) for (m, n), w in zip(pairs, weights, strict=True)]
    method._tensor_name = "all"
    mask = PruningContainer(method).compute_mask(scores, parameters_to_vector(masks))
    start = 0
    for (module, name), weight in zip(pairs, weights, strict=True):
        custom_from_mask(module, name, mask[start : start + weight.size].reshape(weight.shape))
        start += weight.size


def remove(module: Module, name: str) -> Module:
    """Makes a pruned weight a parameter again, with its zeros.

    Args:
        module: changed in place.
        name: of the weight.

    Returns:
        The module.

    Errors:
        ValueError: it is not pruned.
    """
    held = module._computed.get(name)
    if not isinstance(held, Pruned):
        raise refusal("prune.remove", "the weight must be pruned", {"name": name})
    held.method.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a weight of a module, or of a module in it, is pruned.

    Args:
        module: any.

    Returns:
        The answer.
    """
    return any(isinstance(held, Pruned) for each in module.modules() for held in each._computed.values())
