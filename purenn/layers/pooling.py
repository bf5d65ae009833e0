"""Pooling that draws numbers; the rest is plain functions of `purenn.functional`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from purenn import functional as F
from purenn.errors import refusal
from purenn.layers.conv import tuple_of
from purenn.layers.loss import as_buffer
from purenn.model import Layer


@dataclass(frozen=True)
class _Fractional(Layer):
    kernel_size: Any
    output_size: Any = None
    output_ratio: Any = None
    return_indices: bool = False
    _random_samples: Any = None

    rank: ClassVar[int]
    pool: ClassVar[Callable[..., Any]]

    def __post_init__(self) -> None:
        name = type(self).__name__
        got = {"output_size": self.output_size, "output_ratio": self.output_ratio}
        if (self.output_size is None) == (self.output_ratio is None):
            raise refusal(name, "either output_size or output_ratio must be given", got)
        ratio = self.output_ratio
        ratios = (ratio,) * self.rank if isinstance(ratio, (int, float)) else ratio and tuple(ratio)
        if ratios is not None and not all(0 < r < 1 for r in ratios):
            raise refusal(name, "output_ratio must be between 0 and 1", {"output_ratio": ratio})
        kernel = tuple_of(self.rank, self.kernel_size)
        if not all(k > 0 for k in kernel):
            raise refusal(name, "kernel_size must be positive", {"kernel_size": self.kernel_size})
        size = None if self.output_size is None else tuple_of(self.rank, self.output_size)
        samples = as_buffer(self._random_samples)
        values = {"kernel_size": kernel, "output_size": size, "output_ratio": ratios, "_random_samples": samples}
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def children(self) -> Mapping[str, Any]:
        """``_random_samples``, a buffer, if they were given."""
        return {"_random_samples": self._random_samples}

    def forward(self, m: Any, input: Any) -> Any:
        """``(N, C, *S) -> (N, C, *output_size)``, and the positions of the maxima with ``return_indices``.

        Without ``_random_samples`` the windows are drawn from ``m.rng()``, in training and in evaluation.
        """
        samples = m._random_samples
        options = self.kernel_size, self.output_size, self.output_ratio, self.return_indices, samples
        return type(self).pool(input, *options, rng=m.rng() if samples is None else None)


@dataclass(frozen=True)
class FractionalMaxPool2d(_Fractional):
    """Takes the largest element of each window over H and W; the windows start at random distances.

    Args:
        kernel_size: length of the window, a number or ``(kH, kW)``.
        output_size: number of windows, a number or ``(H_out, W_out)``.
        output_ratio: in its stead: number of windows over length of the input, between 0 and 1.
        return_indices: whether to return the positions of the maxima too.
        _random_samples: ``(N, C, 2)``, uniform in [0, 1): windows that are not drawn, but always these.

    Source:
        Graham, "Fractional max-pooling", 2014.

    Torch:
        ``torch.nn.FractionalMaxPool2d``, the same distribution, from an explicit key, wanted in evaluation too.
    """

    rank = 2
    pool = staticmethod(F.fractional_max_pool2d)


@dataclass(frozen=True)
class FractionalMaxPool3d(_Fractional):
    """Takes the largest element of each window over D, H and W; the windows start at random distances.

    Args:
        kernel_size: length of the window, a number or ``(kD, kH, kW)``.
        output_size: number of windows, a number or ``(D_out, H_out, W_out)``.
        output_ratio: in its stead: number of windows over length of the input, between 0 and 1.
        return_indices: whether to return the positions of the maxima too.
        _random_samples: ``(N, C, 3)``, uniform in [0, 1): windows that are not drawn, but always these.

    Source:
        Graham, "Fractional max-pooling", 2014.

    Torch:
        ``torch.nn.FractionalMaxPool3d``, the same distribution, from an explicit key, wanted in evaluation too.
    """

    rank = 3
    pool = staticmethod(F.fractional_max_pool3d)
