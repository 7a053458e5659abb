"""Ranks are commands: `python -m ddpkit run ...`, started here by torch's elastic agent, or by torchrun.

A rank that fails writes a report; the launcher shows the first one, once, in place of every rank's traceback.
"""

import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit import schema
from ddpkit.config import Config
from ddpkit.errors import STOPS, ConfigError, DdpkitError, ExitCode, PluginError, Problem, RankError, Stopped
from ddpkit.lifeline import end_with_parent

REPORTS = "DDPKIT_REPORTS"
"""Environment of our ranks: the folder for their reports."""
LAUNCHER = "DDPKIT_LAUNCHER"
"""Environment of our ranks: the process that started them."""
LISTENS = "listens"
"""The file with the process id of the first rank, in the folder for reports, while it understands signals."""
PASSED_ON = {signal.SIGTERM: signal.SIGUSR2, signal.SIGINT: signal.SIGINT, signal.SIGUSR1: signal.SIGUSR1}
"""What the first rank is told: it saves, and all end or go on. SIGTERM is the agent's, which ends a failed run with it."""
GRACE = 120.0
"""Seconds for ranks to finish a step and save, after which they are ended; `TORCH_ELASTIC_SHUTDOWN_TIMEOUT` has another."""
AGENT = "torch.distributed.elastic"
"""Loggers of torch's launcher, whose lines are not for our users."""
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals for which torch's agent sets handlers and leaves them."""


def is_rank() -> bool:
    """This process is one rank of a run, started by torchrun or by us."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_our_rank() -> bool:
    """This process was started by `start_ranks`; the launcher speaks for it."""
    return REPORTS in os.environ


def is_restarted() -> bool:
    """This rank takes the place of one that failed."""
    return is_rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def is_speaker() -> bool:
    """This process prints results: the launcher, or the first rank where somebody else launched."""
    return not is_our_rank() and os.environ.get("RANK", "0") == "0"


def n_ranks(config: Config, nproc: int | None = None) -> int:
    """How many ranks the run has: the environment's under torchrun, else `nproc`, else the config's.

    Raises ConfigError when several are asked for and the config says one.
    """
    ddp = config.run.ddp
    asked = int(os.environ["WORLD_SIZE"]) if is_rank() else nproc
    if asked is not None:
        if asked > 1 and not ddp.enabled:
            raise ConfigError([config.problem(("ddp", "enabled"), f"is false, but {asked} ranks are asked for")])
        return asked
    if not ddp.enabled:
        return 1
    return ddp.nproc if isinstance(ddp.nproc, int) else visible_gpus(config.run)


def local_ranks(n_ranks: int) -> int:
    """How many of the ranks are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(n_ranks)))


def visible_gpus(run: schema.Run) -> int:
    """Ranks for `nproc = "auto"`: one a GPU, or one."""
    if run.device == "cpu" or ":" in run.device:
        return 1
    import torch  # noqa: PLC0415 - the config side stays free of torch until it is needed

    return max(torch.cuda.device_count(), 1)


def start_ranks(n: int, arguments: Sequence[str], max_restarts: int = 0) -> None:
    """Run `python -m ddpkit ARGUMENTS` once a rank, to the end.

    When one fails, all are ended, and started again `max_restarts` times. On SIGTERM and SIGINT ranks that train save and
    end; a second one ends them at once. SIGUSR1 makes them save and go on. Raises what the first rank reports: ConfigError
    as it was raised there, else RankError.
    """
    importlib.import_module("torch.distributed.launcher.api")  # makes the agent's loggers, for `prepared` to silence
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder, prepared(folder):
        try:
            elastic_agent(n, folder, max_restarts)(*["-P", "-m", "ddpkit", *arguments])
        except ChildFailedError as error:
            raise first_failure(error.failures, Path(folder)) from None
        except SignalException as error:
            raise RankError(f"ended by {error.sigval.name}") from None
        except EndedError as error:
            raise error.stopped() from None
        for report in stopped(Path(folder)):
            raise report


def stopped(folder: Path) -> list[DdpkitError]:
    """The reports of ranks that saved and ended because they were asked to."""
    return [reported(report) for report in reports(folder) if report["exit_code"] in STOPS.values()]


