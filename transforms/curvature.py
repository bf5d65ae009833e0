"""Second derivatives, and first ones multiplied with each other: Hessian products and tangent kernels."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.model import Buffers, Model, Params, bind, check_model
from purenn.tree import Where, combine, partition
from transforms.gradients import objective


def hvp(
    model: Model, loss: Callable[..., Any], where: Where | None = None
) -> Callable[..., tuple[tuple[Any, Buffers], Params]]:
    """Makes the function that multiplies the Hessian of a loss with a vector, at the cost of about two gradients.

    Args:
        model: any model.
        loss: as in `value_and_grad`.
        where: which params the Hessian is of, as in `value_and_grad`.

    Returns:
        ``fn(params, buffers, vector, *batch, rng=None, train=True) -> ((out, buffers), product)``; ``vector`` and
        ``product`` have the structure of ``params``, or of ``partition(params, where)[0]``.

    Errors:
        TypeError for what is no model; ValueError where the vector has another structure.

    Source:
        Pearlmutter, "Fast exact multiplication by the Hessian", 1994; here forward over reverse.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> fn = transforms.hvp(L.Linear(1, 1), lambda m, x: (m(x) ** 2).sum())
    >>> params, buffers = L.Linear(1, 1).init(jax.random.key(0))
    >>> _, product = fn(params, buffers, {"weight": jnp.ones((1, 1)), "bias": jnp.zeros(1)}, jnp.full((1, 1), 3.0))
    >>> float(product["weight"][0, 0]), float(product["bias"][0])
    (18.0, 6.0)
    """
    check_model("hvp", model)

    def fn(params: Params, buffers: Buffers, vector: Params, *batch: Any, rng: Any = None, train: bool = True) -> Any:
        chosen, scalar = objective("hvp", model, loss, where, params, buffers, batch, rng, train)
        _check_vector(chosen, vector)

        def gradient(chosen: Params) -> tuple[Params, Any]:
            (_, out_and_buffers), grads = jax.value_and_grad(scalar, has_aux=True)(chosen)
            return grads, out_and_buffers

        _, product, out_and_buffers = jax.jvp(gradient, (chosen,), (vector,), has_aux=True)
        return out_and_buffers, product

    return fn


def _check_vector(chosen: Params, vector: Params) -> None:
    shapes, given = (jax.tree.map(jnp.shape, tree) for tree in (chosen, vector))
    if shapes != given:
        raise refusal("hvp", "vector must have the structure and shapes of the params", {"vector": given})


def ntk(
    model: Model, where: Where | None = None, *, compute: str = "full", by: str = "jacobians"
) -> Callable[..., jax.Array]:
    """Makes the function that gives the empirical neural tangent kernel, ``J(x1) J(x2)ᵀ`` over the params.

    Args:
        model: any model with one floating array as its output. It sees each example as a batch of one, and all of them
            with one key: the kernel is that of one network.
        where: which params the Jacobians are of, as in `value_and_grad`.
        compute: ``"full"``; ``"diagonal"``, of equal outputs; or ``"trace"``, their sum.
        by: ``"jacobians"``, both written down and contracted: time N [FP] + N² O² P; or ``"products"``, vectors
            through the one and the other, for each pair: time N² O [FP], better where O P is large against [FP], the
            cost of a forward pass, with O outputs and P params.

    Returns:
        ``fn(params, buffers, x1, x2=None, *, rng=None, train=False)`` for inputs (N1, ...) and (N2, ...), or tuples of
        them for models of several inputs; without ``x2`` it is ``x1``. With an output (*S) per example, the kernel is
        (N1, N2, *S, *S), (N1, N2, *S) or (N1, N2).

    Errors:
        TypeError for what is no model, or gives no floating array; ValueError for an unknown option.

    Source:
        Jacot, Gabriel, Hongler, "Neural tangent kernel", 2018; Novak, Sohl-Dickstein, Schoenholz, "Fast finite width
        neural tangent kernel", 2022.
    """
    check_model("ntk", model)
    for name, value, known in (
        ("compute", compute, ("full", "diagonal", "trace")),
        ("by", by, ("jacobians", "products")),
    ):
        if value not in known:
            raise refusal("ntk", f"{name} must be one of {', '.join(map(repr, known))}", {name: value})

    def fn(
        params: Params, buffers: Buffers, x1: Any, x2: Any = None, *, rng: Any = None, train: bool = False
    ) -> jax.Array:
        chosen, rest = (params, {}) if where is None else partition(params, where, "ntk")

        def single(chosen: Params, x: Any) -> jax.Array:
            m = bind(model, combine(chosen, rest) if rest else chosen, buffers, rng, train)
            inputs = jax.tree.map(lambda array: array[None], x if isinstance(x, tuple) else (x,))
            return _output(m(*inputs))[0]

        kernel = _by_jacobians if by == "jacobians" else _by_products
        return kernel(single, chosen, x1, x1 if x2 is None else x2, compute)

    return fn


def _output(out: Any) -> jax.Array:
    if not isinstance(out, jax.Array) or not jnp.issubdtype(out.dtype, jnp.floating):
        got = {"its dtype": str(out.dtype)} if isinstance(out, jax.Array) else {"its type": type(out).__name__}
        raise refusal("ntk", "the output must be one floating array", got, kind=TypeError)
    return out


def _by_jacobians(single: Callable[..., jax.Array], params: Params, x1: Any, x2: Any, compute: str) -> jax.Array:
    shape = _shape(single, params, x1)
    size = math.prod(shape)
    jacobian = jax.vmap(jax.jacrev(single), (None, 0))
    j1 = jacobian(params, x1)  # leaves (N1, *S, *leaf.shape)
    j2 = j1 if x2 is x1 else jacobian(params, x2)
    letters = {"full": "Naf,Mbf->NMab", "diagonal": "Naf,Maf->NMa", "trace": "Naf,Maf->NM"}[compute]

    def contracted(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(letters, a.reshape(len(a), size, -1), b.reshape(len(b), size, -1))

    kernel: Any = sum(jax.tree.leaves(jax.tree.map(contracted, j1, j2)))
    return kernel.reshape(*kernel.shape[:2], *shape * (kernel.ndim - 2))


def _by_products(single: Callable[..., jax.Array], params: Params, x1: Any, x2: Any, compute: str) -> jax.Array:
    shape = _shape(single, params, x1)
    size = math.prod(shape)

    def pair(x1: Any, x2: Any) -> jax.Array:
        out, pull = jax.vjp(lambda params: single(params, x2), params)

        def row(unit: jax.Array) -> jax.Array:
            return jax.jvp(lambda params: single(params, x1), (params,), pull(unit))[1].reshape(size)

        kernel = jax.vmap(row)(jnp.eye(size, dtype=out.dtype).reshape(size, *shape))  # of (b, a)
        if compute == "full":
            return kernel.T.reshape(*shape, *shape)
        return jnp.diagonal(kernel).reshape(shape) if compute == "diagonal" else jnp.trace(kernel)

    return jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(x1, x2)


def _shape(single: Callable[..., jax.Array], params: Params, x: Any) -> tuple[int, ...]:
    return jax.eval_shape(single, params, jax.tree.map(lambda array: array[0], x)).shape
