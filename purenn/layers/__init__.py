"""The pure layers: frozen dataclasses with torch's constructor arguments, each a pair of init and apply."""

from purenn.layers.container import Sequential
from purenn.layers.conv import Conv1d, Conv2d, Conv3d
from purenn.layers.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from purenn.layers.embedding import Embedding
from purenn.layers.linear import Identity, Linear
from purenn.layers.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, LayerNorm

__all__ = [
    "AlphaDropout", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "Dropout", "Dropout1d",
    "Dropout2d", "Dropout3d", "Embedding", "FeatureAlphaDropout", "Identity", "LayerNorm", "Linear", "Sequential",
]  # fmt: skip
