"""Signals to a process that trains: a handler only records the request; the loop acts on it between two steps."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

import attrs

from ddpkit.errors import ExitCode


@attrs.define
class SignalState:
    """Requests that arrived as signals and have not been handled yet."""

    stops: Mapping[signal.Signals, ExitCode]
    """Signals that end the run -> exit code."""
    stop: int = 0
    """Exit code with which the run ends after the save; 0 = no request."""
    save: bool = False
    """Whether to save; training then continues."""
    handled: tuple[signal.Signals, ...] = ()
    """Signals that this object handles; () outside of `handling`."""

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Record the request. A second stop signal ends the process immediately."""
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop:
            os._exit(ExitCode.INTERRUPTED)
        else:
            self.stop = self.stops[signal.Signals(number)]

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        """Handle signals inside the context. No effect outside the main thread: only the main thread can set handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.handled = tuple(number for number in (*self.stops, signal.SIGUSR1) if not is_ignored_hangup(number))
        before = {number: signal.getsignal(number) for number in self.handled}
        self.restore_handlers()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def restore_handlers(self) -> None:
        """Set the handlers again if code of a plugin has replaced them or blocked the signals: the run must stay stoppable."""
        if not self.handled:
            return
        for number in self.handled:
            signal.signal(number, self.on_signal)  # always: Python does not know handlers that C code has set
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handled)


IGNORES_HANGUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""Whether this process was started with `nohup`. This module is imported before any plugin."""


def is_ignored_hangup(number: signal.Signals) -> bool:
    """Return whether this is SIGHUP and the process was started with `nohup`."""
    return number == signal.SIGHUP and IGNORES_HANGUP
