"""Files of arrays: the safetensors format, read with every rule of it and written whole or not at all."""

from purenn.files.arrays import load_safetensors, save_safetensors
from purenn.files.error import CheckpointError
from purenn.files.named import load_named

__all__ = ["CheckpointError", "load_named", "load_safetensors", "save_safetensors"]
