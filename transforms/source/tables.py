"""The whole table of spellings."""

from transforms.source import spell_arrays, spell_elements, spell_layers, spell_shapes
from transforms.source.spelling import SPELLINGS

__all__ = ["SPELLINGS", "spell_arrays", "spell_elements", "spell_layers", "spell_shapes"]
