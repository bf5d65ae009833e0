"""Catalogue: activations, dropout, padding, shuffles, shapes and distances."""

from module_case import cases
from oracle import t

CASES = [
    *cases(
        """
        ReLU()
        ReLU(inplace=True)
        ReLU6()
        ELU(0.7)
        SELU()
        CELU(2.0)
        LeakyReLU(0.2)
        Threshold(0.1, 20.0)
        Hardtanh(-0.5, 0.7)
        SiLU()
        Mish()
        Hardsigmoid()
        Hardswish()
        GELU()
        GELU(approximate="tanh")
        GLU()
        GLU(1)
        Hardshrink()
        Softshrink(0.3)
        Tanhshrink()
        Softplus(2.0, 1.0)
        Softsign()
        Sigmoid()
        LogSigmoid()
        Tanh()
        Softmax(1)
        LogSoftmax(-1)
        Softmin(0)
        PReLU()
        PReLU(2, 0.1)
        Identity()
        Dropout(0.0)
        AlphaDropout(0.0)
        """,
        t(3, 2, 4),
    ),
    *cases("Softmax2d()", t(2, 3, 4, 2)),
    *cases("RReLU()\nRReLU(0.2, 0.2)\nDropout()\nDropout(0.3, inplace=True)\nAlphaDropout(0.2)", t(3, 4), draws=True),
    *cases("Dropout1d()\nFeatureAlphaDropout(0.3)", t(3, 4, 2), draws=True),
    *cases("Dropout2d(0.4)", t(3, 4, 2, 2), draws=True),
    *cases("Dropout3d()", t(3, 4, 2, 1, 2), draws=True),
    *cases("CircularPad1d(2)\nConstantPad1d((1, -1), 3.5)\nReflectionPad1d((0, 2))\nReplicationPad1d(3)\nZeroPad1d(1)",
           t(2, 3, 4)),
    *cases("CircularPad2d(2)\nConstantPad2d((1, 2, 0, -1), 3.5)\nReflectionPad2d((0, 2, 1, 1))\nReplicationPad2d(3)\n"
           "ZeroPad2d(1)", t(2, 3, 4, 3)),
    *cases("CircularPad3d(1)\nConstantPad3d(1, -1.0)\nReflectionPad3d(1)\nReplicationPad3d(2)\n"
           "ZeroPad3d((1, 0, 0, 0, 2, 1))",
           t(1, 2, 3, 2, 4)),
    *cases("PixelShuffle(2)\nChannelShuffle(4)", t(2, 8, 2, 3)),
    *cases("PixelUnshuffle(2)", t(2, 3, 4, 6)),
    *cases("Flatten()\nFlatten(0, 1)\nUnfold(2, padding=1, stride=2)", t(2, 3, 4, 5)),
    *cases("Fold((4, 5), 2, stride=(2, 1))", t(2, 12, 8)),
    *cases("Unflatten(1, (2, 3))", t(2, 6, 4)),
    *cases("CosineSimilarity()\nCosineSimilarity(0, 0.1)\nPairwiseDistance()\nPairwiseDistance(1.0, keepdim=True)",
           t(3, 4), t(3, 4)),
    *cases("Upsample(scale_factor=2)\nUpsample((5, 3), mode=\"bilinear\", align_corners=True)\n"
           "Upsample(scale_factor=(1.5, 2.0), mode=\"bicubic\")\nUpsamplingNearest2d(3)\n"
           "UpsamplingBilinear2d(scale_factor=2)", t(2, 3, 4, 2)),
]  # fmt: skip
