"""What is asked of a running process from outside. A handler only takes a note; the loop acts on it between two steps."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

import attrs

from ddpkit.errors import ExitCode


@attrs.define
class Wish:
    """What was asked since it was last looked at."""

    stops: Mapping[signal.Signals, ExitCode]
    """Signals that end the run, and how it then exits."""
    stop: int = 0
    """The exit code, once the run is saved; 0 = go on."""
    save: bool = False
    """Save, and go on."""

    def noted(self, number: int, _frame: FrameType | None) -> None:
        """The handler. A second signal that ends a run does so at once."""
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop:
            os._exit(ExitCode.INTERRUPTED)
        else:
            self.stop = self.stops[signal.Signals(number)]

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take notes while it lasts; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.noted) for number in (*self.stops, signal.SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
