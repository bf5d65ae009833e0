"""What is under way in this thread: a call, a constructor."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

# The frame of the call under way, for whoever holds an original module and means its bound copy.
active: contextvars.ContextVar[Any] = contextvars.ContextVar("active", default=None)
# How many constructors, or functions given to `for_each`, are running (see stateful.parameter.Parameter).
constructing: contextvars.ContextVar[int] = contextvars.ContextVar("constructing", default=0)


@contextlib.contextmanager
def promising() -> Iterator[None]:
    """Parameters that nobody has looked at are read as their promises until this ends.

    Yields:
        Nothing.
    """
    token = constructing.set(constructing.get() + 1)
    try:
        yield
    finally:
        constructing.reset(token)
