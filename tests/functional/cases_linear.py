"""Cases of purenn/functional/linear.py."""

import torch
import torch.nn.functional as TF
from oracle import Case, ints, t, v


def grouped(a, b, offs=None):
    """torch's, which wants int32 offsets; what no group covers it leaves undefined, so here all is covered."""
    if offs is None:
        return TF.grouped_mm(a, b)
    return TF.grouped_mm(a, b, offs=offs.to(torch.int32))


CASES = [
    Case("linear", (t(5, 3), t(4, 3), t(4))),
    Case("linear", (t(3), t(4, 3))),
    Case("linear", (t(2, 5, 3), t(4, 3), t(4)), batch=(0, 2)),
    Case("linear", (t(2, 3), t(3))),
    Case("linear", (t(0, 3), t(4, 3), t(4))),
    Case("linear", (t(5, 3), t(4, 3), t(5, 4))),
    Case("linear", (t(5, 3), t(4, 3), t(1))),
    Case("linear", (ints(5, 3), ints(4, 3))),
    Case("bilinear", (t(5, 3), t(5, 2), t(4, 3, 2), t(4)), batch=(0, 1)),
    Case("bilinear", (t(3), t(2), t(4, 3, 2))),
    Case("bilinear", (t(2, 5, 3), t(2, 5, 2), t(1, 3, 2), t(1)), batch=(2,)),
    Case("bilinear", (t(0, 3), t(0, 2), t(4, 3, 2), t(4))),
    Case("bilinear", (ints(5, 3), ints(5, 2), ints(4, 3, 2))),
    Case("grouped_mm", (t(8, 8), t(3, 8, 16)), {"offs": v([2, 2, 8], "int32")}, torch_fn=grouped),
    Case("grouped_mm", (t(2, 8, 16), t(16, 24)), {"offs": v([8, 24], "int32")}, torch_fn=grouped),
    Case("grouped_mm", (t(8, 16), t(16, 8)), {"offs": v([4, 16], "int32")}, torch_fn=grouped, batch=(1,)),
    Case("grouped_mm", (t(2, 8, 16), t(2, 16, 8)), torch_fn=grouped),
    # 8-bit arrays, which the oracle cannot draw: test_linear.py has their laws
    Case("scaled_mm", seeded=True),
    Case("scaled_grouped_mm", seeded=True),
]
