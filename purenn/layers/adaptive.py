"""The adaptive softmax: frequent classes by name, the rest in clusters, the rarer the narrower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purenn import functional as F
from purenn.checks import valid_index
from purenn.errors import as_array, check_sizes, refusal
from purenn.layers.container import Sequential
from purenn.layers.linear import Linear
from purenn.model import Layer


class AdaptiveOutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives: the log-probability of each target, and minus their mean."""

    output: jax.Array
    loss: jax.Array


@dataclass(frozen=True)
class Clusters(Layer):
    """The models of the clusters, by number; they are called one by one.

    Args:
        items: the models.
    """

    items: tuple[Any, ...]

    def children(self) -> Mapping[str, Any]:
        """Names them ``"0"``, ``"1"``, ..."""
        return {str(i): item for i, item in enumerate(self.items)}


@dataclass(frozen=True)
class AdaptiveLogSoftmaxWithLoss(Layer):
    """Scores features against classes that are sorted by frequency, in a shortlist and clusters.

    The head scores the shortlist and the clusters, and a cluster its own classes from fewer and fewer features:
    ``log p(y) = log p_head(cluster of y) + log p_cluster(y)``.

    Args:
        in_features: E, length of the last axis of the input.
        n_classes: number of classes, C.
        cutoffs: where the clusters begin, rising, between 1 and ``n_classes - 1``.
        div_value: cluster i has ``E // div_valueⁱ`` features, the shortlist being number 0.
        head_bias: whether the head has a bias.
        dtype: of the arrays; float32 by default.

    Source:
        Grave et al., "Efficient softmax approximation for GPUs", 2017.

    Torch:
        ``torch.nn.AdaptiveLogSoftmaxWithLoss``, differs in that every cluster scores every row, shapes being static:
        torch picks the rows whose target is in it.
    """

    in_features: int
    n_classes: int
    cutoffs: Sequence[int]
    div_value: float = 4.0
    head_bias: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        op, cutoffs = "AdaptiveLogSoftmaxWithLoss", list(self.cutoffs)
        check_sizes(op, in_features=self.in_features, n_classes=self.n_classes)
        check_sizes(op, **{f"cutoffs[{i}]": cutoff for i, cutoff in enumerate(cutoffs)})
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] > self.n_classes - 1:
            got = {"cutoffs": self.cutoffs, "n_classes": self.n_classes}
            raise refusal(op, "cutoffs must rise, and lie between 1 and n_classes - 1", got)
        object.__setattr__(self, "cutoffs", tuple(cutoffs))

    def children(self) -> Mapping[str, Any]:
        """``head``, and ``tail``: for each cluster a map to its features, and one from these to its classes."""
        starts, ends = self.cutoffs, (*self.cutoffs[1:], self.n_classes)
        sizes = [int(self.in_features // self.div_value ** (i + 1)) for i in range(len(starts))]
        tail = [
            Sequential(Linear(self.in_features, size, False, self.dtype), Linear(size, end - start, False, self.dtype))
            for start, end, size in zip(starts, ends, sizes, strict=True)
        ]
        head = Linear(self.in_features, starts[0] + len(starts), self.head_bias, self.dtype)
        return {"head": head, "tail": Clusters(tuple(tail))}

    def forward(self, m: Any, input_: jax.Array, target_: jax.Array) -> AdaptiveOutput:
        """``(N, E), (N) -> (N), ()``, or without N."""
        op = "AdaptiveLogSoftmaxWithLoss"
        x, target = as_array(op, "input_", input_), as_array(op, "target_", target_)
        if target.ndim > 1 or x.ndim != target.ndim + 1 or x.shape[:-1] != target.shape:
            got = {"input_.shape": x.shape, "target_.shape": target.shape}
            raise refusal(op, "input_ and target_ must be (N, E) and (N), or (E) and ()", got)
        target = valid_index(op, "target_", target, self.n_classes)
        head, rest = self._scores(m, x)
        output, first = _pick(head, target), self.cutoffs[0]
        for i, (scores, start) in enumerate(zip(rest, self.cutoffs, strict=True)):
            inside = head[..., first + i] + _pick(scores, target - start)
            output = jnp.where(target >= start, inside, output)
        return AdaptiveOutput(output, -output.mean())

    def log_prob(self, m: Any, input: jax.Array) -> jax.Array:
        """Scores every class.

        Args:
            m: this layer with its arrays, as in ``forward``.
            input: ``(*, E)``.

        Returns:
            The log-probabilities, ``(*, C)``.
        """
        head, rest = self._scores(m, as_array("AdaptiveLogSoftmaxWithLoss", "input", input))
        first = self.cutoffs[0]
        clusters = [scores + head[..., first + i, None] for i, scores in enumerate(rest)]
        return jnp.concatenate([head[..., :first], *clusters], -1)

    def predict(self, m: Any, input: jax.Array) -> jax.Array:
        """Finds the likeliest class; a class of the shortlist wherever that outscores every cluster.

        Args:
            m: this layer with its arrays, as in ``forward``.
            input: ``(*, E)``.

        Returns:
            Indices of classes, ``(*)``.
        """
        best = m.head(input).argmax(-1)
        return jnp.where(best < self.cutoffs[0], best, self.log_prob(m, input).argmax(-1))

    def _scores(self, m: Any, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The log-probabilities of the head, and those within each cluster."""
        tail = [getattr(m.tail, str(i)) for i in range(len(self.cutoffs))]
        return F.log_softmax(m.head(x), -1), [F.log_softmax(cluster(x), -1) for cluster in tail]


def _pick(scores: jax.Array, place: jax.Array) -> jax.Array:
    """One number of each row; NaN where there is no such place."""
    return jnp.take_along_axis(scores, place[..., None], -1, mode="fill")[..., 0]
