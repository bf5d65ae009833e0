"""Attention: every query reads the values, weighted by how well their keys fit it."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional.dropout import dropout

_SDPA = "scaled_dot_product_attention"
# Scores per head from which the score matrix is no longer formed, and the queries and keys that meet at a time.
_LONG = 2**22
_BLOCK = 512


def scaled_dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    attn_mask: jax.Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    rng: jax.Array | None = None,
    implementation: str | None = None,
) -> jax.Array:
    """Lets every query read the values: ``softmax(scale Q Kᵀ + mask) V``.

    A query that may attend to no key reads 0, and its gradient is 0.

    Args:
        query: ``(*, Hq, L, E)``, floating; the leading axes of the three arrays broadcast, none are needed.
        key: ``(*, H, S, E)``.
        value: ``(*, H, S, Ev)``.
        attn_mask: broadcastable to ``(*, Hq, L, S)``, at least 2-D. Booleans: True attends (the opposite of
            ``multi_head_attention_forward``). Floating, in the dtype of ``query`` or float32: added to the scores.
        dropout_p: probability for a weight to be dropped. It always applies: pass 0 in evaluation.
        is_causal: lets query i attend to the keys 0 to i only, also where ``L != S``.
        scale: factor of the scores, a Python number, by default ``1 / sqrt(E)``.
        enable_gqa: lets H be a divisor of Hq; each key head serves ``Hq / H`` consecutive query heads.
        rng: PRNG key, needed where ``0 < dropout_p < 1``.
        implementation: ``"xla"`` forms the score matrix. ``"chunked"`` never holds more than a block of it, forward
            or backward. ``"cudnn"`` is the fused kernel of NVIDIA GPUs, for half precision, without forward-mode
            differentiation. None takes "cudnn" on a GPU where it can, else "chunked" for long sequences, else "xla".

    Returns:
        ``(*, Hq, L, Ev)``, in the dtype of ``query``; scores and weights are float32 for half precision.

    Errors:
        TypeError: the dtypes differ, are not floating, or ``attn_mask`` has another one.
        ValueError: the shapes do not fit, ``attn_mask`` and ``is_causal`` are both given, an option is out of range,
            or the implementation asked for cannot do this.

    Torch:
        ``torch.nn.functional.scaled_dot_product_attention``, differs in ``rng`` and ``implementation``.

    Source:
        Vaswani et al. 2017 (arXiv:1706.03762); "chunked": Rabe & Staats 2021 (arXiv:2112.05682).
    """
    q, k, v = as_array(_SDPA, "query", query), as_array(_SDPA, "key", key), as_array(_SDPA, "value", value)
    mask = None if attn_mask is None else as_array(_SDPA, "attn_mask", attn_mask)
    shape = _check_attention(q, k, v, mask, is_causal, enable_gqa)
    check_dropped(_SDPA, dropout_p, rng)
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    options = _Options(float(scale), float(dropout_p), bool(is_causal), bool(enable_gqa), shape, _BLOCK)
    match _choose(implementation, options, q, k, v, mask):
        case "cudnn":
            return _cudnn(options, q, k, v, mask)
        case "chunked":
            return _chunked(options, q, k, v, mask, rng)
    return _plain(options, q, k, v, mask, rng)


class _Options(NamedTuple):
    scale: float
    dropout_p: float
    is_causal: bool
    grouped: bool
    shape: tuple[int, ...]  # of the scores: (*, Hq, L, S)
    block: int


def _check_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, is_causal: bool, grouped: bool
) -> tuple[int, ...]:
    check_same_dtype(_SDPA, query=q, key=k, value=v)
    if not jnp.issubdtype(q.dtype, jnp.floating):
        raise refusal(
            _SDPA, "query, key and value must be real floating", {"query.dtype": str(q.dtype)}, kind=TypeError
        )
    shapes = {"query.shape": q.shape, "key.shape": k.shape, "value.shape": v.shape}
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise refusal(_SDPA, "query, key and value must be at least 2-D", shapes)
    if q.shape[-1] != k.shape[-1]:
        raise refusal(_SDPA, "the last axes of query and key must be equal", shapes)
    if k.shape[-2] != v.shape[-2]:
        raise refusal(_SDPA, "key and value must be equally long", shapes)
    shape = (*_batch_shape(q, k, v, grouped, shapes), q.shape[-2], k.shape[-2])
    if mask is not None:
        _check_mask(mask, q.dtype, is_causal, shape)
    return shape


def _batch_shape(q: jax.Array, k: jax.Array, v: jax.Array, grouped: bool, shapes: dict) -> tuple[int, ...]:
    batch = [x.shape[:-2] for x in (q, k, v)]
    if grouped:
        if min(q.ndim, k.ndim, v.ndim) < 3:
            raise refusal(_SDPA, "enable_gqa needs a head axis, query, key and value must be at least 3-D", shapes)
        heads = q.shape[-3]
        if any(x.shape[-3] == 0 or heads % x.shape[-3] for x in (k, v)):
            raise refusal(_SDPA, "the heads of key and value must divide those of query, axis -3", shapes)
        batch = [(*axes[:-1], heads) for axes in batch]
    try:
        return jnp.broadcast_shapes(*batch)
    except ValueError:
        remedy = "" if grouped else "Fewer key heads than query heads need enable_gqa=True."
        raise refusal(_SDPA, "the leading axes must broadcast", shapes, remedy) from None


def _check_mask(mask: jax.Array, dtype: Any, is_causal: bool, shape: tuple[int, ...]) -> None:
    if is_causal:
        raise refusal(
            _SDPA,
            "attn_mask must be None with is_causal",
            {"attn_mask.shape": mask.shape, "is_causal": True},
            "Put the causal mask into attn_mask: attn_mask & jnp.tril(jnp.ones((L, S), bool)).",
        )
    if mask.dtype not in (jnp.bool_, jnp.float32, dtype):
        raise refusal(
            _SDPA,
            "attn_mask must be bool, float32 or of the dtype of query",
            {"attn_mask.dtype": str(mask.dtype), "query.dtype": str(dtype)},
            kind=TypeError,
        )
    fits = 2 <= mask.ndim <= len(shape) and all(
        m in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1], strict=False)
    )
    if not fits:
        rule = f"attn_mask must be at least 2-D and broadcast to the scores {shape}"
        raise refusal(_SDPA, rule, {"attn_mask.shape": mask.shape})


def check_dropped(op: str, p: float, rng: jax.Array | None) -> None:
    """Refuses what cannot drop weights: no probability, or no key to draw with.

    Args:
        op: name of the operation.
        p: its ``dropout_p``.
        rng: its PRNG key.
    """
    if not 0 <= p <= 1:
        raise refusal(op, "dropout_p must lie in [0, 1]", {"dropout_p": p})
    if rng is None and 0 < p < 1:
        remedy = "Pass rng=jax.random.key(0), a fresh one for each call."
        raise refusal(op, "rng must be given when weights are dropped", {"rng": None, "dropout_p": p}, remedy)


def _choose(
    implementation: str | None, o: _Options, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None
) -> str:
    if implementation not in (None, "xla", "chunked", "cudnn"):
        rule = 'implementation must be None, "xla", "chunked" or "cudnn"'
        raise refusal(_SDPA, rule, {"implementation": implementation})
    if implementation == "cudnn" and (missing := _cudnn_lacks(o, q, k, v, mask)):
        rule = f'implementation="cudnn" {missing}'
        raise refusal(_SDPA, rule, {"query.shape": q.shape, "query.dtype": str(q.dtype)}, "Pass implementation=None.")
    if 0 in o.shape:
        return "xla"
    if implementation is not None:
        return implementation
    if not _cudnn_lacks(o, q, k, v, mask):
        return "cudnn"
    lengths = o.shape[-2:]
    # a length that jax.export knows by its symbol alone is no reason to go in pieces
    fixed = all(isinstance(n, int) for n in lengths)
    return "chunked" if fixed and math.prod(lengths) >= _LONG else "xla"


def _cudnn_lacks(o: _Options, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> str:
    """What the fused kernel would need, or an empty text."""
    heads = k.shape[-3:-2] == v.shape[-3:-2] and (o.grouped or k.shape[-3:-2] == q.shape[-3:-2])
    needs = {
        "needs float16 or bfloat16": q.dtype in (jnp.float16, jnp.bfloat16),
        "cannot drop weights": not o.dropout_p,
        "takes boolean masks only": mask is None or mask.dtype == bool,
        "takes masks of even length only": mask is None or o.shape[-2] % 2 == o.shape[-1] % 2 == 0,
        "needs one E of at most 128, a multiple of 8": q.shape[-1] == v.shape[-1] in range(8, 129, 8),
        "does not broadcast leading axes": q.shape[:-3] == k.shape[:-3] == v.shape[:-3] and heads,
        "takes at most 4 axes": q.ndim <= 4,
        "needs an NVIDIA GPU of compute capability 8.0 or later": jax.default_backend() == "gpu" and _is_ampere(),
    }
    return next((need for need, met in needs.items() if not met), "")


def _is_ampere() -> bool:
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return capability.replace(".", "", 1).isdigit() and float(capability) >= 8


def _plain(o: _Options, q: jax.Array, k: jax.Array, v: jax.Array, mask: Any, rng: Any) -> jax.Array:
    weights = _softmax(_scores(o, q, k, mask, 0, 0))  # (*, Hq, L, S)
    return _read(o, dropout(weights, o.dropout_p, rng=rng), v).astype(q.dtype)


def _scores(o: _Options, q: jax.Array, k: jax.Array, mask: Any, row: Any, column: Any) -> jax.Array:
    # (*, L, E) x (*, S, E) -> (*, L, S), of which the first score belongs to query `row` and key `column`
    s = _product(o, q, k.swapaxes(-1, -2)) * o.scale
    if mask is not None:
        s = jnp.where(mask, s, -jnp.inf) if mask.dtype == bool else s + mask.astype(s.dtype)
    keep = _within(o, row + jnp.arange(s.shape[-2])[:, None], column + jnp.arange(s.shape[-1]), s.shape[-1])
    return s if keep is None else jnp.where(keep, s, -jnp.inf)


def _within(o: _Options, rows: jax.Array, columns: jax.Array, block: int) -> jax.Array | None:
    # columns past the last key come from filling up the last block
    real = columns < o.shape[-1] if o.shape[-1] % max(block, 1) else None
    causal = columns <= rows if o.is_causal else None
    return causal if real is None else real if causal is None else real & causal


def _read(o: _Options, weights: jax.Array, v: jax.Array) -> jax.Array:
    return _product(o, weights.astype(v.dtype), v)


def _product(o: _Options, x: jax.Array, y: jax.Array) -> jax.Array:
    # Products of half precision accumulate and stay in float32.
    matmul = partial(jnp.matmul, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))
    if not o.grouped:
        return matmul(x, y)
    # the queries of a group of heads follow each other: (*, Hq, L, E) -> (*, H, Hq/H L, E), no head is repeated
    *batch, heads, length, _ = x.shape
    folded = x.reshape(*batch, y.shape[-3], heads // y.shape[-3] * length, x.shape[-1])
    out = matmul(folded, y)
    return out.reshape(*out.shape[:-3], heads, length, y.shape[-1])


@jax.custom_jvp
def _softmax(s: jax.Array) -> jax.Array:
    # A row of nothing but -inf gives 0, not NaN; its gradient is 0 as well.
    top = jnp.max(s, -1, keepdims=True, initial=-jnp.inf)
    e = jnp.exp(s - jnp.where(top == -jnp.inf, 0, top))
    total = e.sum(-1, keepdims=True)
    return e / jnp.where(total == 0, 1, total)


@_softmax.defjvp
def _softmax_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    w = _softmax(*primals)
    t = w * tangents[0]
    return w, t - w * t.sum(-1, keepdims=True)


@partial(jax.jit, static_argnums=0)
def _chunked(o: _Options, q: jax.Array, k: jax.Array, v: jax.Array, mask: Any, rng: Any) -> jax.Array:
    # Blocks of queries meet blocks of keys; only sums over the keys outlive a meeting.
    *batch, length, keys = o.shape
    rows, columns = min(o.block, length), min(o.block, keys)
    qs = _blocks(jnp.broadcast_to(q, (*batch, *q.shape[-2:])), -2, rows, length)  # (n, *, rows, E)
    ks, vs = _blocks(k, -2, columns, keys), _blocks(v, -2, columns, keys)  # (m, *, columns, E)
    if mask is not None:
        # (n, m, *, rows, columns)
        mask = jax.vmap(partial(_blocks, axis=-1, block=columns, length=keys))(_blocks(mask, -2, rows, length))
    ys, _, _ = _attend(o, qs, ks, vs, mask, rng)
    y = jnp.moveaxis(ys, 0, -3).reshape(*batch, -1, v.shape[-1])
    return y[..., :length, :].astype(q.dtype)


def _blocks(x: jax.Array, axis: int, block: int, length: int) -> jax.Array:
    # (*, length, *) -> (n, *, block, *), filled up at the end; an axis of length 1 serves every block
    n = -(-length // block)
    if x.shape[axis] == 1 != length:
        return jnp.broadcast_to(x, (n, *x.shape))
    axis += x.ndim
    x = jnp.pad(x, [(0, n * block - length if a == axis else 0) for a in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:axis], n, block, *x.shape[axis + 1 :]), axis, 0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend(o: _Options, qs: jax.Array, ks: jax.Array, vs: jax.Array, masks: Any, rng: Any) -> tuple:
    """Online softmax: each block of queries' results, highest scores, and logs of the normaliser of the rest."""

    def rows(_: None, block: tuple) -> tuple:
        i, q, mask = block

        def columns(carry: tuple, block: tuple) -> tuple:
            j, k, v, mask = block
            row, column = i * q.shape[-2], j * k.shape[-2]

            def meet(carry: tuple) -> tuple:
                top, total, y = carry
                s = _scores(o, q, k, mask, row, column)
                higher = jnp.maximum(top, s.max(-1, keepdims=True))
                finite = jnp.where(higher == -jnp.inf, 0, higher)
                e, shrink = jnp.exp(s - finite), jnp.exp(top - finite)
                y = y * shrink + _read(o, _drop_block(o, e, rng, i, j), v)
                return higher, total * shrink + e.sum(-1, keepdims=True), y

            return _unless_later(o, row + q.shape[-2], column, meet, carry), None

        one = jnp.zeros((*q.shape[:-1], 1), jnp.promote_types(q.dtype, jnp.float32))
        start = (one - jnp.inf, one, jnp.zeros((*q.shape[:-1], vs.shape[-1]), one.dtype))
        (top, total, y), _ = lax.scan(columns, start, (jnp.arange(len(ks)), ks, vs, mask))
        total = jnp.where(total == 0, 1, total)
        return None, (y / total, jnp.where(top == -jnp.inf, 0, top), jnp.log(total))

    return lax.scan(rows, None, (jnp.arange(len(qs)), qs, masks))[1]


