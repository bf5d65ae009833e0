"""Objects that remember: torch.nn's classes over the pure models of purenn."""

from purenn import functional, init
from stateful.checkpoint import load, save
from stateful.compiled import jit
from stateful.container import Lambda, ModuleDict, ModuleList, Sequential
from stateful.conv import Conv1d, Conv2d, Conv3d
from stateful.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from stateful.embedding import Embedding
from stateful.linear import Identity, Linear
from stateful.module import Module
from stateful.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, LayerNorm
from stateful.parameter import Parameter
from stateful.random import manual_seed

__all__ = [
    "AlphaDropout", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "Dropout", "Dropout1d",
    "Dropout2d", "Dropout3d", "Embedding", "FeatureAlphaDropout", "Identity", "Lambda", "LayerNorm", "Linear",
    "Module", "ModuleDict", "ModuleList", "Parameter", "Sequential", "functional", "init", "jit", "load",
    "manual_seed", "save",
]  # fmt: skip
