"""Losses and distances: whole, as purenn.functional has them. torch's operators count the reductions."""

from collections.abc import Callable
from typing import Any

import purenn.functional as F
from transforms.torch_ops.registry import register_op

REDUCTIONS = ("none", "mean", "sum")


def _reduced(fn: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """The loss as the operator is called: two tensors, then ``names`` and the reduction as a number."""

    def loss(*args: Any, **kwargs: Any) -> Any:
        options = dict(zip(names, args[2:], strict=False)) | kwargs
        options["reduction"] = REDUCTIONS[options.get("reduction", 1)]
        return fn(*args[:2], **options)

    return loss


for _name, _fn, _options in (
    ("mse_loss", F.mse_loss, ("reduction",)),
    ("l1_loss", F.l1_loss, ("reduction",)),
    ("smooth_l1_loss", F.smooth_l1_loss, ("reduction", "beta")),
    ("huber_loss", F.huber_loss, ("reduction", "delta")),
    ("kl_div", F.kl_div, ("reduction",)),
    ("binary_cross_entropy", F.binary_cross_entropy, ("weight", "reduction")),
    ("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, ("weight", "pos_weight", "reduction")),
    ("cross_entropy_loss", F.cross_entropy, ("weight", "reduction", "ignore_index", "label_smoothing")),
    ("nll_loss_nd", F.nll_loss, ("weight", "reduction", "ignore_index")),
    ("nll_loss", F.nll_loss, ("weight", "reduction", "ignore_index")),
    ("nll_loss2d", F.nll_loss, ("weight", "reduction", "ignore_index")),
    ("poisson_nll_loss", F.poisson_nll_loss, ("log_input", "full", "eps", "reduction")),
    ("hinge_embedding_loss", F.hinge_embedding_loss, ("margin", "reduction")),
    ("soft_margin_loss", F.soft_margin_loss, ("reduction",)),
    ("multi_margin_loss", F.multi_margin_loss, ("p", "margin", "weight", "reduction")),
    ("multilabel_margin_loss", F.multilabel_margin_loss, ("reduction",)),
):
    register_op(f"aten.{_name}.default")(_reduced(_fn, *_options))


@register_op("aten.margin_ranking_loss.default")
def _margin_ranking(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 1) -> Any:
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=REDUCTIONS[reduction])


@register_op("aten.cosine_embedding_loss.default")
def _cosine_embedding(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 1) -> Any:
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=REDUCTIONS[reduction])


@register_op("aten.triplet_margin_loss.default")
def _triplet_margin(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: int = 1,
) -> Any:  # fmt: skip
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=REDUCTIONS[reduction])


@register_op("aten.ctc_loss.IntList", "aten.ctc_loss.Tensor")
def _ctc(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, REDUCTIONS[reduction], zero_infinity)


register_op("purenn_whole.ctc_loss.default")(F.ctc_loss)
register_op("purenn_whole.gaussian_nll_loss.default")(F.gaussian_nll_loss)
register_op("aten.cosine_similarity.default")(F.cosine_similarity)
register_op("aten.pairwise_distance.default")(F.pairwise_distance)
