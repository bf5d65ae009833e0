"""Cases of purenn/functional/cross_entropy.py."""

import torch.nn.functional as TF
from oracle import Case, ints, t, v

from purenn.functional.cross_entropy import LinearCrossEntropyOptions

LABELS = v([2, -100, 0, 3], "int32")
GRID = ints(2, 2, 3, high=4)


def whole(input, linear_weight, target, *, options, **kwargs):
    """torch's loss with the logits of the whole batch: chunks must change nothing."""
    del options
    return TF.linear_cross_entropy(input, linear_weight, target, **kwargs)


CASES = [
    Case("cross_entropy", (t(5, 4), ints(5, high=4))),
    Case("cross_entropy", (t(4), v(2, "int32"))),
    Case("cross_entropy", (t(4, 5), LABELS), {"reduction": "none", "label_smoothing": 0.2}),
    Case("cross_entropy", (t(4, 5), LABELS), {"weight": t(5, kind="positive")}),
    Case("cross_entropy", (t(4, 5), LABELS), {"weight": t(5, kind="positive"), "label_smoothing": 0.1}),
    Case("cross_entropy", (t(2, 4, 2, 3), GRID), {"ignore_index": 1, "reduction": "sum"}),
    Case("cross_entropy", (t(2, 4, 3), ints(2, 3, high=4)), {"weight": t(4, kind="positive"), "ignore_index": 0}),
    Case("cross_entropy", (t(3, 4), v([-100, -100, -100], "int32"))),
    Case("cross_entropy", (t(0, 4), ints(0, high=4)), {"reduction": "sum"}),
    Case("cross_entropy", (t(5, 4), t(5, 4, kind="probs"))),
    Case("cross_entropy", (t(4), t(4, kind="probs")), {"label_smoothing": 0.3}),
    Case(
        "cross_entropy",
        (t(2, 4, 3), t(2, 4, 3, kind="uniform")),
        {"reduction": "none", "label_smoothing": 0.1, "weight": t(4, kind="positive")},
    ),
    Case("nll_loss", (t(5, 4, kind="logprobs"), ints(5, high=4))),
    Case("nll_loss", (t(4, kind="logprobs"), v(1, "int32")), {"reduction": "none"}),
    Case("nll_loss", (t(4, 5), LABELS), {"weight": t(5, kind="positive")}),
    Case("nll_loss", (t(2, 4, 2, 3), GRID), {"ignore_index": 1, "reduction": "none"}),
    Case("nll_loss", (t(2, 4, 3, 1, 2), ints(2, 3, 1, 2, high=4)), {"reduction": "sum"}),
    Case("nll_loss", (t(2, 4), v([-100, -100], "int32"))),
    Case("linear_cross_entropy", (t(5, 3), t(4, 3), ints(5, high=4))),
    Case("linear_cross_entropy", (t(3), t(4, 3), v(2, "int32")), {"linear_bias": t(4)}),
    Case("linear_cross_entropy", (t(4, 3), t(5, 2, 3), ints(4, 2, high=5)), {"linear_bias": t(5, 2)}),
    Case(
        "linear_cross_entropy",
        (t(4, 3), t(5, 3), LABELS),
        {"weight": t(5, kind="positive"), "options": LinearCrossEntropyOptions(batch_chunk_size=3)},
        torch_fn=whole,
    ),
    Case(
        "linear_cross_entropy",
        (t(5, 3), t(9, 3), ints(5, high=9)),
        {"reduction": "none", "ignore_index": 2, "options": LinearCrossEntropyOptions()},
        torch_fn=whole,
    ),
    Case(
        "linear_cross_entropy",
        (t(4, 3), t(5, 2, 3), t(4, 5, 2, kind="uniform")),
        {"label_smoothing": 0.1, "options": LinearCrossEntropyOptions(batch_chunk_size=2)},
        torch_fn=whole,
    ),
]
