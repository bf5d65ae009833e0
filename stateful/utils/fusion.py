"""torch.nn.utils.fusion: a normalisation in evaluation, folded into the module before it."""

import copy
from typing import Any, TypeVar

from purenn.errors import refusal
from purenn.functional.fusion import fuse_conv_bn_weights as fold_conv
from purenn.functional.fusion import fuse_linear_bn_weights as fold_linear
from stateful.module import Module
from stateful.parameter import Parameter

M = TypeVar("M", bound=Module)


def fuse_conv_bn_eval(conv: M, bn: Any, transpose: bool = False) -> M:
    """Makes one convolution of a convolution and the batch normalisation behind it, both in evaluation.

    Args:
        conv: a convolution.
        bn: a batch normalisation with running statistics.
        transpose: whether the convolution is a transposed one.

    Returns:
        A new convolution.

    Errors:
        ValueError: one is in training, or there are no statistics.

    Torch:
        ``torch.nn.utils.fuse_conv_bn_eval``, identical.
    """
    _check("fuse_conv_bn_eval", conv, bn)
    return _fused(conv, fold_conv(*_arrays(conv, bn, transpose)))


def fuse_linear_bn_eval(linear: M, bn: Any) -> M:
    """Makes one linear map of a linear map and the batch normalisation behind it, both in evaluation.

    Args:
        linear: a linear map.
        bn: a batch normalisation with running statistics, of as many features, or of one.

    Returns:
        A new linear map.

    Errors:
        ValueError: one is in training, there are no statistics, or their number does not fit.

    Torch:
        ``torch.nn.utils.fuse_linear_bn_eval``, identical.
    """
    op = "fuse_linear_bn_eval"
    _check(op, linear, bn)
    features: Any = linear
    if bn.num_features not in (1, features.out_features):
        got = {"bn.num_features": bn.num_features, "linear.out_features": features.out_features}
        raise refusal(op, "bn.num_features must be 1 or linear.out_features", got)
    return _fused(linear, fold_linear(*_arrays(linear, bn)))


def fuse_conv_bn_weights(
    conv_w: Any, conv_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any, transpose: bool = False
) -> tuple[Parameter, Parameter]:
    """Folds batch normalisation into a convolution's arrays; see `purenn.functional.fusion.fuse_conv_bn_weights`.

    Args:
        conv_w: weight.
        conv_b: bias or None.
        bn_rm: running mean.
        bn_rv: running variance.
        bn_eps: added to the variance.
        bn_w: scale or None.
        bn_b: shift or None.
        transpose: whether the convolution is a transposed one.

    Returns:
        Two parameters.
    """
    weight, bias = fold_conv(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose)
    return Parameter(weight), Parameter(bias)


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Folds batch normalisation into a linear map's arrays; see `purenn.functional.fusion.fuse_linear_bn_weights`.

    Args:
        linear_w: weight.
        linear_b: bias or None.
        bn_rm: running mean.
        bn_rv: running variance.
        bn_eps: added to the variance.
        bn_w: scale or None.
        bn_b: shift or None.

    Returns:
        Two parameters.
    """
    weight, bias = fold_linear(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    return Parameter(weight), Parameter(bias)


def _check(op: str, module: Module, bn: Any) -> None:
    if module.training or bn.training:
        got = {"training": (module.training, bn.training)}
        raise refusal(op, "both modules must be in evaluation", got, "Call .eval() first.")
    if bn.running_mean is None or bn.running_var is None:
        raise refusal(op, "bn must have running statistics", {"running_mean": bn.running_mean})


def _arrays(module: Any, bn: Any, *more: Any) -> tuple[Any, ...]:
    return module.weight, module.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, *more


def _fused(module: M, arrays: tuple[Any, Any]) -> M:
    fused: Any = copy.deepcopy(module)
    for name, array in zip(("weight", "bias"), arrays, strict=True):
        cell = module._parameters.get(name)
        setattr(fused, name, Parameter(array, requires_grad=cell is None or cell.requires_grad))
    return fused
