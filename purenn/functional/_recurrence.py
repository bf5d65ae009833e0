"""The recurrence under every recurrent network: one cell, run over a sequence by one scan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

State = tuple[jax.Array, ...]  # (h,), or (h, c), in float32 at least between the steps
# (the input's part of the gates, the state's part, state) -> state
Cell = Callable[[jax.Array, jax.Array, State], State]


def tanh_step(x: jax.Array, h: jax.Array, state: State) -> State:
    """One step of an Elman network: ``tanh(x + h)``.

    Args:
        x: the input's part of the gates.
        h: the state's part of the gates.
        state: not read.

    Returns:
        The next state.
    """
    return (jnp.tanh(x + h),)


def relu_step(x: jax.Array, h: jax.Array, state: State) -> State:
    """One step of an Elman network: ``max(0, x + h)``.

    Args:
        x: the input's part of the gates.
        h: the state's part of the gates.
        state: not read.

    Returns:
        The next state.
    """
    return (jax.nn.relu(x + h),)


def lstm_step(x: jax.Array, h: jax.Array, state: State) -> State:
    """One step of a long short-term memory: ``c' = f c + i g``, ``h' = o tanh(c')``.

    Args:
        x: the input's part of the gates.
        h: the state's part of the gates.
        state: h and c.

    Returns:
        The next state.
    """
    i, f, g, o = jnp.split(x + h, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(x: jax.Array, h: jax.Array, state: State) -> State:
    """One step of a gated recurrent unit: ``(1 - z) tanh(xn + r hn) + z h``.

    Args:
        x: the input's part of the gates.
        h: the state's part of the gates.
        state: h.

    Returns:
        The next state.
    """
    (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, -1), jnp.split(h, 3, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    return ((1 - z) * jnp.tanh(xn + r * hn) + z * state[0],)


def times(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiplies by a weight, accumulating in float32 at least: ``x Wᵀ``.

    Args:
        x: ``(*, in)``, rounded to the dtype of ``weight``.
        weight: ``(out, in)``.

    Returns:
        ``(*, out)``, in the dtype of `accumulator`.
    """
    contracted = (((x.ndim - 1,), (1,)), ((), ()))
    return lax.dot_general(x.astype(weight.dtype), weight, contracted, preferred_element_type=accumulator(weight))


def accumulator(x: jax.Array) -> Any:
    """The dtype in which gates and states are kept between the steps.

    Args:
        x: an input or a weight.

    Returns:
        float32, or the dtype of ``x`` where that is wider.
    """
    return jnp.promote_types(x.dtype, jnp.float32)


class Direction(NamedTuple):
    """The weights of one direction of one layer."""

    w_ih: jax.Array
    w_hh: jax.Array
    b_ih: jax.Array | None = None
    b_hh: jax.Array | None = None
    w_hr: jax.Array | None = None


@partial(jax.jit, static_argnums=(0, 1))
def run_direction(
    cell: Cell, reverse: bool, w: Direction, x: jax.Array, state: State, valid: jax.Array | None
) -> tuple[jax.Array, State]:
    """Runs a cell over a sequence.

    Args:
        cell: one of the steps above.
        reverse: starts at the end.
        w: its weights.
        x: ``(L, N, H_in)``.
        state: the first state, each ``(N, H)``.
        valid: ``(L, N, 1)``, whether a step belongs to its sequence. None: all do.

    Returns:
        The output ``(L, N, H)`` and the last state, in the dtype of ``x``.
    """
    gates = times(x, w.w_ih)  # of all steps at once: (L, N, H_in) -> (L, N, gates H)
    gates = gates if w.b_ih is None else gates + w.b_ih
    b_hh = w.b_hh
    if b_hh is not None and cell is not gru_step:  # which multiplies the state's part, bias included
        gates, b_hh = gates + b_hh, None
    state = tuple(s.astype(gates.dtype) for s in state)
    y, last = _recur(cell, reverse, gates, state, w.w_hh, b_hh, w.w_hr, valid)
    # past its end a sequence keeps its state, and puts out 0
    y = y if valid is None else jnp.where(valid, y, 0)
    return y.astype(x.dtype), tuple(s.astype(x.dtype) for s in last)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _recur(
    cell: Cell, reverse: bool, gates: jax.Array, state: State, w_hh: jax.Array, b_hh: Any, w_hr: Any, valid: Any
) -> tuple[jax.Array, State]:
    """Runs the steps; returns h after each of them, and the last state."""
    last, (h, *_) = _steps(cell, reverse, gates, state, w_hh, b_hh, w_hr, valid)
    return h, last


def _steps(
    cell: Cell, reverse: bool, gates: jax.Array, state: State, w_hh: jax.Array, b_hh: Any, w_hr: Any, valid: Any
) -> tuple[State, tuple]:
    def step(state: State, now: tuple) -> tuple[State, tuple]:
        x, valid = now
        h = times(state[0], w_hh)
        h = h if b_hh is None else h + b_hh
        raw, *rest = cell(x, h, state)
        after = _if_valid(valid, (raw if w_hr is None else times(raw, w_hr), *rest), state)
        return after, (after[0], state, h, raw)

    return lax.scan(step, state, (gates, valid), reverse=reverse)


@_recur.defjvp
def _recur_jvp(cell: Cell, reverse: bool, primals: tuple, tangents: tuple) -> tuple:
    """The tangents of the weights enter through one product over all steps, outside the scan.

    Reverse mode therefore gets their gradients by one product as well, after its scan and not in every step. It keeps
    states and gates, and forms the rest of a step again.
    """
    gates, _, w_hh, b_hh, w_hr, valid = primals
    d_gates, d_state, d_w_hh, d_b_hh, d_w_hr, _ = tangents
    last, (hs, states, from_h, raw) = _steps(cell, reverse, *primals)
    d_from_h = times(states[0], d_w_hh)
    d_from_h = d_from_h if b_hh is None else d_from_h + d_b_hh
    d_projected = None if w_hr is None else times(raw, d_w_hr)

    @partial(jax.checkpoint, prevent_cse=False)
    def step(d_state: State, now: tuple) -> tuple[State, jax.Array]:
        x, h, state, valid, dx, dh, d_projected = now
        dh = dh + times(d_state[0], w_hh)
        _, (d_raw, *rest) = jax.jvp(cell, (x, h, state), (dx, dh, d_state))
        d_raw = d_raw if w_hr is None else times(d_raw, w_hr) + d_projected
        d_after = _if_valid(valid, (d_raw, *rest), d_state)
        return d_after, d_after[0]

    inputs = (gates, from_h, states, valid, d_gates, d_from_h, d_projected)
    d_last, d_hs = lax.scan(step, d_state, inputs, reverse=reverse)
    return (hs, last), (d_hs, d_last)


def _if_valid(valid: jax.Array | None, after: State, before: State) -> State:
    if valid is None:
        return after
    return tuple(jnp.where(valid, new, old) for new, old in zip(after, before, strict=True))
