"""Padding, as modules."""

from collections.abc import Sequence
from dataclasses import InitVar
from typing import Any, ClassVar

from purenn.layers.conv import tuple_of
from stateful.functional_module import Functional

Sizes = int | Sequence[int]


class _Pad(Functional):
    padding: InitVar[Sizes]

    sides: ClassVar[int]

    def __post_init__(self, padding: Sizes) -> None:
        self.padding = tuple_of(self.sides, padding)

    def forward(self, input: Any) -> Any:
        """``(*, S_1, ..., S_n)``, each of the last axes longer at both ends."""
        return super().forward(input, pad=self.padding)


class ConstantPad1d(_Pad, function="pad", mode="constant", prints="padding={padding}, value={value}"):
    """Lays a value around the last axis; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]
    value: float

    sides = 2


class ConstantPad2d(_Pad, function="pad", mode="constant", prints="padding={padding}, value={value}"):
    """Lays a value around the last two axes; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]
    value: float

    sides = 4


class ConstantPad3d(_Pad, function="pad", mode="constant", prints="padding={padding}, value={value}"):
    """Lays a value around the last three axes; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]
    value: float

    sides = 6


class ZeroPad1d(ConstantPad1d):
    """Lays zeros around the last axis; see `purenn.functional.pad`."""

    def __init__(self, padding: Sizes):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Lays zeros around the last two axes; see `purenn.functional.pad`."""

    def __init__(self, padding: Sizes):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Lays zeros around the last three axes; see `purenn.functional.pad`."""

    def __init__(self, padding: Sizes):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """As torch prints it."""
        return f"{self.padding}"


class ReflectionPad1d(_Pad, function="pad", mode="reflect", prints="{padding}"):
    """Mirrors the last axis of ``(N, C, L)`` at its ends; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 2


class ReflectionPad2d(_Pad, function="pad", mode="reflect", prints="{padding}"):
    """Mirrors the last axes of ``(N, C, H, W)`` at their ends; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 4


class ReflectionPad3d(_Pad, function="pad", mode="reflect", prints="{padding}"):
    """Mirrors the last axes of ``(N, C, D, H, W)`` at their ends; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 6


class ReplicationPad1d(_Pad, function="pad", mode="replicate", prints="{padding}"):
    """Repeats the ends of the last axis of ``(N, C, L)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 2


class ReplicationPad2d(_Pad, function="pad", mode="replicate", prints="{padding}"):
    """Repeats the ends of the last axes of ``(N, C, H, W)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 4


class ReplicationPad3d(_Pad, function="pad", mode="replicate", prints="{padding}"):
    """Repeats the ends of the last axes of ``(N, C, D, H, W)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 6


class CircularPad1d(_Pad, function="pad", mode="circular", prints="{padding}"):
    """Goes round the last axis of ``(N, C, L)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 2


class CircularPad2d(_Pad, function="pad", mode="circular", prints="{padding}"):
    """Goes round the last axes of ``(N, C, H, W)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 4


class CircularPad3d(_Pad, function="pad", mode="circular", prints="{padding}"):
    """Goes round the last axes of ``(N, C, D, H, W)``; see `purenn.functional.pad`."""

    padding: InitVar[Sizes]

    sides = 6
