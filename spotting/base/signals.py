"""Being asked to stop: Ctrl-C (SIGINT), or SIGTERM, which clusters send before taking a machine.

Both end a command with one line. Where work can be saved first, `defer_stop` holds them back until
it has been.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM; no Exception, as KeyboardInterrupt is none: nothing takes it for a failure."""


class StopRequest:
    """Whether the process has been asked to stop."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def __bool__(self) -> bool:
        return self._signal is not None

    def raise_if_made(self, saved: str) -> None:
        """Raises what the signal would have raised.

        Args:
          saved: the exception's message: what has been saved.

        Raises:
          KeyboardInterrupt: it was SIGINT.
          Terminated: it was SIGTERM.
        """
        if self._signal is not None:
            _raise_for(self._signal, saved)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # The second time at once.
            _raise_for(number)
        self._signal = number


def raise_on_sigterm() -> None:
    """Makes SIGTERM raise `Terminated`, in the main thread of a program."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: _raise_for(number))


@contextlib.contextmanager
def defer_stop() -> Iterator[StopRequest]:
    """A block that is not interrupted by the first signal, but asks whether there was one.

    In any thread but the main one, where Python handles no signals, none is ever made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, request._take) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _raise_for(number: int, saved: str = "") -> None:
    raise KeyboardInterrupt(saved) if number == signal.SIGINT else Terminated(saved)
