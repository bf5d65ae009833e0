"""What the operations of attention.py refuse, in words."""

import jax.numpy as jnp
import pytest

import purenn.functional as F

ones = jnp.ones
Q, K, V = ones((2, 4, 3, 8)), ones((2, 4, 5, 8)), ones((2, 4, 5, 6))
HALF = (ones((2, 4, 6, 8), "bfloat16"),) * 3


def attend(*args, **kwargs):
    return lambda: F.scaled_dot_product_attention(*args, **kwargs)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (attend([1.0], K, V), TypeError, "query must be an array"),
        (attend(Q, K, V, [[True]]), TypeError, "attn_mask must be an array"),
        (attend(Q, K.astype("bfloat16"), V), TypeError, "query, key, value must have one dtype"),
        (attend(*(x.astype("int32") for x in (Q, K, V))), TypeError,
         "query, key and value must be real floating, got query.dtype='int32'"),
        (attend(*(x.astype("complex64") for x in (Q, K, V))), TypeError, "must be real floating"),
        (attend(ones(8), K, V), ValueError, r"must be at least 2-D, got query.shape=\(8,\)"),
        (attend(Q, K[..., :7], V), ValueError, "the last axes of query and key must be equal"),
        (attend(Q, K, V[..., :4, :]), ValueError, "key and value must be equally long"),
        (attend(Q, K[:, :2], V[:, :2]), ValueError, "the leading axes must broadcast, .* need enable_gqa=True"),
        (attend(Q, ones((3, 4, 5, 8)), V, enable_gqa=True), ValueError, "the leading axes must broadcast"),
        (attend(Q[0, 0], K[0, 0], V[0, 0], enable_gqa=True), ValueError, "enable_gqa needs a head axis"),
        (attend(Q, K[:, :3], V, enable_gqa=True), ValueError, "the heads of key and value must divide those of query"),
        (attend(Q, K[:, :0], V, enable_gqa=True), ValueError, "the heads of key and value must divide"),
        (attend(Q, K, V, ones((3, 5), bool), is_causal=True), ValueError, "attn_mask must be None with is_causal"),
        (attend(Q, K, V, ones((3, 5), "int32")), TypeError, "attn_mask must be bool, float32 or of the dtype of query"),
        (attend(Q, K, V, ones((3, 5), "float16")), TypeError, "attn_mask must be bool, float32"),
        (attend(Q, K, V, ones((3, 4))), ValueError, r"to the scores \(2, 4, 3, 5\), got attn_mask.shape=\(3, 4"),
        (attend(Q, K, V, ones(5)), ValueError, "attn_mask must be at least 2-D"),
        (attend(Q, K, V, ones((2, 1, 1, 3, 5))), ValueError, "broadcast to the scores"),
        (attend(Q[:1], K[:1], V[:1], ones((2, 1, 3, 5))), ValueError, "broadcast to the scores"),
        (attend(Q, K, V, dropout_p=1.5), ValueError, r"dropout_p must lie in \[0, 1\], got dropout_p=1.5"),
        (attend(Q, K, V, dropout_p=-0.5), ValueError, "dropout_p must lie in"),
        (attend(Q, K, V, dropout_p=0.5), ValueError, "rng must be given when weights are dropped, .* rng=jax.random"),
        (attend(Q, K, V, implementation="flash"), ValueError, 'must be None, "xla", "chunked" or "cudnn"'),
        (attend(*HALF, implementation="cudnn"), ValueError, "needs an NVIDIA GPU of compute capability 8.0"),
        (attend(Q, K, V, implementation="cudnn"), ValueError, 'implementation="cudnn" needs float16 or bfloat16'),
        (attend(*HALF, dropout_p=0.5, rng=0, implementation="cudnn"), ValueError, "cannot drop weights"),
        (attend(*HALF, ones((6, 6)), implementation="cudnn"), ValueError, "takes boolean masks only"),
        (attend(*(x[..., :5, :] for x in HALF), ones((5, 5), bool), implementation="cudnn"), ValueError, "even length"),
        (attend(*(x[..., :7] for x in HALF), implementation="cudnn"), ValueError, "one E of at most 128"),
        (attend(*HALF[:2], HALF[2][:1], implementation="cudnn"), ValueError, "does not broadcast leading axes"),
        (attend(*(x[None] for x in HALF), implementation="cudnn"), ValueError, "takes at most 4 axes"),
    ],
)  # fmt: skip
def test_refusals_of_scaled_dot_product_attention(call, error, words):
    with pytest.raises(error, match="^scaled_dot_product_attention: .*" + words):
        call()


def heads(**changed):
    given = {
        "query": ones((3, 2, 4)), "key": ones((5, 2, 4)), "value": ones((5, 2, 4)), "embed_dim_to_check": 4,
        "num_heads": 2, "in_proj_weight": ones((12, 4)), "in_proj_bias": ones(12), "bias_k": None, "bias_v": None,
        "add_zero_attn": False, "dropout_p": 0.0, "out_proj_weight": ones((4, 4)), "out_proj_bias": ones(4),
    }  # fmt: skip
    return lambda: F.multi_head_attention_forward(**(given | changed))


