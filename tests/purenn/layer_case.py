"""The case of the law table over pure layers."""

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch

from purenn import layers as L


@dataclass(frozen=True)
class Case:
    """A layer, how it is made in both worlds, and the shapes of its inputs."""

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    shape: tuple = (4, 3)
    more: tuple = ()  # shapes of further inputs
    seeded: bool = False
    renamed: dict = field(default_factory=dict)  # torch's name of an argument, by ours

    def __str__(self):
        more = "".join(map(str, self.more))
        return f"{self.name}{self.args}{self.kwargs or ''}{self.shape}{more}".replace(" ", "")

    def ours(self, **more):
        return getattr(L, self.name)(*self.args, **self.kwargs, **more)

    def theirs(self):
        return getattr(torch.nn, self.name)(*self.args, **self.kwargs)

    def inputs(self):
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        if self.name.startswith("Embedding"):
            return [rng.integers(0, self.args[0], self.shape).astype(np.int32)]
        return [rng.standard_normal(shape).astype(np.float32) for shape in (self.shape, *self.more)]
