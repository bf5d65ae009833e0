"""From a model to a model, and from a model to the functions of training."""

from transforms.accumulation import accumulate
from transforms.averaging import Average, ema, read_average, start_average, update_average
from transforms.capturing import capture, patch
from transforms.casting import precision
from transforms.checking import checked
from transforms.counting import flops
from transforms.curvature import hvp, ntk
from transforms.ensembles import ensemble
from transforms.evaluation import eval_step
from transforms.exporting import Exported, export, load_exported
from transforms.freezing import freeze, unfreeze
from transforms.functionalizing import functionalize
from transforms.gradients import value_and_grad
from transforms.grouping import param_groups
from transforms.linearizing import linearize
from transforms.low_rank import LoRA, lora
from transforms.measuring import Weighted, aggregate, weighted
from transforms.merging import merge
from transforms.nonfinite import NonFinite, find_nonfinite
from transforms.orthogonal_maps import Orthogonal, orthogonal
from transforms.parametrization import Parametrization
from transforms.parametrizing import parametrize
from transforms.parity import Parity, parity
from transforms.per_example import per_example_grad
from transforms.porting import FromTorch, from_torch
from transforms.pruning import Prune, prune
from transforms.quantizing import Quantize, quantize
from transforms.rematerialization import remat
from transforms.retracing import assert_max_traces, explain_retrace
from transforms.scaling import LossScale, LossScaling
from transforms.scanning import scan
from transforms.source.generating import to_source
from transforms.spectral_norms import SpectralNorm, spectral_norm
from transforms.summarizing import summary
from transforms.torch_ops.registry import register_op
from transforms.torch_state import to_torch
from transforms.train_state import TrainState
from transforms.training import TrainStep, train_step
from transforms.tying import tie
from transforms.weight_norms import WeightNorm, weight_norm

__all__ = [
    "Average",
    "Exported",
    "FromTorch",
    "LoRA",
    "LossScale",
    "LossScaling",
    "NonFinite",
    "Orthogonal",
    "Parametrization",
    "Parity",
    "Prune",
    "Quantize",
    "SpectralNorm",
    "TrainState",
    "TrainStep",
    "WeightNorm",
    "Weighted",
    "accumulate",
    "aggregate",
    "assert_max_traces",
    "capture",
    "checked",
    "ema",
    "ensemble",
    "eval_step",
    "explain_retrace",
    "export",
    "find_nonfinite",
    "flops",
    "freeze",
    "from_torch",
    "functionalize",
    "hvp",
    "linearize",
    "load_exported",
    "lora",
    "merge",
    "ntk",
    "orthogonal",
    "param_groups",
    "parametrize",
    "parity",
    "patch",
    "per_example_grad",
    "precision",
    "prune",
    "quantize",
    "read_average",
    "register_op",
    "remat",
    "scan",
    "spectral_norm",
    "start_average",
    "summary",
    "tie",
    "to_source",
    "to_torch",
    "train_step",
    "unfreeze",
    "update_average",
    "value_and_grad",
    "weight_norm",
    "weighted",
]
