"""Catalogue: affine maps, convolution, pooling, normalisation, embeddings, and the lazy classes."""

from module_case import cases
from oracle import ints, t, v

SHAPE = (2, 4, 6, 5, 3)


def image(rank):
    return t(*SHAPE[: rank + 2])


CASES = [
    *cases("Linear(4, 3)\nLinear(4, 3, bias=False)", t(2, 4)),
    *cases("Linear(4, 3, dtype=half)", t(2, 4, dtype="float16")),
    *cases("Bilinear(3, 2, 4)\nBilinear(3, 2, 4, bias=False)", t(5, 3), t(5, 2)),
    *cases("Conv1d(4, 6, 3)\nConv1d(4, 6, 3, 2, 1, groups=2, bias=False)\nConv1d(4, 2, 2, padding=\"same\")\n"
           "LazyConv1d(6, 3)\nConvTranspose1d(4, 6, 3, 2, 1, 1)\nLazyConvTranspose1d(6, 3, bias=False)", image(1)),
    *cases("Conv2d(4, 6, (3, 2))\nConv2d(4, 2, 3, padding=1, padding_mode=\"reflect\", dilation=2, bias=False)\n"
           "LazyConv2d(6, 3, groups=2)\nConvTranspose2d(4, 6, 3, groups=2, dilation=2)\nLazyConvTranspose2d(6, 2)",
           image(2)),
    *cases("Conv3d(4, 2, 2)\nLazyConv3d(2, 2, bias=False)\nConvTranspose3d(4, 2, 2, stride=(2, 1, 1), bias=False)\n"
           "LazyConvTranspose3d(4, 2, groups=2)", image(3)),
    *(
        case
        for rank in (1, 2, 3)
        for case in cases(
            f"""
            AdaptiveAvgPool{rank}d(2)
            AdaptiveMaxPool{rank}d(3)
            AdaptiveMaxPool{rank}d(1, return_indices=True)
            AvgPool{rank}d(2, 2, 1, count_include_pad=False)
            LPPool{rank}d(2, 2, ceil_mode=True)
            MaxPool{rank}d(3, 2, 1)
            MaxPool{rank}d(2, return_indices=True)
            BatchNorm{rank}d(4)
            BatchNorm{rank}d(4, affine=False, momentum=None)
            BatchNorm{rank}d(4, bias=False, track_running_stats=False)
            InstanceNorm{rank}d(4)
            InstanceNorm{rank}d(4, affine=True, track_running_stats=True)
            LazyBatchNorm{rank}d(momentum=0.3)
            LazyInstanceNorm{rank}d()
            """,
            image(rank),
        )
    ),
    *cases("MaxUnpool1d(2)", t(1, 2, 3), v([[[1, 2, 5], [0, 3, 4]]], "int32")),
    *cases("MaxUnpool2d((2, 1))", t(1, 1, 2, 2), v([[[[2, 1], [4, 7]]]], "int32")),
    *cases("MaxUnpool3d(2)", t(1, 1, 1, 1, 2), v([[[[[9, 3]]]]], "int32")),
    *cases("FractionalMaxPool2d(2, output_size=(3, 2), _random_samples=array([[[0.2, 0.8]] * 4] * 2))", image(2)),
    *cases("FractionalMaxPool3d(2, output_ratio=0.5, _random_samples=array([[[0.2, 0.8, 0.4]] * 4] * 2))", image(3)),
    *cases("GroupNorm(2, 4)\nGroupNorm(4, 4, affine=False)\nGroupNorm(2, 4, bias=False)\nSyncBatchNorm(4)\n"
           "SyncBatchNorm(4, affine=False, track_running_stats=False)\nCrossMapLRN2d(3, 0.5, 0.6, 2)\n"
           "LocalResponseNorm(3, 0.5, 0.6, 2)", image(2)),
    *cases("LayerNorm(5)\nLayerNorm((6, 5), bias=False)\nLayerNorm(5, elementwise_affine=False)\nRMSNorm((6, 5))\n"
           "RMSNorm(5, eps=0.1, elementwise_affine=False)", image(2)),
    *cases("LazyLinear(3)\nLazyLinear(2, bias=False)", t(3, 4)),
    *cases("Embedding(7, 3)\nEmbedding(7, 3, padding_idx=2, scale_grad_by_freq=True)", ints(4, 2, high=7)),
    *cases("EmbeddingBag(7, 3)\nEmbeddingBag(7, 3, mode=\"max\", padding_idx=1)", ints(4, 2, high=7)),
    *cases("EmbeddingBag(7, 3, mode=\"sum\", include_last_offset=True)", ints(5, high=7), v([0, 2, 2, 5], "int32"),
           t(5)),
]  # fmt: skip
