"""Whether the program that torch.export made computes what the module does.

A forward may take another way while it is exported: it asks torch.compiler.is_compiling, or keeps a cache of tensors.
torch.export does not notice, so both are run on the example arguments, once, in evaluation mode.
"""

from collections.abc import Callable
from typing import Any

from purenn.errors import refusal

_TOLERANCE = 1e-3  # of the largest number of an output: both run the same kernels
_LOW_PRECISION = 5e-2


def outputs_of(exported: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any] | None:
    """Runs an exported program on its example arguments.

    Args:
        exported: torch's ExportedProgram.
        module: that it was made from; its buffers stay as they are.
        args: example arguments.
        kwargs: likewise.

    Returns:
        The tensors of its result; None for a program that torch cannot run alone, or whose draws are its own.
    """
    import torch

    arrays = [*module.parameters(), *module.buffers()]
    here = all(array.device.type == "cpu" for array in arrays)  # the state of its generator tells of draws
    if not here or not all(_runs_alone(node) for node in exported.graph_module.graph.nodes):
        return None

    try:
        with torch.random.fork_rng(devices=[]):
            before = torch.random.get_rng_state()
            outputs = _ran(exported.module(check_guards=False), module, args, kwargs)
            return outputs if torch.equal(before, torch.random.get_rng_state()) else None
    except Exception:  # nothing is proved then; what torch cannot run is not therefore wrong
        return None


def check_faithful(got: list[Any] | None, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Compares the results of a program with those of the module.

    Args:
        got: as `outputs_of` gives it; None is not compared.
        module: torch.nn.Module.
        args: example arguments.
        kwargs: likewise.

    Errors:
        ValueError where they differ, with the place of the output and the difference.
    """
    if got is None:
        return
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            expected = _ran(module, module, args, kwargs)
    except Exception:  # a module that cannot run outside of export
        return
    pairs = zip(expected, got, strict=True) if len(expected) == len(got) else ()
    for place, (theirs, ours) in enumerate(pairs):
        if (error := _difference(theirs, ours)) is not None:
            values = {"module": type(module).__name__, "output": place, "difference": error}
            remedy = (
                "Its forward takes another way while it is exported (torch.compiler.is_compiling, jit.is_tracing, a "
                "cache): give the arguments for which both ways are one, or take the question out of it."
            )
            raise refusal("from_torch", "the program that torch.export makes must compute what the module does", values,
                          remedy)  # fmt: skip


def _runs_alone(node: Any) -> bool:
    import torch

    if node.op != "call_function":
        return True
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    return not node.target.namespace.startswith("purenn")


def _ran(fn: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The tensors of a call's result; arguments and the module's buffers are as before, whatever it writes."""
    import torch

    before = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]

    def fresh(leaf: Any) -> Any:
        return leaf.detach().clone().requires_grad_(leaf.requires_grad) if isinstance(leaf, torch.Tensor) else leaf

    args, kwargs = torch.utils._pytree.tree_map(fresh, (args, kwargs))
    try:
        leaves = torch.utils._pytree.tree_leaves(fn(*args, **kwargs))
        return [leaf.detach().clone() for leaf in leaves if isinstance(leaf, torch.Tensor)]
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.detach().copy_(value)


def _difference(theirs: Any, ours: Any) -> float | str | None:
    """The relative difference of two tensors; None where they are equal but for rounding."""
    import torch

    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        return f"{tuple(theirs.shape)} {theirs.dtype} and {tuple(ours.shape)} {ours.dtype}"
    if not theirs.numel() or torch.equal(theirs, ours):
        return None
    if not (theirs.is_floating_point() or theirs.is_complex()):
        return f"{int((theirs != ours).sum())} numbers of {theirs.numel()}"
    wide = torch.complex128 if theirs.is_complex() else torch.float64
    a, b = theirs.to(wide), ours.to(wide)
    finite = a.isfinite() & b.isfinite()
    if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return "numbers that are not finite"
    if not finite.any():
        return None
    error = float((a - b)[finite].abs().max() / a[finite].abs().max().clamp(min=1e-6))
    low = theirs.dtype in (torch.bfloat16, torch.float16)
    return error if error > (_LOW_PRECISION if low else _TOLERANCE) else None
