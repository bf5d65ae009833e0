"""Metrics: numbers that a loss gives beside its value, and their means over batches of different weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purenn.errors import refusal

Metrics = Callable[..., Any] | Mapping[str, Callable[..., Any]]


class Weighted(NamedTuple):
    """A mean that knows its weight, so that it can be averaged with others; ``float`` gives the mean."""

    total: jax.Array  # the sum of the weighted values
    weight: jax.Array

    @property
    def mean(self) -> jax.Array:
        """The mean; NaN where nothing had any weight."""
        return self.total / self.weight

    def __float__(self) -> float:
        return float(self.mean)


def weighted(value: Any, weight: Any) -> Weighted:
    """Makes a metric whose mean over batches is weighted, such as an accuracy over the targets that are not ignored.

    Args:
        value: mean over this batch, floating, of any shape.
        weight: what it weighs, for example a number of targets; where it is 0, the value may be NaN.

    Returns:
        The metric, for `aggregate`; in float32 at least.

    >>> import transforms
    >>> float(transforms.aggregate([{"a": transforms.weighted(1.0, 3)}, {"a": transforms.weighted(0.0, 1)}])["a"])
    0.75
    """
    value, weight = jnp.asarray(value), jnp.asarray(weight)
    wide = jnp.promote_types(value.dtype, jnp.float32)
    weight = weight.astype(wide)
    return Weighted(jnp.where(weight == 0, jnp.zeros((), wide), value.astype(wide) * weight), weight)


def aggregate(metrics: Iterable[Mapping[str, Any]]) -> dict[str, jax.Array]:
    """Puts the metrics of many batches together; nothing is read back from the device on the way.

    Args:
        metrics: of each batch, as `eval_step` or ``train_step`` gives them; a generator will do.

    Returns:
        By name: means of `Weighted` and of floating scalars (each of weight 1), sums of integers, and whether any of
        the booleans was true.

    Errors:
        ValueError where there is nothing, or batches have metrics of different names or kinds.
    """
    total: dict[str, Any] | None = None
    for one in metrics:
        summand = {name: _summand(value) for name, value in one.items()}
        if total is not None and _kinds(total) != _kinds(summand):
            got = {"one": sorted(total), "another": sorted(summand)}
            raise refusal("aggregate", "all batches must have the same metrics", got)
        total = summand if total is None else _add(total, summand)
    if total is None:
        raise refusal("aggregate", "metrics must not be empty", {"batches": 0})
    return {name: value.mean if isinstance(value, Weighted) else value for name, value in total.items()}


def _kinds(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Weighted if isinstance(value, Weighted) else value.dtype for name, value in metrics.items()}


def _summand(value: Any) -> Any:
    if isinstance(value, Weighted):
        return value
    value = jnp.asarray(value)
    return weighted(value, 1) if jnp.issubdtype(value.dtype, jnp.inexact) else value


@jax.jit
def _add(total: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(lambda a, b: a | b if a.dtype == bool else a + b, total, new)


def measured(op: str, loss: Callable[..., Any], metrics: Metrics | None) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Makes a loss that gives its value and a dict of metrics, whatever it gave before.

    Args:
        op: name of the caller, for errors.
        loss: ``loss(m, batch) -> value`` or ``-> (value, aux)``.
        metrics: None where ``aux`` is the dict; else ``fn(aux, batch) -> dict``, or such functions by name.

    Returns:
        ``fn(m, batch) -> (value, metrics)``.

    Errors:
        TypeError where the loss gives something else, or ``metrics`` is neither; ValueError for a metric ``"loss"``.
    """
    _check_metrics(op, metrics)

    def fn(m: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        out = loss(m, batch)
        value, aux = (*out, {})[:2] if isinstance(out, tuple) else (out, {})
        if isinstance(out, tuple) and len(out) != 2:
            raise _neither(op, len(out), aux if len(out) > 1 else None)
        if metrics is not None:
            aux = _measure(metrics, aux, batch)
        if not isinstance(aux, Mapping):
            raise _neither(op, 2, aux)
        if "loss" in aux:
            raise refusal(op, "no metric may be called 'loss'", {"metrics": [*aux]}, "That is the value.")
        return value, dict(aux)

    return fn


def _measure(metrics: Metrics, aux: Any, batch: Any) -> Any:
    if callable(metrics):
        return metrics(aux, batch)
    return {name: metric(aux, batch) for name, metric in metrics.items()}


def _check_metrics(op: str, metrics: Any) -> None:
    each = metrics.values() if isinstance(metrics, Mapping) else [metrics]
    if metrics is not None and not all(callable(metric) for metric in each):
        got = {"type(metrics)": type(metrics).__name__}
        raise refusal(op, "metrics must be a function, a dict of functions, or None", got, kind=TypeError)


def _neither(op: str, length: int, metrics: Any) -> Exception:
    got = {"its length": length, "type(metrics)": type(metrics).__name__}
    return refusal(op, "the loss must give a value, or a value and a dict of metrics", got, kind=TypeError)
