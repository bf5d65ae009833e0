"""Interpolation, as modules."""

from collections.abc import Sequence
from typing import Any

from stateful.functional_module import Functional


class Upsample(Functional, function="interpolate"):
    """Resizes the last axes of ``(N, C, *)``; see `purenn.functional.interpolate`."""

    size: int | Sequence[int] | None = None
    scale_factor: float | Sequence[float] | None = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def __post_init__(self) -> None:
        factor: Any = self.scale_factor
        if isinstance(factor, (tuple, list)):
            self.scale_factor = tuple(map(float, factor))
        else:
            self.scale_factor = float(factor) if factor else None

    def extra_repr(self) -> str:
        """As torch prints it."""
        given = "size" if self.scale_factor is None else "scale_factor"
        return f"{given}={getattr(self, given)!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Repeats the pixels of ``(N, C, H, W)``; see `purenn.functional.interpolate`."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Interpolates the pixels of ``(N, C, H, W)``, corners on corners; see `purenn.functional.interpolate`."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
