"""Messages: to the terminal (stderr) and to the run's log file (`[private.log]`). Rank 0 speaks, the others in errors."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from ddpkit.config import schema

LOGGER = logging.getLogger("ddpkit")
CONSOLE = Console(stderr=True, soft_wrap=True, highlight=False)
"""The terminal; a progress bar and messages take turns on it."""


class TerminalHandler(logging.Handler):
    """Prints the bare message, one line each, never wrapped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        CONSOLE.print(self.format(record), markup=False, soft_wrap=True, highlight=False)


@contextlib.contextmanager
def messages(run: schema.Run, *, is_main: bool) -> Iterator[None]:
    """Messages to the terminal, as `ddp.log_level`, `private.log.debug` and `verbose` say, as long as a run lasts."""
    level, propagates, others = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)  # the host program's
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


def say(message: str) -> None:
    """Before a run has a log, or where there is none."""
    CONSOLE.print(message, markup=False, soft_wrap=True, highlight=False)


def warn(messages: Iterable[str]) -> None:
    """Warnings before a run has a log."""
    for message in messages:
        CONSOLE.print(f"warning: {message}", markup=False, soft_wrap=True, highlight=False)


def add_file(run: schema.Run, folder: Path) -> None:
    """Messages into the run's log file too, from here on."""
    log = run.private.log
    file = logging.FileHandler(folder / f"{time.strftime(log.log_file_format)}.log", encoding="utf-8")
    file.setFormatter(logging.Formatter(log.log_format))
    LOGGER.addHandler(file)
