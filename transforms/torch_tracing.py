"""From a torch module to a `Program`: exports it, with its composite operators whole and its gradients kept.

torch is imported when a module is converted, not before.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transforms.torch_capturing import captured, untouched
from transforms.torch_faithful import check_faithful, outputs_of
from transforms.torch_gradients import NAMESPACE, keep_gradients, restore_gradients
from transforms.torch_mutation import drop_idle_dropout, make_plain
from transforms.torch_objects import known_objects
from transforms.torch_ops import OPERATORS
from transforms.torch_program import Program, without_dead_calls
from transforms.torch_whole import check_packed, keep_whole
from transforms.torch_writing import CHECKS, Writer, operator_name


def trace(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any, train: bool) -> Program:
    """Exports a torch module in one mode.

    Args:
        module: torch.nn.Module; it is left as it was.
        args: torch tensors and Python values, in any nest.
        kwargs: likewise.
        dynamic_shapes: as torch.export.export takes it.
        train: mode of the export.

    Returns:
        The program; it may have operators that are not covered.

    Errors:
        ValueError with what torch said, where it cannot export the module, or where what it exports computes something
        else.
    """
    with _quiet(), known_objects(module, (args, kwargs)):
        with _mode(module, train), keep_whole(), keep_gradients() as custom:
            exported, outputs = _export(module, args, kwargs, dynamic_shapes, proved=not train)
            check_packed(exported.graph_module.graph)
            program = Writer(exported.graph_module, custom, trace).program(exported, module)
        with _mode(module, train):
            check_faithful(outputs, module, args, kwargs)
    return without_dead_calls(program)


def _export(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any, proved: bool
) -> tuple[Any, list[Any] | None]:
    """Torch's ExportedProgram, functionalised; operators that are not covered are taken apart where torch can.

    Beside it stands what it computes from the example arguments, where that is to be proved and can be.
    """
    import torch

    with torch.enable_grad():
        exported = captured(module, args, kwargs, dynamic_shapes)
        outputs = outputs_of(exported, module, args, kwargs) if proved else None
        restore_gradients(exported)
        if not make_plain(exported) or _uncovered(exported):
            drop_idle_dropout(exported)
            exported = exported.run_decompositions({})
        while apart := _decompositions(_uncovered(exported)):
            exported = exported.run_decompositions(apart)
    return exported, outputs


def _uncovered(exported: Any) -> set[Any]:
    calls = [node.target for graph in _graphs(exported) for node in graph.nodes if node.op == "call_function"]
    return {target for target in calls if not _is_known(operator_name(target))}


def _is_known(name: str) -> bool:
    return name in OPERATORS or name in CHECKS or name.startswith(f"{NAMESPACE}.")


def _decompositions(targets: set[Any]) -> dict[Any, Any]:
    import torch

    if not targets:
        return {}
    table = torch.export.default_decompositions()
    return {target: table[target] for target in targets if target in table}


def _graphs(exported: Any) -> list[Any]:
    import torch

    return [module.graph for module in exported.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]


@contextlib.contextmanager
def _mode(module: Any, train: bool) -> Iterator[None]:
    """Every submodule in one mode, and all as it was afterwards."""
    with untouched(module):
        module.train(train)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's fused inference kernels, which have no gradient, and its warnings about export."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def as_tensors(tree: Any) -> Any:
    """Example arguments with torch tensors for arrays.

    Args:
        tree: any nest of tensors, arrays and Python values.

    Returns:
        The same nest.
    """
    import torch

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, (jax.Array, np.ndarray)):
            bfloat16 = leaf.dtype == jnp.bfloat16
            tensor = torch.from_numpy(np.array(leaf, np.float32 if bfloat16 else None))
            return tensor.to(torch.bfloat16) if bfloat16 else tensor
        return leaf

    return torch.utils._pytree.tree_map(convert, tree)
