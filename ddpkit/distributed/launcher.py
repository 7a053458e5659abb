"""Start the command `python -m ddpkit ...` once per rank, by torch's elastic agent, and wait for all ranks."""

import contextlib
import importlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddpkit.distributed.rank_process import LAUNCHER, REPORTS
from ddpkit.distributed.rank_report import first_failure, stopped
from ddpkit.distributed.signal_forwarding import PASSED_ON, EndedError, Messenger, asked_first
from ddpkit.errors import RankError

AGENT = "torch.distributed.elastic"
"""Loggers of torch's launcher, whose lines are not for our users."""
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals for which torch's agent sets handlers and leaves them."""


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
