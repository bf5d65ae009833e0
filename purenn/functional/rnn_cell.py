"""One step of a recurrent network."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional._recurrence import (
    Cell,
    State,
    accumulator,
    gru_step,
    lstm_step,
    relu_step,
    tanh_step,
    times,
)


def rnn_tanh_cell(
    input: jax.Array,
    hx: jax.Array | None,
    w_ih: jax.Array,
    w_hh: jax.Array,
    b_ih: jax.Array | None = None,
    b_hh: jax.Array | None = None,
) -> jax.Array:
    """Makes one step of ``rnn_tanh``: ``tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input: ``(N, H_in)`` or ``(H_in,)``.
        hx: ``(N, H)`` or ``(H,)``, the state; None: 0.
        w_ih: ``(H, H_in)``.
        w_hh: ``(H, H)``.
        b_ih: ``(H,)``.
        b_hh: ``(H,)``.

    Returns:
        The next state, shaped as ``hx``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.rnn_tanh_cell``, identical.
    """
    return _run_cell("rnn_tanh_cell", tanh_step, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(
    input: jax.Array,
    hx: jax.Array | None,
    w_ih: jax.Array,
    w_hh: jax.Array,
    b_ih: jax.Array | None = None,
    b_hh: jax.Array | None = None,
) -> jax.Array:
    """Makes one step of ``rnn_relu``: ``max(0, W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input: ``(N, H_in)`` or ``(H_in,)``.
        hx: ``(N, H)`` or ``(H,)``, the state; None: 0.
        w_ih: ``(H, H_in)``.
        w_hh: ``(H, H)``.
        b_ih: ``(H,)``.
        b_hh: ``(H,)``.

    Returns:
        The next state, shaped as ``hx``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.rnn_relu_cell``, identical.
    """
    return _run_cell("rnn_relu_cell", relu_step, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def lstm_cell(
    input: jax.Array,
    hx: tuple[jax.Array, jax.Array] | None,
    w_ih: jax.Array,
    w_hh: jax.Array,
    b_ih: jax.Array | None = None,
    b_hh: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Makes one step of ``lstm``: ``c' = f c + i g``, ``h' = o tanh(c')``.

    Args:
        input: ``(N, H_in)`` or ``(H_in,)``.
        hx: h and c, each ``(N, H)`` or ``(H,)``; None: 0.
        w_ih: ``(4 H, H_in)``, for i, f, g and o.
        w_hh: ``(4 H, H)``.
        b_ih: ``(4 H,)``.
        b_hh: ``(4 H,)``.

    Returns:
        The next h and c, shaped as ``hx``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.lstm_cell``, identical.
    """
    h, c = _run_cell("lstm_cell", lstm_step, 4, input, (None, None) if hx is None else hx, w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(
    input: jax.Array,
    hx: jax.Array | None,
    w_ih: jax.Array,
    w_hh: jax.Array,
    b_ih: jax.Array | None = None,
    b_hh: jax.Array | None = None,
) -> jax.Array:
    """Makes one step of ``gru``: ``(1 - z) n + z h``.

    Args:
        input: ``(N, H_in)`` or ``(H_in,)``.
        hx: ``(N, H)`` or ``(H,)``, the state; None: 0.
        w_ih: ``(3 H, H_in)``, for r, z and n.
        w_hh: ``(3 H, H)``.
        b_ih: ``(3 H,)``.
        b_hh: ``(3 H,)``.

    Returns:
        The next state, shaped as ``hx``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.gru_cell``, identical.
    """
    return _run_cell("gru_cell", gru_step, 3, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def _run_cell(
    op: str, cell: Cell, gates: int, input: Any, hx: Sequence, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
) -> State:
    given = {"input": input, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh}
    a = {name: as_array(op, name, x) for name, x in given.items() if x is not None or name[0] != "b"}
    states = ("hx[0]", "hx[1]") if op == "lstm_cell" else ("hx",)
    if len(hx) != len(states):
        raise refusal(op, "hx must be the pair (h, c)", {"len(hx)": len(hx)})
    x, H = a["input"], a["w_hh"].shape[-1] if a["w_hh"].ndim else 0
    if x.ndim not in (1, 2):
        raise refusal(op, "input must be 2-D, or 1-D if unbatched", {"input.shape": x.shape})
    zero = jnp.zeros((*x.shape[:-1], H), x.dtype)
    a |= {name: zero if s is None else as_array(op, name, s) for name, s in zip(states, hx, strict=True)}
    check_same_dtype(op, **a)
    check_floating(op, "input", x)
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(states, (*x.shape[:-1], H))
    wanted |= {"w_ih": (gates * H, x.shape[-1]), "w_hh": (gates * H, H), "b_ih": (gates * H,), "b_hh": (gates * H,)}
    for name, shape in wanted.items():
        if name in a and a[name].shape != shape:
            got = {f"{name}.shape": a[name].shape, "input.shape": x.shape, "w_hh.shape": a["w_hh"].shape}
            raise refusal(op, f"{name} must be {shape}", got)
    state = tuple(a[name].astype(accumulator(x)) for name in states)
    from_x = times(x, a["w_ih"]) + a.get("b_ih", 0)
    from_h = times(a[states[0]], a["w_hh"]) + a.get("b_hh", 0)
    return tuple(s.astype(x.dtype) for s in cell(from_x, from_h, state))
