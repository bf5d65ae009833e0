"""Look-ups: rows of a weight by index, bags of them, and the one-hot code."""

import jax
import jax.numpy as jnp

from purenn.checks import is_traced, require, valid_index
from purenn.errors import as_array, check_floating, check_same_dtype, refusal


def embedding(
    input: jax.Array,
    weight: jax.Array,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> jax.Array:
    """Looks up rows: ``y[...] = weight[input[...]]``.

    Args:
        input: ``(*)``, int32 or int64 in ``[0, V)``; negative indices are errors.
        weight: ``(V, D)``, any dtype.
        padding_idx: a row, in ``[-V, V)``, that gets no gradient.
        max_norm: rows longer than this are shortened to it, without a gradient through the shortening.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often ``input`` names it.
        sparse: accepted for torch's sake; gradients are dense.

    Returns:
        ``(*, D)``, in the dtype of ``weight``. Inside a trace, rows of an index out of range are NaN.

    Errors:
        TypeError: ``input`` is not int32 or int64.
        ValueError: ``weight`` is not 2-D, ``padding_idx`` is no row of it.
        IndexError: an index is out of range, outside a trace.

    Torch:
        ``torch.nn.functional.embedding``, differs in that ``weight`` itself is not renormalised by ``max_norm``:
        the result is the same, as renormalising twice is renormalising once.
    """
    del sparse
    input, weight = as_array("embedding", "input", input), as_array("embedding", "weight", weight)
    _check_index("embedding", "input", input)
    padding_idx = _check_weight("embedding", weight, padding_idx)
    index = valid_index("embedding", "input", input, weight.shape[0])
    y = _rows("embedding", weight, index, max_norm, norm_type, scale_grad_by_freq)  # (*, D)
    if padding_idx is None:
        return y
    return jnp.where((index == padding_idx)[..., None], jax.lax.stop_gradient(y), y)


def embedding_bag(
    input: jax.Array,
    weight: jax.Array,
    offsets: jax.Array | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: jax.Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> jax.Array:
    """Reduces bags of rows: ``y[b] = Σ_{i in bag b} w_i weight[input[i]]``, or their mean or maximum.

    Args:
        input: ``(B, L)``, a bag in each row; or ``(L,)``, cut into bags by ``offsets``. int32 or int64.
        weight: ``(V, D)``, floating.
        offsets: ``(B,)``, where each bag of a 1-D ``input`` starts; the first is 0, none is below the one before.
        max_norm: rows longer than this are shortened to it, without a gradient through the shortening.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often ``input`` names it; not for ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: accepted for torch's sake; gradients are dense. Not for ``"max"``.
        per_sample_weights: the ``w_i``, in the shape of ``input``; for ``"sum"`` alone.
        include_last_offset: ``offsets`` is ``(B + 1,)`` and ends with where the last bag stops.
        padding_idx: a row, in ``[-V, V)``, that counts for nothing in a bag.

    Returns:
        ``(B, D)``, in the dtype of ``weight``; an empty bag gives 0. Sums are accumulated in float32 at least. Inside
        a trace, an index out of range makes its bag NaN and bad ``offsets`` make all of it NaN.

    Errors:
        TypeError: the indices are not int32 or int64; ``weight`` is not floating or its dtype not that of
            ``per_sample_weights``.
        ValueError: shapes, mode and options do not fit; ``offsets`` do not ascend from 0 to at most L.
        IndexError: an index is out of range, outside a trace.

    Torch:
        ``torch.nn.functional.embedding_bag``, differs in that ``weight`` itself is not renormalised by ``max_norm``,
        what follows the last offset of ``include_last_offset`` belongs to no bag in any mode, a NaN makes the
        maximum NaN wherever it stands, ``scale_grad_by_freq`` counts right where torch on a CPU mixes up the rows,
        and the order ``(weight, input)`` of old is refused.
    """
    op = "embedding_bag"
    input, weight = as_array(op, "input", input), as_array(op, "weight", weight)
    _check_index(op, "input", input)
    check_floating(op, "weight", weight)
    padding_idx = _check_weight(op, weight, padding_idx)
    _check_mode(mode, scale_grad_by_freq, sparse)
    w = _check_sample_weights(input, weight, per_sample_weights, mode)
    starts = _check_offsets(input, offsets)
    index = valid_index(op, "input", input, weight.shape[0])
    rows = _rows(op, weight, index, max_norm, norm_type, scale_grad_by_freq)  # (*, D)
    if w is not None:
        rows = rows * w[..., None]
    kept = jnp.ones(index.shape, bool) if padding_idx is None else index != padding_idx
    if starts is None:
        return _reduce_fixed(rows, kept, mode)
    return _reduce_ragged(rows, kept, starts, include_last_offset, mode)


def one_hot(tensor: jax.Array, num_classes: int = -1) -> jax.Array:
    """Writes each class as a row with a single one: ``y[..., k] = (tensor[...] == k)``.

    Args:
        tensor: ``(*)``, int32 or int64 in ``[0, num_classes)``.
        num_classes: length K of the new axis; -1 takes the largest class there is, plus one.

    Returns:
        ``(*, K)``, in the dtype of ``tensor``. Inside a trace, a class out of range gives a row of zeros.

    Errors:
        TypeError: ``tensor`` is not int32 or int64.
        ValueError: ``num_classes`` is not positive; it is -1 inside a trace, where values cannot be read, or for
            an empty ``tensor``.
        IndexError: a class is out of range, outside a trace.

    Torch:
        ``torch.nn.functional.one_hot``, differs in that ``num_classes=-1`` is refused inside a trace.
    """
    tensor = as_array("one_hot", "tensor", tensor)
    _check_index("one_hot", "tensor", tensor)
    if num_classes == -1:
        num_classes = _count_classes(tensor)
    if num_classes <= 0:
        raise refusal("one_hot", "num_classes must be positive, or -1", {"num_classes": num_classes})
    index = valid_index("one_hot", "tensor", tensor, num_classes)
    return jax.nn.one_hot(index, num_classes, dtype=tensor.dtype)


def _count_classes(tensor: jax.Array) -> int:
    if is_traced(tensor):
        raise refusal(
            "one_hot",
            "num_classes must be given inside jit, grad and vmap, where the largest class cannot be read",
            {"num_classes": -1},
            "Pass the number of classes.",
        )
    if tensor.size == 0:
        raise refusal("one_hot", "num_classes must be given for an empty tensor", {"tensor.shape": tensor.shape})
    with jax.ensure_compile_time_eval():  # a constant can be read inside a trace too
        largest = int(tensor.max())
    return max(largest + 1, 1)  # a negative class is left to the check of the values


def _check_index(op: str, argument: str, index: jax.Array) -> None:
    if index.dtype not in (jnp.int32, jnp.int64):
        remedy = "Cast it with .astype(jnp.int32)." if jnp.issubdtype(index.dtype, jnp.integer) else ""
        if argument == "input" and jnp.issubdtype(index.dtype, jnp.floating):
            remedy = "The order is (input, weight): indices first."
        got = {f"{argument}.dtype": str(index.dtype)}
        raise refusal(op, f"{argument} must be int32 or int64", got, remedy, TypeError)


def _check_weight(op: str, weight: jax.Array, padding_idx: int | None) -> int | None:
    if weight.ndim != 2:
        raise refusal(op, "weight must be 2-D, (num_embeddings, embedding_dim)", {"weight.shape": weight.shape})
    if padding_idx is None:
        return None
    if not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise refusal(
            op, "padding_idx must be a row of weight", {"padding_idx": padding_idx, "weight.shape": weight.shape}
        )
    return padding_idx % weight.shape[0]


def _check_mode(mode: str, scale_grad_by_freq: bool, sparse: bool) -> None:
    if mode not in ("sum", "mean", "max"):
        raise refusal("embedding_bag", "mode must be sum, mean or max", {"mode": mode})
    if mode == "max" and (scale_grad_by_freq or sparse):
        raise refusal(
            "embedding_bag",
            "scale_grad_by_freq and sparse must be False for mode='max'",
            {"scale_grad_by_freq": scale_grad_by_freq, "sparse": sparse},
        )


def _check_sample_weights(
    input: jax.Array, weight: jax.Array, per_sample_weights: jax.Array | None, mode: str
) -> jax.Array | None:
    if per_sample_weights is None:
        return None
    w = as_array("embedding_bag", "per_sample_weights", per_sample_weights)
    if w.shape != input.shape:
        raise refusal(
            "embedding_bag",
            "per_sample_weights must have the shape of input",
            {"per_sample_weights.shape": w.shape, "input.shape": input.shape},
        )
    if mode != "sum":
        raise refusal("embedding_bag", "mode must be 'sum' when per_sample_weights are given", {"mode": mode})
    check_same_dtype("embedding_bag", weight=weight, per_sample_weights=w)
    return w


def _check_offsets(input: jax.Array, offsets: jax.Array | None) -> jax.Array | None:
    op, shape = "embedding_bag", {"input.shape": input.shape}
    if input.ndim not in (1, 2):
        raise refusal(op, "input must be 1-D or 2-D", shape)
    if input.ndim == 2:
        if offsets is not None:
            raise refusal(op, "offsets must be None for a 2-D input, a bag in each row", shape)
        return None
    if offsets is None:
        raise refusal(op, "offsets must be given for a 1-D input", shape, "They say where each bag starts.")
    offsets = as_array(op, "offsets", offsets)
    _check_index(op, "offsets", offsets)
    if offsets.ndim != 1:
        raise refusal(op, "offsets must be 1-D", {"offsets.shape": offsets.shape})
    return offsets


def _rows(
    op: str, weight: jax.Array, index: jax.Array, max_norm: float | None, norm_type: float, scale_grad_by_freq: bool
) -> jax.Array:
    if weight.shape[0] == 0:  # no row to gather: an index can only be out of range
        return jnp.full((*index.shape, weight.shape[1]), jnp.nan).astype(weight.dtype)
    # one gather, whose gradient is one scatter-add; what is out of range was set to V, which fills with NaN
    y = weight.at[index].get(mode="fill", wrap_negative_indices=False)
    if max_norm is not None:
        check_floating(op, "weight", weight)
        y = _straight_through(y, _shorten(y, max_norm, norm_type))
    if scale_grad_by_freq:
        count = jnp.zeros(weight.shape[0], jnp.int32).at[index].add(1, mode="drop")
        y = _scale_gradient(y, 1 / count.at[index].get(mode="clip")[..., None].astype(y.dtype))
    return y


def _shorten(y: jax.Array, max_norm: float, norm_type: float) -> jax.Array:
    x = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    norm = jnp.linalg.norm(x, norm_type, axis=-1, keepdims=True)
    return jnp.where(norm > max_norm, x * (max_norm / (norm + 1e-7)), x).astype(y.dtype)


@jax.custom_jvp
def _straight_through(x: jax.Array, value: jax.Array) -> jax.Array:
    del x
    return value


_straight_through.defjvps(lambda x_dot, y, x, value: x_dot, None)


@jax.custom_jvp
def _scale_gradient(x: jax.Array, scale: jax.Array) -> jax.Array:
    del scale
    return x


_scale_gradient.defjvps(lambda x_dot, y, x, scale: x_dot * scale, None)


def _reduce_fixed(rows: jax.Array, kept: jax.Array, mode: str) -> jax.Array:
    # rows (B, L, D), kept (B, L)
    if mode == "max":
        bags, length, depth = rows.shape
        bag = jnp.repeat(jnp.arange(bags), length)
        return _highest(rows.reshape(-1, depth), jnp.where(kept.ravel(), bag, bags), bags)
    acc = jnp.promote_types(rows.dtype, jnp.float32)
    y = jnp.sum(rows, axis=1, dtype=acc, where=kept[..., None])
    return _mean(y, kept.sum(axis=1), mode).astype(rows.dtype)


def _reduce_ragged(
    rows: jax.Array, kept: jax.Array, offsets: jax.Array, include_last_offset: bool, mode: str
) -> jax.Array:
    # rows (L, D), kept (L,)
    starts, stop = (offsets[:-1], offsets[-1:]) if include_last_offset else (offsets, len(rows))
    bags, position = len(starts), jnp.arange(len(rows))
    ascending = _ascending(offsets, len(rows))
    # the last bag that starts at or before a position holds it; what no bag keeps goes to bag B, which is dropped
    bag = jnp.searchsorted(starts, position, side="right") - 1
    bag = jnp.where(kept & (position < stop), bag, bags)
    if mode == "max":
        y = _highest(rows, bag, bags)
    else:
        acc = jnp.promote_types(rows.dtype, jnp.float32)
        count = jax.ops.segment_sum(jnp.ones_like(bag), bag, bags)
        y = _mean(jax.ops.segment_sum(rows.astype(acc), bag, bags), count, mode).astype(rows.dtype)
    return jnp.where(ascending, y, jnp.nan)


def _ascending(offsets: jax.Array, length: int) -> jax.Array:
    ends = jnp.concatenate([jnp.zeros(1, offsets.dtype), offsets, jnp.full(1, length, offsets.dtype)])
    holds = (ends[1:] >= ends[:-1]).all() & (offsets[:1] == 0).all()
    require(holds, "embedding_bag", "offsets must ascend from 0 to at most the length of input")
    return holds


def _mean(total: jax.Array, count: jax.Array, mode: str) -> jax.Array:
    return total / jnp.maximum(count, 1)[:, None].astype(total.dtype) if mode == "mean" else total


def _highest(rows: jax.Array, bag: jax.Array, bags: int) -> jax.Array:
    # The first of equal maxima alone gets the gradient, so its position is found and its row gathered. rows (L, D)
    length, x = len(rows), jax.lax.stop_gradient(rows)
    if length == 0:
        return jnp.zeros((bags, rows.shape[1]), rows.dtype)
    best = jax.ops.segment_max(x, bag, bags)  # (B, D)
    position = jnp.broadcast_to(jnp.arange(length)[:, None], rows.shape)
    is_best = x == best.at[bag].get(mode="clip")
    first = jax.ops.segment_min(jnp.where(is_best, position, length), bag, bags)  # (B, D); NaN is equal to nothing
    y = rows.at[first, jnp.arange(rows.shape[1])].get(mode="fill", wrap_negative_indices=False)
    empty = jax.ops.segment_sum(jnp.ones_like(bag), bag, bags) == 0
    return jnp.where(empty[:, None], 0, y)
