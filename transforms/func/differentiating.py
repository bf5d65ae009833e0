"""Derivatives of functions, under torch.func's names and with its order of results."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from transforms.func.ordering import noting, ordered
from transforms.func.vectorizing import check_chunk


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Makes the function that gives the gradient of a scalar function.

    Args:
        func: ``func(*args) -> value``, or ``-> (value, aux)``.
        argnums: which arguments to differentiate.
        has_aux: whether ``func`` gives ``aux``.

    Returns:
        The function: ``-> gradient``, or ``-> (gradient, aux)``; the gradient has the structure of the arguments.

    Torch:
        ``torch.func.grad``, identical.

    >>> import jax.numpy as jnp
    >>> float(grad(lambda x: x**3)(jnp.asarray(2.0)))
    12.0
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Makes the function that gives the gradient of a scalar function, and its value.

    Args:
        func: ``func(*args) -> value``, or ``-> (value, aux)``.
        argnums: which arguments to differentiate.
        has_aux: whether ``func`` gives ``aux``.

    Returns:
        The function: ``-> (gradient, value)``, or ``-> (gradient, (value, aux))``.

    Torch:
        ``torch.func.grad_and_value``, identical.
    """

    @wraps(func, updated=())
    def gradient_and_value(*args: Any, **kwargs: Any) -> Any:
        notes: list[Any] = []
        value, grads = jax.value_and_grad(noting(func, notes, args), argnums, has_aux)(*args, **kwargs)
        return ordered(grads, _chosen(args, argnums)), ordered(value, notes[-1])

    return gradient_and_value


def jacrev(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Makes the function that gives the Jacobian, row by row in reverse mode.

    Args:
        func: ``func(*args) -> out``, or ``-> (out, aux)``.
        argnums: which arguments to differentiate.
        has_aux: whether ``func`` gives ``aux``.
        chunk_size: how many rows at a time, None all.

    Returns:
        The function: in the place of each array of ``out`` stands the structure of the arguments, each array
        ``(*out.shape, *argument.shape)``; with ``has_aux``, ``(jacobian, aux)``.

    Errors:
        ValueError unless the chunk is positive.

    Torch:
        ``torch.func.jacrev``, identical for real functions; complex ones are refused.
    """
    check_chunk("jacrev", chunk_size)
    engine = jax.jacrev if chunk_size is None else _jacrev_in_chunks(chunk_size)
    return _jacobian(func, argnums, has_aux, engine)


def jacfwd(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """Makes the function that gives the Jacobian, column by column in forward mode.

    Args:
        func: ``func(*args) -> out``, or ``-> (out, aux)``.
        argnums: which arguments to differentiate.
        has_aux: whether ``func`` gives ``aux``.
        randomness: ``"error"`` or ``"same"``: the numbers that a key gives are the same in all columns, always.

    Returns:
        The function; see `jacrev`.

    Errors:
        ValueError for another ``randomness``.

    Torch:
        ``torch.func.jacfwd``, differs in ``randomness="different"``, which is no Jacobian of anything and is refused.
    """
    if randomness not in ("error", "same"):
        remedy = "All columns are of one function, with one key."
        raise refusal("jacfwd", "randomness must be 'error' or 'same'", {"randomness": randomness}, remedy)
    return _jacobian(func, argnums, has_aux, jax.jacfwd)


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Makes the function that gives the second derivative, forward over reverse.

    Args:
        func: ``func(*args) -> out``.
        argnums: which arguments to differentiate.

    Returns:
        The function; arrays are ``(*out.shape, *argument.shape, *argument.shape)``.

    Torch:
        ``torch.func.hessian``, identical.
    """
    return jacfwd(jacrev(func, argnums), argnums)


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """Multiplies the Jacobian with a vector, in forward mode.

    Args:
        func: ``func(*primals) -> out``, or ``-> (out, aux)``.
        primals: tuple of the arguments.
        tangents: the vector: a tuple of the same structure, shapes and dtypes.
        strict: must be False.
        has_aux: whether ``func`` gives ``aux``.

    Returns:
        ``(out, product)``, or ``(out, product, aux)``.

    Errors:
        TypeError where the arguments are no tuples; ValueError for ``strict=True``.

    Torch:
        ``torch.func.jvp``, differs in ``strict``: an output that does not depend on the input cannot be told from one
        whose derivative is zero.
    """
    if strict:
        raise refusal("jvp", "strict must be False", {"strict": strict})
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, tuple):
            got = {f"type({name})": type(value).__name__}
            raise refusal("jvp", f"{name} must be a tuple, one entry for each argument", got, kind=TypeError)
    notes: list[Any] = []
    out, *rest = jax.jvp(noting(func, notes, primals), primals, tangents, has_aux=has_aux)
    shape, *aux = notes[-1] if has_aux else (notes[-1],)
    return ordered(out, shape), ordered(rest[0], shape), *map(ordered, rest[1:], aux)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Runs a function, and makes the one that multiplies a vector with its Jacobian.

    Args:
        func: ``func(*primals) -> out``, or ``-> (out, aux)``.
        *primals: the arguments.
        has_aux: whether ``func`` gives ``aux``.

    Returns:
        ``(out, vjp_fn)``, or ``(out, vjp_fn, aux)``; ``vjp_fn(cotangents)`` takes the structure of ``out`` and gives a
        tuple, one entry for each argument.

    Torch:
        ``torch.func.vjp``, identical.
    """
    notes: list[Any] = []
    pulled: Any = jax.vjp(noting(func, notes, primals), *primals, has_aux=has_aux)  # type: ignore[call-overload]
    out, pull, *rest = pulled
    shape, *aux = notes[-1] if has_aux else (notes[-1],)
    return ordered(out, shape), lambda cotangents: ordered(pull(cotangents), primals), *map(ordered, rest, aux)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Runs a function, and makes its linear part there: the nonlinear part is computed once for many vectors.

    Args:
        func: ``func(*primals) -> out``.
        *primals: the arguments.

    Returns:
        ``(out, jvp_fn)``; ``jvp_fn(*tangents)`` multiplies the Jacobian with a vector.

    Torch:
        ``torch.func.linearize``, identical.
    """
    notes: list[Any] = []
    out, push = jax.linearize(noting(func, notes, primals), *primals)
    return ordered(out, notes[-1]), lambda *tangents: ordered(push(*tangents), notes[-1])


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """Gives the function as it is: arrays are never written into, so there is nothing to remove.

    Args:
        func: any function of arrays.
        remove: ``"mutations"`` or ``"mutations_and_views"``.

    Returns:
        The function.

    Errors:
        ValueError for another ``remove``.

    Torch:
        ``torch.func.functionalize``, which rewrites functions that write into their arguments.
    """
    if remove not in ("mutations", "mutations_and_views"):
        rule = "remove must be 'mutations' or 'mutations_and_views'"
        raise refusal("functionalize", rule, {"remove": remove})
    return func


