"""Cases of purenn/functional/attention.py."""

import torch.nn.functional as TF
from oracle import Case, T, t, v

INF = float("inf")
SDPA = "scaled_dot_product_attention"
MHA = "multi_head_attention_forward"
QKV = (t(2, 4, 3, 8), t(2, 4, 5, 8), t(2, 4, 5, 6))
# the second query may attend to no key
SOME = v([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], "bool")
PADDING = v([[0, 0, 0, 1, 0], [1, 0, 0, 1, 1]], "bool")
SEQUENCES = (t(3, 2, 4), t(5, 2, 4), t(5, 2, 4))
MASKS = v([[0, 1, 0, 1, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], "bool")
FULL = v([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], "bool")
ADDED = v([[0.0, -INF, 1, 2, -1], [-INF] * 5, [0.5, 0.0, -INF, -INF, 3]])


def chunked(query, key, value, *args, implementation, **kwargs):
    """The oracle for a named implementation is torch's only one."""
    return TF.scaled_dot_product_attention(query, key, value, *args, **kwargs)


def heads(query, key, value, E, num_heads, **options):
    """A call of multi_head_attention_forward: every argument by position, as torch orders them."""
    call = {
        "in_proj_weight": t(3 * E, E), "in_proj_bias": t(3 * E), "bias_k": None, "bias_v": None,
        "add_zero_attn": False, "dropout_p": 0.0, "out_proj_weight": t(E, E), "out_proj_bias": t(E), "training": True,
        "key_padding_mask": None, "need_weights": True, "attn_mask": None, "use_separate_proj_weight": False,
        "q_proj_weight": None, "k_proj_weight": None, "v_proj_weight": None, "static_k": None, "static_v": None,
        "average_attn_weights": True, "is_causal": False,
    }  # fmt: skip
    assert set(options) <= set(call)
    label = ",".join(f"{name}={value.shape if isinstance(value, T) else value}" for name, value in options.items())
    return Case(MHA, (query, key, value, E, num_heads, *(call | options).values()), label=f"{MHA}({label})")


CASES = [
    Case(SDPA, QKV, batch=(0, 1, 2)),
    Case(SDPA, (t(3, 8), t(5, 8), t(5, 6)), {"scale": -0.7}),
    Case(SDPA, (*QKV, SOME), batch=(0, 3)),
    Case(SDPA, (*QKV, ADDED)),
    Case(SDPA, (*QKV, t(2, 1, 3, 1))),
    Case(SDPA, (t(2, 5, 4), t(2, 3, 4), t(2, 3, 4), None, 0.0, True)),
    Case(SDPA, (t(4, 3, 4), t(2, 4, 5, 4), t(2, 1, 5, 4))),
    Case(SDPA, (t(2, 4, 3, 8), t(2, 2, 5, 8), t(2, 1, 5, 6), SOME), {"enable_gqa": True}),
    Case(SDPA, (t(2, 0, 4), t(2, 3, 4), t(2, 3, 4))),
    Case(SDPA, (t(2, 3, 4), t(2, 0, 4), t(2, 0, 4))),
    Case(SDPA, (t(2, 3, 0), t(2, 5, 0), t(2, 5, 4))),
    Case(SDPA, (t(2, 3, 8), t(2, 5, 8), t(2, 5, 6), ADDED), {"implementation": "chunked"}, torch_fn=chunked),
    Case(
        SDPA, (t(4, 6, 8), t(2, 5, 8), t(2, 5, 6), None, 0.0, True), {"enable_gqa": True, "implementation": "chunked"},
        torch_fn=chunked,
    ),
    heads(*SEQUENCES, 4, 2, key_padding_mask=PADDING, attn_mask=MASKS),
    heads(*SEQUENCES, 4, 2, key_padding_mask=PADDING, attn_mask=FULL, need_weights=False),
    heads(*SEQUENCES, 4, 2, attn_mask=FULL),
    heads(*SEQUENCES, 4, 2, attn_mask=t(4, 3, 5), need_weights=False, in_proj_bias=None, out_proj_bias=None),
    heads(*SEQUENCES, 4, 2, key_padding_mask=PADDING, attn_mask=t(3, 5), average_attn_weights=False),
    heads(*SEQUENCES, 4, 2, add_zero_attn=True, bias_k=t(1, 1, 4), bias_v=t(1, 1, 4), key_padding_mask=PADDING,
          attn_mask=MASKS, need_weights=False),
    heads(*SEQUENCES, 4, 2, add_zero_attn=True, bias_k=t(1, 1, 4), bias_v=t(1, 1, 4), attn_mask=t(3, 5)),
    heads(*SEQUENCES, 4, 2, static_k=t(4, 6, 2), static_v=t(4, 6, 2), out_proj_weight=t(7, 4), out_proj_bias=t(7)),
    heads(*SEQUENCES, 4, 2, is_causal=True, attn_mask=FULL, need_weights=False, training=False, dropout_p=0.3),
    heads(t(3, 2, 4), t(5, 2, 6), t(5, 2, 3), 4, 4, use_separate_proj_weight=True, in_proj_weight=None,
          q_proj_weight=t(4, 4), k_proj_weight=t(4, 6), v_proj_weight=t(4, 3)),
    heads(t(3, 4), t(5, 4), t(5, 4), 4, 2, key_padding_mask=v([0, 0, 1, 0, 1], "bool"), attn_mask=t(2, 3, 5)),
    heads(t(3, 4), t(5, 4), t(5, 4), 4, 1, key_padding_mask=v([0, 0, 1, 0, 1], "bool"), need_weights=False),
]  # fmt: skip
