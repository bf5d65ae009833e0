"""torch.nn.utils.parametrizations: the parametrizations of `transforms`, put on modules."""

from dataclasses import dataclass
from typing import Any

from purenn.errors import refusal
from stateful.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from stateful.module import Module
from stateful.utils.parametrize import Adapted, register_parametrization
from transforms.orthogonal_maps import Orthogonal
from transforms.spectral_norms import SpectralNorm
from transforms.weight_norms import WeightNorm

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Adapted):
    pure = WeightNorm


class _SpectralNorm(Adapted):
    pure = SpectralNorm


class _Orthogonal(Adapted):
    pure = Orthogonal


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Trains the length of a weight apart from its direction; see `transforms.weight_norm`.

    Args:
        module: the module; changed in place.
        name: of the weight.
        dim: the axis whose slices have lengths of their own; None: one length for all.

    Returns:
        The module.

    Errors:
        ValueError: there is no such weight. IndexError: dim is no axis of it.

    Torch:
        ``torch.nn.utils.parametrizations.weight_norm``, identical.
    """
    register_parametrization(module, name, WeightNorm(dim), unsafe=True)
    module._register_load_state_dict_pre_hook(OldNames(name))
    return module


@dataclass(frozen=True)
class OldNames:
    """The hook by which a state_dict of the older ``weight_norm`` is loaded.

    Args:
        name: of the weight.
    """

    name: str

    def __call__(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Renames ``weight_g`` and ``weight_v``, where both are there."""
        del others
        old = [f"{prefix}{self.name}_{letter}" for letter in "gv"]
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{self.name}.original{i}"] = state_dict.pop(key)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divides a weight by its largest singular value; see `transforms.spectral_norm`.

    Each read in training makes the steps of the power method, as in torch.

    Args:
        module: the module; changed in place.
        name: of the weight.
        n_power_iterations: steps for each read.
        eps: least divisor of a vector.
        dim: the axis of the outputs; None: 0, and 1 for transposed convolutions.

    Returns:
        The module.

    Errors:
        ValueError: there is no such weight, or the number of steps is not positive. IndexError: dim is no axis of it.

    Torch:
        ``torch.nn.utils.parametrizations.spectral_norm``, identical.
    """
    axis = axis_of_outputs(module) if dim is None else dim
    return register_parametrization(module, name, SpectralNorm(n_power_iterations, eps, axis))


def axis_of_outputs(module: Module) -> int:
    """Which axis of a module's weight is that of its outputs.

    Args:
        module: any.

    Returns:
        1 for transposed convolutions, else 0.
    """
    return 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keeps a weight orthogonal; see `transforms.orthogonal`.

    Args:
        module: the module; changed in place.
        name: of the weight.
        orthogonal_map: ``"matrix_exp"``, ``"cayley"``, ``"householder"``; None chooses by the shape.
        use_trivialization: whether a buffer ``base`` is multiplied in.

    Returns:
        The module.

    Errors:
        ValueError: there is no such weight, it is a vector, or the map is unknown.

    Torch:
        ``torch.nn.utils.parametrizations.orthogonal``, identical.
    """
    p: Any = Orthogonal(orthogonal_map, use_trivialization)
    if not hasattr(module, name):
        rule = "name must be a parameter or buffer of the module"
        raise refusal("orthogonal", rule, {"name": name})
    return register_parametrization(module, name, p, unsafe=True)
