"""Sliding windows as columns, and columns as windows, as modules."""

from collections.abc import Sequence

from stateful.functional_module import Functional

_WINDOW = "kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}"


class Fold(Functional, function="fold", prints=f"output_size={{output_size}}, {_WINDOW}"):
    """Adds columns ``(N, C kH kW, L)`` up as windows of ``(N, C, H, W)``; see `purenn.functional.fold`."""

    output_size: int | Sequence[int]
    kernel_size: int | Sequence[int]
    dilation: int | Sequence[int] = 1
    padding: int | Sequence[int] = 0
    stride: int | Sequence[int] = 1


class Unfold(Functional, function="unfold", prints=_WINDOW):
    """Lays the windows of ``(N, C, H, W)`` out as columns ``(N, C kH kW, L)``; see `purenn.functional.unfold`."""

    kernel_size: int | Sequence[int]
    dilation: int | Sequence[int] = 1
    padding: int | Sequence[int] = 0
    stride: int | Sequence[int] = 1
