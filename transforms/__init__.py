"""From a model to a model, and from a model to the functions of training."""

from transforms.accumulation import accumulate
from transforms.ensembles import ensemble
from transforms.freezing import freeze, unfreeze
from transforms.gradients import value_and_grad
from transforms.rematerialization import remat
from transforms.training import TrainState, TrainStep, train_step

__all__ = [
    "TrainState",
    "TrainStep",
    "accumulate",
    "ensemble",
    "freeze",
    "remat",
    "train_step",
    "unfreeze",
    "value_and_grad",
]
