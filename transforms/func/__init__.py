"""torch.func's names, over models, Modules and plain functions; `from transforms.func import functional_call, vmap`.

A function here takes and gives arrays, in dicts, lists and tuples; what torch.func calls a dim is an axis. The dicts
of a state_dict, flat with dotted names, go through every transform and keep their order.
"""

from transforms.func.calling import functional_call, stack_module_state
from transforms.func.differentiating import (
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
)
from transforms.func.vectorizing import vmap

__all__ = [
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]
