"""The case of the catalogue: a line of a program that reads the same in torch.nn, stateful and purenn.layers."""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from oracle import T, to_torch


@dataclass(frozen=True)
class Case:
    """A class with arguments, as a program writes it, and its inputs.

    In the code, `nn` is one of the three worlds and `array` makes an array of that world.
    """

    code: str
    inputs: tuple[T, ...] = ()
    draws: bool = False  # in training, numbers of each library's own
    called: bool = True  # False: has no forward
    fixed: tuple[int, ...] = ()  # inputs that torch does not differentiate
    scale: float = 1.0  # multiplies TOLERANCE; the measured error stands in a comment beside it

    def __str__(self) -> str:
        return self.code.replace("nn.", "").replace(" ", "")

    @property
    def name(self) -> str:
        """The class."""
        return re.match(r"nn\.(\w+)", self.code)[1]

    def make(self, world: Any) -> Any:
        """The object, in one of the worlds."""
        array = torch.tensor if world is torch.nn else jnp.asarray
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both warn of what is deprecated; tests of the family read the words
            return eval(self.code, {"nn": world, "array": array, "half": _half(world)})

    def numpy(self) -> list[np.ndarray]:
        """The inputs."""
        rng = np.random.default_rng(len(self.code))
        return [x.draw(rng) for x in self.inputs]

    def materialised(self, world: Any) -> Any:
        """The object; where it is lazy, after its first call."""
        made = self.make(world)
        if self.name.startswith("Lazy"):
            xs = self.numpy()
            made(*(to_torch(xs) if world is torch.nn else xs))
        return made


def _half(world: Any) -> Any:
    return torch.float16 if world is torch.nn else jnp.float16


def cases(text: str, *inputs: T, **options: Any) -> list[Case]:
    """One case for each line of the text, all with the same inputs."""
    return [Case(f"nn.{line.strip()}", inputs, **options) for line in text.strip().splitlines()]
