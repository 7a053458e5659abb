"""Signals from the launcher to the ranks: rank 0 receives them, and the ranks agree on what to do at the same step."""

import contextlib
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from ddpkit.distributed.rank_process import REPORTS, is_own_rank
from ddpkit.errors import STOPS, ExitCode, RunStopped

LISTENER_FILE = "listens"
"""File in the folder for reports: the process id of rank 0. It exists while that rank handles signals."""
FORWARDED = {signal.SIGTERM: signal.SIGUSR2, signal.SIGINT: signal.SIGINT, signal.SIGUSR1: signal.SIGUSR1}
"""Signal to the launcher -> signal to rank 0. Not SIGTERM, with which torch's agent ends the ranks of a failed run."""
GRACE_SECONDS = 120.0
"""Time for ranks to finish a step and save, after which they are ended; `TORCH_ELASTIC_SHUTDOWN_TIMEOUT` overrides it."""
NOT_TRAINING = "before training, or after it"


class TerminatedError(BaseException):
    """A signal ends this process, wherever it is. No Exception: an `except Exception` of a plugin or of torch would catch it."""

    def __init__(self, number: signal.Signals, how: str) -> None:
        super().__init__(f"ended by {number.name} {how}")
        self.number = number

    def to_run_stopped(self) -> RunStopped:
        """The same as an error that the command line shows."""
        return RunStopped(str(self), STOPS[self.number])


@attrs.define
class SignalForwarder:
    """The launcher's signal handler: forwards signals to rank 0."""

    folder: Path
    """For reports."""
    kill_timer: threading.Timer | None = None
    """Runs after ranks were signalled to save and end; ends them."""

    def on_signal(self, number: int, _frame: object) -> None:
        """Forward the signal. Raises TerminatedError if no rank listens, and at a second signal that ends a run."""
        received = signal.Signals(number)
        if self.kill_timer is None and self.forward(FORWARDED[received]):
            if received in STOPS:
                self.start_kill_timer(received)
        elif received in STOPS:
            at_once = "at once; '--resume' continues from the newest checkpoint"
            raise TerminatedError(received, at_once if self.kill_timer else NOT_TRAINING)

    def forward(self, number: signal.Signals) -> bool:
        """Send `number` to rank 0; returns whether it listens."""
        for file in self.folder.glob(LISTENER_FILE):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), number)
                return True
        return False

    def start_kill_timer(self, number: signal.Signals) -> None:
        """Send `number` to this process after the time for saving; `on_signal` takes it for a second signal of a user."""
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
    """Forward this process's signals to rank 0. Leaves its handlers installed: the caller restores those of torch's agent too."""
    forwarder = SignalForwarder(folder)
    try:
        if threading.current_thread() is threading.main_thread():
            for number in FORWARDED:
                signal.signal(number, forwarder.on_signal)
        with patch_agent_handler(forwarder.on_signal):
            yield
    finally:
        forwarder.close()


@contextlib.contextmanager
def patch_agent_handler(on_signal: Callable[[int, object], None]) -> Iterator[None]:
    """Make torch's agent install `on_signal` for the signals in STOPS, and its own handler for the others."""
    # Whenever the agent starts ranks it installs a private function as the handler of SIGTERM, SIGINT, SIGHUP and SIGQUIT,
    # which ends the ranks before they can save. Torch 2.9, the oldest that we support, has no option against that. From
    # torch 2.10 on, `LaunchConfig(signals_to_handle="SIGHUP,SIGQUIT")` keeps our handlers: once 2.9 is no longer supported,
    # delete this function and use that. tests/distributed/test_signal_forwarding.py fails if torch changes the private one.
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
    """Signals at which this process saves and ends, and its exit codes. Our ranks obey only what the launcher forwards."""
    return {FORWARDED[number]: code for number, code in STOPS.items()} if is_own_rank() else STOPS


@contextlib.contextmanager
def announce_listener() -> Iterator[None]:
    """Let the launcher forward signals to this rank inside the context; no effect on others than rank 0."""
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
    """On SIGTERM before training and after it, where nothing is lost, raise RunStopped; ignore SIGUSR1.

    No effect on our ranks, nor outside the main thread.
    """
    if is_own_rank() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise TerminatedError(signal.Signals(number), NOT_TRAINING)

    before = signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # nothing to save yet
    try:
        yield
    except TerminatedError as error:
        raise error.to_run_stopped() from None
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
            signal.signal(number, handler)
