"""check_source: proof that a generated text computes what the torch module does."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax

from purenn.model import Buffers, Params
from purenn.tree import Tree
from transforms.parity import Parity, parity
from transforms.parity_recording import torch_tree
from transforms.porting import FromTorch, from_torch
from transforms.source.generating import to_source


@dataclass(frozen=True, eq=False)
class Generated:
    """The model of a generated text, with the arrays of the module that it was made from."""

    text: str
    origin: FromTorch

    def init(self, rng: Any = None) -> tuple[Params, Buffers]:
        """Gives the torch module's arrays."""
        return self.origin.init(rng)

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the text; arguments that were built into it are passed over.

        Args:
            params: as from `init`.
            buffers: as from `init`.
            *args: what the torch module's forward takes.
            rng: PRNG key.
            train: the mode.
            **kwargs: what the torch module's forward takes.

        Returns:
            ``(out, buffers)``.
        """
        fn = self._functions["apply"]
        known = inspect.signature(fn).parameters
        given = dict(zip(self.origin.positional, args, strict=False)) | kwargs
        named = {name: value for name, value in given.items() if name in known}
        result: tuple[Any, Buffers] = fn(params, buffers, **named, rng=rng, train=train)
        return result

    def structure(self) -> Tree:
        """Lists the leaves in the order of torch's state_dict."""
        return self.origin.structure()

    @cached_property
    def _functions(self) -> dict[str, Any]:
        names: dict[str, Any] = {}
        exec(compile(self.text, f"<{self.origin.name}>", "exec"), names)
        return names


def check_source(
    text: str,
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    tolerance: float = 1e-6,
) -> Parity:
    """Compares a generated text with the torch module that it was made from, as `transforms.parity` does.

    The numbers are compared in float64: for this the text is made once more from the module in float64, and it is noted
    where that differs from the text given in anything but dtypes.

    Args:
        text: of the file.
        module: torch.nn.Module; it is copied.
        args: inputs.
        kwargs: inputs by name.
        dynamic_shapes: as `to_source` was given them.
        tolerance: as in `transforms.parity`.

    Returns:
        The comparisons.

    Errors:
        What `to_source` and `parity` raise.
    """
    wide_args, wide_kwargs = torch_tree((tuple(args), dict(kwargs or {})))
    with jax.enable_x64(True):
        origin = from_torch(copy.deepcopy(module).double(), wide_args, wide_kwargs,
                            dynamic_shapes=dynamic_shapes)  # fmt: skip
        again = to_source(origin)
        params, buffers = origin.init()
        found = parity(module, Generated(again, origin), args, kwargs, params=params, buffers=buffers,
                       tolerance=tolerance)  # fmt: skip
    if _without_dtypes(again) != _without_dtypes(text):
        note = "The file is not the one that this module gives: only what it would give was compared."
        found = replace(found, notes=(*found.notes, note))
    return found


def _without_dtypes(text: str) -> str:
    text = text.replace("jnp.float32", "float").replace("jnp.complex64", "complex")
    return "".join(text.split())
