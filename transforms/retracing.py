"""Why a compiled function was traced again: explain_retrace says it, assert_max_traces makes it an error."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np

from purenn.checks import is_traced
from purenn.errors import refusal

_TRACED = "/jax/core/compile/jaxpr_trace_duration"


def explain_retrace(fn: Callable[..., Any]) -> "Explained":
    """Makes a function that does the same, and keeps a reason for every trace after the first.

    Args:
        fn: a jitted function or module, or a function that will be jitted: ``jax.jit(explain_retrace(fn))``.

    Returns:
        The function. ``traces`` counts, ``reasons`` has a text for each trace after the first: the path of each
        argument whose shape, dtype, structure, static value, identity or placement changed, against the call before
        that was most like it.

    Errors:
        TypeError for what cannot be called; RuntimeError, from a call, for a function that is not jitted.

    >>> import jax, jax.numpy as jnp, transforms
    >>> step = transforms.explain_retrace(jax.jit(lambda batch: batch["x"] * 2))
    >>> for n in (3, 3, 4):
    ...     _ = step({"x": jnp.ones(n)})
    >>> step.traces, step.reasons
    (2, ["batch['x']: shape (3,) became (4,)"])
    """
    return Explained(fn, None)


def assert_max_traces(fn: Callable[..., Any], n: int) -> "Explained":
    """Makes a function that does the same, and fails when it is traced more than n times.

    Args:
        fn: a jitted function or module, or a function that will be jitted: ``jax.jit(assert_max_traces(fn, 1))``.
        n: how often at most.

    Returns:
        The function; see `explain_retrace`. It raises an AssertionError that says what changed.

    Errors:
        TypeError for what cannot be called; ValueError unless n is positive; RuntimeError, from a call, for a function
        that is not jitted.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise refusal("assert_max_traces", "n must be a positive integer", {"n": n})
    return Explained(fn, n)


class Explained:
    """A function that knows why it was traced; see `explain_retrace`."""

    def __init__(self, fn: Callable[..., Any], most: int | None):
        self._op = "explain_retrace" if most is None else "assert_max_traces"
        if not callable(fn):
            raise refusal(self._op, "fn must be a function", {"type(fn)": type(fn).__name__}, kind=TypeError)
        update_wrapper(self, fn, updated=())
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        # an object that is jitted (nn.jit) says under which name jax traces it, and what that depends on: `traced_with`
        self._heard_as = getattr(type(fn), "traced_as", self.__name__)
        self._fn, self._most = fn, most
        self._calls: list[dict[str, Any]] = []  # the first call, and each that was traced
        self.traces = 0
        self.reasons: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        if not isinstance(self._fn, jax.stages.Wrapped) and not hasattr(type(self._fn), "traced_with"):
            self._check_traced(args, kwargs)
            self._note(_described(self._fn, args, kwargs))
            return self._fn(*args, **kwargs)
        description = _described(self._fn, args, kwargs)  # before the call, which may take the arrays' memory
        with _Listener(self._heard_as) as heard:
            out = self._fn(*args, **kwargs)
        if heard.traced:
            self._note(description)
        elif not self._calls:  # jax had a program for it
            self._calls.append(description)
        return out

    def _check_traced(self, args: Any, kwargs: Any) -> None:
        # what is made inside a trace is a tracer, also where no argument is
        if not any(map(is_traced, [*jax.tree.leaves((args, kwargs)), jnp.zeros(())])):
            remedy = f"jax.jit({self._op}(fn)), or {self._op}(jax.jit(fn))."
            raise refusal(self._op, "fn must be jitted", {"fn": self.__name__}, remedy, RuntimeError)

    def _note(self, call: dict[str, Any]) -> None:
        if self._calls:
            self.reasons.append("; ".join(_least([_changes(before, call) for before in reversed(self._calls)])))
        self._calls.append(call)
        self.traces += 1
        if self._most is not None and self.traces > self._most:
            got = {"the number of traces": self.traces}
            rule = f"{self.__name__} must not be traced more than {self._most} times"
            reasons = f"What changed: {' | '.join(self.reasons)}."
            raise refusal(self._op, rule, got, reasons, AssertionError)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


def _least(lists: list[list[str]]) -> list[str]:
    return min(lists, key=len)


class _Listener:
    """Hears whether jax traces a function of some name."""

    def __init__(self, name: str):
        self._name = name
        self.traced = False

    def _hear(self, event: str, duration_secs: float, **facts: Any) -> None:
        del duration_secs
        if event == _TRACED and facts.get("fun_name") == self._name:
            self.traced = True

    def __enter__(self) -> "_Listener":
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)


def _described(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a trace depends on, by the path of the argument."""
    named = _named(fn, args, kwargs)
    if hasattr(type(fn), "traced_with"):
        named |= fn.traced_with()  # type: ignore[attr-defined]
    leaves = jax.tree_util.tree_leaves_with_path(named)
    facts = {_written(path): _facts(leaf) for path, leaf in leaves}
    return {**facts, "": {"structure": jax.tree.structure(named)}}


def _named(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by the names that the function gives them."""
    try:
        return dict(inspect.signature(fn).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # no signature to be had, or arguments that do not fit: the call itself will say so
        return {"args": args, **kwargs}


def _written(path: tuple[Any, ...]) -> str:
    return f"{path[0].key}{jax.tree_util.keystr(path[1:])}"


def _facts(leaf: Any) -> dict[str, Any]:
    if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        return {"static value": leaf}
    aval = jax.typeof(leaf)
    placement = None if is_traced(leaf) or not isinstance(leaf, jax.Array) else leaf.sharding
    return {"shape": aval.shape, "dtype": aval.dtype.name, "weak type": aval.weak_type, "placement": placement}


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed between two calls, one text for each path."""
    found = [f"{path}: is new" for path in after if path not in before]
    found += [f"{path}: is gone" for path in before if path not in after]
    for path in after:
        if path and path in before:
            old, new = before[path], after[path]
            if old.keys() != new.keys():
                found.append(f"{path}: {_kind(old)} became {_kind(new)}")
                continue
            found += [
                f"{path}: {_change(fact, old[fact], new[fact])}" for fact in new if not _equal(old[fact], new[fact])
            ]
    if not found and before[""] != after[""]:
        found.append("a container among the arguments is another one, though its arrays are alike")
    return found or ["nothing among the arguments: what the function closes over, or a setting of jax"]


def _kind(facts: dict[str, Any]) -> str:
    return "an array" if "shape" in facts else f"a static {type(facts['static value']).__name__}"


def _equal(old: Any, new: Any) -> bool:
    return old is new or (type(old) is type(new) and bool(old == new))


def _change(fact: str, old: Any, new: Any) -> str:
    if repr(old) == repr(new) or callable(new):
        return f"identity: another {type(new).__name__} in the place of an equal one, {new!r}"
    return f"{fact} {old!r} became {new!r}" if fact == "static value" else f"{fact} {old} became {new}"
