"""FLOPs, counted by XLA: of a function as a whole, and of the calls inside a model.

XLA's cost analysis reads a program before it is compiled; nothing is run or allocated. It counts the body of a loop
once, so loops of known length (``lax.scan``) are taken apart here and multiplied.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend import core

# Names the equations of one call in the jaxpr: a scope that `marked` opens and `flops_by_call` finds.
_MARK = re.compile(r"call<(\d+)>")


def marked(number: int) -> Any:
    """Opens the scope of a call.

    Args:
        number: of the call.

    Returns:
        A context manager.
    """
    return jax.named_scope(f"call<{number}>")


def flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """Counts the floating-point operations of a function.

    Args:
        fn: any function that jax can trace.
        *args: arrays, or their shapes (``jax.ShapeDtypeStruct``).
        **kwargs: the same.

    Returns:
        The count. Loops of unknown length count once, and kernels that XLA cannot look into not at all.

    >>> import jax.numpy as jnp
    >>> flops(jnp.dot, jnp.ones((2, 3)), jnp.ones((3, 4)))
    48.0
    """
    return sum(flops_by_call(jax.make_jaxpr(fn)(*args, **kwargs)).values())


def flops_by_call(jaxpr: core.ClosedJaxpr) -> dict[int, float]:
    """Counts the operations of each marked call by itself, without those of the calls inside it.

    Args:
        jaxpr: of a function that opened scopes with `marked`.

    Returns:
        ``{number: count}``; what is outside all calls has the number -1.
    """
    totals: dict[int, float] = defaultdict(float)
    _count(jaxpr.jaxpr, -1, 1, totals, {})
    return dict(totals)


def _count(jaxpr: core.Jaxpr, owner: int, times: int, totals: dict[int, float], known: dict[str, float]) -> None:
    groups: dict[int, list[Any]] = defaultdict(list)
    for eqn in jaxpr.eqns:
        own = _mark(eqn, owner)
        if _is_apart(eqn):
            again = times * eqn.params["length"] if eqn.primitive.name == "scan" else times
            for inner in _bodies(eqn):
                _count(inner, own, again, totals, known)
        else:
            groups[own].append(eqn)
    for own, eqns in groups.items():
        totals[own] += times * _by_xla(jaxpr, eqns, known)


def _mark(eqn: Any, owner: int) -> int:
    found = _MARK.findall(str(eqn.source_info.name_stack))
    return int(found[-1]) if found else owner


def _bodies(eqn: Any) -> Iterator[core.Jaxpr]:
    if eqn.primitive.name == "shard_map":  # its body speaks of axes that it alone knows
        return
    for value in eqn.params.values():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part


def _is_apart(eqn: Any) -> bool:
    """Whether an equation holds loops, or calls that are counted by themselves."""
    if eqn.primitive.name == "scan":
        return True
    return any(_mark(inner, -1) >= 0 or _is_apart(inner) for body in _bodies(eqn) for inner in body.eqns)


def _by_xla(jaxpr: core.Jaxpr, eqns: Sequence[Any], known: dict[str, float]) -> float:
    """What XLA says of some equations; like ones, of like layers, are asked for once."""
    made = dict.fromkeys(var for eqn in eqns for var in eqn.outvars if type(var).__name__ != "DropVar")
    used = dict.fromkeys(var for eqn in eqns for var in eqn.invars if not isinstance(var, core.Literal))
    free = [var for var in used if var not in made]
    part = core.ClosedJaxpr(jaxpr.replace(constvars=[], invars=free, outvars=[*made], eqns=[*eqns]), [])
    text = str(part)
    if text not in known:
        shapes = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in free]
        analysis = jax.jit(core.jaxpr_as_fun(part)).lower(*shapes).cost_analysis() or {}
        known[text] = max(0.0, float(analysis.get("flops", 0.0)))
    return known[text]
