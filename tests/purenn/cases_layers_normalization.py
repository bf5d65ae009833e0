"""Cases of the layers that normalise, besides BatchNorm and LayerNorm, and of EmbeddingBag."""

from layer_case import Case

SHAPE = (4, 3, 5, 4, 2)
STATISTICS = [
    {}, {"affine": True, "eps": 0.1}, {"affine": True, "bias": False}, {"track_running_stats": True, "momentum": 0.3},
    {"affine": True, "track_running_stats": True, "momentum": None},
]  # fmt: skip

CASES = [
    Case("GroupNorm", (2, 4), {}, (3, 4, 5)),
    Case("GroupNorm", (4, 4), {"eps": 0.1}, (3, 4, 2, 3)),
    Case("GroupNorm", (1, 4), {"affine": False}, (3, 4)),
    Case("GroupNorm", (2, 4), {"bias": False}, (3, 4, 1, 2, 2)),
    *(Case("InstanceNorm1d", (3,), kwargs, SHAPE[:3]) for kwargs in STATISTICS),
    *(Case(f"InstanceNorm{rank}d", (3,), STATISTICS[4], SHAPE[: rank + 2]) for rank in (2, 3)),
    *(Case(f"InstanceNorm{rank}d", (3,), STATISTICS[4], SHAPE[1 : rank + 2]) for rank in (1, 2, 3)),
    Case("RMSNorm", (3,)),
    Case("RMSNorm", ([4, 3],), {"eps": 0.1}),
    Case("RMSNorm", ((3,),), {"elementwise_affine": False}, (2, 4, 3)),
    Case("SyncBatchNorm", (3,)),
    Case("SyncBatchNorm", (3,), {"affine": False, "momentum": None}, (4, 3, 5, 2)),
    Case("SyncBatchNorm", (3,), {"bias": False, "track_running_stats": False}, (4, 3, 5)),
    *(
        Case("CrossMapLRN2d", (size, 0.5, 0.6, 2), {}, (2, channels, 3, 2))
        for size, channels in ((2, 4), (3, 1), (3, 5), (4, 6), (5, 9))
    ),
    Case("CrossMapLRN2d", (5,), {}, (2, 4, 3, 2)),
    *(Case("EmbeddingBag", (7, 3), {"mode": mode}, (4, 5)) for mode in ("sum", "mean", "max")),
    Case("EmbeddingBag", (7, 3), {"padding_idx": -2}, (4, 5)),
    Case("EmbeddingBag", (7, 3), {"max_norm": 1.0, "norm_type": 1.0}, (4, 5)),
]
