"""quantize: weights kept as integers of eight or four bits, and a scale for each row or group."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Leaf, Model
from purenn.tree import Where
from transforms.low_rank import matrices
from transforms.parametrization import Parametrization
from transforms.parametrizing import Parametrized, apply_chain


@dataclass(frozen=True)
class Quantize(Parametrization):
    """``(q - z) s``: integers q, scales s, zero points z where the range is not symmetric (see `quantize`).

    Args:
        bits: 8 or 4.
        group_size: how many weights of a row share a scale; None: the row.
        symmetric: whether z is 0 and left out.
        shape: of the weight; filled in by `fit`.
        dtype: of the weight; filled in by `fit`.
    """

    trains: ClassVar[bool] = False

    bits: int = 8
    group_size: int | None = None
    symmetric: bool = True
    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise refusal("quantize", "bits must be 8 or 4", {"bits": self.bits})
        size = self.group_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise refusal("quantize", "group_size must be a positive integer or None", {"group_size": size})

    def fit(self, weight: Leaf) -> Self:
        """Takes the shape; a row must divide into groups."""
        if len(weight.shape) < 2 or 0 in weight.shape or not jnp.issubdtype(weight.dtype, jnp.floating):
            remedy = "Choose the matrices of the model; where=None does."
            got: dict[str, Any] = {"shape": weight.shape, "dtype": str(weight.dtype)}
            rule = "the weight must be floating, with two axes or more and no empty one"
            raise refusal("quantize", rule, got, remedy)
        columns = math.prod(weight.shape[1:])
        if columns % (self.group_size or 1):
            got = {"group_size": self.group_size, "numbers in a row": columns, "shape": weight.shape}
            raise refusal("quantize", "group_size must divide a row of the weight", got)
        return replace(self, shape=weight.shape, dtype=weight.dtype)

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Computes the weight from the integers."""
        del m
        q, scale, *zero = args
        q = (_unpack(q, math.prod(self.shape[1:])) if self.bits == 4 else q).reshape(*scale.shape, -1)
        q = q.astype(scale.dtype)
        if zero:
            q = q - zero[0].astype(scale.dtype)[..., None]
        return (q * scale[..., None]).astype(self.dtype).reshape(self.shape)

    def right_inverse(self, m: Any, weight: Any) -> tuple[jax.Array, ...]:
        """The integers nearest to a weight, with the scales that its largest numbers need."""
        del m
        rows, columns = self.shape[0], math.prod(self.shape[1:])
        w = weight.astype(jnp.float32).reshape(rows, columns // (self.group_size or columns), -1)
        least, most = -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        if self.symmetric:
            scale = _not_zero(jnp.abs(w).max(-1) / most)
            q = jnp.clip(jnp.round(w / scale[..., None]), -most, most)
            return self._kept(q), scale
        low, high = jnp.minimum(w.min(-1), 0), jnp.maximum(w.max(-1), 0)
        scale = _not_zero((high - low) / (most - least))
        zero = jnp.clip(least - jnp.round(low / scale), least, most)
        q = jnp.clip(jnp.round(w / scale[..., None]) + zero[..., None], least, most)
        return self._kept(q), scale, zero.astype(jnp.int8)

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """The integers in the place of the weight, the rest beside them."""
        first = f"{name}_packed" if self.bits == 4 else name
        return {"original0": first, "original1": f"{name}_scale", "original2": f"{name}_zero_point"}[array]

    def _kept(self, q: jax.Array) -> jax.Array:
        q = q.astype(jnp.int8)
        return _pack(q.reshape(self.shape[0], -1)) if self.bits == 4 else q.reshape(self.shape)


def _not_zero(scale: jax.Array) -> jax.Array:
    return jnp.where(scale == 0, 1, scale)


def _pack(q: jax.Array) -> jax.Array:
    """(R, C) of -8 ... 7 -> (R, ceil(C / 2)) of bytes: the even column in the low half, the odd in the high one."""
    q = jnp.pad(q, ((0, 0), (0, q.shape[1] % 2))).astype(jnp.uint8) & 0xF
    return q[:, 0::2] | (q[:, 1::2] << 4)


def _unpack(packed: jax.Array, columns: int) -> jax.Array:
    """(R, ceil(C / 2)) of bytes -> (R, C) of -8 ... 7."""
    signed = packed.astype(jnp.int8)
    halves = jnp.stack([signed << 4 >> 4, signed >> 4], -1)  # shifts to the right keep the sign
    return halves.reshape(packed.shape[0], -1)[:, :columns]


def quantize(
    model: Model, where: Where | None = None, bits: int = 8, group_size: int | None = None, symmetric: bool = True
) -> Parametrized:
    """Keeps chosen weights as integers, with a scale for each row, or for each group of numbers in a row.

    Nothing else is kept: the weight is computed from the integers inside the call, in one fused loop. On a CPU that is
    a temporary array as large as the floating weight, since XLA does not join the loop with the product; so what is
    saved is memory at rest and in files. The integers are not trained.

    Args:
        model: any model.
        where: which params (see `purenn.tree`), of two axes or more; None takes all that have them.
        bits: 8, or 4: two numbers in a byte.
        group_size: how many neighbours in a row share a scale; None: the whole row, a channel of the output.
        symmetric: whether the range is ``[-max, max]``; else it is ``[min, max]``, with a zero point.

    Returns:
        The model. Its buffers have the int8 array in the place of the weight (with 4 bits ``weight_packed``, uint8,
        ``(out, ceil(in / 2))``), ``weight_scale``, float32 ``(out, groups)``, and ``weight_zero_point``, int8, unless
        symmetric. `merge` gives floating weights back; ``from_plain`` quantises some.

    Errors:
        TypeError for what is no model; ValueError where ``where`` matches nothing, a vector or integers, or an option
        is none.

    >>> import jax, transforms
    >>> from purenn import layers as L
    >>> params, buffers = transforms.quantize(L.Linear(30, 20), bits=4, group_size=10).init(jax.random.key(0))
    >>> buffers["weight_packed"].shape, buffers["weight_scale"].shape
    ((20, 15), (20, 3))
    """
    where = matrices if where is None else where
    return apply_chain("quantize", model, where, Quantize(bits, group_size, symmetric))
