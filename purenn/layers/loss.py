"""Losses that hold arrays, the weights of classes or of elements; the others are functions of `purenn.functional`.

A weight that is given is a buffer, as in torch: it stands in the state_dict, and no gradient reaches it.
"""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

import jax

from purenn import functional as F
from purenn.errors import check_sizes, refusal
from purenn.functional.loss import resolve_reduction
from purenn.layers.linear import Linear
from purenn.model import Layer, Leaf, buffer


def as_buffer(value: Any) -> Leaf | None:
    """Declares an array that a constructor was given.

    Args:
        value: an array, None, or what this function has made of one.

    Returns:
        The declaration, by which layers are compared and hashed; None for None.
    """
    return value if value is None or isinstance(value, Leaf) else buffer(value)


def reduction_of(op: str, reduction: str, size_average: bool | None, reduce: bool | None, stacklevel: int = 5) -> str:
    """Takes the older spellings of a reduction, with a warning, to the one in use.

    Args:
        op: name of the loss.
        reduction: as given.
        size_average: the older spelling; with ``reduce`` it overrides ``reduction``.
        reduce: the older spelling.
        stacklevel: of the warning.

    Returns:
        ``reduction``, or what the older spellings mean.
    """
    older = size_average is not None or reduce is not None
    return resolve_reduction(op, reduction, size_average, reduce, stacklevel) if older else reduction


class _Weighted(Layer):
    weight: Any
    reduction: str

    def __post_init__(self, size_average: bool | None, reduce: bool | None) -> None:
        op = type(self).__name__
        object.__setattr__(self, "reduction", reduction_of(op, self.reduction, size_average, reduce))
        object.__setattr__(self, "weight", as_buffer(self.weight))

    def children(self) -> Mapping[str, Any]:
        """``weight``, a buffer, if it was given."""
        return {"weight": self.weight}


@dataclass(frozen=True)
class NLLLoss(_Weighted):
    """Scores log-probabilities against class indices: ``-w_y input_y``.

    Args:
        weight: ``(C)``, a weight for each class.
        size_average: see ``reduction``.
        ignore_index: positions with this class count for nothing.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Torch:
        ``torch.nn.NLLLoss``, identical.
    """

    weight: Any = None
    size_average: InitVar[bool | None] = None
    ignore_index: int = -100
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(N, C, *), (N, *) -> ()``; see `purenn.functional.nll_loss`."""
        return F.nll_loss(input, target, m.weight, ignore_index=self.ignore_index, reduction=self.reduction)


@dataclass(frozen=True)
class CrossEntropyLoss(_Weighted):
    """Scores logits against class indices or probabilities: ``-Σ_c w_c q_c log softmax(input)_c``.

    Args:
        weight: ``(C)``, a weight for each class.
        size_average: see ``reduction``.
        ignore_index: positions with this class count for nothing.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        label_smoothing: share of the uniform distribution in ``q``, between 0 and 1.

    Torch:
        ``torch.nn.CrossEntropyLoss``, identical.
    """

    weight: Any = None
    size_average: InitVar[bool | None] = None
    ignore_index: int = -100
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"
    label_smoothing: float = 0.0

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(N, C, *), (N, *) or (N, C, *) -> ()``; see `purenn.functional.cross_entropy`."""
        options = None, self.ignore_index, None, self.reduction, self.label_smoothing
        return F.cross_entropy(input, target, m.weight, *options)


