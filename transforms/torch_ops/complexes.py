"""Complex numbers: their parts, and the views that torch has of them."""

from typing import Any

import jax
import jax.numpy as jnp

from transforms.torch_ops.promotion import floating, promoted
from transforms.torch_ops.registry import register_op


@register_op("aten.complex.default")
def _complex(real: Any, imag: Any) -> Any:
    return jax.lax.complex(*jnp.broadcast_arrays(*promoted(real, imag)))


@register_op("aten.polar.default")
def _polar(abs: Any, angle: Any) -> Any:  # torch's name
    r, phi = jnp.broadcast_arrays(*promoted(abs, angle))
    return jax.lax.complex(r * jnp.cos(phi), r * jnp.sin(phi))


@register_op("aten.view_as_real.default", "aten.view_as_real_copy.default")
def _view_as_real(self: Any) -> Any:
    return jnp.stack([self.real, self.imag], -1)


@register_op("aten.view_as_complex.default", "aten.view_as_complex_copy.default")
def _view_as_complex(self: Any) -> Any:
    return jax.lax.complex(self[..., 0], self[..., 1])


@register_op("aten.real.default")
def _real(self: Any) -> Any:
    return jnp.real(self)


@register_op("aten.imag.default")
def _imag(self: Any) -> Any:
    return jnp.imag(self)


@register_op("aten._conj.default", "aten.conj.default", "aten.conj_physical.default", "aten._conj_physical.default")
def _conj(self: Any) -> Any:
    return jnp.conj(self)


@register_op("aten._neg_view.default")
def _neg_view(self: Any) -> Any:
    return -self


@register_op("aten.angle.default")
def _angle(self: Any) -> Any:
    (x,) = floating(self)
    if jnp.iscomplexobj(x):
        return jnp.angle(x)
    return jnp.where(jnp.isnan(x), x, jnp.where(x < 0, jnp.pi, 0).astype(x.dtype))
