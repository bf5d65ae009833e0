"""Random zeros: of single numbers, of whole channels, and the forms that keep a selu network normalised."""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import as_array, refusal

# What selu tends to far below zero, -1.0507... x 1.6732..., and the value alpha dropout puts in place of a number.
_SELU_FLOOR = -1.7580993408473766


def dropout(
    input: jax.Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops numbers at random: ``x m / (1 - p)``, each ``m`` 0 with probability ``p``, else 1.

    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.

    Args:
        input: any shape, floating when numbers are drawn.
        p: probability of a zero, a Python number.
        training: False returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: integers or complex numbers would have to be scaled; ``rng`` is no key.
        ValueError: ``p`` is no probability; ``rng`` is missing.

    Torch:
        ``torch.nn.functional.dropout``, differs in ``rng``, and in that a dropped NaN or inf becomes 0.
    """
    del inplace
    return _dropout("dropout", input, p, training, rng)


def dropout1d(
    input: jax.Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops whole channels of a sequence: ``x m / (1 - p)`` with one ``m`` for each channel of each member.

    Args:
        input: ``(N, C, L)`` or ``(C, L)``.
        p: probability that a channel is dropped, a Python number.
        training: False returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: as `dropout`.
        ValueError: as `dropout`, or ``input`` is neither 2-D nor 3-D.

    Torch:
        ``torch.nn.functional.dropout1d``, differs as `dropout` does.
    """
    del inplace
    x = as_array("dropout1d", "input", input)
    if x.ndim not in (2, 3):
        raise refusal("dropout1d", "input must be (C, L) or (N, C, L)", {"input.shape": x.shape})
    return _dropout("dropout1d", x, p, training, rng, channel_axes=x.ndim - 1)


def dropout2d(
    input: jax.Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops whole channels of an image: ``x m / (1 - p)`` with one ``m`` for each channel of each member.

    Tompson et al., Efficient object localization using convolutional networks, 2015.

    Args:
        input: ``(N, C, H, W)``; another rank is read as ``(N, C, *)`` and warned about.
        p: probability that a channel is dropped, a Python number.
        training: False returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: as `dropout`.
        ValueError: as `dropout`, or numbers are drawn and ``input`` has no channel axis.

    Torch:
        ``torch.nn.functional.dropout2d``, differs as `dropout` does. An unbatched ``(C, H, W)`` is not known to it.
    """
    del inplace
    x = as_array("dropout2d", "input", input)
    if x.ndim != 4:
        _warn(f"dropout2d: input of shape {x.shape} is read as (N, C, *). dropout2d wants (N, C, H, W).")
    return _dropout("dropout2d", x, p, training, rng, channel_axes=2)


def dropout3d(
    input: jax.Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops whole channels of a volume: ``x m / (1 - p)`` with one ``m`` for each channel of each member.

    Args:
        input: ``(N, C, D, H, W)`` or ``(C, D, H, W)``; another rank is read as ``(C, *)`` and warned about.
        p: probability that a channel is dropped, a Python number.
        training: False returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: as `dropout`.
        ValueError: as `dropout`, or numbers are drawn and ``input`` has no channel axis.

    Torch:
        ``torch.nn.functional.dropout3d``, differs as `dropout` does.
    """
    del inplace
    x = as_array("dropout3d", "input", input)
    if x.ndim not in (4, 5):
        _warn(f"dropout3d: input of shape {x.shape} is read as (C, *). dropout3d wants ([N,] C, D, H, W).")
    return _dropout("dropout3d", x, p, training, rng, channel_axes=2 if x.ndim == 5 else 1)


def alpha_dropout(
    input: jax.Array, p: float = 0.5, training: bool = False, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops numbers and keeps mean 0 and variance 1: ``a (x m + α' (1 - m)) + b``, α' being where selu saturates.

    Klambauer et al., Self-normalizing neural networks, 2017.

    Args:
        input: any shape, floating when numbers are drawn.
        p: probability that a number is dropped, a Python number.
        training: False, as is the default here, returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``; zeros when ``p`` is 1.

    Errors:
        TypeError: as `dropout`.
        ValueError: as `dropout`.

    Torch:
        ``torch.nn.functional.alpha_dropout``, differs as `dropout` does.
    """
    del inplace
    return _alpha_dropout("alpha_dropout", input, p, training, rng)


def feature_alpha_dropout(
    input: jax.Array, p: float = 0.5, training: bool = False, inplace: bool = False, *, rng: jax.Array | None = None
) -> jax.Array:
    """Drops whole channels as `alpha_dropout` drops numbers: ``a (x m + α' (1 - m)) + b``.

    Args:
        input: ``(N, C, *)``, floating when numbers are drawn.
        p: probability that a channel is dropped, a Python number.
        training: False, as is the default here, returns ``input``.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training`` and ``0 < p < 1``.

    Returns:
        The shape and dtype of ``input``; zeros when ``p`` is 1.

    Errors:
        TypeError: as `dropout`.
        ValueError: as `dropout`, or numbers are drawn and ``input`` has no channel axis.

    Torch:
        ``torch.nn.functional.feature_alpha_dropout``, differs as `dropout` does.
    """
    del inplace
    return _alpha_dropout("feature_alpha_dropout", input, p, training, rng, channel_axes=2)


def check_rng(op: str, rng: Any, when: str = "") -> jax.Array:
    """Takes ``rng`` as a PRNG key; a missing one is refused, for no key is ever drawn behind the caller's back.

    Args:
        op: name of the operation that draws numbers.
        rng: a key of ``jax.random.key`` or a raw uint32 one.
        when: what makes the operation draw, e.g. ``" when training"``.

    Returns:
        The key.

    Errors:
        ValueError: ``rng`` is None.
        TypeError: ``rng`` is no array.
    """
    remedy = "Pass rng=jax.random.key(0), a fresh one for each call."
    if rng is None:
        raise refusal(op, f"rng must be given{when}", {"rng": None}, remedy)
    if not isinstance(rng, (jax.Array, np.ndarray)):
        raise refusal(op, "rng must be a PRNG key", {"rng": rng}, remedy, TypeError)
    return jnp.asarray(rng)


def _dropout(op: str, input: Any, p: float, training: bool, rng: Any, channel_axes: int | None = None) -> jax.Array:
    x = as_array(op, "input", input)
    _check_probability(op, p)
    if not training or p == 0:
        return x
    if p == 1:
        return jnp.zeros_like(x)
    # A select, not a product: its gradient keeps the mask, one byte a number, and not a scaled copy of it.
    return jnp.where(_keep(op, x, p, rng, channel_axes), x / (1 - p), 0)


def _alpha_dropout(
    op: str, input: Any, p: float, training: bool, rng: Any, channel_axes: int | None = None
) -> jax.Array:
    x = as_array(op, "input", input)
    _check_probability(op, p)
    if not training or p == 0:
        return x
    if p == 1:
        return jnp.zeros_like(x)
    # Mean and variance of x m + α' (1 - m) are α' p and (1 - p)(1 + p α'²) when those of x are 0 and 1.
    a = 1 / math.sqrt((1 - p) * (1 + p * _SELU_FLOOR**2))
    b = -a * p * _SELU_FLOOR
    return jnp.where(_keep(op, x, p, rng, channel_axes), a * x + b, a * _SELU_FLOOR + b)


def _keep(op: str, x: jax.Array, p: float, rng: Any, channel_axes: int | None) -> jax.Array:
    """The mask m, drawn for the first ``channel_axes`` axes (None: all) and shared along the others."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        remedy = "Cast it with .astype(jnp.float32)."
        raise refusal(op, "input must be floating when training", {"input.dtype": str(x.dtype)}, remedy, TypeError)
    if channel_axes is not None and x.ndim < channel_axes:
        raise refusal(op, "input must have a channel axis", {"input.shape": x.shape}, "Use dropout instead.")
    shape = x.shape if channel_axes is None else x.shape[:channel_axes] + (1,) * (x.ndim - channel_axes)
    # float32, so that a key draws the same mask whether or not x64 is enabled
    return jax.random.bernoulli(check_rng(op, rng, " when training"), jnp.float32(1 - p), shape)


def _check_probability(op: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise refusal(op, "p must lie in [0, 1]", {"p": p})


def _warn(text: str) -> None:
    # past this helper and the operation, to the line that called it
    warnings.warn(text, UserWarning, stacklevel=3)
