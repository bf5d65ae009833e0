"""Attention of several heads, with its projections."""

import math
from functools import reduce

import jax
import jax.numpy as jnp

from purenn.errors import as_array, check_floating, check_same_dtype, refusal
from purenn.functional.attention import check_dropped, scaled_dot_product_attention
from purenn.functional.dropout import dropout
from purenn.functional.linear import linear

_MHA = "multi_head_attention_forward"


def multi_head_attention_forward(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: jax.Array | None,
    in_proj_bias: jax.Array | None,
    bias_k: jax.Array | None,
    bias_v: jax.Array | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: jax.Array,
    out_proj_bias: jax.Array | None,
    training: bool = True,
    key_padding_mask: jax.Array | None = None,
    need_weights: bool = True,
    attn_mask: jax.Array | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: jax.Array | None = None,
    k_proj_weight: jax.Array | None = None,
    v_proj_weight: jax.Array | None = None,
    static_k: jax.Array | None = None,
    static_v: jax.Array | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    rng: jax.Array | None = None,
    implementation: str | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    """Projects to heads, lets each attend, and projects their joined results: ``concat(head_h) W_oᵀ + b_o``.

    Args:
        query: ``(L, N, E)``, or ``(L, E)`` for all three.
        key: ``(S, N, E)``; ``(S, N, kdim)`` with separate projections.
        value: ``(S, N, E)``; ``(S, N, vdim)`` with separate projections.
        embed_dim_to_check: must be E.
        num_heads: H, a divisor of E.
        in_proj_weight: ``(3 E, E)``: the projections of query, key and value, one below the other.
        in_proj_bias: ``(3 E,)``.
        bias_k: ``(1, 1, E)``, one more key for every sequence.
        bias_v: ``(1, 1, E)``, the value of that key.
        add_zero_attn: adds one more key and value of zeros.
        dropout_p: probability for a weight to be dropped, in training.
        out_proj_weight: ``(out, E)``.
        out_proj_bias: ``(out,)``.
        training: whether weights are dropped.
        key_padding_mask: ``(N, S)``, or ``(S,)`` for unbatched input; True masks the key, a floating one is added.
        need_weights: returns the weights. A query that may attend to no key then gives NaN, without it 0.
        attn_mask: ``(L, S)`` or ``(N H, L, S)``; True masks (the opposite of ``scaled_dot_product_attention``), a
            floating one is added.
        use_separate_proj_weight: takes the next three instead of ``in_proj_weight``.
        q_proj_weight: ``(E, E)``.
        k_proj_weight: ``(E, kdim)``.
        v_proj_weight: ``(E, vdim)``.
        static_k: ``(N H, S, E / H)``, projected keys to use instead of those of ``key``.
        static_v: ``(N H, S, E / H)``, projected values to use instead of those of ``value``.
        average_attn_weights: returns the mean of the weights over the heads.
        is_causal: says that ``attn_mask`` is the causal mask, which is then built in place where it can be.
        rng: PRNG key, needed in training where ``0 < dropout_p < 1``.
        implementation: as in ``scaled_dot_product_attention``, for ``need_weights=False``.

    Returns:
        ``(L, N, out)`` or ``(L, out)``, and the weights, ``(N, L, S)`` averaged or ``(N, H, L, S)`` (without N for
        unbatched input), or None; in the dtype of ``query``.

    Errors:
        TypeError: the dtypes differ, or a mask is neither bool nor floating.
        ValueError: the shapes do not fit, what an option needs is missing, or the key is.

    Torch:
        ``torch.nn.functional.multi_head_attention_forward``, differs in ``rng`` and ``implementation``.

    Source:
        Vaswani et al. 2017 (arXiv:1706.03762).
    """
    a = _arrays(
        query=query, key=key, value=value, in_proj_weight=in_proj_weight, in_proj_bias=in_proj_bias, bias_k=bias_k,
        bias_v=bias_v, out_proj_weight=out_proj_weight, out_proj_bias=out_proj_bias, q_proj_weight=q_proj_weight,
        k_proj_weight=k_proj_weight, v_proj_weight=v_proj_weight, static_k=static_k, static_v=static_v,
    )  # fmt: skip
    masks = _masks(key_padding_mask=key_padding_mask, attn_mask=attn_mask)
    p = dropout_p if training else 0.0
    check_dropped(_MHA, p, rng)
    _check_ranks(a, masks, is_causal)
    batched = a["query"].ndim == 3
    if not batched:
        a |= {name: a[name][:, None] for name in ("query", "key", "value")}
        masks |= {name: mask[None] for name, mask in masks.items() if name == "key_padding_mask"}
    _check_sizes(a, embed_dim_to_check, num_heads, use_separate_proj_weight)

    q, k, v = _heads(a, num_heads, use_separate_proj_weight, add_zero_attn)
    shape = (*q.shape[:-1], k.shape[-2])  # (N, H, L, S), S with the keys that were added
    # The hint stands in for the mask where nothing else needs one.
    is_causal = is_causal and "key_padding_mask" not in masks and not need_weights
    attends = None if is_causal else _attends(masks, shape, ("bias_k" in a) + bool(add_zero_attn))
    if need_weights:
        y, w = _attend_with_weights(q, k, v, attends, p, rng)
        w = w.mean(1) if average_attn_weights else w
    else:
        y = scaled_dot_product_attention(q, k, v, attends, p, is_causal, rng=rng, implementation=implementation)
        w = None
    # (N, H, L, E / H) -> (L, N, E)
    y = linear(y.transpose(2, 0, 1, 3).reshape(a["query"].shape), a["out_proj_weight"], a.get("out_proj_bias"))
    return (y, w) if batched else (y[:, 0], None if w is None else w[0])


def _arrays(**arrays: jax.Array | None) -> dict[str, jax.Array]:
    a = {name: as_array(_MHA, name, x) for name, x in arrays.items() if x is not None}
    check_same_dtype(_MHA, **a)
    for name in ("query", "key", "value", "out_proj_weight"):
        if name not in a:
            raise refusal(_MHA, f"{name} must be given", {name: None})
    check_floating(_MHA, "query", a["query"])
    return a


def _masks(**masks: jax.Array | None) -> dict[str, jax.Array]:
    given = {name: as_array(_MHA, name, mask) for name, mask in masks.items() if mask is not None}
    for name, mask in given.items():
        if mask.dtype != bool and not jnp.issubdtype(mask.dtype, jnp.floating):
            raise refusal(_MHA, f"{name} must be bool or floating", {f"{name}.dtype": str(mask.dtype)}, kind=TypeError)
    return given


def _check_ranks(a: dict[str, jax.Array], masks: dict[str, jax.Array], is_causal: bool) -> None:
    ranks = {f"{name}.shape": a[name].shape for name in ("query", "key", "value")}
    rank = a["query"].ndim
    if rank not in (2, 3) or not rank == a["key"].ndim == a["value"].ndim:
        raise refusal(_MHA, "query, key and value must all be 3-D, or 2-D if unbatched", ranks)
    if "key_padding_mask" in masks and masks["key_padding_mask"].ndim != rank - 1:
        got = {"key_padding_mask.shape": masks["key_padding_mask"].shape, "query.shape": a["query"].shape}
        raise refusal(_MHA, "key_padding_mask must be (N, S), or (S,) for unbatched input", got)
    if is_causal and "attn_mask" not in masks:
        raise refusal(_MHA, "attn_mask must be given with is_causal", {"attn_mask": None, "is_causal": True})
    if ("bias_k" in a) != ("bias_v" in a):
        raise refusal(_MHA, "bias_k and bias_v must be given together", {"bias_k": a.get("bias_k") is not None})
    if "bias_k" in a and ("static_k" in a or "static_v" in a):
        raise refusal(_MHA, "bias_k and bias_v must be None with static_k or static_v")


def _check_sizes(a: dict[str, jax.Array], embed_dim: int, heads: int, separate: bool) -> None:
    E = a["query"].shape[2]
    if embed_dim != E:
        got = {"embed_dim_to_check": embed_dim, "query.shape": a["query"].shape}
        raise refusal(_MHA, "the last axis of query must be embed_dim_to_check", got)
    if heads < 1 or E % heads:
        raise refusal(
            _MHA, "num_heads must divide the embedding", {"num_heads": heads, "embed_dim_to_check": embed_dim}
        )
    wanted = _wanted_shapes(a, E, heads, separate)
    for name, shape in wanted.items():
        if name.endswith("proj_weight") and name not in a:
            raise refusal(_MHA, f"{name} must be given", {"use_separate_proj_weight": separate})
        if name in a and a[name].shape != shape:
            got = {f"{other}.shape": a[other].shape for other in dict.fromkeys((name, "query", "key"))}
            raise refusal(_MHA, f"{name} must be {shape}", got)


def _wanted_shapes(a: dict[str, jax.Array], E: int, heads: int, separate: bool) -> dict[str, tuple[int, ...]]:
    N, S = a["query"].shape[1], a["key"].shape[0]
    kdim, vdim = (a["key"].shape[2], a["value"].shape[2]) if separate else (E, E)
    out = a["out_proj_weight"].shape[0] if a["out_proj_weight"].ndim else 0
    # a static side alone must be as long as the projected other
    static = a["static_k"].shape[1] if "static_v" in a and "static_k" in a and a["static_k"].ndim == 3 else S
    projections = {"q_proj_weight": (E, E), "k_proj_weight": (E, kdim), "v_proj_weight": (E, vdim)}
    return {
        "key": (S, N, kdim),
        "value": (S, N, vdim),
        **(projections if separate else {"in_proj_weight": (3 * E, E)}),
        "in_proj_bias": (3 * E,),
        "bias_k": (1, 1, E),
        "bias_v": (1, 1, E),
        "out_proj_weight": (out, E),
        "out_proj_bias": (out,),
        "static_k": (N * heads, static, E // heads),
        "static_v": (N * heads, static, E // heads),
    }


def _heads(a: dict[str, jax.Array], heads: int, separate: bool, add_zero: bool) -> list[jax.Array]:
    """Queries, keys and values of each head, ``(N, H, T, E / H)``, with what is added to the keys."""
    sides = []
    for name, x in zip("qkv", _project(a, separate), strict=True):
        if name != "q" and f"bias_{name}" in a:
            x = jnp.concatenate([x, jnp.broadcast_to(a[f"bias_{name}"], (1, *x.shape[1:]))])
        # (T, N, E) -> (N, H, T, E / H)
        x = x.reshape(*x.shape[:2], heads, -1).transpose(1, 2, 0, 3)
        if f"static_{name}" in a:
            x = a[f"static_{name}"].reshape(*x.shape[:2], -1, x.shape[-1])
        if name != "q" and add_zero:
            x = jnp.pad(x, [(0, 0), (0, 0), (0, 1), (0, 0)])
        sides.append(x)
    return sides


def _project(a: dict[str, jax.Array], separate: bool) -> list[jax.Array]:
    inputs, bias = [a["query"], a["key"], a["value"]], a.get("in_proj_bias")
    if not separate and inputs[0] is inputs[1] is inputs[2]:
        # self-attention: one product
        return jnp.split(linear(inputs[0], a["in_proj_weight"], bias), 3, -1)
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    weights = [a[name] for name in names] if separate else jnp.split(a["in_proj_weight"], 3)
    biases = [None] * 3 if bias is None else jnp.split(bias, 3)
    return [linear(*each) for each in zip(inputs, weights, biases, strict=True)]


def _attends(masks: dict[str, jax.Array], shape: tuple[int, ...], added: int) -> jax.Array | None:
    """Both masks in one for `scaled_dot_product_attention`: True attends, or a floating one; added keys attend."""
    N, H, L, S = shape
    parts = []
    for name, mask in masks.items():
        wanted = [(L, S - added), (N * H, L, S - added)] if name == "attn_mask" else [(N, S - added)]
        if mask.shape not in wanted:
            rule = f"{name} must be {' or '.join(map(str, wanted))}"
            raise refusal(_MHA, rule, {f"{name}.shape": mask.shape})
        whole = (N, 1, 1) if name == "key_padding_mask" else (N, H, L) if mask.ndim == 3 else (1, 1, L)
        mask = jnp.pad(mask.reshape(*whole, S - added), [(0, 0)] * 3 + [(0, added)])
        parts.append(~mask if mask.dtype == bool else mask)
    if len({part.dtype for part in parts}) > 1:
        parts = [jnp.where(part, 0, -jnp.inf) if part.dtype == bool else part for part in parts]
    return reduce(lambda x, y: x & y if x.dtype == bool else x + y, parts) if parts else None


def _attend_with_weights(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, p: float, rng: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    accumulate = jnp.promote_types(q.dtype, jnp.float32)
    s = jnp.matmul(q, k.swapaxes(-1, -2), preferred_element_type=accumulate) / math.sqrt(max(q.shape[-1], 1))
    # The mask is added and the softmax a plain one: a query without any key gives NaN, as does its gradient.
    if mask is not None:
        s = s + (jnp.where(mask, 0, -jnp.inf) if mask.dtype == bool else mask).astype(s.dtype)
    w = dropout(jax.nn.softmax(s, -1), p, rng=rng).astype(q.dtype)
    return jnp.matmul(w, v, preferred_element_type=accumulate).astype(q.dtype), w
