"""Cases of purenn/functional/interpolate.py, grid.py and shuffle.py."""

import torch.nn.functional as TF
from oracle import Case, ints, t, v

X3, X4, X5 = t(2, 2, 7), t(2, 3, 5, 4), t(1, 2, 3, 4, 2)
BYTES = ints(1, 3, 6, 5, low=0, high=256, dtype="uint8")
GRID = v([[[[-0.9, 0.3], [1.4, -0.2], [0.1, 2.7]], [[-1.0, 1.0], [-3.1, 0.2], [0.35, -0.6]]]] * 2)
GRID5 = v([[[[[-0.9, 0.3, 0.1], [1.4, -0.2, -1.3], [0.1, 2.7, 0.45]]]]])

CASES = [
    Case("interpolate", (X3, 4)),
    Case("interpolate", (X4, None, (2.0, 1.3))),
    Case("interpolate", (X5, (2, 5, 2), None, "nearest-exact")),
    Case("interpolate", (t(0, 2, 5), 8), {"mode": "nearest-exact"}),
    Case("interpolate", (X3, None, 1.7, "linear")),
    Case("interpolate", (t(1, 1, 2), 40, None, "linear", True)),  # wide: a matrix product
    Case("interpolate", (X4, None, (1.7, 0.6), "bilinear", None, True)),
    Case("interpolate", (X4, (8, 1), None, "bilinear", True)),
    Case("interpolate", (X4, (3, 9), None, "bilinear", False, None, True), half=False),  # torch: float32, float64 only
    Case("interpolate", (X4, None, 1.6, "bicubic")),
    Case("interpolate", (X4, (3, 7), None, "bicubic", True)),
    Case("interpolate", (X4, (2, 6), None, "bicubic"), {"antialias": True}, half=False),  # as above
    Case("interpolate", (X4, (3, 6), None, "lanczos"), {"antialias": True}, half=False),  # as above
    Case("interpolate", (X5, None, (1.5, 0.5, 2.5), "trilinear")),
    Case("interpolate", (X4, (3, 6), None, "area")),
    Case("interpolate", (BYTES, (4, 9), None, "bilinear")),
    Case("interpolate", (BYTES, (9, 2), None, "bicubic"), {"antialias": True}),
    Case("interpolate", (BYTES, (4, 9))),
    Case("upsample", (X3, 9, None, "linear", True), torch_fn=TF.interpolate),
    Case(
        "upsample_bilinear",
        (X4, None, 2),
        torch_fn=lambda x, size, factor: TF.interpolate(x, size, factor, "bilinear", True),
    ),
    Case("upsample_nearest", (X4, 6), torch_fn=TF.interpolate),
    Case("grid_sample", (X4, GRID, "bilinear", "zeros", False)),
    Case("grid_sample", (X4, GRID, "bilinear", "border", True)),
    Case("grid_sample", (X4, GRID, "bilinear", "reflection", False)),
    Case("grid_sample", (X4, GRID, "nearest", "reflection", True)),
    # torch computes the cubic in the half itself, 5.1e-2 off in bfloat16; test_vision.py measures ours
    Case("grid_sample", (X4, GRID, "bicubic", "zeros", True), half=False),
    Case("grid_sample", (X4, GRID, "bicubic", "border", False), half=False),
    Case("grid_sample", (X4, GRID, "bicubic", "reflection", False), half=False),
    Case("grid_sample", (X5, GRID5, "bilinear", "zeros", True)),
    Case("grid_sample", (X5, GRID5, "bilinear", "reflection", True)),
    Case("grid_sample", (X5, GRID5, "nearest", "border", False)),
    Case("affine_grid", (t(2, 2, 3), (2, 1, 3, 4), False), half=False),  # torch takes halves on GPUs alone
    Case("affine_grid", (t(1, 3, 4), [1, 1, 2, 4, 3], True), half=False),  # as above
    Case("pixel_shuffle", (t(2, 8, 2, 3), 2)),
    Case("pixel_shuffle", (t(9, 1, 2), 3)),
    Case("pixel_unshuffle", (t(2, 1, 6, 3), 3)),
    Case("channel_shuffle", (t(2, 6, 3), 3)),
    Case("channel_shuffle", (t(0, 4, 2, 2), 2)),
    # torch has no gradient for its native one
    Case("native_channel_shuffle", (t(2, 6, 2, 1), 2), torch_fn=TF.channel_shuffle),
]