SEPARATE = {
    "use_separate_proj_weight": True, "q_proj_weight": ones((4, 4)), "k_proj_weight": ones((4, 4)),
    "v_proj_weight": ones((4, 4)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"query": [1.0]}, TypeError, "query must be an array"),
        ({"query": None}, ValueError, "query must be given"),
        ({"out_proj_weight": None}, ValueError, "out_proj_weight must be given"),
        ({"key": ones((5, 2, 4), "bfloat16")}, TypeError, "must have one dtype"),
        ({"query": ones((3, 4))}, ValueError, "query, key and value must all be 3-D, or 2-D if unbatched"),
        ({"query": ones((1, 3, 2, 4))}, ValueError, "must all be 3-D"),
        ({"key_padding_mask": ones((2, 5), "int32")}, TypeError, "key_padding_mask must be bool or floating"),
        ({"attn_mask": ones((3, 5), "int32")}, TypeError, "attn_mask must be bool or floating"),
        ({"key_padding_mask": ones(5, bool)}, ValueError, r"key_padding_mask must be \(N, S\), or \(S,\)"),
        ({"key_padding_mask": ones((2, 4), bool)}, ValueError, r"key_padding_mask must be \(2, 5\), got"),
        ({"attn_mask": ones((3, 4), bool)}, ValueError, r"attn_mask must be \(3, 5\) or \(4, 3, 5\), got"),
        ({"attn_mask": ones((2, 3, 5), bool)}, ValueError, "attn_mask must be"),
        ({"attn_mask": ones(5, bool)}, ValueError, "attn_mask must be"),
        ({"is_causal": True}, ValueError, "attn_mask must be given with is_causal"),
        ({"bias_k": ones((1, 1, 4))}, ValueError, "bias_k and bias_v must be given together"),
        ({"bias_k": ones((1, 1, 4)), "bias_v": ones((1, 1, 4)), "static_k": ones((4, 5, 2))}, ValueError,
         "bias_k and bias_v must be None with static_k or static_v"),
        ({"bias_k": ones((1, 1, 3)), "bias_v": ones((1, 1, 4))}, ValueError, r"bias_k must be \(1, 1, 4\)"),
        ({"embed_dim_to_check": 5}, ValueError, "the last axis of query must be embed_dim_to_check"),
        ({"num_heads": 3}, ValueError, "num_heads must divide the embedding"),
        ({"value": ones((4, 2, 4))}, ValueError, r"value must be \(5, 2, 4\)"),
        ({"key": ones((5, 3, 4))}, ValueError, r"key must be \(5, 2, 4\), got key.shape=\(5, 3, 4\)"),
        ({"in_proj_weight": None}, ValueError, "in_proj_weight must be given, got use_separate_proj_weight=False"),
        ({"in_proj_weight": ones((11, 4))}, ValueError, r"in_proj_weight must be \(12, 4\)"),
        ({"in_proj_bias": ones(4)}, ValueError, r"in_proj_bias must be \(12,\)"),
        ({"use_separate_proj_weight": True}, ValueError, "q_proj_weight must be given"),
        (SEPARATE | {"v_proj_weight": ones((4, 3))}, ValueError, r"v_proj_weight must be \(4, 4\)"),
        ({"out_proj_weight": ones((4, 3))}, ValueError, r"out_proj_weight must be \(4, 4\)"),
        ({"out_proj_weight": ones(4)}, ValueError, r"out_proj_weight must be \(4, 4\)"),
        ({"out_proj_bias": ones(3)}, ValueError, r"out_proj_bias must be \(4,\)"),
        ({"static_k": ones((3, 5, 2))}, ValueError, r"static_k must be \(4, 5, 2\)"),
        ({"static_k": ones(3), "static_v": ones(3)}, ValueError, r"static_k must be \(4, 5, 2\)"),
        ({"static_v": ones((4, 6, 2))}, ValueError, r"static_v must be \(4, 5, 2\)"),
        ({"dropout_p": 2.0}, ValueError, "dropout_p must lie in"),
        ({"dropout_p": 0.5}, ValueError, "rng must be given when weights are dropped"),
    ],
)  # fmt: skip
def test_refusals_of_multi_head_attention_forward(changed, error, words):
    with pytest.raises(error, match="^multi_head_attention_forward: .*" + words):
        heads(**changed)()


def test_integers_are_refused_by_multi_head_attention_forward():
    arrays = {name: x.astype("int32") for name, x in {
        "query": ones((3, 2, 4)), "key": ones((5, 2, 4)), "value": ones((5, 2, 4)), "in_proj_weight": ones((12, 4)),
        "in_proj_bias": ones(12), "out_proj_weight": ones((4, 4)), "out_proj_bias": ones(4),
    }.items()}  # fmt: skip
    with pytest.raises(TypeError, match="query must be floating"):
        heads(**arrays)()
