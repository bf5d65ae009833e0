"""Convolutions, and their transposes, over one, two and three axes: one kernel over the spatial rank."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional._convolve import Pads, correlate, scatter


def conv1d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Correlates over one axis: ``y[n, o, w] = b[o] + Σ_{c, k} weight[o, c, k] x[n, c, s w + d k - p]``.

    Args:
        input: ``(N, C_in, W)`` or ``(C_in, W)``.
        weight: ``(C_out, C_in / groups, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window.
        padding: zeros ``p`` added at both ends; ``"valid"`` is none; ``"same"``, for stride 1, keeps the size, and
            an odd number of zeros has the larger part at the end.
        dilation: distance ``d`` of the elements of the window.
        groups: the channels fall into so many groups, each convolved with weights of its own.

    Returns:
        ``(N, C_out, W_out)`` or ``(C_out, W_out)``, in the dtype of ``input``; without an input channel there is no
        output channel either.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv1d``, identical.
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Correlates over two axes: ``y[n, o, i] = b[o] + Σ_{c, k} weight[o, c, k] x[n, c, s i + d k - p]``.

    Args:
        input: ``(N, C_in, H, W)`` or ``(C_in, H, W)``.
        weight: ``(C_out, C_in / groups, kH, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window, one for all axes or one each, as all options here.
        padding: zeros ``p`` added at both ends; ``"valid"`` is none; ``"same"``, for stride 1, keeps the size, and
            an odd number of zeros has the larger part at the end.
        dilation: distance ``d`` of the elements of the window.
        groups: the channels fall into so many groups, each convolved with weights of its own.

    Returns:
        ``(N, C_out, H_out, W_out)`` or ``(C_out, H_out, W_out)``, in the dtype of ``input``; without an input channel
        there is no output channel either.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv2d``, identical.
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Correlates over three axes: ``y[n, o, i] = b[o] + Σ_{c, k} weight[o, c, k] x[n, c, s i + d k - p]``.

    Args:
        input: ``(N, C_in, D, H, W)`` or ``(C_in, D, H, W)``.
        weight: ``(C_out, C_in / groups, kD, kH, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window, one for all axes or one each, as all options here.
        padding: zeros ``p`` added at both ends; ``"valid"`` is none; ``"same"``, for stride 1, keeps the size, and
            an odd number of zeros has the larger part at the end.
        dilation: distance ``d`` of the elements of the window.
        groups: the channels fall into so many groups, each convolved with weights of its own.

    Returns:
        ``(N, C_out, D_out, H_out, W_out)`` or ``(C_out, D_out, H_out, W_out)``, in the dtype of ``input``; without an
        input channel there is no output channel either.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv3d``, identical.
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Scatters each element over a window: ``y[n, o, s w + d k - p] += weight[c, o, k] x[n, c, w]``, ``y`` from ``b``.

    It is the transpose of the linear map that `conv1d` with the same weight and options is.

    Args:
        input: ``(N, C_in, W)`` or ``(C_in, W)``.
        weight: ``(C_in, C_out / groups, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window in the output.
        padding: elements ``p`` cut from both ends of the output.
        output_padding: elements added at the end of the output; less than the stride or the dilation.
        groups: the channels fall into so many groups, each with weights of its own.
        dilation: distance ``d`` of the elements of the window.

    Returns:
        ``(N, C_out, W_out)`` or ``(C_out, W_out)``, in the dtype of ``input``, with
        ``W_out = s (W - 1) + d (kW - 1) + 1 - 2 p + output_padding``.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv_transpose1d``, identical.
    """
    return _conv_transpose(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Scatters each element over a window: ``y[n, o, s i + d k - p] += weight[c, o, k] x[n, c, i]``, ``y`` from ``b``.

    It is the transpose of the linear map that `conv2d` with the same weight and options is.

    Args:
        input: ``(N, C_in, H, W)`` or ``(C_in, H, W)``.
        weight: ``(C_in, C_out / groups, kH, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window in the output, one for all axes or one each, as all options here.
        padding: elements ``p`` cut from both ends of the output.
        output_padding: elements added at the end of the output; less than the stride or the dilation.
        groups: the channels fall into so many groups, each with weights of its own.
        dilation: distance ``d`` of the elements of the window.

    Returns:
        ``(N, C_out, H_out, W_out)`` or ``(C_out, H_out, W_out)``, in the dtype of ``input``, with
        ``H_out = s (H - 1) + d (kH - 1) + 1 - 2 p + output_padding``.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv_transpose2d``, identical.
    """
    return _conv_transpose(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Scatters each element over a window: ``y[n, o, s i + d k - p] += weight[c, o, k] x[n, c, i]``, ``y`` from ``b``.

    It is the transpose of the linear map that `conv3d` with the same weight and options is.

    Args:
        input: ``(N, C_in, D, H, W)`` or ``(C_in, D, H, W)``.
        weight: ``(C_in, C_out / groups, kD, kH, kW)``.
        bias: ``(C_out,)``.
        stride: step ``s`` of the window in the output, one for all axes or one each, as all options here.
        padding: elements ``p`` cut from both ends of the output.
        output_padding: elements added at the end of the output; less than the stride or the dilation.
        groups: the channels fall into so many groups, each with weights of its own.
        dilation: distance ``d`` of the elements of the window.

    Returns:
        ``(N, C_out, D_out, H_out, W_out)`` or ``(C_out, D_out, H_out, W_out)``, in the dtype of ``input``, with
        ``D_out = s (D - 1) + d (kD - 1) + 1 - 2 p + output_padding``.

    Errors:
        TypeError: the dtypes differ, or are boolean; an option is no integer.
        ValueError: the shapes or the options do not fit.

    Torch:
        ``torch.nn.functional.conv_transpose3d``, identical.
    """
    return _conv_transpose(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_tbc(input: jax.Array, weight: jax.Array, bias: jax.Array, pad: int = 0) -> jax.Array:
    """Correlates over time, channels last: ``y[t, n, o] = b[o] + Σ_{k, c} x[t + k - pad, n, c] weight[k, c, o]``.

    Args:
        input: ``(T, N, C_in)``.
        weight: ``(kW, C_in, C_out)``.
        bias: ``(C_out,)``.
        pad: zeros added at both ends.

    Returns:
        ``(T + 2 pad - kW + 1, N, C_out)``, in the dtype of ``input``.

    Errors:
        TypeError: the dtypes differ; ``pad`` is no integer.
        ValueError: the shapes do not fit.

    Torch:
        ``torch.nn.functional.conv_tbc``, identical.
    """
    input, weight, bias = (
        as_array("conv_tbc", name, array) for name, array in (("input", input), ("weight", weight), ("bias", bias))
    )
    check_same_dtype("conv_tbc", input=input, weight=weight, bias=bias)
    (p,) = sizes("conv_tbc", "pad", pad, 1, least=None)
    _check_tbc(input, weight, bias, p)
    y = lax.conv_general_dilated(input, weight, (1,), [(p, p)], dimension_numbers=("WNC", "WIO", "WNC"))
    return y + bias


def sizes(op: str, argument: str, value: Any, rank: int, least: int | None = 0) -> tuple[int, ...]:
    """Takes an option of a window, one for all axes or one each, as one integer for each axis.

    Args:
        op: name of the operation.
        argument: name of the option.
        value: an integer, or a sequence of one or ``rank`` integers.
        rank: number of axes.
        least: smallest integer allowed; None allows all.

    Returns:
        ``rank`` integers.

    Errors:
        TypeError: ``value`` is no integer and no sequence of integers.
        ValueError: there are more or fewer than ``rank``, or one is too small.
    """
    given = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    try:
        values = tuple(map(operator.index, given))
    except TypeError:
        values = ()
    if len(given) != len(values) or any(isinstance(v, bool) for v in given):
        kinds = "an integer" if rank == 1 else f"an integer or {rank} integers"
        raise refusal(op, f"{argument} must be {kinds}", {argument: value}, kind=TypeError)
    if len(values) not in (1, rank):
        raise refusal(op, f"{argument} must be one integer or {rank}", {argument: value})
    if least is not None and min(values) < least:
        raise refusal(op, f"{argument} must be at least {least}", {argument: value})
    return values if len(values) == rank else values * rank


def _conv(
    op: str, rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> jax.Array:
    input, weight, bias = _arrays(op, rank, input, weight, bias)
    stride, dilation = sizes(op, "stride", stride, rank, 1), sizes(op, "dilation", dilation, rank, 1)
    (groups,) = sizes(op, "groups", groups, 1, 1)
    reach = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    pads = _pads(op, padding, reach, stride)
    _check_channels(op, rank, input, weight, bias, groups)
    _check_not_empty(op, rank, input, weight)
    _check_extent(op, input, weight, reach, pads)
    x = input if input.ndim == rank + 2 else input[None]
    y = correlate(x, weight, stride, pads, dilation, groups)
    y = _add(y, bias) if x.shape[1] else y[:, :0]
    return y if input.ndim == rank + 2 else y[0]


def _conv_transpose(
    op: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> jax.Array:
    input, weight, bias = _arrays(op, rank, input, weight, bias)
    stride, dilation = sizes(op, "stride", stride, rank, 1), sizes(op, "dilation", dilation, rank, 1)
    padding, extra = sizes(op, "padding", padding, rank), sizes(op, "output_padding", output_padding, rank)
    (groups,) = sizes(op, "groups", groups, 1, 1)
    cut = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
    _check_transposed_channels(op, rank, input, weight, bias, groups)
    _check_not_empty(op, rank, input, weight)
    _check_output_padding(op, extra, stride, dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    size = [s * (n - 1) + r - sum(c) for n, s, r, c in zip(input.shape[-rank:], stride, reach, cut, strict=True)]
    if min(size) < 0:
        raise refusal(op, "padding must not exceed the output", {"padding": padding, "output size": size})
    x = input if input.ndim == rank + 2 else input[None]
    y = _add(scatter(x, weight, stride, cut, dilation, groups), bias)
    return y if input.ndim == rank + 2 else y[0]


def _add(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def _pads(op: str, padding: Any, reach: tuple[int, ...], stride: tuple[int, ...]) -> Pads:
    if not isinstance(padding, str):
        return tuple((p, p) for p in sizes(op, "padding", padding, len(reach)))
    if padding not in ("same", "valid"):
        raise refusal(op, "padding must be 'same', 'valid' or integers", {"padding": padding})
    if padding == "valid":
        return ((0, 0),) * len(reach)
    if max(stride) > 1:
        raise refusal(op, "stride must be 1 where padding is 'same'", {"stride": stride}, "Give padding as integers.")
    return tuple((r // 2, r - r // 2) for r in reach)


def _arrays(op: str, rank: int, input: Any, weight: Any, bias: Any) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    input, weight = as_array(op, "input", input), as_array(op, "weight", weight)
    bias = None if bias is None else as_array(op, "bias", bias)
    check_same_dtype(op, input=input, weight=weight, bias=bias)
    if input.dtype == bool:
        raise refusal(op, "input must be numbers", {"input.dtype": "bool"}, "Cast it with .astype(...).", TypeError)
    if weight.ndim != rank + 2:
        raise refusal(op, f"weight must be {rank + 2}-D", {"weight.shape": weight.shape})
    if input.ndim not in (rank + 1, rank + 2):
        rule = f"input must be {rank + 2}-D, or {rank + 1}-D without a batch"
        raise refusal(op, rule, {"input.shape": input.shape})
    return input, weight, bias


def _check_channels(
    op: str, rank: int, input: jax.Array, weight: jax.Array, bias: jax.Array | None, groups: int
) -> None:
    got: dict[str, Any] = {"weight.shape": weight.shape, "groups": groups}
    if weight.shape[0] == 0 or weight.shape[0] % groups:
        raise refusal(op, "weight.shape[0] must be a positive multiple of groups", got)
    if input.shape[-rank - 1] != weight.shape[1] * groups:
        raise refusal(
            op,
            "the channels of input must equal weight.shape[1] * groups",
            {"input.shape": input.shape, **got},
            "A weight is (out_channels, in_channels / groups, ...).",
        )
    _check_bias(op, bias, weight.shape[0])


def _check_transposed_channels(
    op: str, rank: int, input: jax.Array, weight: jax.Array, bias: jax.Array | None, groups: int
) -> None:
    got: dict[str, Any] = {"weight.shape": weight.shape, "groups": groups}
    if weight.shape[0] == 0 or weight.shape[0] % groups or weight.shape[1] == 0:
        raise refusal(op, "weight.shape[0] must be a positive multiple of groups, weight.shape[1] positive", got)
    if input.shape[-rank - 1] != weight.shape[0]:
        raise refusal(
            op,
            "the channels of input must equal weight.shape[0]",
            {"input.shape": input.shape, "weight.shape": weight.shape},
            "A transposed weight is (in_channels, out_channels / groups, ...).",
        )
    _check_bias(op, bias, weight.shape[1] * groups)


def _check_bias(op: str, bias: jax.Array | None, channels: int) -> None:
    if bias is not None and bias.shape != (channels,):
        raise refusal(op, "bias must be (out_channels,)", {"bias.shape": bias.shape, "out_channels": channels})


def _check_not_empty(op: str, rank: int, input: jax.Array, weight: jax.Array) -> None:
    if 0 in weight.shape[2:]:
        raise refusal(op, "weight must not have an empty kernel", {"weight.shape": weight.shape})
    if 0 in input.shape[-rank:] and 0 not in input.shape[:-rank]:
        raise refusal(op, "only the batch or the channels of input may be empty", {"input.shape": input.shape})


def _check_extent(op: str, input: jax.Array, weight: jax.Array, reach: tuple[int, ...], pads: Pads) -> None:
    extent = input.shape[-len(reach) :]
    if any(n + sum(p) <= r for n, p, r in zip(extent, pads, reach, strict=True)):
        raise refusal(
            op,
            "the padded input must not be smaller than the dilated kernel",
            {"input.shape": input.shape, "weight.shape": weight.shape, "padding": pads},
        )


def _check_output_padding(op: str, extra: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise refusal(
            op,
            "output_padding must be less than stride or dilation, on each axis",
            {"output_padding": extra, "stride": stride, "dilation": dilation},
        )


def _check_tbc(input: jax.Array, weight: jax.Array, bias: jax.Array, pad: int) -> None:
    got = {"input.shape": input.shape, "weight.shape": weight.shape}
    if input.ndim != 3 or weight.ndim != 3:
        raise refusal("conv_tbc", "input must be (T, N, C_in) and weight (kW, C_in, C_out)", got)
    if input.shape[2] != weight.shape[1]:
        raise refusal("conv_tbc", "the last axis of input must equal weight.shape[1]", got)
    if input.shape[0] + 2 * pad + 1 < weight.shape[0]:
        raise refusal("conv_tbc", "the padded input must not be shorter than the kernel", {**got, "pad": pad})
    _check_bias("conv_tbc", bias, weight.shape[2])
