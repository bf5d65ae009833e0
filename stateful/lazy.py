"""Lazy modules: the size of the input is learnt from the first input, or from a state_dict.

Until then their arrays are placeholders (`stateful.parameter.Unshaped`) that can be cast, moved and frozen, not read.
Then the object becomes the plain class. A call does this as it does everything, on its bound copy: what fails leaves
the module lazy.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from purenn.errors import refusal
from purenn.model import Keys
from stateful.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from stateful.frame import Frame
from stateful.linear import Linear
from stateful.module import Module
from stateful.node import changed
from stateful.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from stateful.parameter import UninitializedBuffer, UninitializedParameter, Unshaped

Shape = tuple[int, ...]


class Lazy(Module):
    """The mechanism; it stands before the plain class among the bases of a lazy one.

    Args:
        *args: of the plain class, 0 for the size that is not known.
        **kwargs: of the plain class.
    """

    cls_to_become: ClassVar[type[Module]]
    learns: ClassVar[str]  # the constructor argument that is the size

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for _, cell in self._cells():
            if cell.leaf.shape:  # the counter of batches is a scalar
                cell.__class__ = UninitializedParameter if cell in self._parameters.values() else UninitializedBuffer

    def has_uninitialized_params(self) -> bool:
        """Whether the shapes of the arrays are not known yet."""
        return any(not cell.shaped for _, cell in self._cells())

    def forward(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Learns from the input, becomes the plain class, and runs it.

        Args:
            input: as of the plain class.
            *args: as of the plain class.
            **kwargs: as of the plain class.

        Returns:
            What the plain class gives.
        """
        if self.has_uninitialized_params():
            self._learn(self._size_of(tuple(input.shape)))
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self.forward(input, *args, **kwargs)

    def _learn(self, size: int) -> None:
        layer: Any = replace(self._model, **{self.learns: size})
        leaves = layer.children()
        for kind in ("_parameters", "_buffers"):
            self.__dict__[kind] = {
                name: cell.shaped_by(leaves[name]) if isinstance(cell, Unshaped) else cell
                for name, cell in self.__dict__[kind].items()
            }
        self.__dict__["_model"] = layer

    def _learn_from(self, state: Mapping[str, Any], prefix: str) -> Callable[[], None] | None:
        paths = {name: f"{prefix}.{name}" if prefix else name for name, cell in self._cells() if not cell.shaped}
        size = self._size_in({name: tuple(state[path].shape) for name, path in paths.items() if path in state})
        if size is None:
            return None
        kind, before = type(self), dict(self.__dict__)

        def forget() -> None:
            self.__class__ = kind
            self.__dict__.update(before)
            changed(self)

        self._learn(size)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        changed(self)
        return forget

    def _size_of(self, shape: Shape) -> int:
        """The size that an input has."""
        raise NotImplementedError

    def _size_in(self, shapes: Mapping[str, Shape]) -> int | None:
        """The size that the arrays of a state_dict have; None where they do not say."""
        raise NotImplementedError

    def _bound_copy(self, frame: Frame, keys: Keys, path: str, train: bool | None) -> Any:
        if not frame.remembers:  # a pure call leaves the object as it is
            self.require_shapes("apply", path)
        return super()._bound_copy(frame, keys, path, train)


class LazyLinear(Lazy, Linear):
    """A `Linear` that learns ``in_features``."""

    cls_to_become = Linear
    learns = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(0, out_features, bias, device, dtype)

    def _size_of(self, shape: Shape) -> int:
        if not shape:
            raise refusal(type(self).__name__, "input must have an axis", {"input.shape": shape})
        return shape[-1]

    def _size_in(self, shapes: Mapping[str, Shape]) -> int | None:
        weight = shapes.get("weight", ())
        return weight[1] if len(weight) == 2 else None


class _Channels(Lazy):
    """What learns the channels of an input that may be without a batch."""

    def _size_of(self, shape: Shape) -> int:
        layer: Any = type(self).pure
        without = layer.rank + 1
        if len(shape) not in (without, without + 1):
            rule = f"input must be {without + 1}-D, or {without}-D without a batch"
            raise refusal(type(self).__name__, rule, {"input.shape": shape})
        return shape[-without]


class _LazyKernels(_Channels):
    learns = "in_channels"
    transposed: bool

    def _size_in(self, shapes: Mapping[str, Shape]) -> int | None:
        weight = shapes.get("weight", ())
        if len(weight) < 3:
            return None
        return weight[0] if self.transposed else weight[1] * self.groups


class _LazyConvNd(_LazyKernels):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        options = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        super().__init__(0, out_channels, kernel_size, *options)


class LazyConv1d(_LazyConvNd, Conv1d):
    """A `Conv1d` that learns ``in_channels``."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConvNd, Conv2d):
    """A `Conv2d` that learns ``in_channels``."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConvNd, Conv3d):
    """A `Conv3d` that learns ``in_channels``."""

    cls_to_become = Conv3d


class _LazyConvTransposeNd(_LazyKernels):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        options = stride, padding, output_padding, groups, bias, dilation, padding_mode, device, dtype
        super().__init__(0, out_channels, kernel_size, *options)


class LazyConvTranspose1d(_LazyConvTransposeNd, ConvTranspose1d):
    """A `ConvTranspose1d` that learns ``in_channels``."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTransposeNd, ConvTranspose2d):
    """A `ConvTranspose2d` that learns ``in_channels``."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTransposeNd, ConvTranspose3d):
    """A `ConvTranspose3d` that learns ``in_channels``."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(Lazy):
    learns = "num_features"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(0, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _size_in(self, shapes: Mapping[str, Shape]) -> int | None:
        return next((shape[0] for shape in shapes.values() if len(shape) == 1), None)


class _LazyBatchNorm(_LazyNorm):
    def _size_of(self, shape: Shape) -> int:
        layer: Any = type(self).pure
        if len(shape) not in layer.ranks:
            rule = f"input must be {' or '.join(f'{rank}-D' for rank in layer.ranks)}"
            raise refusal(type(self).__name__, rule, {"input.shape": shape})
        return shape[1]


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A `BatchNorm1d` that learns ``num_features``."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A `BatchNorm2d` that learns ``num_features``."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """A `BatchNorm3d` that learns ``num_features``."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, _Channels, InstanceNorm1d):
    """An `InstanceNorm1d` that learns ``num_features``; unlike it, affine and with running statistics by default."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, _Channels, InstanceNorm2d):
    """An `InstanceNorm2d` that learns ``num_features``; unlike it, affine and with running statistics by default."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, _Channels, InstanceNorm3d):
    """An `InstanceNorm3d` that learns ``num_features``; unlike it, affine and with running statistics by default."""

    cls_to_become = InstanceNorm3d
