"""Models in sequence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from purenn.errors import refusal
from purenn.model import Layer, Leaf, as_child


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """Feeds each child's output to the next.

    Args:
        *layers: models and bare functions, named ``"0"``, ``"1"``, ...; or one dict with names of its own.

    Torch:
        ``torch.nn.Sequential``; bare functions are taken too.
    """

    items: tuple[tuple[str, Any], ...]

    def __init__(self, *layers: Any):
        named = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else None
        pairs = list(named.items() if named is not None else ((str(i), layer) for i, layer in enumerate(layers)))
        for name, child in pairs:
            if child is None or isinstance(child, Leaf):
                got = {f"type({name})": type(child).__name__}
                raise refusal("Sequential", f"{name} must be a model or a function", got, kind=TypeError)
        object.__setattr__(self, "items", tuple((name, as_child("Sequential", name, child)) for name, child in pairs))

    def children(self) -> Mapping[str, Any]:
        """Names the layers."""
        return dict(self.items)

    def forward(self, m: Any, input: Any) -> Any:
        """Runs them in order."""
        for name, _ in self.items:
            input = getattr(m, name)(input)
        return input

    def __repr__(self) -> str:
        return f"Sequential({', '.join(f'{name}={child!r}' for name, child in self.items)})"
