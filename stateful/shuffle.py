"""Channels and pixels in another order, as modules."""

from stateful.functional_module import Functional


class ChannelShuffle(Functional, function="channel_shuffle", prints="groups={groups}"):
    """Deals the channels of ``(N, C, *)`` out over groups; see `purenn.functional.channel_shuffle`."""

    groups: int


class PixelShuffle(Functional, function="pixel_shuffle", prints="upscale_factor={upscale_factor}"):
    """Moves ``(*, C r², H, W)`` to ``(*, C, H r, W r)``; see `purenn.functional.pixel_shuffle`."""

    upscale_factor: int


class PixelUnshuffle(Functional, function="pixel_unshuffle", prints="downscale_factor={downscale_factor}"):
    """Moves ``(*, C, H r, W r)`` to ``(*, C r², H, W)``; see `purenn.functional.pixel_unshuffle`."""

    downscale_factor: int
