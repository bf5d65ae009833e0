"""Names in a generated function: those of the torch source, as long as nothing else that is still needed has them."""

import keyword
import re
from collections.abc import Mapping

from purenn import ported

RESERVED = frozenset({
    "params", "buffers", "train", "rng", "keys", "i", "jax", "jnp", "F", "purenn", "self", "load", "range", "str",
    "int", "float", "bool", "complex", "vector_norm", *ported.__all__,
})  # fmt: skip


class Names:
    """Which value a name stands for, at the place where the text has come to.

    ``last`` is the place of the last use of each value; ``forbidden`` are names of functions that are called.
    """

    def __init__(self, last: Mapping[str, int], forbidden: frozenset[str] = frozenset()):
        self.last, self.forbidden = last, RESERVED | forbidden
        self._holders: dict[str, str] = {}

    def take(self, value: str, wanted: str, at: int) -> str:
        """Gives a value a name.

        Args:
            value: it.
            wanted: the name it should have.
            at: the place where it is assigned.

        Returns:
            The name: as wanted, with a number where another value still has it.
        """
        base = wanted if wanted.isidentifier() and not keyword.iskeyword(wanted) else f"{wanted}_"
        base = f"{base}_" if base in self.forbidden else base
        name, n = base, 1
        while name in self._holders and self.last.get(self._holders[name], -1) > at:
            n += 1
            name = f"{base}{n}"
        self._holders[name] = value
        return name

    def fix(self, value: str, name: str) -> None:
        """Notes the name of a parameter."""
        self._holders[name] = value

    def is_held(self, name: str) -> bool:
        """Whether a name stands for a value."""
        return name in self._holders

    def is_free(self, name: str, at: int) -> bool:
        """Whether a name can be assigned to, because what it stands for is needed no longer."""
        return self.last.get(self._holders.get(name, ""), -1) <= at and name not in self.forbidden


def snake(name: str) -> str:
    """The name of a class as that of a function.

    Args:
        name: ``TransformerBlock``, say.

    Returns:
        ``transformer_block``.
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.rpartition(".")[2])
    return text.lower()


def plain(name: str) -> str:
    """The name of a value without what torch adds to tell it from others.

    Args:
        name: ``transpose_3``, ``p_fc1_weight`` or ``relu_default~``, say.

    Returns:
        ``transpose``, ``fc1_weight`` or ``relu``.
    """
    name = re.sub(r"^(p|b|c)_(?=\w)|(_\d+)?~?$", "", name)
    name = re.sub(r"_(default|tensor|scalar|int)$", "", name)
    name = "batch_norm" if "batch_norm" in name else name.strip("_") or "x"
    return f"{name}_" if keyword.iskeyword(name) or name in RESERVED else name
