"""Neural networks as pure functions: a model is a pair (init, apply) over explicit nested dicts of arrays."""

from purenn import functional, init, layers, tree
from purenn._version import __version__
from purenn.checks import checked
from purenn.model import Buffers, Model, Params, bind, buffer, compose, param, structure
from purenn.state import load_state_dict, state_dict

__all__ = [
    "Buffers",
    "Model",
    "Params",
    "__version__",
    "bind",
    "buffer",
    "checked",
    "compose",
    "functional",
    "init",
    "layers",
    "load_state_dict",
    "param",
    "state_dict",
    "structure",
    "tree",
]
