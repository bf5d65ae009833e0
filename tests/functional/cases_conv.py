"""Cases of purenn/functional/conv.py."""

import warnings

import torch.nn.functional as TF
from oracle import Case, ints, t


def quiet(name):
    """torch's function without its warning that an odd amount of padding costs it a copy."""

    def call(*args, **kwargs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(TF, name)(*args, **kwargs)

    return call


CASES = [
    Case("conv1d", (t(2, 3, 8), t(4, 3, 3), t(4))),
    Case(
        "conv1d",
        (t(4, 7), t(6, 2, 2), t(6)),
        {"padding": "same", "dilation": 3, "groups": 2},
        torch_fn=quiet("conv1d"),
        batch=(0, 1),
    ),
    Case("conv1d", (ints(2, 3, 8), ints(4, 3, 3)), {"padding": 2}),
    Case("conv2d", (t(2, 3, 7, 6), t(4, 3, 3, 2), t(4), 2, 1)),
    Case("conv2d", (t(2, 4, 7, 6), t(8, 1, 3, 3), None, (1, 2), (2, 0), (2, 1), 4)),
    Case(
        "conv2d",
        (t(2, 3, 5, 6), t(4, 3, 4, 3), t(4)),
        {"padding": "same", "dilation": (1, 2)},
        torch_fn=quiet("conv2d"),
        batch=(0, 1, 2),
    ),
    Case("conv2d", (t(3, 7, 7), t(4, 3, 1, 1), t(4)), {"stride": [2], "padding": "valid"}),
    Case("conv2d", (t(2, 4, 5, 5), t(6, 4, 1, 1)), {"stride": (1, 2), "padding": 1}, batch=(1,)),
    Case("conv2d", (t(0, 3, 5, 5), t(4, 3, 3, 3), t(4))),
    Case("conv2d", (t(2, 0, 5, 5), t(4, 0, 3, 3), t(4))),
    Case("conv3d", (t(2, 2, 4, 5, 5), t(3, 2, 2, 3, 3), t(3), (1, 2, 2), (0, 1, 1))),
    Case("conv3d", (t(4, 3, 4, 5), t(4, 2, 2, 2, 3)), {"padding": "same", "groups": 2}, torch_fn=quiet("conv3d")),
    Case("conv_transpose1d", (t(2, 3, 5), t(3, 4, 3), t(4), 2, 1, 1)),
    Case("conv_transpose1d", (t(4, 5), t(4, 3, 2), t(6)), {"groups": 2, "dilation": 3, "output_padding": 2}),
    Case("conv_transpose2d", (t(2, 3, 4, 5), t(3, 4, 3, 2), t(4), 2, 1, 1)),
    Case("conv_transpose2d", (t(2, 4, 4, 3), t(4, 3, 3, 3), None, (2, 3), (1, 4), (1, 2), 2, (1, 2)), batch=(0, 1)),
    Case("conv_transpose2d", (t(4, 4, 3), t(4, 1, 2, 2), t(4)), {"stride": 3, "groups": 4}),
    Case("conv_transpose2d", (t(0, 3, 4, 4), t(3, 2, 3, 3), t(2))),
    Case("conv_transpose3d", (t(2, 2, 3, 3, 3), t(2, 3, 2, 3, 2), t(3), (1, 2, 2), (0, 1, 0), (0, 1, 0))),
    Case("conv_transpose3d", (t(2, 3, 2, 3), t(2, 2, 2, 2, 2)), {"groups": 2, "dilation": (2, 1, 1)}),
    Case("conv_tbc", (t(7, 2, 3), t(3, 3, 4), t(4), 1)),
    Case("conv_tbc", (t(7, 2, 3), t(2, 3, 4), t(4)), {"pad": -1}, batch=(0, 1, 2)),
]
