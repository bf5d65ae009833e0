"""Cases of purenn/functional/pooling.py, lp_pooling.py, adaptive_pooling.py, fractional_pooling.py and unpooling.py."""

from oracle import Case, ints, t, v

CASES = [
    # averages: divisors at the padding, and the last window of ceil_mode
    Case("avg_pool1d", (t(2, 3, 8), 2)),
    Case("avg_pool1d", (t(3, 8), (3,), 2, 1, True, False)),
    Case("avg_pool1d", (t(0, 3, 8), 3)),
    Case("avg_pool2d", (t(2, 3, 7, 6), (3, 2), (2, 3), (1, 0), True)),
    Case("avg_pool2d", (t(2, 3, 7, 6), 3, 2, 1), {"count_include_pad": False, "ceil_mode": True}),
    Case("avg_pool2d", (t(3, 5, 5), 2), {"divisor_override": -3}),
    Case("avg_pool2d", (t(2, 3, 4, 5), (4, 5))),
    Case("avg_pool2d", (ints(2, 3, 4, 4, low=-9), 2)),
    # torch has no half kernel for three axes on the CPU
    Case("avg_pool3d", (t(2, 3, 4, 5, 6), (2, 3, 2), 2, (1, 1, 0), True), half=False),
    Case("avg_pool3d", (t(3, 4, 5, 6), 3, (1, 2, 3), 1, True, False, 5), half=False),
    # maxima
    Case("max_pool1d", (t(2, 3, 8), 2)),
    Case("max_pool1d", (t(3, 9), 3, 2, 1, 2, True)),
    Case("max_pool1d", (t(0, 3, 9), 3)),
    Case("max_pool1d", (t(2, 3, 9), 5, 1, 2), {"return_indices": True}),
    Case("max_pool1d_with_indices", (t(2, 3, 9), 3, 2, 1)),
    Case("max_pool2d", (t(2, 3, 8, 7), 3, 2, 1)),
    Case("max_pool2d", (t(2, 3, 8, 7), (2, 3), (1, 2), (1, 0), (3, 2), True)),
    Case("max_pool2d", (t(3, 8, 9), (5, 8), (1, 9), 1, 1, True, True)),
    Case("max_pool2d", (ints(2, 3, 6, 6, low=-9), 3, 2, 1)),
    Case("max_pool2d", (ints(2, 3, 6, 6, low=-1, high=2), 3, 2, 1), {"return_indices": True}),
    Case("max_pool2d_with_indices", (t(2, 3, 6, 7), (3, 2)), {"dilation": 2}),
    Case("max_pool3d", (t(2, 3, 4, 5, 6), (2, 3, 2), 2, (1, 1, 0), 1, True)),
    Case("max_pool3d", (t(3, 4, 5, 6), 2), {"return_indices": True, "dilation": (1, 2, 3)}),
    Case("max_pool3d_with_indices", (t(1, 2, 4, 4, 4), 3, 1, 1)),
    # p-norms
    Case("lp_pool1d", (t(2, 3, 8), 2, 3)),
    Case("lp_pool1d", (t(2, 3, 8, kind="positive"), 1.5, 3, 2, True)),
    Case("lp_pool1d", (t(3, 8), 1, 2)),
    Case("lp_pool2d", (t(2, 3, 6, 7), 2, (3, 2), (1, 2), True)),
    # odd p cancels: torch cubes in half precision and is off by 5.5e-3 of the scale in float16
    Case("lp_pool2d", (t(2, 3, 6, 7), 3.0, 2), half=False),
    Case("lp_pool2d", (t(2, 3, 6, 7), float("inf"), 3, 2, True)),
    Case("lp_pool2d", (t(3, 6, 7), -float("inf"), 3)),
    Case("lp_pool3d", (t(2, 3, 4, 5, 6), 2.0, (2, 3, 2)), half=False),  # torch has no half kernel
    Case("lp_pool3d", (t(3, 4, 5, 6, kind="positive"), -1, 2, 1, True), half=False),  # the same
    # adaptive: windows that overlap, windows that tile, fewer elements than windows, none at all
    Case("adaptive_avg_pool1d", (t(2, 3, 8), 3)),
    Case("adaptive_avg_pool1d", (t(3, 5), (7,))),
    Case("adaptive_avg_pool1d", (t(2, 0, 5), 2), grad=False),  # torch refuses the backward pass
    Case("adaptive_avg_pool2d", (t(2, 3, 7, 6), (3, None))),
    Case("adaptive_avg_pool2d", (t(2, 3, 6, 8), (2, 4))),
    Case("adaptive_avg_pool2d", (t(2, 3, 7, 7), 1)),
    Case("adaptive_avg_pool2d", (t(3, 4, 4), 0), grad=False),  # the same
    Case("adaptive_avg_pool3d", (t(2, 3, 4, 5, 6), (3, 2, 4))),
    Case("adaptive_avg_pool3d", (t(0, 3, 4, 5, 6), 2)),
    Case("adaptive_max_pool1d", (t(2, 3, 8), 3)),
    Case("adaptive_max_pool1d", (t(3, 5), 7, True)),
    Case("adaptive_max_pool1d_with_indices", (t(2, 3, 8), (4,))),
    Case("adaptive_max_pool2d", (t(2, 3, 7, 6), (3, None))),
    Case("adaptive_max_pool2d", (t(2, 3, 6, 8), (2, 4))),
    Case("adaptive_max_pool2d", (t(3, 9, 7), (2, 7), True)),
    Case("adaptive_max_pool2d_with_indices", (t(2, 3, 5, 6), 4)),
    Case("adaptive_max_pool3d", (t(2, 3, 4, 5, 6), (3, 2, 4))),
    Case("adaptive_max_pool3d", (t(3, 4, 5, 6), 2), {"return_indices": True}),
    Case("adaptive_max_pool3d_with_indices", (t(0, 3, 4, 5, 6), 3)),
    # fractional: the numbers drawn are given, so that torch takes the same windows
    Case("fractional_max_pool2d", (t(2, 3, 9, 8), 2, 4), {"_random_samples": t(2, 3, 2, kind="uniform")}),
    Case(
        "fractional_max_pool2d",
        (t(3, 9, 8), (3, 2), (1, 7), None, True),
        {"_random_samples": t(1, 3, 2, kind="uniform")},
    ),
    Case(
        "fractional_max_pool2d_with_indices",
        (t(2, 3, 9, 8), 5, None, (0.5, 0.4)),
        {"_random_samples": t(2, 3, 2, kind="uniform")},
    ),
    Case("fractional_max_pool3d", (t(2, 3, 7, 6, 5), 2, 3), {"_random_samples": t(2, 3, 3, kind="uniform")}),
    Case("fractional_max_pool3d", (t(3, 7, 6, 5), 3, None, 0.3, True), {"_random_samples": t(1, 3, 3, kind="uniform")}),
    Case(
        "fractional_max_pool3d_with_indices",
        (t(2, 2, 7, 6, 5), (2, 3, 1), (2, 3, 4)),
        {"_random_samples": t(2, 2, 3, kind="uniform")},
    ),
    # unpooling: a place for every element, and places that are shared
    Case("max_unpool1d", (t(1, 2, 3), v([[[1, 2, 4], [0, 3, 5]]], "int32"), 2), batch=(0, 1)),
    Case("max_unpool1d", (t(1, 3), v([[1, 3, 5]], "int32"), (3,), 2, 1, (6,)), batch=(0, 1)),
    Case("max_unpool2d", (t(1, 2, 2), v([[[5, 2], [8, 11]]], "int32"), 2, 2, 0, (5, 4)), batch=(0, 1)),
    Case("max_unpool2d", (t(0, 2, 2, 2), ints(0, 2, 2, 2, high=16), 2), batch=(0, 1)),
    Case("max_unpool3d", (t(1, 1, 1, 2, 2), v([[[[[3, 4], [9, 31]]]]], "int32"), 2), batch=(0, 1)),
]
