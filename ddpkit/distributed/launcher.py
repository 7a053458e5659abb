"""Start the command `python -m ddpkit ...` once per rank with torch's elastic agent, and wait for all ranks."""

import contextlib
import importlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpkit.distributed.rank_process import LAUNCHER, REPORTS
from ddpkit.distributed.rank_report import first_failure, stop_errors
from ddpkit.distributed.signal_forwarding import FORWARDED, TerminatedError, forward_signals
from ddpkit.errors import RankError

AGENT_LOGGERS = "torch.distributed.elastic"
"""Common prefix of the loggers of torch's agent."""
AGENT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals for which torch's agent installs handlers that it does not remove."""
AGENT_VARIABLE = "TORCHELASTIC_SIGNALS_TO_HANDLE"
"""Environment variable that torch's agent sets, since torch 2.10, and does not remove."""


def run_ranks(n: int, arguments: Sequence[str], max_restarts: int = 0) -> None:
    """Run `python -m ddpkit ARGUMENTS` in `n` ranks, and wait for their end.

    If a rank fails, all ranks are terminated, and restarted at most `max_restarts` times. On SIGTERM and SIGINT, ranks that
    train save and end; a second signal terminates them immediately. On SIGUSR1 they save and continue.

    Raises:
        ConfigError: A rank reported it.
        RunStopped: A signal ended the run.
        RankError: A rank failed in another way; the message is the earliest report.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ddpkit-") as folder,
        disable_agent_loggers(),
        set_variables({REPORTS: folder, LAUNCHER: str(os.getpid())}),
        restore_signal_handlers(),
        convert_agent_errors(Path(folder)),
        forward_signals(Path(folder)),
    ):
        create_agent(n, folder, max_restarts)("-P", "-m", "ddpkit", *arguments)
        for error in stop_errors(Path(folder)):
            raise error


def create_agent(n: int, folder: str, max_restarts: int) -> Any:
    """Return torch's launcher of `n` processes on this machine; it listens on a free port."""
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
def disable_agent_loggers() -> Iterator[None]:
    """Hide the messages of torch's agent: the ranks' reports contain more information."""
    importlib.import_module("torch.distributed.launcher.api")  # creates the loggers
    # One by one: each has its own level, so the level of their common parent has no effect.
    loggers = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if name.startswith(AGENT_LOGGERS) and isinstance(logger, logging.Logger) and not logger.disabled
    ]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger in loggers:
            logger.disabled = False


@contextlib.contextmanager
def set_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which ranks inherit; afterwards restore them and the variable that torch's agent sets."""
    before = {name: os.environ.get(name) for name in (*variables, AGENT_VARIABLE)}
    try:
        os.environ.update(variables)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def restore_signal_handlers() -> Iterator[None]:
    """Restore the handlers of all signals that torch's agent or we handle; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in {*AGENT_SIGNALS, *FORWARDED}}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def convert_agent_errors(folder: Path) -> Iterator[None]:
    """Convert the errors of torch's agent to ours. `folder`: folder of the ranks' reports."""
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    try:
        yield
    except ChildFailedError as error:
        raise first_failure(error.failures, folder) from None
    except SignalException as error:
        raise RankError(f"the launcher was stopped by {error.sigval.name}") from None
    except TerminatedError as error:
        raise error.to_run_stopped() from None
