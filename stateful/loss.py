"""Losses, as modules: functions of purenn.functional, and adapters of those of purenn.layers.loss that have weights."""

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar
from typing import Any

from purenn import layers as L
from purenn.errors import refusal
from purenn.layers.loss import reduction_of
from purenn.model import Model
from stateful.distance import PairwiseDistance
from stateful.functional_module import Functional
from stateful.module import Module


class _Loss(Functional):
    reduction: str

    def __post_init__(self, size_average: bool | None = None, reduce: bool | None = None) -> None:
        self.reduction = reduction_of(type(self).__name__, self.reduction, size_average, reduce, 6)


class L1Loss(_Loss, function="l1_loss"):
    """``|x - y|``; see `purenn.functional.l1_loss`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class MSELoss(_Loss, function="mse_loss"):
    """``(x - y)²``; see `purenn.functional.mse_loss`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class SmoothL1Loss(_Loss, function="smooth_l1_loss"):
    """A parabola up to β, ``|x - y|`` beyond; see `purenn.functional.smooth_l1_loss`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"
    beta: float = 1.0


class HuberLoss(_Loss, function="huber_loss"):
    """A parabola up to δ, ``δ |x - y|`` beyond; see `purenn.functional.huber_loss`."""

    reduction: str = "mean"
    delta: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.delta, (int, float)):
            got = {"type(delta)": type(self.delta).__name__}
            raise refusal("HuberLoss", "delta must be a number", got, kind=TypeError)


class KLDivLoss(_Loss, function="kl_div"):
    """``q (log q - input)``; see `purenn.functional.kl_div`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"
    log_target: bool = False


class PoissonNLLLoss(_Loss, function="poisson_nll_loss"):
    """Counts against their rates; see `purenn.functional.poisson_nll_loss`."""

    log_input: bool = True
    full: bool = False
    size_average: InitVar[bool | None] = None
    eps: float = 1e-8
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def forward(self, log_input: Any, target: Any) -> Any:
        """``(*), (*) -> ()``; the input has the name of an option, as in torch."""
        return super().forward(log_input, target)


class GaussianNLLLoss(_Loss, function="gaussian_nll_loss"):
    """Numbers against means and variances; see `purenn.functional.gaussian_nll_loss`."""

    _: KW_ONLY
    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"


class CTCLoss(_Loss, function="ctc_loss"):
    """Label sequences against unaligned outputs; see `purenn.functional.ctc_loss`."""

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: bool = False


class HingeEmbeddingLoss(_Loss, function="hinge_embedding_loss"):
    """Distances that are to be small, or large; see `purenn.functional.hinge_embedding_loss`."""

    margin: float = 1.0
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class CosineEmbeddingLoss(_Loss, function="cosine_embedding_loss"):
    """Vectors that are to point the same way, or not; see `purenn.functional.cosine_embedding_loss`."""

    margin: float = 0.0
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class MarginRankingLoss(_Loss, function="margin_ranking_loss"):
    """Scores, of which one is to be the larger; see `purenn.functional.margin_ranking_loss`."""

    margin: float = 0.0
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class SoftMarginLoss(_Loss, function="soft_margin_loss"):
    """``log(1 + exp(-y x))``; see `purenn.functional.soft_margin_loss`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class MultiLabelMarginLoss(_Loss, function="multilabel_margin_loss"):
    """Keeps each right class ahead of each wrong one; see `purenn.functional.multilabel_margin_loss`."""

    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"


class TripletMarginLoss(_Loss, function="triplet_margin_loss"):
    """Wants the positive nearer than the negative; see `purenn.functional.triplet_margin_loss`."""

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def __post_init__(self, size_average: bool | None = None, reduce: bool | None = None) -> None:
        super().__post_init__(size_average, reduce)
        _check_margin("TripletMarginLoss", self.margin)


class TripletMarginWithDistanceLoss(_Loss, function="triplet_margin_with_distance_loss"):
    """`TripletMarginLoss` by any distance; see `purenn.functional.triplet_margin_with_distance_loss`."""

    _: KW_ONLY
    distance_function: Callable[[Any, Any], Any] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

    def __post_init__(self) -> None:
        _check_margin("TripletMarginWithDistanceLoss", self.margin)
        self.distance_function = PairwiseDistance() if self.distance_function is None else self.distance_function


def _check_margin(op: str, margin: float) -> None:
    if margin <= 0:
        raise refusal(op, "margin must be positive", {"margin": margin})


class _Weighted(Module):
    """A loss whose arrays are buffers; one that was left out may be assigned later."""

    def _adapt(self, model: Model) -> None:
        super()._adapt(model)
        for name in [name for name, cell in self._parameters.items() if cell is None]:
            self._buffers[name] = self._parameters.pop(name)  # type: ignore[assignment]


class NLLLoss(_Weighted):
    """Log-probabilities against class indices; see `purenn.layers.NLLLoss`."""

    pure = L.NLLLoss

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(L.NLLLoss(weight, size_average, ignore_index, reduce, reduction))


class NLLLoss2d(NLLLoss):
    """An old name of `NLLLoss`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        warnings.warn("NLLLoss2d is deprecated. Use NLLLoss instead.", FutureWarning, stacklevel=3)
        super().__init__(weight, size_average, ignore_index, reduce, reduction)


class CrossEntropyLoss(_Weighted):
    """Logits against class indices or probabilities; see `purenn.layers.CrossEntropyLoss`."""

    pure = L.CrossEntropyLoss

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        options = ignore_index, reduce, reduction, label_smoothing
        super().__init__(L.CrossEntropyLoss(weight, size_average, *options))


class LinearCrossEntropyLoss(_Weighted):
    """Features against classes, through a linear map; see `purenn.layers.LinearCrossEntropyLoss`."""

    pure = L.LinearCrossEntropyLoss

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ):
        layer = L.LinearCrossEntropyLoss(
            in_features,
            num_classes,
            out_features=out_features,
            bias=bias,
            reduction=reduction,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            options=options,
            dtype=dtype,
        )
        super().__init__(layer, device=device)

    def extra_repr(self) -> str:
        """As torch prints it."""
        text = f"in_features={self.linear.in_features}, num_classes={self.num_classes}"
        text += f", out_features={self.out_features}, bias={self.linear.bias is not None}, reduction={self.reduction}"
        text += f", ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"
        return f"{text}, options={self.options}"


class BCELoss(_Weighted):
    """Probabilities of yes against answers; see `purenn.layers.BCELoss`."""

    pure = L.BCELoss

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(L.BCELoss(weight, size_average, reduce, reduction))


class BCEWithLogitsLoss(_Weighted):
    """Logits of yes against answers; see `purenn.layers.BCEWithLogitsLoss`."""

    pure = L.BCEWithLogitsLoss

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ):
        super().__init__(L.BCEWithLogitsLoss(weight, size_average, reduce, reduction, pos_weight))


class MultiLabelSoftMarginLoss(_Weighted):
    """Logits of several questions against answers; see `purenn.layers.MultiLabelSoftMarginLoss`."""

    pure = L.MultiLabelSoftMarginLoss

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(L.MultiLabelSoftMarginLoss(weight, size_average, reduce, reduction))


class MultiMarginLoss(_Weighted):
    """Keeps the right class ahead of each other one; see `purenn.layers.MultiMarginLoss`."""

    pure = L.MultiMarginLoss

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(L.MultiMarginLoss(p, margin, weight, size_average, reduce, reduction))
