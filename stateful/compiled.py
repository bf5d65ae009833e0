"""nn.jit: the compiled object."""

import functools
from typing import Any, ClassVar

import jax
import numpy as np

from purenn.errors import refusal
from purenn.model import Keys
from stateful import node
from stateful.frame import Frame
from stateful.module import BoundModule, Module
from stateful.parameter import Cell
from stateful.random import noise_key
from stateful.walking import is_trained


class _Plan:
    """What a compiled program depends on besides arrays: equal plans share one program."""

    def __init__(self, module: Module):
        modules = list(module.modules())
        self.cells: list[Cell] = [cell for _, cell in module._named_cells()]
        self.state = [i for i, cell in enumerate(self.cells) if not is_trained(cell)]
        self.content = (
            tuple((id(m), m.training, m._version) for m in modules),
            tuple(map(id, self.cells)),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Plan) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


class Compiled:
    """A module whose call is compiled; everything else is the module's own.

    Arrays among the arguments are traced, other values (numbers, strings, None) are part of the program.

    Args:
        module: to be compiled.
    """

    traced_as: ClassVar[str] = "_run"  # for `transforms.explain_retrace`, as `traced_with` is

    def __init__(self, module: Module):
        self.__dict__.update(_module=module, _seen=-1, _plan=None, _draws={}, _program=None)
        # static: plan, tree of the arguments, what in it is no array
        self.__dict__["_program"] = jax.jit(self._run, static_argnums=(0, 1, 2))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the compiled module; its buffers are remembered."""
        plan = self._current_plan()
        leaves, tree = jax.tree.flatten((args, kwargs))
        traced = [leaf for leaf in leaves if isinstance(leaf, (jax.Array, np.ndarray, np.generic))]
        static = tuple(_HOLE if isinstance(x, (jax.Array, np.ndarray, np.generic)) else x for x in leaves)
        self._check_static(static)
        which = plan, tree, static
        key = jax.random.key_data(noise_key()) if self._draws.get(which, True) else _unused_key()
        arrays = [cell.array() for cell in plan.cells]
        out, after = self._program(*which, arrays, key, traced)
        for i, value in zip(plan.state, after, strict=True):
            plan.cells[i].put(value)
        return out

    def traced_with(self) -> dict[str, Any]:
        """What a trace depends on besides the arguments.

        Returns:
            By name: the arrays, whether each is trained, and the mode and the number of changes of each module.
        """
        name = type(self._module).__name__
        cells = dict(self._module._named_cells())
        modules = {path or name: module for path, module in self._module.named_modules()}
        return {
            name: {path: cell.array() for path, cell in cells.items()},
            "requires_grad": {path: is_trained(cell) for path, cell in cells.items()},
            "training": {path: module.training for path, module in modules.items()},
            "changes": {path: module._version for path, module in modules.items()},
        }

    def _current_plan(self) -> _Plan:
        if self._seen != node.latest_change:
            plan = _Plan(self._module)
            if plan != self._plan:
                self.__dict__["_plan"] = plan
            self.__dict__["_seen"] = node.latest_change
        return self._plan

    def _run(self, plan: _Plan, tree: Any, static: tuple[Any, ...], arrays: Any, key: Any, traced: Any) -> Any:
        frame = Frame(remembers=False)
        frame.values.update(zip(map(id, plan.cells), arrays, strict=True))
        keys = Keys.root("jit", key)
        copy = self._module._bound_copy(frame, keys, "", None)
        rest = iter(traced)
        args, kwargs = jax.tree.unflatten(tree, [next(rest) if x is _HOLE else x for x in static])
        out = BoundModule(copy, frame)(*args, **kwargs)
        self._draws[plan, tree, static] = keys._key is not None
        return out, [frame.values[id(plan.cells[i])] for i in plan.state]

    def _check_static(self, static: tuple[Any, ...]) -> None:
        try:
            hash(static)
        except TypeError as error:
            kinds = sorted({type(x).__name__ for x in static})
            rule = "arguments must be arrays, or hashable"
            raise refusal("jit", rule, {"types": kinds}, "Wrap numbers in jnp.asarray.", TypeError) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)

    def __repr__(self) -> str:
        return f"jit({self._module!r})"


class _Hole:
    """Stands for an array among static arguments."""


_HOLE = _Hole()


@functools.cache
def _unused_key() -> jax.Array:
    return jax.random.key_data(jax.random.key(0))  # as the others are, so that nothing is traced again


def jit(module: Module) -> Compiled:
    """Compiles a module: the call runs as one XLA program, and remembers its buffers as the module does.

    Args:
        module: to be compiled; training and evaluation are two programs.

    Returns:
        An object with all of the module's attributes and methods, and a compiled call.

    Errors:
        TypeError: it is no module; a function is compiled by ``jax.jit``.

    >>> import jax.numpy as jnp, stateful as nn
    >>> net = nn.jit(nn.Sequential(nn.Linear(3, 4), jnp.tanh, nn.Linear(4, 2)))
    >>> net(jnp.ones((5, 3))).shape
    (5, 2)
    """
    if not isinstance(module, Module):
        got = {"type": type(module).__name__}
        raise refusal("jit", "the argument must be a Module", got, "A function is compiled by jax.jit.", TypeError)
    return Compiled(module)
