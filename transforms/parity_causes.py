"""Likely causes of a difference, found by experiment.

The submodule that differs is changed in the ways in which ports go wrong (another eps, gates in another order, a mask
of the other polarity, ...), one at a time, and run on the inputs that it had. The change after which torch gives what
the port gives is the cause.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from transforms.parity_recording import Call, arrays, difference

Variant = tuple[str, Callable[..., Any]]  # what is said, and what is run

# Attributes that ports get wrong, and what they are then.
_ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "eps": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0, None),
    "approximate": ("none", "tanh"),
    "negative_slope": (0.0, 0.01, 0.1, 0.2, 0.3),
    "alpha": (0.1, 0.2, 0.5, 1.0, 1.67),
    "beta": (0.5, 1.0, 2.0),
    "count_include_pad": (True, False),
    "ceil_mode": (True, False),
    "align_corners": (None, True, False),
    "mode": ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"),
    "dim": (0, 1, 2, 3, -1, -2),
    "norm_first": (True, False),
    "batch_first": (True, False),
    "training": (True, False),
    "num_heads": (1, 2, 3, 4, 6, 8, 12, 16),
    "num_groups": (1, 2, 3, 4, 8, 16, 32),
    "padding": (0, 1, 2, 3),
    "stride": (1, 2),
    "dilation": (1, 2),
    "upscale_factor": (1, 2, 3, 4),
    "padding_idx": (None, 0),
}


def likely_cause(original: Any, call: Call, mine: Call, agrees: bool, tolerance: float) -> str:
    """Says why the outputs of one call differ.

    Args:
        original: the torch module, in float64.
        call: torch's call.
        mine: the same call of the port.
        agrees: whether the inputs agree.
        tolerance: of the comparison.

    Returns:
        A phrase; empty where no experiment explains it.
    """
    if not agrees:
        parent = call.path.rpartition(".")[0] or "the model"
        return f"what {parent} gives to {call.path}{_permuted(mine.inputs, call.inputs, tolerance)}"
    if permuted := _permuted(mine.out, call.out, tolerance):
        return f"layout{permuted}"
    module = original.get_submodule(call.path)
    for said, run in _variants(module, call):
        out = _quietly(run, call)
        if out is not None and difference(mine.out, out) <= max(tolerance, 1e-7):
            return said
    if precision := _precision(mine.out, call.out):
        return precision
    return "its own forward, as all modules in it agree" if next(module.children(), None) is not None else ""


def buffer_cause(name: str, before: Any, theirs: Any, ours: Any) -> str:
    """Says why a buffer differs after a training forward.

    Args:
        name: its path.
        before: its value before.
        theirs: torch's after.
        ours: the port's after.

    Returns:
        A phrase.
    """
    before, theirs, ours = (np.asarray(x, np.float64) for x in (before, theirs, ours))
    if ours.shape == theirs.shape:
        if np.allclose(ours, before, rtol=1e-9, atol=1e-12):
            return f"buffers: {name} stays as it was"
        moved, ratio = theirs - before, (ours - before)[theirs != before] / (theirs - before)[theirs != before]
        if moved.size and np.ptp(ratio) < 1e-6 * max(1.0, abs(ratio).max(initial=0.0)):
            return f"momentum: {name} moves {ratio.mean():.4g} times as far (torch's weighs the new value)"
        if name.endswith("running_var"):
            return f"momentum or variance: {name} is another mean (torch's running_var is unbiased)"
    return f"buffers: {name}"


def _variants(module: Any, call: Call) -> Iterator[Variant]:
    yield from _attributes(module)
    yield from _activations(module)
    yield from _weights(module)
    yield from _gates(module)
    yield from _masks(call, module)
    yield from _asymmetric(module)
    yield from _formulas(module)


def _attributes(module: Any) -> Iterator[Variant]:
    for name, values in _ATTRIBUTES.items():
        if not hasattr(module, name):
            continue
        now = getattr(module, name)
        for value in values:
            other = (value,) * len(now) if isinstance(now, tuple) and value is not None else value
            if (other != now and type(now) is not str) or (isinstance(other, str) and other != now):
                yield f"{name}: {other} here, {now} in torch", _with(module, {name: other})


def _with(module: Any, changes: dict[str, Any]) -> Callable[..., Any]:
    changed = copy.deepcopy(module)
    changed._forward_hooks.clear()
    for name, value in changes.items():
        changed.__dict__[name] = value
    return changed


def _activations(module: Any) -> Iterator[Variant]:
    from torch import nn

    kinds = {
        "relu": nn.ReLU(), "relu6": nn.ReLU6(), "exact gelu": nn.GELU(), "tanh gelu": nn.GELU("tanh"),
        "silu": nn.SiLU(), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "leaky_relu": nn.LeakyReLU(), "elu": nn.ELU(),
        "mish": nn.Mish(), "hardswish": nn.Hardswish(), "hardsigmoid": nn.Hardsigmoid(), "softplus": nn.Softplus(),
        "selu": nn.SELU(), "no activation": nn.Identity(),
    }  # fmt: skip
    if any(type(module) is type(kind) for kind in kinds.values()):
        for name, kind in kinds.items():
            yield f"activation: {name} here, {module} in torch", kind


def _weights(module: Any) -> Iterator[Variant]:
    for name, weight in module.named_parameters(recurse=False):
        if weight.ndim == 1 and name.endswith("bias"):
            yield f"{name}: left out here", _replaced(module, {name: weight * 0})
        if weight.ndim == 1 and name == "weight":
            yield "weight: 1 + weight here", _replaced(module, {name: 1 + weight})
        if weight.ndim >= 2 and weight.shape[0] == weight.shape[1]:
            yield (
                f"transpose: {name} has its first two axes swapped here",
                _replaced(module, {name: weight.transpose(0, 1)}),
            )
        if weight.ndim > 2:
            axes = tuple(range(2, weight.ndim))
            yield f"flip: the kernel of {name} runs backwards here", _replaced(module, {name: weight.flip(axes)})


def _replaced(module: Any, weights: dict[str, Any]) -> Callable[..., Any]:
    import torch

    changed = copy.deepcopy(module)
    changed._forward_hooks.clear()
    with torch.no_grad():
        for name, value in weights.items():
            getattr(changed, name).copy_(value)
    return changed


_GATES = {"LSTM": "ifgo", "LSTMCell": "ifgo", "GRU": "rzn", "GRUCell": "rzn", "MultiheadAttention": "qkv"}


def _gates(module: Any) -> Iterator[Variant]:
    """Blocks of rows in another order: gates of recurrent weights, and projections of attention."""
    import torch

    gates = next((_GATES[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in _GATES), None)
    if gates is None:
        return
    blocks = {n: w for n, w in module.named_parameters(recurse=False) if w.shape[0] % len(gates) == 0 and "hr" not in n}
    for order in itertools.permutations(range(len(gates))):
        if order != tuple(range(len(gates))):
            mixed = {n: torch.cat([w.chunk(len(gates))[i] for i in order]) for n, w in blocks.items()}
            ours, theirs = "".join(gates[i] for i in order), gates
            yield f"gate order: {ours} here, {theirs} in torch", _replaced(module, mixed)


def _masks(call: Call, module: Any) -> Iterator[Variant]:
    """Boolean inputs of the other polarity, or left out."""
    import torch

    args, kwargs = call.given

    def flipped(leaf: Any) -> Any:
        return ~leaf if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool else leaf

    def dropped(leaf: Any) -> Any:
        mask = isinstance(leaf, torch.Tensor) and (leaf.dtype == torch.bool or bool(torch.isinf(leaf).any()))
        return None if mask else leaf

    for said, change in (("mask polarity: True means the opposite here", flipped), ("mask: ignored here", dropped)):
        new = [change(leaf) for leaf in args], {name: change(leaf) for name, leaf in kwargs.items()}
        if any(a is not b for a, b in zip([*new[0], *new[1].values()], [*args, *kwargs.values()], strict=True)):
            yield said, lambda *_, new=new, **__: _bare(module)(*new[0], **new[1])


def _bare(module: Any) -> Any:
    return _with(module, {})


def _asymmetric(module: Any) -> Iterator[Variant]:
    """Padding as other libraries have it: SAME puts what is odd on the right."""
    from torch.nn import functional

    if not hasattr(module, "kernel_size") or not hasattr(module, "stride") or not hasattr(module, "padding"):
        return
    rank = len(module.kernel_size) if isinstance(module.kernel_size, tuple) else 2

    def same(x: Any) -> Any:
        pads: list[int] = []
        for axis in reversed(range(rank)):
            size, kernel, stride = x.shape[-rank + axis], _at(module.kernel_size, axis), _at(module.stride, axis)
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        value = float("-inf") if "Max" in type(module).__name__ else 0.0
        plain = _with(module, {"padding": (0,) * rank if isinstance(module.padding, tuple) else 0})
        return plain(functional.pad(x, pads, value=value))

    yield "padding: SAME, uneven on the right, here; even on both sides in torch", same
    if isinstance(module.padding, tuple):
        around = [pad for pad in reversed(module.padding) for _ in (0, 1)]
        plain = _with(module, {"padding": (0,) * rank})
        for mode in ("reflect", "replicate", "circular"):
            yield f"padding: {mode} here", lambda x, m=mode: plain(functional.pad(x, around, mode=m))


def _at(value: Any, axis: int) -> int:
    return value[axis] if isinstance(value, tuple) else value


def _formulas(module: Any) -> Iterator[Variant]:
    """Other formulas under the same name."""
    import torch

    kind = type(module).__name__
    if kind == "LayerNorm":
        axes = tuple(range(-len(module.normalized_shape), 0))

        def scaled(x: Any, spread: Any) -> Any:
            out = x / spread
            out = out if module.weight is None else out * module.weight
            return out if module.bias is None else out + module.bias

        def unbiased(x: Any) -> Any:
            return scaled(x - x.mean(axes, True), (x.var(axes, unbiased=True, keepdim=True) + module.eps).sqrt())

        def outside(x: Any) -> Any:
            return scaled(x - x.mean(axes, True), x.var(axes, unbiased=False, keepdim=True).sqrt() + module.eps)

        yield "variance: unbiased here, biased in torch", unbiased
        yield "eps: added to the deviation here, to the variance in torch", outside
        yield "formula: an RMS norm here", lambda x: scaled(x, (x.square().mean(axes, True) + module.eps).sqrt())
    if kind in ("Embedding", "Linear"):
        root = math.sqrt(module.weight.shape[1])
        yield f"scale: times the square root of {module.weight.shape[1]} here", lambda x: _bare(module)(x) * root
    if kind == "MultiheadAttention" and module.in_proj_weight is not None:
        rows = module.embed_dim
        factor = torch.ones(3 * rows, 1, dtype=torch.float64)
        factor[:rows] = math.sqrt(rows // module.num_heads)
        plain = {"in_proj_weight": module.in_proj_weight * factor}
        if module.in_proj_bias is not None:
            plain["in_proj_bias"] = module.in_proj_bias * factor[:, 0]
        yield "scale: scores are not divided by the square root of the head's size here", _replaced(module, plain)


def _quietly(run: Callable[..., Any], call: Call) -> list[np.ndarray] | None:
    """An experiment; one that cannot be made explains nothing."""
    import torch

    args, kwargs = call.given
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return arrays(run(*args, **kwargs))
    except Exception:
        return None


def _permuted(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float) -> str:
    for mine, their in zip(ours, theirs, strict=False):
        if mine.ndim == their.ndim and 1 < mine.ndim < 6 and sorted(mine.shape) == sorted(their.shape):
            for order in itertools.permutations(range(mine.ndim)):
                if order != tuple(range(mine.ndim)) and difference(mine.transpose(order), their) <= tolerance:
                    return f": axes are permuted by {order}"
        if mine.shape != their.shape:
            return f": shape {mine.shape} here, {their.shape} in torch"
    return ""


def _precision(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    for dtype, error in (("bfloat16", 0.05), ("float16", 0.01), ("float32", 1e-5)):
        rounded = [x.astype(jnp.dtype(dtype)).astype(np.float64) for x in ours]
        if difference(ours, rounded) < 1e-12 and difference(ours, theirs) < error:
            return f"dtype: computed in {dtype} here"
    return ""
