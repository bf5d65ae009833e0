"""Calls inside a model: where each takes place, and who stands between a parent and its child.

Whatever calls a child does it through `called`, with the child's dotted path. That gives errors and compiled programs
their places, and lets an `Interceptor` see every call: to keep its output, to replace it, to look for what is not
finite, to choose another dtype. Without one, nothing is done and nothing is added to the program.

Paths are those of the model that was being run when the interceptor was put in place, however deep the call: a model
inside another (one that a transform gave, say) knows its own paths only, and `placed` puts its place before them.

What an interceptor keeps inside a ``jax.vmap``, ``jax.lax.scan`` or ``jax.checkpoint`` is a tracer that means nothing
outside. A transform that runs its model under one of these does so with `through`, which carries the arrays in and out.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

Run = Callable[..., Any]
Paths = tuple[str, ...]


class Interceptor:
    """Stands between parents and children; this one passes everything on, a subclass does something.

    ``paths`` is a tuple: one path, or, in the compiled body that like layers share (see `through`), one for each of
    them. The methods from `given` on are for an interceptor that brings arrays into the calls, or takes some out.
    """

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stands in for one call of a child.

        Args:
            paths: where it takes place; ``("",)`` for the root.
            run: the call: the child, or an interceptor that was put in place later.
            args: inputs.
            kwargs: inputs.

        Returns:
            The output, for the parent.
        """
        del paths
        return run(*args, **kwargs)

    def takes(self, paths: Paths) -> bool:
        """Says whether this one makes a call itself, in a way of its own that the others need not see.

        Args:
            paths: as in `call`.

        Returns:
            True where `call` is to be asked, and no other interceptor.
        """
        del paths
        return False

    def given(self, base: Paths, names: Sequence[str] | None) -> Any:
        """Lists the arrays that go into a region.

        Args:
            base: the place of the region, as ``paths`` is.
            names: of the layers that share the body, or None.

        Returns:
            A pytree of arrays; with ``names``, each has the layers as first axis.
        """
        del base, names
        return {}

    def inside(self, given: Any, base: Paths, names: Sequence[str] | None) -> "Interceptor":
        """Stands in for this one inside a region.

        Args:
            given: the arrays that went in, as they are inside.
            base: as in `given`.
            names: as in `given`.

        Returns:
            The interceptor for the calls inside.
        """
        del given, base, names
        return self

    def taken(self) -> Any:
        """Lists the arrays that come out of a region; asked of the interceptor inside, at its end.

        Returns:
            A pytree of arrays.
        """
        return {}

    def outside(self, inner: Any, taken: Any, names: Sequence[str] | None) -> None:
        """Receives what comes out of a region.

        Args:
            inner: what `inside` gave.
            taken: its arrays, as they are outside.
            names: as in `given`.
        """


@dataclass(frozen=True)
class _Watch:
    """An interceptor in place: the path from its root to the model being run, and whether that has been announced."""

    interceptor: Interceptor
    base: Paths = ("",)
    announced: bool = False

    def at(self, path: str) -> Paths:
        return tuple(join(base, path) for base in self.base)


_active: contextvars.ContextVar[tuple[_Watch, ...]] = contextvars.ContextVar("interceptors", default=())


def join(base: str, path: str) -> str:
    """Puts one dotted path before another.

    Args:
        base: may be empty.
        path: may be empty.

    Returns:
        Both, with a dot between them.
    """
    return f"{base}.{path}" if base and path else base or path


@contextlib.contextmanager
def _watching(watches: tuple[_Watch, ...]) -> Iterator[None]:
    token = _active.set(watches)
    try:
        yield
    finally:
        _active.reset(token)


@contextlib.contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Puts an interceptor in place for the models that are called inside; the last one stands nearest to the child.

    Args:
        interceptor: any.

    Yields:
        Nothing.
    """
    with _watching((*_active.get(), _Watch(interceptor))):
        yield


def called(path: str, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a child for its parent: the one way in which it is done.

    Args:
        path: of the child, from the root of the model that was bound.
        run: the child, bound.
        args: inputs.
        kwargs: inputs.

    Returns:
        The output.
    """
    watches = _active.get()
    for watch in watches:
        if path and watch.interceptor.takes(watch.at(path)):
            return watch.interceptor.call(watch.at(path), run, args, kwargs)
    with located(path):
        return _watched(watches, path, run, args, kwargs) if watches else run(*args, **kwargs)


