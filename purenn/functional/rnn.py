"""Recurrent networks, in layers and directions, and sequences of unequal length."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purenn import checks
from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional._recurrence import (
    Cell,
    Direction,
    State,
    gru_step,
    lstm_step,
    relu_step,
    run_direction,
    tanh_step,
)
from purenn.functional.dropout import dropout as drop

_PARAMS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def rnn_tanh(
    input: jax.Array,
    hx: jax.Array | None,
    params: Sequence[jax.Array],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: jax.Array | None = None,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Runs an Elman network: ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    Args:
        input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, or ``(L, H_in)`` unbatched.
        hx: ``(D * num_layers, N, H)``, the first states, D the number of directions; without N if unbatched. None: 0.
        params: for each layer, and in it for each direction, ``weight_ih (H, H_in)``, ``weight_hh (H, H)`` and, with
            ``has_biases``, ``bias_ih (H,)`` and ``bias_hh (H,)``. From the second layer on, ``H_in`` is ``D H``.
        has_biases: whether ``params`` holds biases.
        num_layers: number of layers; each reads what the one before gives.
        dropout: probability for a number between two layers to be dropped.
        train: whether numbers are dropped.
        bidirectional: runs a second direction from the end, D is 2; the outputs of both stand side by side.
        batch_first: whether the batch is the first axis of ``input`` and output (not of the states).
        lengths: ``(N,)``, integers from 1 to L. What follows the end of a sequence is not read: the output is 0 there,
            the last state is the one at the end, and the second direction starts there. ``()`` if unbatched.
        rng: PRNG key, needed where numbers are dropped.

    Returns:
        The output ``(L, N, D H)``, laid out as ``input``, and the last states, shaped as ``hx``; in its dtype.

    Errors:
        TypeError: the dtypes differ or are not floating.
        ValueError: the shapes do not fit, there are too few or too many ``params``, or the key is missing.

    Torch:
        ``torch.rnn_tanh``, under ``torch.nn.RNN``; differs in ``rng``, and ``lengths`` in place of packed sequences.
    """
    network = _Network("rnn_tanh", tanh_step, 1, has_biases, num_layers, bidirectional)
    output, (h,) = _run_layers(network, input, (hx,), params, dropout, train, batch_first, lengths, rng)
    return output, h


