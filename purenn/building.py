"""Who takes the modules that a function builds and calls by itself (see `transforms.functionalize`)."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

Taker = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]

# Called with a module, args and kwargs, where a module that belongs to nothing is called as an object.
taker: contextvars.ContextVar[Taker | None] = contextvars.ContextVar("taker", default=None)


@contextlib.contextmanager
def built(take: Taker | None) -> Iterator[None]:
    """Takes the calls of modules that belong to nothing.

    Args:
        take: what calls them; None for no one.

    Yields:
        Nothing.
    """
    token = taker.set(take)
    try:
        yield
    finally:
        taker.reset(token)
