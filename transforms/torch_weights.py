"""The arrays of a torch module, taken over, and what cannot be taken over reported at once."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from purenn.errors import refusal
from purenn.files.narrowing import loses, to_jax
from purenn.model import Leaf, buffer, param
from purenn.state import as_numpy_or_jax
from transforms.torch_ops import OPERATORS
from transforms.torch_ops.promotion import canonical
from transforms.torch_program import Program


@dataclass(frozen=True)
class Weight:
    """An array of a torch model: a trained parameter, a frozen one, or a buffer."""

    value: np.ndarray
    trained: bool
    parameter: bool
    persistent: bool = True

    def array(self) -> jax.Array:
        """A fresh array of it, in the dtype that the x64 setting allows."""
        return to_jax(self.value)

    def leaf(self) -> Leaf:
        """Its declaration."""
        value = self.array()
        if self.parameter:
            return replace(param(value), trainable=self.trained)
        return buffer(value, persistent=self.persistent)


def weights_of(module: Any) -> dict[str, Weight]:
    """Takes the arrays of a torch module.

    Args:
        module: torch.nn.Module.

    Returns:
        By their first names, in the order of its state_dict; buffers that are not persistent stand where they would.
    """
    weights: dict[str, Weight] = {}
    seen: set[int] = set()
    for prefix, submodule in module.named_modules():
        own = [*submodule._parameters.items(), *submodule._buffers.items()]
        for name, tensor in own:
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            path = f"{prefix}.{name}" if prefix else name
            parameter = name in submodule._parameters
            persistent = name not in submodule._non_persistent_buffers_set
            trained = parameter and bool(tensor.requires_grad)
            weights[path] = Weight(np.array(as_numpy_or_jax(tensor)), trained, parameter, persistent)
    return weights


def report_narrowing(name: str, weights: Mapping[str, Weight], programs: list[Program]) -> None:
    """Warns once of everything that loses bits where x64 is off.

    Args:
        name: of the model.
        weights: of the model; integers that all fit lose nothing and are passed over.
        programs: of the model; constants in the code count too.
    """
    constants = {f"constant {key}": value for program in programs for key, value in program.constants.items()}
    arrays = {path: weight.value for path, weight in weights.items()} | constants
    lossy = [f"{path} ({value.dtype})" for path, value in arrays.items() if loses(value)]
    computed = {
        f"{call.op} at {call.source or call.name} (float64)"
        for program in programs
        for call in program.every_call()
        if call.dtype in ("float64", "complex128") and canonical(np.float64) != np.float64
    }
    if lossy or computed:
        text = ", ".join([*lossy, *sorted(computed)])
        warnings.warn(
            f"from_torch: {name} has 64-bit numbers that become 32-bit ones, as jax_enable_x64 is off: {text}. "
            "Set jax.config.update('jax_enable_x64', True) to keep them.",
            UserWarning,
            stacklevel=4,
        )


def report_unwritten(name: str, programs: list[Program]) -> None:
    """Warns of parameters that torch's forward writes into: a pure function leaves them as they are.

    Args:
        name: of the model.
        programs: of the model.
    """
    lost = sorted({path for program in programs for path in program.unwritten if path.startswith("parameter ")})
    if lost:
        text = f"from_torch: {name} writes into {', '.join(lost)}. The output counts with it, what is written is lost."
        warnings.warn(text, UserWarning, stacklevel=4)


def check_covered(name: str, programs: list[Program]) -> None:
    """Refuses operators that are not in the table, all at once.

    Args:
        name: of the model.
        programs: of the model.

    Errors:
        NotImplementedError with every such operator and the lines of the source that call it.
    """
    places: dict[str, dict[str, None]] = {}
    for program in programs:
        for call in program.every_call():
            if call.op not in OPERATORS:
                where = f"{call.source}  {call.code}".strip() or "a place that torch does not name"
                places.setdefault(call.op, {})[f"{where}  (in {call.path})" if call.path else where] = None
    if places:
        lines = [f"    {op}\n" + "\n".join(f"        {where}" for where in places[op]) for op in places]
        count = f"{len(places)} operator{'s' * (len(places) > 1)}"
        rule = f"every operator must be covered, {name} uses {count} that are not"
        error = refusal("from_torch", rule, kind=NotImplementedError)
        error.args = (f"{error}\n" + "\n".join(lines) + "\nAdd one with transforms.register_op(name)(fn).",)
        raise error
