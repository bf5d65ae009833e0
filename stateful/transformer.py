"""Transformer modules: adapters of purenn.layers.transformer."""

import copy
from functools import reduce
from operator import getitem
from typing import Any

from purenn import init
from purenn import layers as L
from purenn.layers.transformer import Copies
from purenn.random import fold_name
from stateful.container import ModuleList
from stateful.module import Module, as_module
from stateful.parameter import Parameter
from stateful.walking import is_trained

_relu = L.TransformerEncoderLayer.activation  # the default, which is a function


class _Layers(ModuleList):
    """Copies of one module: as in torch, they start with the same numbers."""

    pure = Copies

    def _adapt(self, model: Any) -> None:
        layer = model.layer if isinstance(model.layer, Module) else as_module(model.layer)
        for name in model.children():
            self.add_module(name, copy.deepcopy(layer))

    def _init(self, rng: Any, seen: set[int]) -> Any:
        before = set(seen)
        trees = super()._init(rng, seen)
        layers = dict(self._children())
        first = next(iter(layers), "")
        cells = dict(layers[first]._named_cells()) if layers else {}
        for name, layer in layers.items():
            for path, cell in layer._named_cells():
                if path in cells and cells[path].is_copy(cell) and id(cell) not in before:
                    names = path.split(".")
                    key = reduce(fold_name, (first, *names), rng)
                    node = trees[0 if is_trained(cell) else 1]
                    reduce(getitem, (name, *names[:-1]), node)[names[-1]] = cell.leaf.draw(key)
        return trees

    def _get_name(self) -> str:
        return "ModuleList"


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network; see `purenn.layers.TransformerEncoderLayer`."""

    pure = L.TransformerEncoderLayer

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = _relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        options = dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, dtype
        super().__init__(L.TransformerEncoderLayer(d_model, nhead, *options), device=device)


class TransformerDecoderLayer(Module):
    """Attention to itself and to a memory, and a feed-forward network; see `purenn.layers.TransformerDecoderLayer`."""

    pure = L.TransformerDecoderLayer

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = _relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        options = dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, dtype
        super().__init__(L.TransformerDecoderLayer(d_model, nhead, *options), device=device)


class TransformerEncoder(Module):
    """Copies of a layer in sequence; see `purenn.layers.TransformerEncoder`."""

    pure = L.TransformerEncoder

    def __init__(
        self,
        encoder_layer: Any,
        num_layers: int,
        norm: Any = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        super().__init__(L.TransformerEncoder(encoder_layer, num_layers, norm, enable_nested_tensor, mask_check))


class TransformerDecoder(Module):
    """Copies of a layer in sequence, each reading a memory; see `purenn.layers.TransformerDecoder`."""

    pure = L.TransformerDecoder

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Any = None):
        super().__init__(L.TransformerDecoder(decoder_layer, num_layers, norm))


class Transformer(Module):
    """An encoder and a decoder; see `purenn.layers.Transformer`."""

    pure = L.Transformer

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = _relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        sizes = d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, activation
        options = custom_encoder, custom_decoder, layer_norm_eps, batch_first, norm_first, bias, dtype
        super().__init__(L.Transformer(*sizes, *options), device=device)

    def _adapt(self, model: Any) -> None:
        super()._adapt(model)
        for _, cell in self._named_cells():
            if isinstance(cell, Parameter) and len(cell.shape) > 1:
                cell.promise(init.xavier_uniform)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """Makes the causal mask; see `purenn.layers.Transformer.generate_square_subsequent_mask`.

        Args:
            sz: length of the sequence.
            device: where it lies.
            dtype: of the mask.

        Returns:
            ``(sz, sz)``, to be added.
        """
        return L.Transformer.generate_square_subsequent_mask(sz, device, dtype)
