"""Keys folded from names, and the draws behind every initializer.

A long draw is made of blocks, each from its own key, so that one small program per distribution serves every shape.
Drawing the weights of a model outside a trace then compiles nothing per shape: XLA's compilation of the generator
for each new shape would cost far more than the numbers themselves.
"""

import functools
import zlib
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.checks import is_traced
from purenn.errors import refusal

_BLOCK = 1024  # numbers drawn from one key
_RUNS = (256, 16, 1)  # blocks drawn by one call of a compiled program


def as_key(op: str, rng: Any) -> jax.Array:
    """Takes a typed or a raw uint32 key.

    Args:
        op: name of the operation that draws.
        rng: ``jax.random.key(seed)``, or the uint32 array of ``jax.random.PRNGKey(seed)``.

    Returns:
        The typed key, of shape ``()``.

    Errors:
        ValueError where ``rng`` is None; TypeError where it is no key.
    """
    remedy = "Pass rng=jax.random.key(0), a fresh one for each call."
    if rng is None:
        raise refusal(op, "rng must be given", {"rng": None}, remedy)
    dtype = None if hasattr(rng, "detach") else getattr(rng, "dtype", None)  # numpy does not know torch's dtypes
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and rng.shape == ():
        return rng
    if dtype == jnp.uint32 and getattr(rng, "ndim", 0) == 1 and rng.shape[0] in (2, 4):
        return jax.random.wrap_key_data(jnp.asarray(rng), impl="threefry2x32" if rng.shape == (2,) else "rbg")
    got = {"type(rng)": type(rng).__name__} if dtype is None else {"rng.dtype": str(dtype), "rng.shape": rng.shape}
    raise refusal(op, "rng must be one PRNG key", got, remedy, TypeError)


def fold_name(rng: jax.Array, name: str) -> jax.Array:
    """The key of the child ``name``: it depends on nothing but ``rng`` and the name.

    Args:
        rng: a typed key.
        name: one component of a dotted path.

    Returns:
        A typed key.
    """
    return jax.random.fold_in(rng, name_hash(name))


class Keys:
    """The keys of the draws in one call, by name; a name that comes again is numbered: ``dropout``, ``dropout_1``.

    >>> import jax
    >>> keys = Keys(jax.random.key(0))
    >>> keys("dropout") != keys("dropout")
    Array(True, dtype=bool)
    """

    def __init__(self, rng: Any, left_out: Collection[str] = ()):
        self._rng = None if rng is None else as_key("Keys", rng)
        self._left_out = frozenset(left_out)
        self._counts: dict[str, int] = {}

    def __call__(self, name: str) -> jax.Array | None:
        """The next key of a name.

        Args:
            name: of the draw.

        Returns:
            A typed key; None where there is no key at all.
        """
        return None if self._rng is None else fold_name(self._rng, self._numbered(name))

    def required(self, name: str) -> jax.Array:
        """The next key of a name, where a draw cannot do without.

        Args:
            name: of the draw.

        Returns:
            A typed key.

        Errors:
            ValueError where there is none.
        """
        return fold_name(as_key(name, self._rng), self._numbered(name))

    def _numbered(self, name: str) -> str:
        while True:
            count = self._counts.get(name, 0)
            self._counts[name] = count + 1
            numbered = f"{name}_{count}" if count else name
            if numbered not in self._left_out:
                return numbered


def name_hash(name: str) -> np.uint32:
    """The number that stands for a name in `fold_name`.

    Args:
        name: one component of a dotted path.

    Returns:
        Its CRC-32.
    """
    return np.uint32(zlib.crc32(name.encode()))


def draw(
    kind: str,
    rng: jax.Array,
    shape: tuple[int, ...],
    dtype: Any,
    scale: float = 1.0,
    shift: float = 0.0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> jax.Array:
    """Draws ``scale * z + shift``, with z from a standard distribution.

    Args:
        kind: ``"uniform"`` on [0, 1), ``"normal"``, or ``"truncated_normal"`` within ``bounds``.
        rng: a typed key.
        shape: of the result.
        dtype: floating or complex; halves are drawn in float32 and rounded.
        scale: factor.
        shift: summand.
        bounds: of the truncated normal, in standard deviations.

    Returns:
        An array of ``shape`` and ``dtype``; the same numbers inside a trace and outside, up to rounding.
    """
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        real = jnp.finfo(dtype).dtype
        parts = [draw(kind, fold_name(rng, part), shape, real, scale, shift, bounds) for part in ("real", "imag")]
        return jax.lax.complex(*parts)
    working = dtype if dtype in (jnp.float32, jnp.float64) else jnp.dtype(jnp.float32)
    size = int(np.prod(shape, dtype=np.int64))
    affine = tuple(map(float, (scale, shift, *bounds)))
    flat: Any = None if is_traced(rng) else _draw_on_host(kind, rng, size, working, affine)
    if flat is None:
        flat = _blocks(kind, -(-size // _BLOCK), working, rng, 0, affine).reshape(-1)[:size]
    return jnp.asarray(flat.reshape(shape), dtype)


def _draw_on_host(kind: str, rng: jax.Array, size: int, dtype: Any, affine: tuple[float, ...]) -> np.ndarray | None:
    """The draw, piece by piece; None with a known key inside somebody's trace, where nothing can be read."""
    flat = np.empty(size, dtype)
    filled = 0
    while filled < size:
        left = -(-(size - filled) // _BLOCK)
        run = next((run for run in _RUNS if run <= left), 1)
        piece = _compiled(kind, run, str(dtype))(rng, np.uint32(filled // _BLOCK), affine)
        if is_traced(piece):
            return None
        flat[filled : filled + run * _BLOCK] = np.asarray(piece).reshape(-1)[: size - filled]
        filled += run * _BLOCK
    return flat


@functools.cache
def _compiled(kind: str, run: int, dtype: str) -> Any:
    return jax.jit(functools.partial(_blocks, kind, run, dtype))


def _blocks(kind: str, run: int, dtype: Any, rng: jax.Array, first: Any, affine: tuple[Any, ...]) -> jax.Array:
    """(run, _BLOCK): blocks ``first ... first + run - 1`` of the draw."""
    scale, shift, lower, upper = affine

    def block(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(rng, number)
        match kind:
            case "uniform":
                return jax.random.uniform(key, (_BLOCK,), dtype)
            case "normal":
                return jax.random.normal(key, (_BLOCK,), dtype)
            case "truncated_normal":
                bounds = jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)
                return jax.random.truncated_normal(key, *bounds, (_BLOCK,), dtype)
        raise AssertionError(kind)

    z = jax.vmap(block)(jnp.arange(run, dtype=jnp.uint32) + jnp.uint32(first))
    return z * jnp.asarray(scale, dtype) + jnp.asarray(shift, dtype)
