"""Neural networks as pure functions: a model is a pair (init, apply) over explicit nested dicts of arrays."""

from purenn import functional, init, layers, tree
from purenn._version import __version__
from purenn.checks import checked
from purenn.files import CheckpointError, load_named, load_safetensors, save_safetensors
from purenn.model import Buffers, Model, Params, bind, buffer, compose, param, structure
from purenn.state import load_state_dict, state_dict

__all__ = [
    "Buffers",
    "CheckpointError",
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
    "load_named",
    "load_safetensors",
    "load_state_dict",
    "param",
    "save_safetensors",
    "state_dict",
    "structure",
    "tree",
]
