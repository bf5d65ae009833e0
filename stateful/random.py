"""The ambient seed: what modules draw from when nobody hands them a key.

Every promise takes a ticket when it is made. The array it becomes depends on the seed and the ticket alone, so the
order in which modules are looked at does not matter.
"""

import threading

import jax
import numpy as np

from purenn.checks import is_traced
from purenn.errors import refusal

_lock = threading.Lock()
_seed, _issued = 0, 0


def manual_seed(seed: int) -> None:
    """Seeds everything that modules draw from now on: their arrays, and the noise of object calls.

    Errors:
        TypeError: ``seed`` is no integer.

    Args:
        seed: any integer of up to 64 bits.

    Torch:
        ``torch.manual_seed``; it seeds modules alone, pure functions take ``rng``.
    """
    global _seed, _issued
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise refusal("manual_seed", "seed must be an integer", {"seed": seed}, kind=TypeError)
    with _lock:
        _seed, _issued = int(seed), 0


def take_ticket() -> tuple[int, int]:
    """Takes the next number of the ambient seed.

    Returns:
        ``(seed, number)``.
    """
    global _issued
    with _lock:
        _issued += 1
        return _seed, _issued - 1


def key_of(ticket: tuple[int, int]) -> jax.Array:
    """The key a ticket stands for.

    Args:
        ticket: as from `take_ticket`.

    Returns:
        A typed key.
    """
    seed, number = ticket
    key = jax.random.key(np.uint32(seed & 0xFFFFFFFF))
    if high := (seed >> 32) & 0xFFFFFFFF:
        key = jax.random.fold_in(key, np.uint32(high))
    return jax.random.fold_in(key, np.uint32(number))


def noise_key() -> jax.Array:
    """A fresh key for the noise of one object call.

    Returns:
        A typed key.

    Errors:
        RuntimeError: inside jit, where the key would become part of the program, the same at every call.
    """
    key = key_of(take_ticket())
    if is_traced(key):
        raise RuntimeError(
            "a module called as an object inside jit draws random numbers: they would be the same in every call. "
            "Use module.apply(params, buffers, *inputs, rng=rng, train=True) or nn.jit(module)."
        )
    return key
