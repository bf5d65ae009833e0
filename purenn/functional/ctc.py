"""Connectionist temporal classification: the likelihood of a label sequence, summed over its alignments in time.

An alignment walks through the states ``blank, y1, blank, y2, ..., yS, blank``: at each step it stays, goes one state
on, or skips a blank between two labels that differ. Everything is kept in logarithms, ``-inf`` for what cannot be.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purenn.checks import is_traced, require, valid_index
from purenn.errors import as_array, refusal
from purenn.functional.loss import reduce_loss, resolve_reduction, widen


def ctc_loss(
    log_probs: jax.Array,
    targets: jax.Array,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> jax.Array:
    """Scores label sequences against unaligned outputs: ``-log Σ_alignments Π_t p_t(state)``.

    From Graves et al., Connectionist Temporal Classification, 2006. The gradient is the one of the paper's equation 16,
    for the logits of a ``log_softmax``: ``exp(log_probs)`` minus the posterior of each label. Composed with
    ``log_softmax`` that is the derivative; of ``log_probs`` alone it is not.

    Args:
        log_probs: ``(T, N, C)`` or ``(T, C)``, the output of ``log_softmax`` over ``C``.
        targets: ``(N, S)``, or ``(S)`` without ``N``; or all sequences end to end, ``(sum(target_lengths))``. Integers.
        input_lengths: ``(N)`` or ``()``, each at most ``T``: a tuple, a list or an array of integers.
        target_lengths: ``(N)`` or ``()``, each at most ``S``.
        blank: the class that stands for no label.
        reduction: ``"none"``, ``"mean"``, of each loss over the length of its target (at least 1), or ``"sum"``.
        zero_infinity: whether targets that no alignment fits get loss and gradient 0, not infinity and NaN.

    Returns:
        A scalar, or ``(N)`` or ``()`` with ``"none"``; the dtype of ``log_probs``, computed in float32.

    Errors:
        ValueError: a shape or an option does not fit; outside a trace, also a length that is out of range.
        TypeError: ``log_probs`` is not floating, or something else is not integer.
        IndexError: a target is no class. Inside a trace, what values break makes the loss NaN.

    Torch:
        ``torch.nn.functional.ctc_loss``, differs in that targets must be integers, and that the gradient of a
        log-probability ``-inf`` is that of the limit, not NaN.
    """
    op = "ctc_loss"
    reduction = resolve_reduction(op, reduction)
    log_probs, targets = as_array(op, "log_probs", log_probs), as_array(op, "targets", targets)
    _check(op, log_probs, targets, blank)
    dtype, batched = log_probs.dtype, log_probs.ndim == 3
    if not batched:
        log_probs, targets = log_probs[:, None], targets.reshape(1, -1)
    steps, batch, classes = log_probs.shape
    if targets.ndim == 2 and len(targets) != batch:
        got = {"targets.shape": targets.shape, "log_probs.shape": log_probs.shape}
        raise refusal(op, "targets must have one row for each of the N columns of log_probs", got)
    n_steps = _lengths(op, "input_lengths", input_lengths, batch, steps)
    n_labels = _lengths(op, "target_lengths", target_lengths, batch, targets.shape[-1])
    labels = targets if targets.ndim == 2 else _split(op, targets, n_labels)
    within = jnp.arange(labels.shape[1]) < jnp.asarray(n_labels)[:, None]
    labels = valid_index(op, "targets", jnp.where(within, labels, blank), classes)

    # (N, 2 S + 1): a blank before, between and after the labels
    states = jnp.full((batch, 2 * labels.shape[1] + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    loss = _negative_log_likelihood(
        zero_infinity, widen(log_probs), states, jnp.asarray(n_steps), jnp.asarray(n_labels)
    )
    if zero_infinity:
        loss = jnp.where(loss == jnp.inf, 0, loss)
    wrong = (labels == classes).any(1) | (jnp.minimum(n_steps, n_labels) < 0)
    loss = jnp.where(wrong, jnp.nan, loss)
    if reduction == "mean":
        loss = loss / jnp.maximum(n_labels, 1)
    return reduce_loss(op, loss if batched or reduction != "none" else loss[0], reduction, dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _negative_log_likelihood(
    zero_infinity: bool, log_probs: jax.Array, states: jax.Array, n_steps: jax.Array, n_labels: jax.Array
) -> jax.Array:
    del zero_infinity  # a matter of the gradient
    alphas, scale = _alphas(_emissions(log_probs, states), states, n_steps)
    return -scale - jax.nn.logsumexp(alphas[-1] + _log_final(states, n_labels), 1)


@_negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(
    zero_infinity: bool, primals: tuple[jax.Array, ...], tangents: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array]:
    log_probs, states, n_steps, n_labels = primals
    emissions, final = _emissions(log_probs, states), _log_final(states, n_labels)
    alphas, scale = _alphas(emissions, states, n_steps)
    loss = -scale - jax.nn.logsumexp(alphas[-1] + final, 1)
    # (T, N, 2 S + 1): the posterior of each state, then (T, N, C): of each class
    joint = alphas + _onwards(emissions, states, n_steps, final)
    occupied = jnp.exp(joint - _finite(jax.nn.logsumexp(joint, 2, keepdims=True)))
    rows = jnp.arange(len(states))[:, None]
    posterior = jnp.zeros_like(log_probs).at[:, rows, states].add(occupied, mode="drop")
    gradient = jnp.exp(log_probs) - posterior
    gradient = jnp.where((loss == jnp.inf)[:, None], 0 if zero_infinity else jnp.nan, gradient)
    read = jnp.arange(len(log_probs))[:, None] < n_steps
    gradient = jnp.where(read[:, :, None], gradient, 0)
    return loss, (gradient * tangents[0]).sum((0, 2))


def _emissions(log_probs: jax.Array, states: jax.Array) -> jax.Array:
    # (T, N, C) at (N, 2 S + 1) -> (T, N, 2 S + 1)
    return jnp.take_along_axis(log_probs, states[None], 2, mode="fill")


def _log_final(states: jax.Array, n_labels: jax.Array) -> jax.Array:
    """0 at the last label and the blank after it, where alignments may end."""
    s, last = jnp.arange(states.shape[1]), 2 * n_labels[:, None]
    return jnp.where((s == last) | (s == last - 1), 0.0, -jnp.inf)


def _alphas(emissions: jax.Array, states: jax.Array, n_steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The log-probability of what was emitted up to each step, ending in each state: ``(T, N, 2 S + 1)``.

    Each step is divided by its largest, so that float32 keeps its digits over a long sequence; ``(N)``, the second
    result, is the logarithm of all that was divided by.
    """
    skips = _skips(states)

    def step(carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        (alpha, scale), (t, emission) = carry, now
        skipping = jnp.where(skips, _later(alpha, 2), -jnp.inf)
        reached = emission + jnp.logaddexp(jnp.logaddexp(alpha, _later(alpha, 1)), skipping)
        largest = _finite(reached.max(1))
        read = t < n_steps
        alpha = jnp.where(read[:, None], reached - largest[:, None], alpha)
        scale = jnp.where(read, scale + largest, scale)
        return (alpha, scale), alpha

    # From the first blank before the first step, one step leads to the first blank or the first label.
    first = jnp.arange(states.shape[1]) == 0
    start = jnp.broadcast_to(jnp.where(first, 0.0, -jnp.inf), states.shape).astype(emissions.dtype)
    scale = jnp.zeros(len(states), emissions.dtype)
    (_, scale), alphas = lax.scan(step, (start, scale), (jnp.arange(len(emissions)), emissions))
    return alphas, scale


def _onwards(emissions: jax.Array, states: jax.Array, n_steps: jax.Array, final: jax.Array) -> jax.Array:
    """The log-probability of what is emitted after each step, given its state, up to a scale for each step."""
    skips = _skips(states)

    def step(beta: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        t, emission = now
        skipping = _sooner(jnp.where(skips, beta, -jnp.inf), 2)
        onward = jnp.logaddexp(jnp.logaddexp(beta, _sooner(beta, 1)), skipping)
        onward = jnp.where(t == n_steps[:, None] - 1, final, onward)
        beta = emission + onward
        return beta - _finite(beta.max(1, keepdims=True)), onward

    nowhere = jnp.full(states.shape, -jnp.inf, emissions.dtype)
    return lax.scan(step, nowhere, (jnp.arange(len(emissions)), emissions), reverse=True)[1]


def _finite(largest: jax.Array) -> jax.Array:
    # -inf, where nothing can be, is no scale to divide by
    return jnp.where(largest == -jnp.inf, 0, largest)


def _skips(states: jax.Array) -> jax.Array:
    """Whether a state may follow the one two before it: they must differ, which blanks do not."""
    two_before = jnp.pad(states, ((0, 0), (2, 0)))[:, : states.shape[1]]
    return (states != two_before) & (jnp.arange(states.shape[1]) >= 2)


def _later(x: jax.Array, by: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (by, 0)), constant_values=-jnp.inf)[:, : x.shape[1]]


def _sooner(x: jax.Array, by: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, by)), constant_values=-jnp.inf)[:, by:]