def elastic_agent(n: int, folder: str, max_restarts: int) -> Any:
    """Torch's launcher for `n` commands on this machine; a free port."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id=f"ddpkit-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=max_restarts,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
    )
    return elastic_launch(config, sys.executable)


@contextlib.contextmanager
def prepared(folder: str) -> Iterator[None]:
    """The environment that ranks inherit, and a silent agent; all is put back."""
    mine = {REPORTS: folder, LAUNCHER: str(os.getpid())}
    before = {name: os.environ.get(name) for name in [*mine, "TORCHELASTIC_SIGNALS_TO_HANDLE"]}
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in HANDLED} if in_main_thread else {}
    agent_logs = [
        log for name, log in logging.root.manager.loggerDict.items() if name.startswith(AGENT) and isinstance(log, logging.Logger)
    ]
    spoke = [log for log in agent_logs if not log.disabled]  # each has a level of its own, so their parent's has no say
    for log in spoke:
        log.disabled = True
    os.environ |= mine
    messenger = Messenger(Path(folder))
    if in_main_thread:
        handlers |= {number: signal.signal(number, messenger.asked) for number in PASSED_ON}
    try:
        with asked_first(messenger):
            yield
    finally:
        messenger.close()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for log in spoke:
            log.disabled = False


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


def reports(folder: Path) -> list[dict[str, Any]]:
    """What ranks wrote down, the earliest first."""
    return sorted((json.loads(file.read_text()) for file in folder.glob("rank-*.json")), key=lambda report: report["time"])


def first_failure(failures: Any, folder: Path) -> DdpkitError:
    """What to show of the ranks that failed: the earliest report; the others are consequences.

    A rank that was killed or crashed leaves none. Then the others may report the broken connection before the agent ends
    them, so such a signal comes first; SIGTERM is the agent's own, and SIGABRT what a collective does after a report.
    """
    signals = {rank: signal.Signals(-failure.exitcode) for rank, failure in failures.items() if failure.exitcode < 0}
    for rank, number in signals.items():
        if number not in (signal.SIGTERM, signal.SIGABRT):
            return RankError(f"rank {rank} was ended by {number.name}{' (out of memory?)' * (number is signal.SIGKILL)}")
    if written := reports(folder):
        return reported(written[0])
    rank, failure = next(iter(failures.items()))
    return RankError(f"rank {rank} ended without a report: {signals[rank].name if rank in signals else failure.exitcode}")


def reported(report: Mapping[str, Any]) -> DdpkitError:
    """The error that a rank wrote down."""
    problems = [Problem(**{**problem, "path": tuple(problem["path"])}) for problem in report["problems"]]
    if problems:
        return (PluginError if report["exit_code"] == ExitCode.PLUGIN else ConfigError)(problems)
    if report["exit_code"] in STOPS.values():
        return Stopped(report["text"], ExitCode(report["exit_code"]))
    return RankError(report["text"], report["exit_code"])


@contextlib.contextmanager
def as_rank() -> Iterator[None]:
    """The life of a rank: it ends with its launcher, and leaves a report there when it fails. Nothing for other processes."""
    if not is_our_rank():
        yield
        return
    end_with_parent(lambda: os.getppid() == int(os.environ[LAUNCHER]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # passed on by the agent: end at once, even in the middle of a collective
    report_file().unlink(missing_ok=True)  # of the process in whose place this one is
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - reported, whatever it is
        write_report(error)
        sys.stderr.flush()
        # At once: an orderly exit would wait for loader workers. One that went as asked is not started again.
        os._exit(ExitCode.DONE if isinstance(error, Stopped) else ExitCode.FAILED)


def write_report(error: BaseException) -> None:
    """This rank's failure: a message if a person can put it right, else the traceback."""
    rank = os.environ.get("RANK", "0")
    if isinstance(error, DdpkitError):
        text, exit_code = str(error), error.exit_code
    else:
        text, exit_code = f"rank {rank} failed:\n{''.join(traceback.format_exception(error)).rstrip()}", ExitCode.FAILED
    problems = [attrs.asdict(problem) for problem in getattr(error, "problems", ())]
    report = {"time": time.time_ns(), "text": text, "exit_code": exit_code, "problems": problems}
    scratch = report_file().with_suffix(".tmp")
    scratch.write_text(json.dumps(report), encoding="utf-8")
    scratch.replace(report_file())


def report_file() -> Path:
    """Of this rank."""
    return Path(os.environ[REPORTS]) / f"rank-{os.environ.get('RANK', '0')}.json"
