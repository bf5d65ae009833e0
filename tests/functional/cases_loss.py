"""Cases of purenn/functional/loss.py, binary_cross_entropy.py and margin_loss.py."""

from oracle import Case, ints, t, v

SIGNS = v([[1, -1, 1], [-1, -1, 1]])


def near(a, b):
    """A distance of one's own."""
    return abs(a - b).sum(-1)


CASES = [
    Case("l1_loss", (t(2, 3), t(2, 3))),
    Case("l1_loss", (v([0.0, 1.0, -2.0]), v([0.0, 2.0, 1.0])), {"reduction": "none"}),
    Case("l1_loss", (t(2, 3), t(2, 3)), {"weight": t(2, 3, kind="positive")}),
    Case("l1_loss", (t(2, 3), t(2, 3)), {"weight": t(2, 3, kind="positive"), "reduction": "sum"}),
    Case("mse_loss", (t(2, 3), t(2, 3))),
    Case("mse_loss", (t(0, 3), t(0, 3)), {"reduction": "sum"}),
    Case("mse_loss", (t(2, 3), ints(2, 3)), {"reduction": "none", "weight": t(2, 3, kind="positive")}),
    Case("mse_loss", (t(2, 3), t(2, 3)), {"weight": t(2, 3, kind="positive")}),
    Case("smooth_l1_loss", (t(4, 3), t(4, 3))),
    Case("smooth_l1_loss", (v([0.0, 1.5, -3.0]), v([0.0, 3.0, 1.0])), {"reduction": "none", "beta": 1.5}),
    Case("smooth_l1_loss", (t(4), t(4)), {"reduction": "sum", "beta": 0.0}),
    Case("huber_loss", (t(4, 3), t(4, 3))),
    Case("huber_loss", (v([0.0, 1.5, -3.0]), v([0.0, 3.0, 1.0])), {"reduction": "none", "delta": 1.5}),
    Case("huber_loss", (t(4), t(4)), {"weight": t(4, kind="positive")}),
    Case("gaussian_nll_loss", (t(4, 3), t(4, 3), t(4, 3, kind="positive"))),
    Case("gaussian_nll_loss", (t(4, 3), t(4, 3), t(4, kind="positive")), {"full": True, "reduction": "sum"}),
    Case("gaussian_nll_loss", (t(2, 3), t(3), v([[0.2], [0.7]])), {"eps": 0.5, "reduction": "none"}),
    Case("gaussian_nll_loss", (t(2, 3), t(2, 3), 0.7)),
    Case("poisson_nll_loss", (t(4, 3), ints(4, 3))),
    Case("poisson_nll_loss", (t(4), v([0.5, 1.0, 3.0, 7.0])), {"full": True, "reduction": "none"}),
    Case("poisson_nll_loss", (t(4, kind="positive"), t(4, kind="positive")), {"log_input": False, "eps": 0.01}),
    Case("kl_div", (t(4, 3, kind="logprobs"), t(4, 3, kind="probs")), {"reduction": "batchmean"}),
    Case("kl_div", (t(4, 3, kind="logprobs"), t(4, 3, kind="logprobs")), {"reduction": "sum", "log_target": True}),
    Case("kl_div", (t(2, 3, kind="logprobs"),), {"target": v([0.0, 0.4, 0.6]), "reduction": "none"}),
    Case("binary_cross_entropy", (t(4, 3, kind="uniform"), t(4, 3, kind="uniform"))),
    Case(
        "binary_cross_entropy",
        (t(4, 3, kind="uniform"), t(4, 3, kind="uniform")),
        {"weight": t(3, kind="positive"), "reduction": "none"},
    ),
    Case("binary_cross_entropy_with_logits", (t(4, 3), t(4, 3, kind="uniform"))),
    Case(
        "binary_cross_entropy_with_logits",
        (v([0.0, 100.0, -100.0]), v([0.0, 1.0, 1.0])),
        {"pos_weight": v([2.0, 0.5, 3.0]), "weight": v([0.5]), "reduction": "none"},
    ),
    Case("binary_cross_entropy_with_logits", (t(4, 3), t(4, 3, kind="uniform")), {"pos_weight": t(3, kind="positive")}),
    Case("hinge_embedding_loss", (t(2, 3), SIGNS)),
    Case("hinge_embedding_loss", (v([1.5, 1.0, 2.0]), v([-1, 0, 1])), {"margin": 1.5, "reduction": "none"}),
    Case("soft_margin_loss", (t(2, 3),), {"target": SIGNS}),
    Case("soft_margin_loss", (v([0.0, 5.0, -5.0]),), {"target": v([1, 1, 1], "int32"), "reduction": "none"}),
    Case("margin_ranking_loss", (t(2, 3), t(2, 3), SIGNS)),
    Case("margin_ranking_loss", (v([1.0, 2.0]), v([1.0, 1.0]), v([1.0, -1.0])), {"reduction": "none"}),
    Case("margin_ranking_loss", (t(2, 3), t(1, 3), t(2, 1)), {"margin": 0.5, "reduction": "sum"}),
    Case("cosine_embedding_loss", (t(3, 4), t(3, 4), v([1, -1, -1], "int32")), {"reduction": "none"}),
    Case("cosine_embedding_loss", (t(4), t(4), v(-1, "int32")), {"margin": -0.9}),
    Case("cosine_embedding_loss", (t(3, 4), t(1, 4), v([1, -1, 0], "int32")), {"reduction": "sum"}),
    # the class margins have no half kernel in torch on the CPU
    Case("multi_margin_loss", (t(4, 3), ints(4, high=3)), half=False),
    Case("multi_margin_loss", (t(3), v(1, "int32")), {"p": 2, "margin": 0.5}, half=False),
    Case(
        "multi_margin_loss",
        (v([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), v([0, 2], "int32")),
        {"weight": v([0.5, 1.0, 2.0]), "reduction": "none"},
        half=False,
    ),
    Case("multilabel_margin_loss", (t(3, 4), v([[3, 0, -1, 1], [-1, 2, 2, 2], [1, 1, 2, 3]], "int32")), half=False),
    Case("multilabel_margin_loss", (t(4), v([3, 0, -1, 1], "int32")), {"reduction": "none"}, half=False),
    Case("multilabel_soft_margin_loss", (t(2, 3), t(2, 3, kind="uniform"))),
    Case("multilabel_soft_margin_loss", (t(2, 3), t(3)), {"weight": t(3, kind="positive"), "reduction": "none"}),
    Case("triplet_margin_loss", (t(4, 3), t(4, 3), t(4, 3))),
    Case("triplet_margin_loss", (t(4, 3), t(4, 3), t(1, 3)), {"swap": True, "p": 1.0, "reduction": "none"}),
    Case("triplet_margin_loss", (t(3), t(3), t(3)), {"margin": 5.0, "p": 3.0}),
    Case(
        "triplet_margin_loss",
        (v([[1.0, 2.0], [0.0, 0.0]]), v([[1.0, 2.0], [1.0, 0.0]]), v([[3.0, 3.0], [0.0, 0.0]])),
        {"eps": 0.0, "swap": True, "reduction": "sum"},
    ),
    Case("triplet_margin_with_distance_loss", (t(4, 3), t(4, 3), t(4, 3)), {"swap": True}),
    Case(
        "triplet_margin_with_distance_loss",
        (t(4, 3), t(4, 3), t(4, 3)),
        {"distance_function": near, "margin": 2.0, "reduction": "none"},
    ),
]
