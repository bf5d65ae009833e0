"""Functional: the modules that have no arrays of their own, each a constructor for one function.

An activation, a pooling, a padding, a shuffle or a loss is an operation of `purenn.functional` whose options are chosen
at construction. Nothing is left to say about it but which function, which options and how torch prints it, so that is
all its class says:

    class ELU(Functional, function="elu", prints="alpha={alpha}"):
        alpha: float = 1.0
        inplace: bool = False

The fields are the constructor, as in a dataclass (which it is): torch's names, order and defaults. An instance keeps
them as attributes that can be changed, and each call hands their present values to the function by name, behind the
inputs. From this follow the few rules:

- A field must be an argument of the function. What the constructor takes but the function does not is an `InitVar`,
  for `__post_init__` to look at.
- Other keywords of the class statement are arguments that stay the same: ``function="pad", mode="reflect"``.
- Arguments that torch makes keyword-only stand behind ``_: KW_ONLY``.
- `__post_init__` refuses and canonicalises options; the module is complete when it runs, so buffers may be registered.
- A ``forward`` with further arguments names them, and calls ``super().forward(*inputs, name=value)``.
- A class without ``function=`` is an ordinary subclass: it inherits all this, and its annotations are not fields.
"""

import inspect
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, dataclass_transform

from purenn import functional as F
from purenn.errors import refusal
from stateful.module import Module


@dataclass_transform(eq_default=False)
class Functional(Module):
    """A function of `purenn.functional` with options, as a module; the base of those without arrays."""

    _function: ClassVar[str]
    _prints: ClassVar[str] = ""
    _fields: ClassVar[tuple[str, ...]] = ()
    _constants: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, function: str = "", prints: str = "", **constants: Any):
        super().__init_subclass__()
        if not function:
            return
        dataclass(eq=False, repr=False, match_args=False)(cls)
        for name in inspect.signature(cls.__init__).parameters:
            if name in cls.__dict__:
                delattr(cls, name)  # a default: the signature has it, and instances have their own
        cls._function, cls._prints, cls._constants = function, prints, constants
        cls._fields = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]
        taken = inspect.signature(getattr(F, function)).parameters
        if unknown := [name for name in (*cls._fields, *constants) if name not in taken]:
            got = {"unknown": unknown, "it takes": [*taken]}
            raise refusal(cls.__name__, f"fields must be arguments of {function}", got, kind=TypeError)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A module from the first moment, so that a field may be one."""
        del args, kwargs
        module = super().__new__(cls)
        Module.__init__(module)
        return module

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Calls the function with the inputs and the present options.

        Args:
            *inputs: for the function.
            **named: for the function too; they override the options.

        Returns:
            What it gives.
        """
        options = {name: getattr(self, name) for name in self._fields}
        return getattr(F, self._function)(*inputs, **{**self._constants, **options, **named})

    def extra_repr(self) -> str:
        """As torch prints it."""
        return self._prints.format_map(vars(self))
