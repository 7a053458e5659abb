"""Log messages: to the terminal (stderr) and to the run's log file (`[private.log]`). Ranks other than 0 log only errors."""

import contextlib
import copy
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from logging.handlers import MemoryHandler
from pathlib import Path

from rich.console import Console

from ddpkit.config import schema
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import REMEDY, os_errors_as
from ddpkit.terminal import escape

LOGGER = logging.getLogger("ddpkit")
CONSOLE = Console(stderr=True, soft_wrap=True, highlight=False)
"""Terminal, shared by the progress bar and the messages."""


class SafeFormatter(logging.Formatter):
    """Log formatter that escapes names and other values: a line break in a class name must not look like another message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message with escaped arguments; the text of the message itself may have several lines."""
        safe = copy.copy(record)
        if isinstance(record.args, Mapping):
            safe.args = {name: escape_name(value) for name, value in record.args.items()}
        elif record.args:
            safe.args = tuple(escape_name(value) for value in record.args)
        return escape(super().format(safe), keep="\n\t")


def escape_name(value: object) -> object:
    """Return a text, a path or an error as a safe line; other values, such as numbers, unchanged."""
    return escape(str(value)) if isinstance(value, str | Path | BaseException) else value


class TerminalHandler(logging.Handler):
    """Log handler that prints only the message, on one line, never wrapped. A record may have a version for narrow terminals."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the attribute `short` of the record, whose text is safe, or else its message."""
        try:
            CONSOLE.print(getattr(record, "short", None) or self.format(record), markup=False, soft_wrap=True, highlight=False)
        except Exception:  # noqa: BLE001 - a wrong format string must not end a run
            self.handleError(record)


class LogFile(logging.FileHandler):
    """Log file of a run. A full disk ends the run with a message, since the log would be incomplete."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a method of logging
        """Raise CheckpointError for an error of the disk, in the `except` clause that calls this method."""
        if isinstance(error := sys.exception(), OSError):
            raise CheckpointError(f"{self.baseFilename}: cannot be written: {error.strerror}; {REMEDY}") from error
        super().handleError(record)

    def close(self) -> None:
        """Close the file. An error is not new: every message is written when it is logged."""
        with contextlib.suppress(OSError):
            super().close()


class EarlyWarnings(MemoryHandler):
    """Log handler that keeps the warnings of a run until it has a log file."""

    def __init__(self) -> None:
        super().__init__(capacity=sys.maxsize)
        self.setLevel(logging.WARNING)


@contextlib.contextmanager
def log_messages(run: schema.Run, *, is_main: bool) -> Iterator[None]:
    """Log to the terminal inside the context, at the level of `ddp.log_level`, `private.log.debug` and `verbose`."""
    level, propagates, others = LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)  # settings of the program that calls ddpkit
    wanted = "DEBUG" if run.private.log.debug else run.ddp.log_level
    LOGGER.setLevel(wanted if is_main else "ERROR")
    LOGGER.propagate = False
    terminal = TerminalHandler(logging.NOTSET if run.private.log.verbose else logging.WARNING)
    terminal.setFormatter(SafeFormatter())
    LOGGER.addHandler(terminal)
    LOGGER.addHandler(EarlyWarnings())
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
    CONSOLE.print(escape(message, keep="\n"), markup=False, soft_wrap=True, highlight=False)


def print_warnings(messages: Iterable[str]) -> None:
    """Print warnings to the terminal, before a run has a log."""
    for message in messages:
        CONSOLE.print(escape(f"warning: {message}"), markup=False, soft_wrap=True, highlight=False)


def add_log_file(run: schema.Run, folder: Path, *others: logging.Handler) -> None:
    """Log to the run's log file in `folder` and to the `others` too, from here on, and also the earlier warnings."""
    log = run.private.log
    with os_errors_as(folder, REMEDY):
        file = LogFile(folder / f"{time.strftime(log.log_file_format)}.log", encoding="utf-8")
    file.setFormatter(SafeFormatter(log.log_format))
    early = [record for handler in LOGGER.handlers if isinstance(handler, EarlyWarnings) for record in handler.buffer]
    for handler in [each for each in LOGGER.handlers if isinstance(each, EarlyWarnings)]:
        LOGGER.removeHandler(handler)
    for added in (file, *others):
        LOGGER.addHandler(added)
        for record in early:
            added.handle(record)
