"""Catalogue: losses."""

from module_case import Case, cases
from oracle import ints, t, v

SIGNS = v([1.0, -1.0, 1.0, -1.0])
WEIGHT = "weight=array([0.5, 1.0, 2.0])"
PAIR = t(4, 3), t(4, 3)
ANSWERS = t(4, 3), v([[1.0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]])

CASES = [
    *cases("L1Loss()\nMSELoss(reduction=\"sum\")\nSmoothL1Loss(beta=0.5)\nHuberLoss(delta=0.3)\n"
           "KLDivLoss(reduction=\"batchmean\", log_target=True)\nMSELoss(reduction=\"none\")", *PAIR),
    *cases("PoissonNLLLoss(full=True)", t(4, 3), t(4, 3, kind="positive")),
    *cases("GaussianNLLLoss(full=True)", *PAIR, t(4, 3, kind="positive")),
    *cases("CTCLoss(blank=1)", t(5, 2, 4, kind="logprobs"), v([[0, 2, 3], [3, 3, 0]], "int32"), v([5, 4], "int32"),
           v([3, 2], "int32")),
    *cases("HingeEmbeddingLoss(0.5)", t(4), SIGNS),
    *cases("SoftMarginLoss()", t(4), SIGNS, fixed=(1,)),
    *cases("CosineEmbeddingLoss(0.1)", *PAIR, SIGNS),
    *cases("MarginRankingLoss(0.2)", t(4), t(4), SIGNS),
    *cases("MultiLabelMarginLoss()", t(2, 3), v([[0, 2, -1], [1, -1, -1]], "int32")),
    *cases("TripletMarginLoss(swap=True)\nTripletMarginWithDistanceLoss(margin=0.5)\n"
           "TripletMarginWithDistanceLoss(distance_function=nn.PairwiseDistance(1.0))", *PAIR, t(4, 3)),
    *cases(f"NLLLoss()\nNLLLoss({WEIGHT}, ignore_index=1)\nNLLLoss2d()\nCrossEntropyLoss()\n"
           f"CrossEntropyLoss({WEIGHT}, label_smoothing=0.1)\nMultiMarginLoss()\nMultiMarginLoss(2, 0.5, {WEIGHT})\n"
           f"LinearCrossEntropyLoss(3, 4)\nLinearCrossEntropyLoss(3, 3, bias=True, {WEIGHT})",
           t(4, 3), ints(4, high=3)),
    *cases(f"BCELoss()\nBCELoss({WEIGHT})", t(4, 3, kind="uniform"), ANSWERS[1]),
    *cases(f"BCEWithLogitsLoss()\nBCEWithLogitsLoss({WEIGHT}, pos_weight=array([1.0, 3.0, 2.0]))\n"
           f"MultiLabelSoftMarginLoss()\nMultiLabelSoftMarginLoss({WEIGHT})", *ANSWERS),
    Case("nn.AdaptiveLogSoftmaxWithLoss(6, 9, [2, 5], div_value=2.0)", (t(5, 6), v([0, 3, 8, 5, 1], "int32"))),
    Case("nn.AdaptiveLogSoftmaxWithLoss(6, 9, [4], head_bias=True)", (t(6), v(7, "int32"))),
]  # fmt: skip
