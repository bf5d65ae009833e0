"""per_example_grad: the gradient of each example by itself."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, check_model
from purenn.random import as_key
from purenn.tree import Where
from transforms.batching import take_apart
from transforms.gradients import gradients_of


def per_example_grad(
    model: Model, loss: Callable[..., Any], where: Where | None = None, *, in_axes: Any = 0
) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function of `value_and_grad` for each example of the batch: a loss, and gradients, by example.

    The loss is that of `value_and_grad`: it sees each example as a batch of one. Example i draws from
    ``fold_in(rng, i)``.

    Args:
        model: any model whose buffers do not depend on the example: batch normalisation evaluates
            (``train=False``).
        loss: as in `value_and_grad`.
        where: which params to differentiate, as in `value_and_grad`.
        in_axes: which axis of the batch is that of the examples, as in ``jax.vmap``; None for what they share.

    Returns:
        ``fn(params, buffers, *batch, rng=None, train=True) -> ((out, buffers), grads)``: arrays of ``out`` and
        ``grads`` have a first axis of the N examples, ``buffers`` have not.

    Errors:
        TypeError for what is no model; ValueError for axes that do not fit, and where buffers depend on the example.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> fn = transforms.per_example_grad(L.Linear(3, 1), lambda m, x: m(x).sum())
    >>> params, buffers = L.Linear(3, 1).init(jax.random.key(0))
    >>> _, grads = fn(params, buffers, jnp.arange(6.0).reshape(2, 3))
    >>> grads["weight"]
    Array([[[0., 1., 2.]],
    <BLANKLINE>
           [[3., 4., 5.]]], dtype=float32)
    """
    check_model("per_example_grad", model)
    gradients = gradients_of("per_example_grad", model, loss, where)

    def fn(params: Params, buffers: Buffers, *batch: Any, rng: Any = None, train: bool = True) -> Any:
        apart = take_apart("per_example_grad", batch, in_axes)
        key = None if rng is None else as_key("per_example_grad", rng)

        def example(arrays: dict[int, jax.Array], i: jax.Array) -> Any:
            one = {n: jnp.expand_dims(array, apart.axes[n]) for n, array in arrays.items()}
            own = None if key is None else jax.random.fold_in(key, i)
            return gradients(params, buffers, *apart.together(one), rng=own, train=train)

        mapped = jax.vmap(example, (apart.axes, 0), ((0, None), 0))
        try:
            return mapped(apart.arrays, jnp.arange(apart.size, dtype=jnp.uint32))
        except ValueError as error:
            if "out_axes" not in str(error):
                raise
            remedy = "Pass train=False, or normalise each example by itself, as GroupNorm does."
            raise refusal("per_example_grad", "buffers must not depend on the example", None, remedy) from error

    return fn
