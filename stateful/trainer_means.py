"""Means of metrics over the steps of a row, and over the batches of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purenn.errors import refusal
from transforms.measuring import Weighted

# Metrics that say that a step left the state as it was.
FLAGS = ("nonfinite", "overflow")


def spelled_out(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a step as JSON has them.

    Args:
        metrics: numpy scalars, and `transforms.weighted` pairs of them.

    Returns:
        Numbers, and ``{"total": number, "weight": number}``, by name.

    Errors:
        ValueError for a metric that is no scalar.
    """
    return {name: _spelled(name, value) for name, value in metrics.items()}


def _spelled(name: str, value: Any) -> Any:
    if isinstance(value, Weighted):
        return {part: _spelled(name, number) for part, number in value._asdict().items()}
    if isinstance(value, dict):
        return value  # spelled out before
    array = np.asarray(value)
    if array.shape != ():
        remedy = "Reduce it, or give one metric for each."
        raise refusal("Trainer", f"the metric {name} must be a scalar", {"its shape": array.shape}, remedy)
    return array.tolist()


def weighted_means(rows: Sequence[Mapping[str, Any]], weights: Sequence[int]) -> dict[str, float]:
    """Means of metrics over examples, or over their own weights; steps that were lost are counted instead.

    Args:
        rows: from `spelled_out`, one a step.
        weights: examples of each step.

    Returns:
        ``{name: mean}``, the loss first; where steps were lost, ``nonfinite`` and ``overflow`` are their numbers.
    """
    counts = {flag: float(sum(bool(row.get(flag)) for row in rows)) for flag in FLAGS}
    pairs = list(zip(rows, weights, strict=True))
    kept = [(row, weight) for row, weight in pairs if not any(row.get(flag) for flag in FLAGS)] or pairs
    names = dict.fromkeys([*(["loss"] if rows else []), *(name for row, _ in kept for name in row)])
    means = {name: _mean([(row[name], w) for row, w in kept if name in row]) for name in names if name not in FLAGS}
    return means | {flag: count for flag, count in counts.items() if count}


def _mean(pairs: Sequence[tuple[Any, int]]) -> float:
    total = weight = 0.0
    for value, examples in pairs:
        own = isinstance(value, dict)
        if share := value["weight"] if own else examples:
            total += value["total"] if own else value * share
            weight += share
    return total / weight if weight else float("nan")
