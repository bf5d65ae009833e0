"""New arrays: filled, counted, or like another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transforms.torch_ops.promotion import as_dtype, canonical, default_float, is_number, length, lengths, long
from transforms.torch_ops.registry import register_op


def _kind(dtype: Any, value: Any) -> Any:
    """The dtype asked for, or that of a value by itself."""
    if dtype is not None:
        return canonical(dtype)
    if isinstance(value, bool):
        return jnp.dtype(bool)
    if isinstance(value, complex):
        return jnp.dtype(jnp.complex64)
    return default_float() if isinstance(value, float) else long()


@register_op(
    "aten.zeros.default", "aten.empty.memory_format", "aten.empty_strided.default", "aten.empty_permuted.default"
)
def _zeros(size: Any, *layout: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.zeros(lengths(size), default_float() if dtype is None else canonical(dtype))


@register_op("aten.ones.default")
def _ones(size: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.ones(lengths(size), default_float() if dtype is None else canonical(dtype))


@register_op("aten.full.default")
def _full(size: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = fill_value.dtype if dtype is None and not is_number(fill_value) else _kind(dtype, fill_value)
    return jnp.broadcast_to(as_dtype(fill_value, dtype), lengths(size))


@register_op("aten.zeros_like.default", "aten.empty_like.default", "aten.zero.default")
def _zeros_like(self: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.zeros(self.shape, self.dtype if dtype is None else canonical(dtype))


@register_op("aten.ones_like.default")
def _ones_like(self: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.ones(self.shape, self.dtype if dtype is None else canonical(dtype))


@register_op("aten.full_like.default")
def _full_like(self: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = self.dtype if dtype is None else canonical(dtype)
    return jnp.broadcast_to(as_dtype(fill_value, dtype), self.shape)


@register_op("aten.new_zeros.default", "aten.new_empty.default", "aten.new_empty_strided.default")
def _new_zeros(self: Any, size: Any, *layout: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.zeros(lengths(size), self.dtype if dtype is None else canonical(dtype))


@register_op("aten.new_ones.default")
def _new_ones(self: Any, size: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.ones(lengths(size), self.dtype if dtype is None else canonical(dtype))


@register_op("aten.new_full.default")
def _new_full(self: Any, size: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = self.dtype if dtype is None else canonical(dtype)
    return jnp.broadcast_to(as_dtype(fill_value, dtype), lengths(size))


@register_op("aten.fill.Scalar", "aten.fill.Tensor")
def _fill(self: Any, value: Any) -> Any:
    return jnp.broadcast_to(as_dtype(value, self.dtype), self.shape)


@register_op("aten.copy.default")
def _copy(self: Any, src: Any, non_blocking: bool = False) -> Any:
    return jnp.broadcast_to(as_dtype(src, self.dtype), self.shape)


@register_op("aten.scalar_tensor.default")
def _scalar_tensor(s: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return as_dtype(s, default_float() if dtype is None else canonical(dtype))


@register_op("aten.arange.default")
def _arange(end: Any, **kwargs: Any) -> Any:
    return _arange_step(0, end, 1, **kwargs)


@register_op("aten.arange.start")
def _arange_start(start: Any, end: Any, **kwargs: Any) -> Any:
    return _arange_step(start, end, 1, **kwargs)


@register_op("aten.arange.start_step")
def _arange_step(start: Any, end: Any, step: Any = 1, dtype: Any = None, **kwargs: Any) -> Any:
    start, end, step = length_or_number(start), length_or_number(end), length_or_number(step)
    if dtype is None:
        dtype = default_float() if any(isinstance(value, float) for value in (start, end, step)) else np.int64
    dtype = canonical(dtype)
    if any(isinstance(value, float) for value in (start, end, step)):
        count = int(np.ceil((end - start) / step))
        return jnp.asarray(start + np.arange(count) * step).astype(dtype)  # in double precision, as torch counts
    if all(isinstance(value, int) for value in (start, end, step)):
        return jnp.asarray(np.arange(start, end, step), dtype)
    return jnp.arange(start, end, step, dtype)


def length_or_number(value: Any) -> Any:
    """A bound of a range: a number, a symbol's length, or an array without axes that can be read.

    Args:
        value: the bound.

    Returns:
        What `jnp.arange` takes.
    """
    return value if is_number(value) else np.asarray(value).item()


@register_op("aten.linspace.default")
def _linspace(start: Any, end: Any, steps: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = default_float() if dtype is None else canonical(dtype)
    if isinstance(length(steps), int) and is_number(start) and is_number(end):
        return jnp.asarray(np.linspace(start, end, length(steps)), dtype)
    return jnp.linspace(start, end, length(steps), dtype=dtype)


@register_op("aten.linspace.Tensor_Tensor", "aten.linspace.Tensor_Scalar", "aten.linspace.Scalar_Tensor")
def _linspace_arrays(start: Any, end: Any, steps: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = default_float() if dtype is None else canonical(dtype)
    return jnp.linspace(as_dtype(start, dtype), as_dtype(end, dtype), length(steps), dtype=dtype)


@register_op("aten.logspace.default")
def _logspace(start: Any, end: Any, steps: Any, base: float = 10.0, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = default_float() if dtype is None else canonical(dtype)
    return jnp.asarray(np.logspace(start, end, length(steps), base=base), dtype)


@register_op("aten.eye.default")
def _eye(n: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.eye(length(n), dtype=default_float() if dtype is None else canonical(dtype))


@register_op("aten.eye.m")
def _eye_m(n: Any, m: Any, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.eye(length(n), length(m), dtype=default_float() if dtype is None else canonical(dtype))


@register_op("aten.tril_indices.default")
def _tril_indices(row: int, col: int, offset: int = 0, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.asarray(np.stack(np.tril_indices(row, offset, col)), canonical(dtype or np.int64))


@register_op("aten.triu_indices.default")
def _triu_indices(row: int, col: int, offset: int = 0, dtype: Any = None, **kwargs: Any) -> Any:
    return jnp.asarray(np.stack(np.triu_indices(row, offset, col)), canonical(dtype or np.int64))


def _window(values: Any, dtype: Any) -> Any:
    return jnp.asarray(values, default_float() if dtype is None else canonical(dtype))


def _cosine_window(length: int, periodic: bool, weights: tuple[float, ...], dtype: Any) -> Any:
    if length < 2:
        return _window(np.ones(length), dtype)
    angle = 2 * np.pi * np.arange(length) / (length - (0 if periodic else 1))
    return _window(sum((-1) ** i * w * np.cos(i * angle) for i, w in enumerate(weights)), dtype)


@register_op("aten.hann_window.default", "aten.hann_window.periodic")
def _hann_window(window_length: int, periodic: bool = True, dtype: Any = None, **kwargs: Any) -> Any:
    return _cosine_window(window_length, periodic, (0.5, 0.5), dtype)


@register_op("aten.hamming_window.default", "aten.hamming_window.periodic")
def _hamming_window(window_length: int, periodic: bool = True, dtype: Any = None, **kwargs: Any) -> Any:
    return _cosine_window(window_length, periodic, (0.54, 0.46), dtype)


@register_op("aten.blackman_window.default", "aten.blackman_window.periodic")
def _blackman_window(window_length: int, periodic: bool = True, dtype: Any = None, **kwargs: Any) -> Any:
    return _cosine_window(window_length, periodic, (0.42, 0.5, 0.08), dtype)


@register_op("aten.bartlett_window.default", "aten.bartlett_window.periodic")
def _bartlett_window(window_length: int, periodic: bool = True, dtype: Any = None, **kwargs: Any) -> Any:
    window = np.bartlett(window_length + 1)[:-1] if periodic and window_length > 1 else np.bartlett(window_length)
    return _window(window, dtype)


@register_op("aten.linalg_vander.default")
def _linalg_vander(x: Any, *, N: int | None = None) -> Any:
    return _vander(x, N, True)


@register_op("aten.vander.default")
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    powers = range(x.shape[-1] if N is None else N)
    return jnp.stack([jax.lax.integer_pow(x, n) for n in (powers if increasing else reversed(powers))], -1)