@_attend.defjvp
def _attend_jvp(o: _Options, primals: tuple, tangents: tuple) -> tuple:
    """Tangents as sums over the blocks, each formed again: what reverse mode keeps is the inputs and the results.

    With ``w = exp(s - top - z)``: ``dz = sum w ds`` and ``dy = sum w ds v + w dv - dz y``; ``top`` is only a shift.
    """
    qs, ks, vs, masks, rng = primals
    dqs, dks, dvs, dmasks, _ = tangents
    ys, tops, zs = _attend(o, *primals)
    # boolean masks have no tangent
    dmasks = dmasks if masks is not None and masks.dtype != bool else None

    @partial(jax.checkpoint, prevent_cse=False)
    def rows(_: None, block: tuple) -> tuple:
        i, q, dq, mask, dmask, y, top, z = block

        @partial(jax.checkpoint, prevent_cse=False)
        def columns(carry: tuple, block: tuple) -> tuple:
            j, k, dk, v, dv, mask, dmask = block
            row, column = i * q.shape[-2], j * k.shape[-2]

            def meet(carry: tuple) -> tuple:
                dz, dy = carry
                w = jnp.exp(_scores(o, q, k, mask, row, column) - top - z)
                ds = (_product(o, dq, k.swapaxes(-1, -2)) + _product(o, q, dk.swapaxes(-1, -2))) * o.scale
                wds = w * (ds if dmask is None else ds + dmask)
                dy = dy + _read(o, _drop_block(o, wds, rng, i, j), v) + _read(o, _drop_block(o, w, rng, i, j), dv)
                return dz + wds.sum(-1, keepdims=True), dy

            return _unless_later(o, row + q.shape[-2], column, meet, carry), None

        start = (jnp.zeros_like(z), jnp.zeros_like(y))
        (dz, dy), _ = lax.scan(columns, start, (jnp.arange(len(ks)), ks, dks, vs, dvs, mask, dmask))
        return None, (dy - dz * y, dz)

    _, (dys, dzs) = lax.scan(rows, None, (jnp.arange(len(qs)), qs, dqs, masks, dmasks, ys, tops, zs))
    return (ys, tops, zs), (dys, jnp.zeros_like(tops), dzs)


