"""torch.nn.utils.weight_norm and spectral_norm, the older functions: their arrays lie beside the weight."""

from dataclasses import dataclass
from typing import Any

from stateful.module import Module
from stateful.utils.attached import Attached, attach, detach
from stateful.utils.parametrizations import axis_of_outputs
from transforms.spectral_norms import OldSpectralNorm
from transforms.weight_norms import OldWeightNorm


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Trains the length of a weight, ``weight_g``, apart from its direction, ``weight_v``.

    Args:
        module: the module; changed in place.
        name: of the weight.
        dim: the axis whose slices have lengths of their own; None: one length for all.

    Returns:
        The module.

    Errors:
        ValueError: there is no such parameter. RuntimeError: it is computed already. IndexError: dim is no axis of it.

    Torch:
        ``torch.nn.utils.weight_norm``, differs in that the weight is computed when it is read, not before ``forward``.
    """
    attach("weight_norm", module, name, OldWeightNorm(dim))
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undoes `weight_norm`; the weight keeps its values.

    Args:
        module: the module; changed in place.
        name: of the weight.

    Returns:
        The module.

    Errors:
        ValueError: the weight has no such norm.
    """
    detach("remove_weight_norm", module, name, OldWeightNorm)
    return module


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divides a weight by its largest singular value; each call in training makes the steps of the power method.

    Args:
        module: the module; changed in place.
        name: of the weight.
        n_power_iterations: steps for each call.
        eps: least divisor of a vector.
        dim: the axis of the outputs; None: 0, and 1 for transposed convolutions.

    Returns:
        The module; it has ``weight_orig``, and the buffers ``weight_u`` and ``weight_v``.

    Errors:
        ValueError: there is no such parameter, or the number of steps is not positive. RuntimeError: it is computed
        already. IndexError: dim is no axis of it.

    Torch:
        ``torch.nn.utils.spectral_norm``, differs in that the weight is computed when it is read.
    """
    axis = axis_of_outputs(module) if dim is None else dim
    attach("spectral_norm", module, name, OldSpectralNorm(n_power_iterations, eps, axis))
    module.register_forward_pre_hook(PowerIteration(name))
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undoes `spectral_norm`; the weight keeps its values.

    Args:
        module: the module; changed in place.
        name: of the weight.

    Returns:
        The module.

    Errors:
        ValueError: the weight has no such norm.
    """
    detach("remove_spectral_norm", module, name, OldSpectralNorm)
    hooks = module._forward_pre_hooks
    for number in [n for n, (hook, *_) in hooks.items() if hook == PowerIteration(name)]:
        del hooks[number]
    return module


@dataclass(frozen=True)
class PowerIteration:
    """The hook before a call: in training it improves the singular vectors.

    Args:
        name: of the weight.
    """

    name: str

    def __call__(self, module: Any, args: Any) -> None:
        """Makes the steps."""
        del args
        computed = module._computed[self.name]
        if module.training and isinstance(computed, Attached):
            arrays = computed.arrays(module)
            m: Any = computed.claim.bound(0, arrays, True)
            p: Any = computed.claim.chain[0]
            p.iterate(m, arrays[p.place(self.name, "original")])
            for own, vector in m.buffers.items():
                setattr(module, p.place(self.name, own, 0), vector)