def _watched(watches: tuple[_Watch, ...], path: str, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for watch in reversed(watches):
        # what a transform wraps stands where the whole stands: only the outermost of them is announced
        if path or not watch.announced:
            run = _stand_between(watch.interceptor, watch.at(path), run)
    if path:
        return run(*args, **kwargs)
    with _watching(tuple(replace(watch, announced=True) for watch in watches)):
        return run(*args, **kwargs)


def _stand_between(interceptor: Interceptor, paths: Paths, run: Run) -> Run:
    return lambda *args, **kwargs: interceptor.call(paths, run, args, kwargs)


@contextlib.contextmanager
def placed(path: str) -> Iterator[None]:
    """Runs a model that knows its own paths only: its place is put before them.

    Args:
        path: of the model, in the one around it.

    Yields:
        Nothing.
    """
    watches = _active.get()
    with _watching(tuple(replace(watch, base=watch.at(path), announced=True) for watch in watches)), located(""):
        yield


def from_root(interceptor: Interceptor, path: str) -> str:
    """A path as the model that is being run knows it.

    Args:
        interceptor: one in place.
        path: as the interceptor was told.

    Returns:
        The path from the root of the model that was bound last.
    """
    (base,) = (watch.base for watch in _active.get() if watch.interceptor is interceptor)
    return path[len(base[0]) :].lstrip(".")


def through(run: Run, lift: Callable[[Run], Run], *args: Any, names: Sequence[str] | None = None) -> Any:
    """Runs ``lift(run)(*args)``, where ``lift`` is a transformation of jax, so that interceptors see what is inside.

    Args:
        run: function of arrays.
        lift: for example ``jax.checkpoint``. The function that it is given has one more input before the others, a
            pytree with the axis that is mapped, if one is, in front; and gives a pair, whose first entry is to come
            out with that axis in front. Without interceptors both are empty.
        *args: inputs.
        names: where ``lift`` is a scan over like layers: their names, below the place of the model being run; ``run``
            is then the call of one of them.

    Returns:
        The output of ``lift(run)``.
    """
    outer = _active.get()
    inner: tuple[_Watch, ...] = ()

    def region(given: Sequence[Any], *args: Any) -> Any:
        nonlocal inner
        inner = tuple(_inside(watch, arrays, names) for watch, arrays in zip(outer, given, strict=True))
        with _watching(inner):
            out = run(*args)
        return [watch.interceptor.taken() for watch in inner], out

    taken, out = lift(region)([watch.interceptor.given(watch.base, names) for watch in outer], *args)
    for watch, inside, arrays in zip(outer, inner, taken, strict=True):
        watch.interceptor.outside(inside.interceptor, arrays, names)
    return out


def _inside(watch: _Watch, given: Any, names: Sequence[str] | None) -> _Watch:
    interceptor = watch.interceptor.inside(given, watch.base, names)
    if names is None:
        return replace(watch, interceptor=interceptor)
    return _Watch(interceptor, shared(watch.base, names))


def shared(base: Paths, names: Sequence[str]) -> Paths:
    """Lists the places of like layers that share one body.

    Args:
        base: the place of the model that holds them.
        names: of the layers; N of them.

    Returns:
        For each entry of ``base`` its N layers: those of layer i are at ``i::N``.
    """
    return tuple(join(path, name) for path in base for name in names)


@contextlib.contextmanager
def located(path: str) -> Iterator[None]:
    """Names the place in the model: in the compiled program, and once in an error that passes.

    A model inside a model (one that a transform gave, say) knows its own paths only; its place is put before them.

    Args:
        path: dotted path, empty for the root.

    Yields:
        Nothing.
    """
    scope = jax.named_scope(path.rpartition(".")[2]) if path else contextlib.nullcontext()
    try:
        with scope:
            yield
    except Exception as error:
        _locate(error, path)
        raise


def _locate(error: Any, path: str) -> None:
    inner, left = getattr(error, "_place", ("", False))  # the path noted, and whether its root has been left
    if not path:
        error._place = inner, bool(inner)
    elif not inner or left:
        error._place = join(path, inner), False
        notes = getattr(error, "__notes__", [])
        if inner and f"in {inner}" in notes:
            notes[notes.index(f"in {inner}")] = f"in {error._place[0]}"
        else:
            error.add_note(f"in {error._place[0]}")
