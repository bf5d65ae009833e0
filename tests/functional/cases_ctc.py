"""Cases of purenn/functional/ctc.py."""

import torch
import torch.nn.functional as TF
from oracle import Case, ints, t, v


def ctc(log_probs, targets, input_lengths, target_lengths, **kwargs):
    """torch's loss with lengths as it takes them, both as tensors."""
    lengths = [torch.as_tensor(lengths) for lengths in (input_lengths, target_lengths)]
    return TF.ctc_loss(log_probs, targets, *lengths, **kwargs)


# torch has no half kernel on the CPU
CASES = [
    Case("ctc_loss", (t(6, 2, 5, kind="logprobs"), ints(2, 3, low=1, high=5), (6, 5), (3, 2)), half=False),
    Case(
        "ctc_loss",
        (t(6, 3, 4, kind="logprobs"), v([[1, 1, 2], [3, 2, -7], [0, 0, 0]], "int32"), v([6, 4, 3], "int32"), (3, 2, 0)),
        {"reduction": "none"},
        torch_fn=ctc,
        half=False,
    ),
    Case(
        "ctc_loss",
        (t(5, 3, 4, kind="logprobs"), v([1, 2, 0, 0, 1], "int32"), (5, 2, 5), v([2, 2, 1], "int32")),
        {"blank": 3, "reduction": "sum", "zero_infinity": True},
        torch_fn=ctc,
        half=False,
    ),
    Case("ctc_loss", (t(5, 3, kind="logprobs"), v([1, 2], "int32"), (4,), (2,)), half=False),
    Case("ctc_loss", (t(4, 2, 3, kind="logprobs"), ints(2, 0), (0, 4), (0, 0)), {"reduction": "none"}, half=False),
]