@dataclass(frozen=True)
class LinearCrossEntropyLoss(_Weighted):
    """Maps features to logits, and scores these: ``cross_entropy(x Wᵀ + b, y)``.

    Args:
        in_features: E, length of the last axis of the input.
        num_classes: C.
        out_features: ``(d1, ..., dK)``, for a loss at each of these positions.
        bias: whether there is a ``b``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: ``(C)``, a weight for each class.
        ignore_index: positions with this class count for nothing; None is -100.
        label_smoothing: share of the uniform distribution in the target, between 0 and 1.
        options: how to chunk the logits, see `purenn.functional.linear_cross_entropy`.
        dtype: of the arrays of the map; float32 by default.

    Torch:
        ``torch.nn.LinearCrossEntropyLoss``, identical.
    """

    in_features: int
    num_classes: int
    _: KW_ONLY
    out_features: tuple[int, ...] = ()
    bias: bool = False
    reduction: str = "mean"
    weight: Any = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    options: Any = None
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__(None, None)
        op = "LinearCrossEntropyLoss"
        check_sizes(op, in_features=self.in_features, num_classes=self.num_classes)
        if self.weight is not None and self.weight.shape != (self.num_classes,):
            raise refusal(op, f"weight must be ({self.num_classes},)", {"weight.shape": self.weight.shape})
        if not 0 <= self.label_smoothing <= 1:
            got = {"label_smoothing": self.label_smoothing}
            raise refusal(op, "label_smoothing must be between 0 and 1", got)

    def children(self) -> Mapping[str, Any]:
        """``weight``, a buffer, if it was given, and ``linear``, from E to C d1 ... dK."""
        logits = math.prod(self.out_features, start=self.num_classes)
        return {"weight": self.weight, "linear": Linear(self.in_features, logits, self.bias, self.dtype)}

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(N, E), (N, *) -> ()``; see `purenn.functional.linear_cross_entropy`."""
        shape, linear = (self.num_classes, *self.out_features), m.linear
        return F.linear_cross_entropy(
            input,
            linear.weight.reshape(*shape, linear.weight.shape[-1]),
            target,
            linear_bias=None if linear.bias is None else linear.bias.reshape(shape),
            weight=m.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )


@dataclass(frozen=True)
class BCELoss(_Weighted):
    """Scores probabilities: ``-w (y log p + (1 - y) log(1 - p))``, logarithms held above -100.

    Args:
        weight: a shape that broadcasts to that of the input.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Torch:
        ``torch.nn.BCELoss``, identical.
    """

    weight: Any = None
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(*), (*) -> ()``; see `purenn.functional.binary_cross_entropy`."""
        return F.binary_cross_entropy(input, target, m.weight, reduction=self.reduction)


@dataclass(frozen=True)
class BCEWithLogitsLoss(_Weighted):
    """Scores logits: ``-w (p y log σ(x) + (1 - y) log(1 - σ(x)))``.

    Args:
        weight: a shape that broadcasts to that of the input.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.
        pos_weight: p, a weight for what is positive, in a shape that broadcasts to that of the input.

    Torch:
        ``torch.nn.BCEWithLogitsLoss``, identical.
    """

    weight: Any = None
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"
    pos_weight: Any = None

    def __post_init__(self, size_average: bool | None, reduce: bool | None) -> None:
        super().__post_init__(size_average, reduce)
        object.__setattr__(self, "pos_weight", as_buffer(self.pos_weight))

    def children(self) -> Mapping[str, Any]:
        """``weight`` and ``pos_weight``, buffers, where they were given."""
        return {"weight": self.weight, "pos_weight": self.pos_weight}

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(*), (*) -> ()``; see `purenn.functional.binary_cross_entropy_with_logits`."""
        options = {"reduction": self.reduction, "pos_weight": m.pos_weight}
        return F.binary_cross_entropy_with_logits(input, target, m.weight, **options)


@dataclass(frozen=True)
class MultiLabelSoftMarginLoss(_Weighted):
    """Scores the logits of C questions: the mean over C of ``-w (y log σ(x) + (1 - y) log σ(-x))``.

    Args:
        weight: ``(C)``, or a shape that broadcasts with the input.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Torch:
        ``torch.nn.MultiLabelSoftMarginLoss``, identical.
    """

    weight: Any = None
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(N, C), (N, C) -> ()``; see `purenn.functional.multilabel_soft_margin_loss`."""
        return F.multilabel_soft_margin_loss(input, target, m.weight, reduction=self.reduction)


@dataclass(frozen=True)
class MultiMarginLoss(_Weighted):
    """Keeps the right class ahead of each other one: ``Σ_i w_y max(0, margin - x_y + x_i)ᵖ / C``.

    Args:
        p: 1 or 2.
        margin: the distance that is enough.
        weight: ``(C)``, a weight for each class.
        size_average: see ``reduction``.
        reduce: see ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older spellings.

    Torch:
        ``torch.nn.MultiMarginLoss``, identical.
    """

    p: int = 1
    margin: float = 1.0
    weight: Any = None
    size_average: InitVar[bool | None] = None
    reduce: InitVar[bool | None] = None
    reduction: str = "mean"

    def __post_init__(self, size_average: bool | None, reduce: bool | None) -> None:
        super().__post_init__(size_average, reduce)
        if self.p not in (1, 2):
            raise refusal("MultiMarginLoss", "p must be 1 or 2", {"p": self.p})
        if self.weight is not None and len(self.weight.shape) != 1:
            raise refusal("MultiMarginLoss", "weight must be 1-D", {"weight.shape": self.weight.shape})

    def forward(self, m: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        """``(N, C), (N) -> ()``; see `purenn.functional.multi_margin_loss`."""
        return F.multi_margin_loss(input, target, self.p, self.margin, m.weight, reduction=self.reduction)
