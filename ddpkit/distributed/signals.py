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
        before = {number: signal.signal(number, self.on_signal) for number in self.handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def restore_handlers(self) -> None:
        """Set the handlers again if code of a plugin has replaced them or blocked the signals: the run must stay stoppable."""
        if not self.handled:
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handled)
        for number in self.handled:
            if signal.getsignal(number) != self.on_signal:
                signal.signal(number, self.on_signal)


def is_ignored_hangup(number: signal.Signals) -> bool:
    """Return whether this is SIGHUP and the process ignores it, as under `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