def _chosen(args: tuple[Any, ...], argnums: int | tuple[int, ...]) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in argnums)


def _jacobian(func: Callable[..., Any], argnums: Any, has_aux: bool, engine: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(func, updated=())
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        notes: list[Any] = []
        found = engine(noting(func, notes, args), argnums, has_aux=has_aux)(*args, **kwargs)
        shape = notes[-1][0] if has_aux else notes[-1]
        if has_aux:
            return ordered(found[0], shape, _chosen(args, argnums)), ordered(found[1], notes[-1][1])
        return ordered(found, shape, _chosen(args, argnums))

    return jacobian


def _jacrev_in_chunks(chunk_size: int) -> Callable[..., Any]:
    """jax.jacrev, which has no chunks."""

    def engine(func: Callable[..., Any], argnums: Any, has_aux: bool) -> Callable[..., Any]:
        def jacobian(*args: Any, **kwargs: Any) -> Any:
            places = (argnums,) if isinstance(argnums, int) else tuple(argnums)

            def of_chosen(*chosen: Any) -> Any:
                full = list(args)
                for n, value in zip(places, chosen, strict=True):
                    full[n] = value
                return func(*full, **kwargs)

            chosen = [args[n] for n in places]
            pulled: Any = jax.vjp(of_chosen, *chosen, has_aux=has_aux)  # type: ignore[call-overload]
            out, pull, *aux = pulled
            leaves, tree = jax.tree.flatten(out)

            def rows_to_arguments(rows: list[jax.Array]) -> Any:
                return pull(jax.tree.unflatten(tree, rows))

            found = [_rows(leaves, n, rows_to_arguments, chunk_size) for n in range(len(leaves))]
            result = jax.tree.unflatten(tree, [rows[0] if isinstance(argnums, int) else rows for rows in found])
            return (result, *aux) if has_aux else result

        return jacobian

    return engine


def _rows(leaves: list[jax.Array], n: int, pull: Callable[..., Any], chunk_size: int) -> Any:
    """The derivative of one leaf of the output: (*leaf.shape, *argument.shape)."""
    leaf = leaves[n]
    basis = jnp.eye(leaf.size, dtype=leaf.dtype).reshape(leaf.size, *leaf.shape)

    def row(unit: jax.Array) -> Any:
        return pull([unit if i == n else jnp.zeros_like(other) for i, other in enumerate(leaves)])

    rows = jax.lax.map(row, basis, batch_size=chunk_size)
    return jax.tree.map(lambda x: x.reshape(*leaf.shape, *x.shape[1:]), rows)
