"""to_torch: params and buffers as the state_dict of a torch module."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model, structure
from purenn.tree import combine, flatten
from transforms.porting import FromTorch


def to_torch(params: Params, buffers: Buffers, model: Model | None = None) -> dict[str, Any]:
    """Makes a torch state_dict, for ``module.load_state_dict``.

    Args:
        params: of a model.
        buffers: of it.
        model: the model they belong to. With it the state_dict is complete as torch wants it: in torch's order,
            without the buffers that are not persistent, a tied array under all its names, 64-bit ones as they were.

    Returns:
        ``{dotted path: torch.Tensor}``, copies.

    Errors:
        TypeError for a PRNG key among the arrays; ValueError for paths that the model has not.

    >>> import torch, transforms
    >>> net = torch.nn.Linear(3, 2)
    >>> model = transforms.from_torch(net, (torch.ones(1, 3),))
    >>> net.load_state_dict(transforms.to_torch(*model.init(), model))
    <All keys matched successfully>
    """
    arrays = flatten(combine(params, buffers))
    if model is None:
        return {path: _tensor(path, array) for path, array in arrays.items()}
    check_model("to_torch", model)
    leaves = flatten(structure(model))
    if set(arrays) != set(leaves):
        got = {"missing": sorted(set(leaves) - set(arrays)), "unknown": sorted(set(arrays) - set(leaves))}
        raise refusal("to_torch", "params and buffers must hold the model's names", got)
    names = [path for path, leaf in leaves.items() if leaf.persistent]
    if not isinstance(model, FromTorch):
        return {path: _tensor(path, arrays[path]) for path in names}
    tensors = {path: _tensor(path, arrays[path], model.weights[path].value.dtype) for path in names}
    return tensors | {alias: tensors[path] for alias, path in model.ties.items() if path in tensors}


def _tensor(path: str, array: Any, dtype: Any = None) -> Any:
    import torch

    dtype = jnp.asarray(array).dtype if dtype is None else dtype
    if not isinstance(dtype, np.dtype):
        remedy = "Leave it out, or save jax.random.key_data of it."
        raise refusal("to_torch", f"{path} must be an array of numbers", {"dtype": str(dtype)}, remedy, TypeError)
    if dtype == jnp.bfloat16:
        return torch.from_numpy(np.array(array, np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array, dtype))