def _unless_later(o: _Options, end: jax.Array, column: jax.Array, meet: Any, carry: tuple) -> tuple:
    # keys that all lie after the last query of the block are passed over
    return lax.cond(column < end, meet, lambda carry: carry, carry) if o.is_causal else meet(carry)


def _drop_block(o: _Options, weights: jax.Array, rng: Any, i: jax.Array, j: jax.Array) -> jax.Array:
    # one mask for each meeting, the same in every sum
    rng = None if rng is None else jax.random.fold_in(jax.random.fold_in(rng, i), j)
    return dropout(weights, o.dropout_p, rng=rng)


def _cudnn(o: _Options, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> jax.Array:
    def four(x: jax.Array) -> jax.Array:
        return x.reshape((1,) * (4 - x.ndim) + x.shape)

    if mask is not None:
        mask = four(jnp.broadcast_to(mask, (*mask.shape[:-2], *o.shape[-2:])))
    # the kernel's layout is (N, L, H, E)
    q, k, v = (four(x).swapaxes(1, 2) for x in (q, k, v))
    y = jax.nn.dot_product_attention(
        q, k, v, mask=mask, scale=o.scale, is_causal=o.is_causal, implementation="cudnn"
    ).swapaxes(1, 2)
    # without any key the kernel averages all values
    y = y if mask is None else jnp.where(mask.any(-1, keepdims=True), y, 0)
    return y.reshape(*o.shape[:-1], v.shape[-1])
