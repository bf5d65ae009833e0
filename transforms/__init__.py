"""From a model to a model, and from a model to the functions of training."""

from transforms.accumulation import accumulate
from transforms.averaging import Average, ema, read_average, start_average, update_average
from transforms.ensembles import ensemble
from transforms.freezing import freeze, unfreeze
from transforms.gradients import value_and_grad
from transforms.merging import merge
from transforms.rematerialization import remat
from transforms.training import TrainState, TrainStep, train_step

__all__ = [
    "Average",
    "TrainState",
    "TrainStep",
    "accumulate",
    "ema",
    "ensemble",
    "freeze",
    "merge",
    "read_average",
    "remat",
    "start_average",
    "train_step",
    "unfreeze",
    "update_average",
    "value_and_grad",
]