def rnn_relu(
    input: jax.Array,
    hx: jax.Array | None,
    params: Sequence[jax.Array],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: jax.Array | None = None,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Runs an Elman network: ``h_t = max(0, W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    Args:
        input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, or ``(L, H_in)`` unbatched.
        hx: as in ``rnn_tanh``.
        params: as in ``rnn_tanh``.
        has_biases: whether ``params`` holds biases.
        num_layers: number of layers.
        dropout: probability for a number between two layers to be dropped.
        train: whether numbers are dropped.
        bidirectional: runs a second direction from the end.
        batch_first: whether the batch is the first axis of ``input`` and output.
        lengths: ``(N,)``, as in ``rnn_tanh``.
        rng: PRNG key, needed where numbers are dropped.

    Returns:
        The output ``(L, N, D H)`` and the last states ``(D * num_layers, N, H)``, as ``rnn_tanh``.

    Errors:
        TypeError: as ``rnn_tanh``.
        ValueError: as ``rnn_tanh``.

    Torch:
        ``torch.rnn_relu``, under ``torch.nn.RNN``; differs in ``rng``, and ``lengths`` in place of packed sequences.
    """
    network = _Network("rnn_relu", relu_step, 1, has_biases, num_layers, bidirectional)
    output, (h,) = _run_layers(network, input, (hx,), params, dropout, train, batch_first, lengths, rng)
    return output, h


def lstm(
    input: jax.Array,
    hx: tuple[jax.Array, jax.Array] | None,
    params: Sequence[jax.Array],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: jax.Array | None = None,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Runs a long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``, and ``W_hr`` of it if given.

    The gates ``i, f, g, o`` are ``W_ih x_t + b_ih + W_hh h_{t-1} + b_hh``, through tanh for g, through a sigmoid for
    the others.

    Args:
        input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, or ``(L, H_in)`` unbatched.
        hx: the first ``h (D * num_layers, N, H_out)`` and ``c (D * num_layers, N, H)``, ``H_out`` being H or the
            projection's size; without N if unbatched. None: 0.
        params: as in ``rnn_tanh``, with ``4 H`` rows each, the gates in the order above, and as the last one of each
            direction ``weight_hr (H_out, H)``, if h is to be projected.
        has_biases: whether ``params`` holds biases.
        num_layers: number of layers.
        dropout: probability for a number between two layers to be dropped.
        train: whether numbers are dropped.
        bidirectional: runs a second direction from the end.
        batch_first: whether the batch is the first axis of ``input`` and output.
        lengths: ``(N,)``, as in ``rnn_tanh``.
        rng: PRNG key, needed where numbers are dropped.

    Returns:
        The output ``(L, N, D H_out)``, laid out as ``input``, and the last h and c.

    Errors:
        TypeError: as ``rnn_tanh``.
        ValueError: as ``rnn_tanh``.

    Torch:
        ``torch.lstm``, under ``torch.nn.LSTM``; differs in ``rng``, and ``lengths`` in place of packed sequences.

    Source:
        Hochreiter & Schmidhuber 1997; the projection: Sak et al. 2014 (arXiv:1402.1128).
    """
    network = _Network("lstm", lstm_step, 4, has_biases, num_layers, bidirectional)
    output, (h, c) = _run_layers(
        network, input, (None, None) if hx is None else hx, params, dropout, train, batch_first, lengths, rng
    )
    return output, h, c


def gru(
    input: jax.Array,
    hx: jax.Array | None,
    params: Sequence[jax.Array],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: jax.Array | None = None,
    rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Runs gated recurrent units: ``h_t = (1 - z) n + z h_{t-1}``.

    ``n`` is ``tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))``; r and z are ``W_ih x_t + b_ih + W_hh h_{t-1} + b_hh``
    through a sigmoid.

    Args:
        input: ``(L, N, H_in)``, ``(N, L, H_in)`` with ``batch_first``, or ``(L, H_in)`` unbatched.
        hx: as in ``rnn_tanh``.
        params: as in ``rnn_tanh``, with ``3 H`` rows each: for r, z, which are sigmoids, and n.
        has_biases: whether ``params`` holds biases.
        num_layers: number of layers.
        dropout: probability for a number between two layers to be dropped.
        train: whether numbers are dropped.
        bidirectional: runs a second direction from the end.
        batch_first: whether the batch is the first axis of ``input`` and output.
        lengths: ``(N,)``, as in ``rnn_tanh``.
        rng: PRNG key, needed where numbers are dropped.

    Returns:
        The output ``(L, N, D H)`` and the last states ``(D * num_layers, N, H)``, as ``rnn_tanh``.

    Errors:
        TypeError: as ``rnn_tanh``.
        ValueError: as ``rnn_tanh``.

    Torch:
        ``torch.gru``, under ``torch.nn.GRU``; differs in ``rng``, and ``lengths`` in place of packed sequences.

    Source:
        Cho et al. 2014 (arXiv:1406.1078), with r after the product.
    """
    network = _Network("gru", gru_step, 3, has_biases, num_layers, bidirectional)
    output, (h,) = _run_layers(network, input, (hx,), params, dropout, train, batch_first, lengths, rng)
    return output, h


class _Network(NamedTuple):
    op: str
    cell: Cell
    gates: int
    has_biases: bool
    num_layers: int
    bidirectional: bool

    @property
    def directions(self) -> int:
        return 1 + bool(self.bidirectional)


def _run_layers(
    network: _Network, input: Any, hx: Sequence, params: Sequence, p: float, train: bool, batch_first: bool,
    lengths: Any, rng: Any,
) -> tuple[jax.Array, State]:  # fmt: skip
    x = as_array(network.op, "input", input)
    p = p if train and network.num_layers > 1 else 0.0
    _check_dropout(network.op, p, rng)
    weights = _take_params(network, x, params)
    if x.ndim not in (2, 3):
        raise refusal(network.op, "input must be 3-D, or 2-D if unbatched", {"input.shape": x.shape})
    batched = x.ndim == 3
    x = x[:, None] if not batched else x.swapaxes(0, 1) if batch_first else x  # (L, N, H_in)
    _check_sizes(network, x, weights)
    state = _take_state(network, x, hx, weights, batched)
    valid = _take_lengths(network.op, x, lengths, batched)
    x = x if valid is None else jnp.where(valid, x, 0)
    lasts = []
    for layer in range(network.num_layers):
        x = drop(x, p, rng=None if rng is None else jax.random.fold_in(rng, layer)) if layer and p else x
        outputs = []
        for direction in range(network.directions):
            n = layer * network.directions + direction
            y, last = run_direction(network.cell, direction == 1, weights[n], x, tuple(s[n] for s in state), valid)
            outputs.append(y)
            lasts.append(last)
        x = jnp.concatenate(outputs, -1) if network.bidirectional else y
    x = x[:, 0] if not batched else x.swapaxes(0, 1) if batch_first else x
    final = tuple(jnp.stack(each) for each in zip(*lasts, strict=True))
    return x, final if batched else tuple(s[:, 0] for s in final)


def _check_dropout(op: str, p: float, rng: Any) -> None:
    if not 0 <= p <= 1:
        raise refusal(op, "dropout must lie in [0, 1]", {"dropout": p})
    if rng is None and 0 < p < 1:
        remedy = "Pass rng=jax.random.key(0), a fresh one for each call."
        raise refusal(op, "rng must be given when training with dropout", {"rng": None, "dropout": p}, remedy)


def _take_params(network: _Network, x: jax.Array, params: Sequence) -> list[Direction]:
    """The flat parameters, by layer and direction."""
    op, count = network.op, network.num_layers * network.directions
    if network.num_layers < 1:
        raise refusal(op, "num_layers must be at least 1", {"num_layers": network.num_layers})
    each = 4 if network.has_biases else 2
    projected = op == "lstm" and len(params) == count * (each + 1)
    if len(params) != count * (each + projected):
        rule = f"params must hold {each} arrays for each of the {count} layers and directions"
        more = {"len(params)": len(params), "has_biases": network.has_biases}
        raise refusal(op, rule, more, "A projected lstm has one more each." if op == "lstm" else "")
    arrays = [as_array(op, f"params[{n}]", w) for n, w in enumerate(params)]
    check_same_dtype(op, input=x, **{f"params[{n}]": w for n, w in enumerate(arrays)})
    check_floating(op, "input", x)
    weights = []
    for start in range(0, len(arrays), each + projected):
        w_ih, w_hh, *rest = arrays[start : start + each + projected]
        w_hr = rest.pop() if projected else None
        b_ih, b_hh = rest or (None, None)
        weights.append(Direction(w_ih, w_hh, b_ih, b_hh, w_hr))
    return weights


def _check_sizes(network: _Network, x: jax.Array, weights: list[Direction]) -> None:
    op, gates, D = network.op, network.gates, network.directions
    if x.shape[0] == 0:
        raise refusal(op, "input must have at least one step", {"L": 0})
    hh = weights[0].w_hh.shape
    H, out = (hh[0] // gates, hh[1]) if len(hh) == 2 else (0, 0)
    out = H if weights[0].w_hr is None else out
    for n, w in enumerate(weights):
        layer = n // D
        wanted = ((gates * H, D * out if layer else x.shape[2]), (gates * H, out), (gates * H,), (gates * H,), (out, H))
        for name, array, shape in zip(_PARAMS, w, wanted, strict=True):
            if array is not None and array.shape != shape:
                name = f"{name}_l{layer}{'_reverse' if n % D else ''}"
                got = {f"{name}.shape": array.shape, "H_in": x.shape[2], "weight_hh_l0.shape": hh}
                raise refusal(op, f"{name} must be {shape}", got)


def _take_state(network: _Network, x: jax.Array, hx: Sequence, weights: list[Direction], batched: bool) -> State:
    """The first states as ``(D * num_layers, N, H)``; zeros where there is none."""
    count, N = len(weights), x.shape[1]
    H = weights[0].w_hh.shape[0] // network.gates
    sizes = (weights[0].w_hh.shape[1], H)
    names = ("hx[0]", "hx[1]") if network.op == "lstm" else ("hx",)
    if len(hx) != len(names):
        raise refusal(network.op, "hx must be the pair (h, c)", {"len(hx)": len(hx)})
    state = []
    for name, s, size in zip(names, hx, sizes, strict=False):
        shape = (count, N, size) if batched else (count, size)
        s = jnp.zeros(shape, x.dtype) if s is None else as_array(network.op, name, s)
        check_same_dtype(network.op, **{"input": x, name: s})
        if s.shape != shape:
            got = {f"{name}.shape": s.shape}
            raise refusal(network.op, f"{name} must be {shape}", got, "States have the layers first, then the batch.")
        state.append(s if batched else s[:, None])
    return tuple(state)


def _take_lengths(op: str, x: jax.Array, lengths: Any, batched: bool) -> jax.Array | None:
    """Whether a step belongs to its sequence, ``(L, N, 1)``."""
    if lengths is None:
        return None
    lengths, (L, N, _) = as_array(op, "lengths", lengths), x.shape
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise refusal(op, "lengths must be integers", {"lengths.dtype": str(lengths.dtype)}, kind=TypeError)
    if lengths.shape != ((N,) if batched else ()):
        raise refusal(op, "lengths must be (N,), or () if unbatched", {"lengths.shape": lengths.shape, "N": N})
    checks.require((lengths >= 1) & (lengths <= L), op, f"lengths must lie in [1, {L}]")
    return (jnp.arange(L)[:, None] < lengths)[..., None]


def pad_sequence(
    sequences: Iterable[jax.Array], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> jax.Array:
    """Stacks sequences of unequal length, filled up to the longest: ``out[t, n] = sequences[n][t]``.

    Args:
        sequences: N arrays ``(L_n, *)``, equal in all but the first axis; or one array ``(N, L, *)``.
        batch_first: gives ``(N, L, *)``.
        padding_value: what to fill up with.
        padding_side: ``"right"`` fills up at the end, ``"left"`` at the start.

    Returns:
        ``(L, N, *)``, L the longest length, in the dtype of the first sequence.

    Errors:
        TypeError: a sequence is no array, or the dtypes differ.
        ValueError: there is no sequence, the shapes do not fit, or ``padding_side`` is another word.

    Torch:
        ``torch.nn.utils.rnn.pad_sequence``, differs in that mixed dtypes are refused.
    """
    op = "pad_sequence"
    arrays = [as_array(op, f"sequences[{n}]", x) for n, x in enumerate(sequences)]
    if not arrays:
        raise refusal(op, "sequences must hold at least one array", {"len(sequences)": 0})
    if padding_side not in ("right", "left"):
        raise refusal(op, 'padding_side must be "right" or "left"', {"padding_side": padding_side})
    check_same_dtype(op, **{f"sequences[{n}]": x for n, x in enumerate(arrays)})
    for n, x in enumerate(arrays):
        if x.ndim == 0 or x.shape[1:] != arrays[0].shape[1:]:
            got = {f"sequences[{n}].shape": x.shape, "sequences[0].shape": arrays[0].shape}
            raise refusal(op, "sequences must be equal in all but the first axis", got)
    longest = max(len(x) for x in arrays)

    def fill(x: jax.Array) -> jax.Array:
        missing = longest - len(x)
        ends = (missing, 0) if padding_side == "left" else (0, missing)
        return jnp.pad(x, [ends, *[(0, 0)] * (x.ndim - 1)], constant_values=padding_value)

    return jnp.stack([fill(x) for x in arrays], 0 if batch_first else 1)


def unpad_sequence(padded_sequences: jax.Array, lengths: Any, batch_first: bool = False) -> list[jax.Array]:
    """Cuts padded sequences back to their lengths: ``out[n] = padded_sequences[:lengths[n], n]``.

    Args:
        padded_sequences: ``(L, N, *)``, or ``(N, L, *)`` with ``batch_first``; filled up at the end.
        lengths: ``(N,)``, integers with a value: they are the shapes of the result, so that no trace can hold them.
        batch_first: whether the batch is the first axis.

    Returns:
        N arrays ``(lengths[n], *)``, in the dtype of ``padded_sequences``.

    Errors:
        TypeError: ``lengths`` are no integers.
        ValueError: the shapes do not fit, or ``lengths`` have no value, inside jit.

    Torch:
        ``torch.nn.utils.rnn.unpad_sequence``, differs in that ``padded_sequences`` stays as it is (torch transposes it
        in place).
    """
    op = "unpad_sequence"
    x = as_array(op, "padded_sequences", padded_sequences)
    if checks.is_traced(lengths):
        raise refusal(op, "lengths must have values when traced", {"lengths": "a tracer"}, "Pass a tuple of integers.")
    sizes = np.asarray(lengths)
    if x.ndim < 2:
        raise refusal(op, "padded_sequences must be at least 2-D", {"padded_sequences.shape": x.shape})
    if sizes.dtype.kind not in "iu":
        raise refusal(op, "lengths must be integers", {"lengths.dtype": str(sizes.dtype)}, kind=TypeError)
    x = x if batch_first else x.swapaxes(0, 1)
    if sizes.shape != x.shape[:1]:
        raise refusal(op, "lengths must be (N,)", {"lengths.shape": sizes.shape, "N": len(x)})
    return [sequence[: max(int(size), 0)] for sequence, size in zip(x, sizes, strict=True)]