def _lengths(op: str, argument: str, value: Any, batch: int, limit: int) -> Any:
    """One length for each sequence; inside a trace -1 for what is out of range. Known ones stay known: numpy."""
    known = isinstance(value, (tuple, list, np.ndarray))
    lengths: Any = np.asarray(value) if known else as_array(op, argument, value)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise refusal(op, f"{argument} must hold integers", {f"{argument}.dtype": str(lengths.dtype)}, kind=TypeError)
    if lengths.size != batch:
        raise refusal(op, f"{argument} must be ({batch},), one for each sequence", {f"{argument}.shape": lengths.shape})
    lengths = lengths.reshape(batch)
    inside = (lengths >= 0) & (lengths <= limit)
    require(inside, op, f"{argument} must lie in [0, {limit}]")
    return jnp.where(inside, lengths, -1) if is_traced(inside) else lengths


def _split(op: str, targets: jax.Array, n_labels: Any) -> jax.Array:
    """Sequences that stand end to end as the rows of ``(N, S)``."""
    fits = n_labels.sum() == targets.size
    require(fits, op, "targets must be as long as the sum of target_lengths")
    width = targets.size if is_traced(n_labels) else int(n_labels.max())
    starts = jnp.cumsum(jnp.asarray(n_labels)) - n_labels
    index = jnp.where(fits, starts[:, None] + jnp.arange(width), targets.size)
    return targets.at[index].get(mode="fill", fill_value=-1)


def _check(op: str, log_probs: jax.Array, targets: jax.Array, blank: int) -> None:
    if not jnp.issubdtype(log_probs.dtype, jnp.floating):
        kind = str(log_probs.dtype)
        raise refusal(op, "log_probs must be real and floating", {"log_probs.dtype": kind}, kind=TypeError)
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise refusal(op, "targets must hold integers", {"targets.dtype": str(targets.dtype)}, kind=TypeError)
    if log_probs.ndim not in (2, 3) or log_probs.size == 0:
        rule = "log_probs must be (T, N, C) or (T, C), none of them 0"
        raise refusal(op, rule, {"log_probs.shape": log_probs.shape})
    if targets.ndim not in (1, 2):
        raise refusal(op, "targets must be 1-D or 2-D", {"targets.shape": targets.shape})
    if not 0 <= blank < log_probs.shape[-1]:
        raise refusal(op, f"blank must lie in [0, {log_probs.shape[-1]})", {"blank": blank})
