"""Signals on their way from the launcher to the ranks: the first rank gets them and tells the others."""

import contextlib
import importlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ddpkit.distributed.rank_process import REPORTS, is_our_rank
from ddpkit.errors import STOPS, ExitCode, Stopped

LISTENS = "listens"
"""The file with the process id of the first rank, in the folder for reports, while it understands signals."""
PASSED_ON = {signal.SIGTERM: signal.SIGUSR2, signal.SIGINT: signal.SIGINT, signal.SIGUSR1: signal.SIGUSR1}
"""What the first rank is told: it saves, and all end or go on. SIGTERM is the agent's, which ends a failed run with it."""
GRACE = 120.0
"""Seconds for ranks to finish a step and save, after which they are ended; `TORCH_ELASTIC_SHUTDOWN_TIMEOUT` has another."""


class EndedError(BaseException):
    """A signal ends this process, wherever it is: no `except Exception` on the way, a plugin's or torch's, is to keep it."""

    def __init__(self, number: signal.Signals, how: str) -> None:
        super().__init__(f"ended by {number.name} {how}")
        self.number = number

    def stopped(self) -> Stopped:
        """The same for people."""
        return Stopped(str(self), STOPS[self.number])


@attrs.define
class Messenger:
    """Passes signals on to the first rank, which tells the others."""

    folder: Path
    """For reports."""
    patience: threading.Timer | None = None
    """Until ranks that were asked to end are ended."""

    def asked(self, number: int, _frame: object) -> None:
        """The launcher's handler. Raises EndedError when nobody listens, and at a second signal that ends a run."""
        asked = signal.Signals(number)
        is_told = self.patience is None and self.told(PASSED_ON[asked])
        if asked not in STOPS:
            return
        if not is_told:
            how = "at once; '--resume' goes on from the newest checkpoint" if self.patience else "before training, or after it"
            raise EndedError(asked, how)
        grace = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", GRACE))
        self.patience = threading.Timer(grace, os.kill, (os.getpid(), asked))
        self.patience.daemon = True
        self.patience.start()

    def told(self, number: signal.Signals) -> bool:
        """Whether the first rank listens; then it was told."""
        for file in self.folder.glob(LISTENS):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), number)
                return True
        return False

    def close(self) -> None:
        """The ranks have ended."""
        if self.patience:
            self.patience.cancel()


@contextlib.contextmanager
def asked_first(messenger: Messenger) -> Iterator[None]:
    """Torch's agent sets a handler for signals that end a run, which ends the ranks: have it set ours.

    (`LaunchConfig.signals_to_handle`, by which it would not, came after torch 2.9.)
    """
    api = importlib.import_module("torch.distributed.elastic.multiprocessing.api")
    theirs = api._terminate_process_handler  # noqa: SLF001

    def handler(number: int, frame: object) -> None:
        (messenger.asked if number in STOPS else theirs)(number, frame)

    api._terminate_process_handler = handler  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        api._terminate_process_handler = theirs  # type: ignore[attr-defined]  # noqa: SLF001


def stop_signals() -> Mapping[signal.Signals, ExitCode]:
    """What asks this process to save and end. Our ranks have it from their launcher alone."""
    return {PASSED_ON[number]: code for number, code in STOPS.items()} if is_our_rank() else STOPS


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """While this rank understands signals, its launcher knows of it."""
    if not is_our_rank() or os.environ["RANK"] != "0":
        yield
        return
    file = Path(os.environ[REPORTS]) / LISTENS
    file.write_text(str(os.getpid()))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM before training and after it, where nothing is lost: the exit code asks for a requeue. Not for our ranks."""
    if is_our_rank() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise EndedError(signal.Signals(number), "before training, or after it")

    before = signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # nothing to save yet
    try:
        yield
    except EndedError as error:
        raise error.stopped() from None
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
            signal.signal(number, handler)
