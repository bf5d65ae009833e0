"""Elementwise nonlinearities, and the softmax family."""

import jax
import jax.numpy as jnp

from purenn.errors import as_array


def relu(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Keeps what is positive: ``max(0, x)``; its gradient at 0 is 0.

    Args:
        input: any shape; integers are taken too.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.relu``, identical.
    """
    del inplace
    return jax.nn.relu(as_array("relu", "input", input))


def relu_(input: jax.Array) -> jax.Array:
    """Returns ``relu(input)``; JAX arrays do not change in place.

    Args:
        input: any shape.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.relu_``, differs in that ``input`` stays as it is.
    """
    return relu(input)


def softplus(input: jax.Array, beta: float = 1, threshold: float = 20) -> jax.Array:
    """Smooths relu: ``log(1 + exp(beta x)) / beta``, the identity where ``beta x > threshold``.

    Args:
        input: any shape, floating.
        beta: sharpness.
        threshold: above it the identity is used.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.softplus``, identical.
    """
    x = as_array("softplus", "input", input)
    linear = x * beta > threshold
    # The unused branch sees 0, so that its gradient stays finite.
    return jnp.where(linear, x, jnp.log1p(jnp.exp(jnp.where(linear, 0, x * beta))) / beta)
