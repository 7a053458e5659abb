"""Log messages: to the terminal (stderr) and to the run's log file (`[private.log]`). Ranks other than 0 log only errors."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from ddpkit.config import schema

LOGGER = logging.getLogger("ddpkit")
CONSOLE = Console(stderr=True, soft_wrap=True, highlight=False)
"""Terminal, shared by the progress bar and the messages."""


class TerminalHandler(logging.Handler):
    """Log handler that prints only the message, on one line, never wrapped."""

    def emit(self, record: logging.LogRecord) -> None:
        CONSOLE.print(self.format(record), markup=False, soft_wrap=True, highlight=False)


@contextlib.contextmanager
def log_messages(run: schema.Run, *, is_main: bool) -> Iterator[None]:
    """Log to the terminal inside the context, at the level of `ddp.log_level`, `private.log.debug` and `verbose`."""
    level, propagates, others = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)  # settings of the program that calls ddpkit
    wanted = "DEBUG" if run.private.log.debug else run.ddp.log_level
    LOGGER.setLevel(wanted if is_main else "ERROR")
    LOGGER.propagate = False
    terminal = TerminalHandler(logging.NOTSET if run.private.log.verbose else logging.WARNING)
    LOGGER.addHandler(terminal)
    try:
        yield
    finally:
        for handler in [each for each in LOGGER.handlers if each not in others]:
            LOGGER.removeHandler(handler)
            handler.close()
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates


def print_message(message: str) -> None:
    """Print a message to the terminal, before a run has a log or if there is no run."""
    CONSOLE.print(message, markup=False, soft_wrap=True, highlight=False)


def print_warnings(messages: Iterable[str]) -> None:
    """Print warnings to the terminal, before a run has a log."""
    for message in messages:
        CONSOLE.print(f"warning: {message}", markup=False, soft_wrap=True, highlight=False)


def add_log_file(run: schema.Run, folder: Path) -> None:
    """Log to the run's log file too, from here on."""
    log = run.private.log
    file = logging.FileHandler(folder / f"{time.strftime(log.log_file_format)}.log", encoding="utf-8")
    file.setFormatter(logging.Formatter(log.log_format))
    LOGGER.addHandler(file)
