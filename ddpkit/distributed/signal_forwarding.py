"""Signals from the launcher to the ranks: rank 0 receives them, and the ranks agree on what to do at the same step."""

import contextlib
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.distributed.rank_process import REPORTS, is_own_rank
from ddpkit.distributed.signals import is_ignored_hangup
from ddpkit.errors import STOPS, ExitCode, RunStopped

LISTENER_FILE = "listens"
"""File in the folder of the reports with the process id of rank 0. It exists while that rank handles signals."""
FORWARDED = {
    signal.SIGTERM: signal.SIGUSR2,
    signal.SIGHUP: signal.SIGUSR2,
    signal.SIGINT: signal.SIGINT,
    signal.SIGUSR1: signal.SIGUSR1,
}
"""Signal to the launcher -> signal to rank 0. Rank 0 does not get SIGTERM: torch's agent uses it to end ranks after a failure."""
GRACE_SECONDS = 120.0
"""Time in which ranks must finish a step and save; then they are terminated. `TORCH_ELASTIC_SHUTDOWN_TIMEOUT` overrides it."""
NOT_TRAINING = "before or after training; no training progress is lost"


class TerminatedError(BaseException):
    """Signal that ends this process. It is not an Exception, since `except Exception` in a plugin or in torch would catch it."""

    def __init__(self, number: signal.Signals, how: str) -> None:
        super().__init__(f"stopped by {number.name} {how}")
        self.number = number

    def to_run_stopped(self) -> RunStopped:
        """Return the error that the command line shows for this signal."""
        return RunStopped(str(self), STOPS[self.number])


@attrs.define
class SignalForwarder:
    """Signal handler of the launcher, which forwards signals to rank 0."""

    folder: Path
    """Folder of the ranks' reports."""
    kill_timer: threading.Timer | None = None
    """Timer that terminates ranks which do not save and end in time; None before the first stop signal."""

    def on_signal(self, number: int, _frame: object) -> None:
        """Forward the signal. Raises TerminatedError for a stop signal if no rank listens, and for a second stop signal."""
        received = signal.Signals(number)
        if is_ignored_hangup(received):  # torch's agent handles it all the same
            return
        if self.kill_timer is None and self.forward(FORWARDED[received]):
            if received in STOPS:
                self.start_kill_timer(received)
        elif received in STOPS:
            at_once = "immediately, without a save; continue from the newest checkpoint with '--resume'"
            raise TerminatedError(received, at_once if self.kill_timer else NOT_TRAINING)

    def forward(self, number: signal.Signals) -> bool:
        """Send `number` to rank 0; return whether rank 0 listens."""
        for file in self.folder.glob(LISTENER_FILE):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), number)
                return True
        return False

    def start_kill_timer(self, number: signal.Signals) -> None:
        """Send `number` to this process after the time for saving; `on_signal` treats it as a second stop signal."""
        seconds = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", GRACE_SECONDS))
        self.kill_timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
        self.kill_timer.daemon = True
        self.kill_timer.start()

    def close(self) -> None:
        """Stop the timer: the ranks have ended."""
        if self.kill_timer:
            self.kill_timer.cancel()


@contextlib.contextmanager
def forward_signals(folder: Path) -> Iterator[None]:
    """Forward this process's signals to rank 0. The caller must restore the handlers, because torch's agent sets some too."""
    forwarder = SignalForwarder(folder)
    try:
        if threading.current_thread() is threading.main_thread():
            for number in FORWARDED:
                signal.signal(number, forwarder.on_signal)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)  # a plugin may have blocked them when it was imported
        with patch_agent_handler(forwarder.on_signal):
            yield
    finally:
        forwarder.close()


@contextlib.contextmanager
def patch_agent_handler(on_signal: Callable[[int, object], None]) -> Iterator[None]:
    """Make torch's agent install `on_signal` for the signals in STOPS, and its own handler for the others."""
    # When the agent starts ranks, it installs a private function as the handler of SIGTERM, SIGINT, SIGHUP and SIGQUIT,
    # which terminates the ranks before they can save. Torch 2.9, the oldest supported version, has no option against this.
    # Since torch 2.10, `LaunchConfig(signals_to_handle="SIGHUP,SIGQUIT")` keeps our handlers: when 2.9 is no longer supported,
    # use that option and delete this function. tests/distributed/test_signal_forwarding.py fails if torch changes the private
    # function.
    api = importlib.import_module("torch.distributed.elastic.multiprocessing.api")
    original = api._terminate_process_handler  # noqa: SLF001

    def handler(number: int, frame: object) -> None:
        (on_signal if number in STOPS else original)(number, frame)

    api._terminate_process_handler = handler  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        api._terminate_process_handler = original  # type: ignore[attr-defined]  # noqa: SLF001


def stop_signals() -> Mapping[signal.Signals, ExitCode]:
    """Return the signals at which this process saves and ends, with the exit codes. Our ranks obey only forwarded signals."""
    return {FORWARDED[number]: code for number, code in STOPS.items()} if is_own_rank() else STOPS


@contextlib.contextmanager
def announce_listener() -> Iterator[None]:
    """Let the launcher forward signals to this rank inside the context; no effect on ranks other than 0."""
    if not is_own_rank() or os.environ["RANK"] != "0":
        yield
        return
    file = Path(os.environ[REPORTS]) / LISTENER_FILE
    file.write_text(str(os.getpid()))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise RunStopped on SIGTERM and SIGHUP before and after training; ignore SIGUSR1, since there is nothing to save.

    No effect on our ranks, or outside the main thread.
    """
    if is_own_rank() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise TerminatedError(signal.Signals(number), NOT_TRAINING)

    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: stop, signal.SIGHUP: stop, signal.SIGUSR1: signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items() if not is_ignored_hangup(number)}
    try:
        yield
    except TerminatedError as error:
        raise error.to_run_stopped() from None
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
