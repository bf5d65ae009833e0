"""Normalising modules: adapters of purenn.layers.normalization."""

from collections.abc import Sequence
from typing import Any

from purenn import layers as L
from stateful.functional_module import Functional
from stateful.module import Module


class _ChannelNorm(Module):
    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{text}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        layer: Any = type(self).pure
        options = eps, momentum, affine, track_running_stats, bias, dtype
        super().__init__(layer(num_features, *options), device=device)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``(N, C)`` or ``(N, C, L)``; see `purenn.layers.BatchNorm1d`."""

    pure = L.BatchNorm1d


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``(N, C, H, W)``; see `purenn.layers.BatchNorm2d`."""

    pure = L.BatchNorm2d


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``(N, C, D, H, W)``; see `purenn.layers.BatchNorm3d`."""

    pure = L.BatchNorm3d


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation over a named axis as well; see `purenn.layers.SyncBatchNorm`."""

    pure = L.SyncBatchNorm

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        axis_name: str | tuple[str, ...] | None = None,
    ):
        options = eps, momentum, affine, track_running_stats, process_group, bias, axis_name, dtype
        Module.__init__(self, L.SyncBatchNorm(num_features, *options), device=device)

    @classmethod
    def convert_sync_batchnorm(
        cls, module: Module, process_group: None = None, axis_name: str | tuple[str, ...] | None = None
    ) -> Module:
        """Replaces the batch norms in a module, which keep their arrays.

        Args:
            module: any module; its children are replaced in place.
            process_group: None, as in the constructor.
            axis_name: as in the constructor.

        Returns:
            The module, or what replaces it where it is a batch norm itself.

        Errors:
            ValueError: a lazy batch norm has no shape yet.
        """
        module.require_shapes("convert_sync_batchnorm")
        replaced = {m: _synced(m, process_group, axis_name) for m in module.modules() if isinstance(m, _BatchNorm)}
        for parent in list(module.modules()):
            for name, child in list(parent._modules.items()):
                if child in replaced:
                    parent.add_module(name, replaced[child])
        return replaced.get(module, module)  # type: ignore[call-overload]


def _synced(module: Any, process_group: None, axis_name: Any) -> SyncBatchNorm:
    options = module.eps, module.momentum, module.affine, module.track_running_stats, process_group
    synced = SyncBatchNorm(module.num_features, *options, dtype=module.dtype, axis_name=axis_name)
    for kind in ("_parameters", "_buffers"):
        synced.__dict__[kind] = dict(module.__dict__[kind])
    return synced.train(module.training)


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        layer: Any = type(self).pure
        options = eps, momentum, affine, track_running_stats, bias, dtype
        super().__init__(layer(num_features, *options), device=device)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of ``(N, C, L)`` or ``(C, L)``; see `purenn.layers.InstanceNorm1d`."""

    pure = L.InstanceNorm1d


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of ``(N, C, H, W)`` or ``(C, H, W)``; see `purenn.layers.InstanceNorm2d`."""

    pure = L.InstanceNorm2d


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see `purenn.layers.InstanceNorm3d`."""

    pure = L.InstanceNorm3d


class GroupNorm(Module):
    """Normalisation of groups of channels; see `purenn.layers.GroupNorm`."""

    pure = L.GroupNorm

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(L.GroupNorm(num_groups, num_channels, eps, affine, bias, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
        return f"{text}, bias={self.bias is not None}"


class LayerNorm(Module):
    """Normalisation over the last axes; see `purenn.layers.LayerNorm`."""

    pure = L.LayerNorm

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(L.LayerNorm(normalized_shape, eps, elementwise_affine, bias, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """Division by the root mean square of the last axes; see `purenn.layers.RMSNorm`."""

    pure = L.RMSNorm

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(L.RMSNorm(normalized_shape, eps, elementwise_affine, dtype), device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Functional, function="local_response_norm", prints="{size}, alpha={alpha}, beta={beta}, k={k}"):
    """Division by the energy of the neighbouring channels; see `purenn.functional.local_response_norm`."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


class CrossMapLRN2d(Module):
    """Division by the energy of the neighbouring channels, as torch's; see `purenn.layers.CrossMapLRN2d`."""

    pure = L.CrossMapLRN2d

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1):
        super().__init__(L.CrossMapLRN2d(size, alpha, beta, k))

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
