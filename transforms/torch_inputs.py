"""The arguments of a converted model, held against those of its conversion."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.state import as_numpy_or_jax
from transforms.torch_program import Input, Program
from transforms.torch_trees import MISSING, Structure


def bind_inputs(
    op: str, program: Program, positional: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Gives every input of a program its value.

    Args:
        op: name of the model.
        program: to be run.
        positional: names of forward's positional arguments.
        args: of the call.
        kwargs: of the call; an argument may be given by its name where the conversion had it by its position, and
            the other way round.

    Returns:
        The values by the names of the inputs.

    Errors:
        TypeError or ValueError that names the argument which differs from the conversion's.
    """
    assert program.arguments is not None
    first, named = program.arguments.children
    given = dict(kwargs)
    args = (*args, *_moved(first, args, positional, given))
    for name, value in zip(positional[len(first.children) :], args[len(first.children) :], strict=False):
        given.setdefault(name, value)
    args = args[: len(first.children)] if len(positional) > len(first.children) else args
    args = (*args, *[MISSING] * (len(first.children) - len(args)))
    leaves = [*_labelled(first, positional, args, op), *named.leaves(given, "kwargs", op)]
    symbols: dict[str, tuple[str, Any]] = {}
    inputs = [given for given in program.inputs if given.kind == "user"]
    return {
        leaf.name: _checked(op, leaf, path, value, symbols)
        for leaf, (path, value) in zip(inputs, leaves, strict=True)
    }  # fmt: skip


def _moved(first: Structure, args: tuple[Any, ...], positional: tuple[str, ...], given: dict[str, Any]) -> list[Any]:
    """Positional arguments that came by name, taken out of ``given``."""
    names = positional[len(args) : len(first.children)]
    return [given.pop(name, MISSING) for name in names] if any(name in given for name in names) else []


def _labelled(first: Structure, positional: tuple[str, ...], args: tuple[Any, ...], op: str) -> list[tuple[str, Any]]:
    if len(args) != len(first.children):
        rule = f"the number of arguments must be that of the conversion, {len(first.children)}"
        raise refusal(op, rule, {"arguments": len(args)}, kind=TypeError)
    names = [*positional, *(f"args[{i}]" for i in range(len(positional), len(args)))]
    return [
        leaf
        for name, child, value in zip(names, first.children, args, strict=False)
        for leaf in child.leaves(value, name, op)
    ]


def _checked(op: str, leaf: Input, path: str, value: Any, symbols: dict[str, tuple[str, Any]]) -> Any:
    if leaf.fixed:
        return _same_constant(op, leaf, path, value)
    if value is MISSING:
        raise refusal(op, f"{path} must be given, as at conversion", {path: "nothing"}, kind=TypeError)
    if leaf.dims is None:
        return value
    if hasattr(value, "detach"):
        remedy = "Pass tensor.numpy()."
        raise refusal(op, f"{path} must be an array, not torch's", {f"type({path})": "Tensor"}, remedy, TypeError)
    array = jnp.asarray(as_numpy_or_jax(value))
    _check_kind(op, leaf, path, array)
    _check_shape(op, leaf, path, array.shape, symbols)
    return array


def _same_constant(op: str, leaf: Input, path: str, value: Any) -> Any:
    if value is MISSING:
        return leaf.value
    # an array cannot be compared here, and is no constant
    plain = not isinstance(value, (jax.Array, np.ndarray)) and type(value) is type(leaf.value)
    if not plain or value != leaf.value:
        got = {path: value if not hasattr(value, "shape") else f"an array of shape {value.shape}"}
        remedy = f"It was built in: leave it out, or convert once more with another {path}."
        raise refusal(op, f"{path} must be {leaf.value!r}, as at conversion", got, remedy)
    return leaf.value


def _check_kind(op: str, leaf: Input, path: str, array: jax.Array) -> None:
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    if not any(jnp.issubdtype(array.dtype, kind) and jnp.issubdtype(leaf.dtype, kind) for kind in kinds):
        rule = f"{path} must be of the kind it had at conversion, {leaf.dtype}"
        raise refusal(op, rule, {f"{path}.dtype": str(array.dtype)}, kind=TypeError)


def _check_shape(op: str, leaf: Input, path: str, shape: Any, symbols: dict[str, tuple[str, Any]]) -> None:
    assert leaf.dims is not None
    text = f"({', '.join(str(d.size if d.size is not None else d.symbol or '?') for d in leaf.dims)})"
    got = {f"{path}.shape": tuple(shape)}
    remedy = "Say which lengths may vary with dynamic_shapes= when you convert."
    if len(shape) != len(leaf.dims):
        raise refusal(op, f"{path} must have the shape it had at conversion, {text}", got, remedy)
    for i, (dim, size) in enumerate(zip(leaf.dims, shape, strict=True)):
        if dim.size is not None and dim.size != size:
            raise refusal(op, f"{path} must have the shape it had at conversion, {text}", got, remedy)
        if isinstance(size, int) and (size < dim.least or (dim.most is not None and size > dim.most)):
            bounds = f"{dim.least} to {dim.most}" if dim.most is not None else f"at least {dim.least}"
            raise refusal(op, f"axis {i} of {path} must be in the range of the conversion, {bounds}", got)
        if dim.symbol is not None:
            other, known = symbols.setdefault(dim.symbol, (path, size))
            if known != size:
                rule = f"axis {i} of {path} must equal an axis of {other}, as at conversion"
                raise refusal(op, rule, {**got, f"length in {other}": known})


def positional_names(forward: Any) -> tuple[str, ...]:
    """The names of a function's positional arguments.

    Args:
        forward: a bound method.

    Returns:
        The names, up to ``*args``.
    """
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)
