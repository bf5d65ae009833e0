"""Stopping a run from outside: Ctrl-C and SIGTERM ask, and the loop ends between two steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_ASKED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody has asked the run to stop, and who: a signal's number, or 0 for the program itself."""

    def __init__(self) -> None:
        self.by: int | None = None

    def __bool__(self) -> bool:
        return self.by is not None

    def ask(self, by: int = 0) -> None:
        """Asks.

        Args:
            by: number of the signal.
        """
        self.by = by

    def leave(self) -> None:
        """Ends the program as the signal wanted, now that all is saved.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: after SIGTERM, with the exit status 143 that says so.
        """
        if self.by == signal.SIGINT:
            raise KeyboardInterrupt
        if self.by == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)


@contextlib.contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Lets signals ask; a second one acts as if nobody listened. Outside the main thread nothing changes.

    Args:
        stop: what is asked.

    Yields:
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ASKED}

    def ask(number: int, frame: Any) -> None:
        del frame
        stop.ask(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            # None: somebody outside Python set it, and only they can do it again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    for number in _ASKED:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()
