"""Cases of purenn/functional/embedding.py."""

from oracle import Case, ints, t, v

W = t(6, 3)
LINE, STARTS = v([0, 1, 5, 1, 2, 0, 1], "int32"), v([0, 2, 2, 5], "int32")

CASES = [
    Case("embedding", (ints(2, 4, high=6), W)),
    Case("embedding", (ints(high=6), W)),
    Case("embedding", (ints(0, high=6), W)),
    Case("embedding", (v([[1, 4, 1], [1, 0, 4]], "int32"), W, -2), {"scale_grad_by_freq": True, "sparse": False}),
    Case("embedding", (v([5, 0, 5, 3], "int32"), W, 3, 1.0)),
    Case("embedding", (v([5, 0, 5, 3], "int32"), W), {"max_norm": 1.0, "norm_type": 3.0}),
    Case("embedding", (v([5, 0, 5, 3], "int32"), W), {"max_norm": 1.0, "norm_type": float("inf")}),
    Case("embedding_bag", (ints(2, 4, high=6), W)),
    Case("embedding_bag", (ints(0, 4, high=6), W)),
    Case("embedding_bag", (v([[1, 4, 1], [4, 4, 4]], "int32"), W), {"mode": "sum", "padding_idx": 4, "max_norm": 1.0}),
    Case("embedding_bag", (v([[1, 4, 1], [4, 4, 4]], "int32"), W), {"mode": "max", "padding_idx": 4}),
    # rows named equally often: torch divides by another row's count otherwise
    Case("embedding_bag", (v([0, 4, 2, 0, 2, 4], "int32"), W, STARTS), {"mode": "sum", "scale_grad_by_freq": True}),
    Case("embedding_bag", (LINE, W, STARTS, None, 2, False, "sum", False, t(7)), {"padding_idx": -5}),
    Case("embedding_bag", (ints(2, 3, high=6), W, None, None, 2, False, "sum", False, t(2, 3))),
    Case("embedding_bag", (LINE, W, STARTS), {"padding_idx": 1}),
    Case("embedding_bag", (LINE, W, STARTS), {"mode": "max", "max_norm": 1.0, "norm_type": 1.0}),
    Case("embedding_bag", (LINE, W, v([0, 3, 7], "int32")), {"include_last_offset": True}),
    Case("embedding_bag", (v([], "int32"), W, v([0, 0], "int32")), {"mode": "max"}),
    Case("one_hot", (ints(2, 3, high=4),), jit=False),
    Case("one_hot", (ints(2, 3, high=4), 6)),
    Case("one_hot", (ints(0), 3)),
]
