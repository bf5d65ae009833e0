"""Layers that normalise, with and without running statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from purenn import functional as F
from purenn import init
from purenn.errors import check_sizes, refusal
from purenn.model import Layer, buffer, param


@dataclass(frozen=True)
class _BatchNorm(Layer):
    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    bias: bool = True
    dtype: Any = None

    ranks: ClassVar[tuple[int, ...]]

    def __post_init__(self) -> None:
        check_sizes(type(self).__name__, num_features=self.num_features)

    def children(self) -> Mapping[str, Any]:
        """``weight``, ``bias`` (C,), and the running mean (0), variance (1) and number of batches."""
        shape, track = (self.num_features,), self.track_running_stats
        return {
            "weight": param(init.ones, shape, self.dtype) if self.affine else None,
            "bias": param(init.zeros, shape, self.dtype) if self.affine and self.bias else None,
            "running_mean": buffer(init.zeros, shape, self.dtype) if track else None,
            "running_var": buffer(init.ones, shape, self.dtype) if track else None,
            "num_batches_tracked": buffer(init.zeros, (), _COUNTER) if track else None,
        }

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(N, C, *) -> (N, C, *)``; in training the statistics are the batch's, and the running ones move."""
        if jnp.ndim(input) not in self.ranks:
            rule = f"input must be {' or '.join(f'{rank}-D' for rank in self.ranks)}"
            raise refusal(type(self).__name__, rule, {"input.shape": jnp.shape(input)})
        if not (m.training and self.track_running_stats and m.running_mean is not None):
            batch = m.training or m.running_mean is None
            mean, var = (None, None) if batch else (m.running_mean, m.running_var)
            return F.batch_norm(input, mean, var, m.weight, m.bias, training=batch, eps=self.eps)
        m.num_batches_tracked = m.num_batches_tracked + 1
        # None: the cumulative average, in which the n-th batch weighs 1/n
        momentum = 1.0 / m.num_batches_tracked if self.momentum is None else self.momentum
        out, (m.running_mean, m.running_var) = F.batch_norm_update(
            input, m.running_mean, m.running_var, m.weight, m.bias, momentum=momentum, eps=self.eps
        )
        return out


_COUNTER = jnp.int32  # torch counts in int64; jax has it only with x64 enabled


@dataclass(frozen=True)
class BatchNorm1d(_BatchNorm):
    """Normalises each channel of ``(N, C)`` or ``(N, C, L)`` over the batch.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the *new* batch in the running statistics; None averages all batches alike.
        affine: whether ``weight`` and ``bias`` follow.
        track_running_stats: whether there are running statistics for evaluation.
        bias: whether ``affine`` has a bias.
        dtype: of the arrays; float32 by default.

    Source:
        Ioffe & Szegedy, "Batch normalization", 2015.

    Torch:
        ``torch.nn.BatchNorm1d``, identical; the running variance is unbiased, as torch's.
    """

    ranks: ClassVar[tuple[int, ...]] = (2, 3)


@dataclass(frozen=True)
class BatchNorm2d(_BatchNorm):
    """Normalises each channel of ``(N, C, H, W)`` over the batch; see `BatchNorm1d`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the *new* batch in the running statistics; None averages all batches alike.
        affine: whether ``weight`` and ``bias`` follow.
        track_running_stats: whether there are running statistics for evaluation.
        bias: whether ``affine`` has a bias.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.BatchNorm2d``, identical.
    """

    ranks: ClassVar[tuple[int, ...]] = (4,)


@dataclass(frozen=True)
class BatchNorm3d(_BatchNorm):
    """Normalises each channel of ``(N, C, D, H, W)`` over the batch; see `BatchNorm1d`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the *new* batch in the running statistics; None averages all batches alike.
        affine: whether ``weight`` and ``bias`` follow.
        track_running_stats: whether there are running statistics for evaluation.
        bias: whether ``affine`` has a bias.
        dtype: of the arrays; float32 by default.

    Torch:
        ``torch.nn.BatchNorm3d``, identical.
    """

    ranks: ClassVar[tuple[int, ...]] = (5,)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises over the last axes: ``y = (x - E[x]) / √(Var[x] + eps) · w + b``.

    Args:
        normalized_shape: lengths of the last axes, or of the last one.
        eps: added to the variance.
        elementwise_affine: whether ``weight`` and ``bias`` follow.
        bias: whether there is a bias among them.
        dtype: of the arrays; float32 by default.

    Source:
        Ba, Kiros & Hinton, "Layer normalization", 2016.

    Torch:
        ``torch.nn.LayerNorm``, identical.
    """

    normalized_shape: int | Sequence[int]
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True
    dtype: Any = None

    def __post_init__(self) -> None:
        shape = self.normalized_shape
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        check_sizes("LayerNorm", **{f"normalized_shape[{i}]": size for i, size in enumerate(shape)})
        object.__setattr__(self, "normalized_shape", tuple(map(int, shape)))

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.normalized_shape)  # type: ignore[arg-type]  # a tuple since __post_init__

    def children(self) -> Mapping[str, Any]:
        """``weight`` (1) and ``bias`` (0), of ``normalized_shape``."""
        affine, shape = self.elementwise_affine, self._shape
        return {
            "weight": param(init.ones, shape, self.dtype) if affine else None,
            "bias": param(init.zeros, shape, self.dtype) if affine and self.bias else None,
        }

    def forward(self, m: Any, input: jax.Array) -> jax.Array:
        """``(*, *normalized_shape) -> (*, *normalized_shape)``."""
        return F.layer_norm(input, self._shape, m.weight, m.bias, self.eps)
