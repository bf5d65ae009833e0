"""Every operation of torch.nn.functional, as a pure function: the same call, numbers and gradients."""

from purenn.functional.activation import relu, relu_, softplus
from purenn.functional.linear import linear

__all__ = ["linear", "relu", "relu_", "softplus"]
