"""torch's operators in JAX: a table by the names that an exported graph has, one file for each family."""

from transforms.torch_ops import (
    activation,
    compare,
    complexes,
    control_flow,
    creation,
    elementwise,
    fft,
    index,
    layers,
    linalg,
    losses,
    order,
    products,
    quantize,
    random,
    reduce,
    shape,
    symbolic,
    vision,
)
from transforms.torch_ops.registry import OPERATORS, Operator, register_op

__all__ = [
    "OPERATORS", "Operator", "activation", "compare", "complexes", "control_flow", "creation", "elementwise", "fft",
    "index", "layers", "linalg", "losses", "order", "products", "quantize", "random", "reduce", "register_op", "shape",
    "symbolic", "vision",
]  # fmt: skip
