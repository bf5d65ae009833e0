"""Parametrization: a weight as a function of other arrays, as a small pure layer.

It says how the weight is computed (`forward`) and which arrays give a weight (`right_inverse`); what it keeps of its
own are its children. `parametrize` puts it into a model, ``stateful.utils.parametrize`` into a module: one object, two
faces.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from purenn.errors import refusal
from purenn.model import Layer, Leaf


class Parametrization(Layer):
    """The base of parametrizations; a subclass is a frozen dataclass that holds no array.

    >>> import jax.numpy as jnp
    >>> class Symmetric(Parametrization):
    ...     def forward(self, m, x):
    ...         return jnp.triu(x) + jnp.triu(x, 1).T
    ...
    ...     def right_inverse(self, m, weight):
    ...         return jnp.triu(weight)
    """

    # whether the arrays that the weight comes from are trained, where the weight was
    trains: ClassVar[bool] = True
    # whether the arrays of its own begin as constants, so that no key is needed for them
    constant: ClassVar[bool] = False

    def fit(self, weight: Leaf) -> Self:
        """The parametrization for a weight of this shape and dtype.

        Args:
            weight: its declaration.

        Returns:
            This one, with what depends on them filled in.
        """
        del weight
        return self

    def children(self) -> Mapping[str, Any]:
        """Names the arrays of its own; it has none."""
        return {}

    def begin(self, m: Any, weight: Any) -> None:
        """Sets buffers of its own by the first weight; it has none.

        Args:
            m: its children with their arrays, newly drawn.
            weight: the array.
        """

    def right_inverse(self, m: Any, weight: Any) -> Any:
        """Computes arrays that `forward` makes the weight of; refused where there are none.

        Args:
            m: its children with their arrays; buffers may be replaced.
            weight: the array.

        Returns:
            One array, or a tuple of them: the arguments of `forward`.

        Errors:
            NotImplementedError: the parametrization has no inverse.
        """
        return self._refuse()

    def _refuse(self) -> Any:
        op = type(self).__name__
        raise refusal(op, "it has no right_inverse: no weight can be given to it", kind=NotImplementedError)

    def place(self, name: str, array: str, i: int | None = None) -> str:
        """Where an array lies, beside the weight it replaces: torch's names.

        Args:
            name: of the weight, without the path of its layer.
            array: ``original``, or ``original0``, ``original1``, ... for the arrays the weight comes from; the dotted
                name among the children for one of its own.
            i: position among the parametrizations of the weight, for one of its own.

        Returns:
            A dotted path.
        """
        own = "" if i is None else f"{i}."
        return f"parametrizations.{name}.{own}{array}"


@dataclass(frozen=True)
class Through(Parametrization):
    """A function of one array, as a parametrization."""

    fn: Callable[[Any], Any]

    def forward(self, m: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        del m
        return self.fn(*args, **kwargs)


def as_parametrization(op: str, p: Any) -> Parametrization:
    """Takes what may compute a weight.

    Args:
        op: name of the caller.
        p: a `Parametrization`, or a function of one array.

    Returns:
        The parametrization.

    Errors:
        TypeError for anything else.
    """
    if isinstance(p, Parametrization):
        return p
    if isinstance(p, type) or not callable(p):
        got = {"p": p.__name__ if isinstance(p, type) else type(p).__name__}
        remedy = "Subclass transforms.Parametrization, and call it."
        raise refusal(op, "a parametrization must be one, or a function of the weight", got, remedy, TypeError)
    return Through(p)
