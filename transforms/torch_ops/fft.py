"""Fourier transforms, and the short-time ones made of them."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from transforms.torch_ops.promotion import default_float, integral, lengths
from transforms.torch_ops.registry import register_op


def _floating(self: Any) -> Any:
    return self.astype(default_float()) if integral(self.dtype) else self


def _one(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, n=None, dim=-1, norm=None: fn(_floating(self), n, dim, norm)


def _several(fn: Callable[..., Any], default: tuple[int, ...] | None) -> Callable[..., Any]:
    def transform(self: Any, s: Any = None, dim: Any = default, norm: str | None = None) -> Any:
        s = None if s is None else lengths(s)
        over = None if dim is None else tuple([dim] if isinstance(dim, int) else dim)
        if s is not None and over is None:
            over = tuple(range(-len(s), 0))
        return fn(_floating(self), s, over, norm)

    return transform


_ALONG: dict[str, Callable[..., Any]] = {
    "fft": jnp.fft.fft, "ifft": jnp.fft.ifft, "rfft": jnp.fft.rfft, "irfft": jnp.fft.irfft,
    "hfft": jnp.fft.hfft, "ihfft": jnp.fft.ihfft,
}  # fmt: skip
_OVER: dict[str, Callable[..., Any]] = {
    "fft": jnp.fft.fftn, "ifft": jnp.fft.ifftn, "rfft": jnp.fft.rfftn, "irfft": jnp.fft.irfftn,
}  # fmt: skip
for _name, _fn in _ALONG.items():
    register_op(f"aten.fft_{_name}.default")(_one(_fn))
for _name, _fn in _OVER.items():
    register_op(f"aten.fft_{_name}2.default")(_several(_fn, (-2, -1)))
    register_op(f"aten.fft_{_name}n.default")(_several(_fn, None))


@register_op("aten.fft_fftshift.default")
def _fftshift(self: Any, dim: Any = None) -> Any:
    return jnp.fft.fftshift(self, dim if dim is None or isinstance(dim, int) else tuple(dim))


@register_op("aten.fft_ifftshift.default")
def _ifftshift(self: Any, dim: Any = None) -> Any:
    return jnp.fft.ifftshift(self, dim if dim is None or isinstance(dim, int) else tuple(dim))


@register_op("aten.fft_fftfreq.default")
def _fftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Any:
    return jnp.fft.fftfreq(n, d, dtype=default_float())


@register_op("aten.fft_rfftfreq.default")
def _rfftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Any:
    return jnp.fft.rfftfreq(n, d, dtype=default_float())


def _centred(window: Any, n_fft: int, win_length: int | None, dtype: Any) -> Any:
    """The window in the middle of a frame."""
    if window is None:
        window = jnp.ones(n_fft if win_length is None else win_length, dtype)
    left = (n_fft - window.shape[0]) // 2
    return jnp.pad(window, (left, n_fft - window.shape[0] - left))


@register_op("aten.stft.default")
def _stft(
    self: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    hop = n_fft // 4 if hop_length is None else hop_length
    count = (self.shape[-1] - n_fft) // hop + 1
    frames = self[..., jnp.arange(count)[:, None] * hop + jnp.arange(n_fft)]  # (..., T, n_fft)
    frames = frames * _centred(window, n_fft, win_length, self.dtype)
    norm = "ortho" if normalized else "backward"
    onesided = not jnp.iscomplexobj(frames) if onesided is None else onesided
    spectrum = (jnp.fft.rfft if onesided else jnp.fft.fft)(frames, norm=norm)
    spectrum = jnp.swapaxes(spectrum, -1, -2)  # (..., F, T)
    return spectrum if return_complex else jnp.stack([spectrum.real, spectrum.imag], -1)


@register_op("aten.stft.center")
def _stft_center(
    self: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    if center:
        margin = [(0, 0)] * (self.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        self = jnp.pad(self, margin, "wrap" if pad_mode == "circular" else pad_mode)
    return _stft(self, n_fft, hop_length, win_length, window, normalized, onesided, return_complex)


@register_op("aten.istft.default")
def _istft(
    self: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    hop = n_fft // 4 if hop_length is None else hop_length
    norm = "ortho" if normalized else "backward"
    onesided = self.shape[-2] != n_fft if onesided is None else onesided
    spectrum = jnp.swapaxes(self, -1, -2)  # (..., T, F)
    frames = jnp.fft.irfft(spectrum, n_fft, norm=norm) if onesided else jnp.fft.ifft(spectrum, n_fft, norm=norm)
    frames = frames if return_complex else frames.real
    w = _centred(window, n_fft, win_length, frames.real.dtype)
    signal, envelope = _overlap(frames * w, hop), _overlap(jnp.broadcast_to(w * w, frames.shape[-2:]), hop)
    start = n_fft // 2 if center else 0
    end = signal.shape[-1] - (n_fft // 2 if center else 0) if length is None else start + length
    out = signal[..., start:end] / envelope[start:end]
    missing = end - start - out.shape[-1]
    return jnp.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, missing)]) if missing > 0 else out


def _overlap(frames: Any, hop: int) -> Any:
    """Adds up frames (..., T, n) that begin ``hop`` apart."""
    count, n = frames.shape[-2:]
    places = jnp.arange(count)[:, None] * hop + jnp.arange(n)
    return jnp.zeros((*frames.shape[:-2], (count - 1) * hop + n), frames.dtype).at[..., places].add(frames)
