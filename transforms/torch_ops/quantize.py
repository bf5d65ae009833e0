"""Quantisation as training sees it: rounded to the grid and back, with the gradient of the identity within it."""

from typing import Any

import jax
import jax.numpy as jnp

from transforms.torch_ops.registry import register_op


@jax.custom_jvp
def _rounded(x: Any, scale: Any, zero_point: Any, least: Any, most: Any) -> Any:
    places, _ = _places(x, scale, zero_point, least, most)
    return ((places - zero_point) * scale).astype(x.dtype)


@_rounded.defjvp
def _(primals: Any, tangents: Any) -> Any:
    _, within = _places(*primals)
    return _rounded(*primals), jnp.where(within, tangents[0], 0)


def _places(x: Any, scale: Any, zero_point: Any, least: Any, most: Any) -> tuple[Any, Any]:
    """Where the numbers lie on the grid, and whether that is within it."""
    places = zero_point + jnp.round(x * (1 / scale))
    return jnp.clip(places, least, most), (places >= least) & (places <= most)


@register_op(
    "aten.fake_quantize_per_tensor_affine_cachemask.default",
    "aten.fake_quantize_per_channel_affine_cachemask.default",
    "aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default",
)
def _fake_quantize_cachemask(self: Any, scale: Any, zero_point: Any, *options: Any) -> Any:
    """``options`` end with the least and the largest place; before them stands an axis, or whether to quantise."""
    *option, least, most = options
    scale, zero_point = jnp.asarray(scale, jnp.float32), jnp.asarray(zero_point, jnp.float32)
    grid = scale, zero_point, jnp.float32(least), jnp.float32(most)
    if option and isinstance(option[0], int):
        along = [1] * self.ndim
        along[option[0]] = -1
        grid = (scale.reshape(along), zero_point.reshape(along), *grid[2:])
    out, within = _rounded(self, *grid), _places(self, *grid)[1]
    if option and not isinstance(option[0], int):
        return jnp.where(option[0] != 0, out, self), within | (option[0] == 0)
    return out, within


@register_op(
    "aten.fake_quantize_per_tensor_affine.default", "aten.fake_quantize_per_channel_affine.default",
)  # fmt: skip
def _fake_quantize(self: Any, scale: Any, zero_point: Any, *options: Any) -> Any:
    return _fake_quantize_cachemask(self, scale, zero_point, *options)[0]


@register_op("aten.fake_quantize_per_tensor_affine.tensor_qparams")
def _fake_quantize_given(self: Any, scale: Any, zero_point: Any, least: Any, most: Any) -> Any:
    return _fake_quantize_cachemask(self, scale, zero_point, least, most)[0]
