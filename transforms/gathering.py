"""Gathering: the calls of like layers held back until the last of them, which runs them all."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from purenn.calling import Interceptor, Paths, Run, from_root, join, located, placed
from purenn.errors import refusal
from purenn.layering import stack_name


class Group(NamedTuple):
    """Like layers of one parent."""

    parent: str
    names: tuple[str, ...]

    @property
    def node(self) -> str:
        """Path of the node that holds them stacked."""
        return join(self.parent, stack_name(self.names))

    @property
    def layers(self) -> list[str]:
        """Their paths."""
        return [join(self.parent, name) for name in self.names]


class Gathering(Interceptor):
    """Holds the calls of like layers back until the last of them.

    Args:
        groups: the layers.
        run: ``run(group, x, further inputs, named inputs)`` runs those of one group.
    """

    def __init__(self, groups: Sequence[Group], run: Callable[[Group, Any, Sequence[Any], dict[str, Any]], Any]):
        self._run = run
        self._places = {path: (g, i) for g in groups for i, path in enumerate(g.layers)}
        self._inputs: dict[Group, tuple[Any, Any, Any]] = {}
        self._pending: dict[Group, Pending] = {}
        self._running = False

    def takes(self, paths: Paths) -> bool:
        """Takes the calls of the layers, but not those inside the body in which they run."""
        return paths[0] in self._places and not self._running

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Notes a call of a layer; at the last one, runs them all."""
        if not self.takes(paths):
            return run(*args, **kwargs)
        group, i = self._places[paths[0]]
        if i == 0:
            if not args:
                raise refusal(
                    "scan", "an input must be given", {"layer": paths[0]}, "The first goes through the layers."
                )
            self._check_none(group)
            self._inputs[group] = args[0], args[1:], kwargs
        else:
            self._check_next(group, i, args, kwargs)
        if i + 1 < len(group.names):
            self._pending[group] = Pending(paths[0])
            return self._pending[group]
        self._pending.pop(group, None)
        x, rest, named = self._inputs.pop(group)
        place = from_root(self, group.parent)
        self._running = True
        try:
            with located(place), placed(place):
                return self._run(group, x, rest, named)
        finally:
            self._running = False

    def _check_none(self, group: Group) -> None:
        if group in self._inputs:
            self._refuse(group)

    def _check_next(self, group: Group, i: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pending = self._pending.get(group)
        if pending is None or pending.path != group.layers[i - 1] or not args or args[0] is not pending:
            self._refuse(group)
        _, rest, named = self._inputs[group]
        same = len(rest) == len(args) - 1 and all(a is b for a, b in zip(rest, args[1:], strict=True))
        if not same or set(named) != set(kwargs) or any(named[name] is not kwargs[name] for name in named):
            got = {"layers": [group.layers[0], group.layers[i]]}
            raise refusal("scan", "further inputs must be the same for all layers", got)

    def _refuse(self, group: Group) -> None:
        rule = "layers must be called one after the other, each on what the one before gave"
        raise refusal("scan", rule, {"layers": group.layers}, "Write the loop without anything between them.")

    def check_done(self, out: Any) -> None:
        """Refuses a call in which some layers have been called and others not."""
        for group in self._inputs:
            self._refuse(group)


class Pending:
    """The output of a layer that has not been run: it can be handed to the next one, and nothing else."""

    def __init__(self, path: str):
        self.path = path

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        rule = "what a layer gives must go to the next one as it is"
        raise refusal("scan", rule, {"layer": self.path}, "Capture it: transforms.capture(model, path).")

    __jax_array__ = __array__ = __iter__ = __getitem__ = __len__ = __bool__ = __call__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __matmul__ = __rmatmul__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()
