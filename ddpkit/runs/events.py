"""Events of a run: what happened to it and when. A resumed run appends to them."""

import contextlib
import datetime as dt
import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ddpkit.errors import DdpkitError, RunStopped
from ddpkit.terminal import escape

EVENTS = "events.jsonl"
"""File with the events of a run, one JSON object per line.

`time` (ISO 8601, UTC), `event` (`start`, `resume`, `warning`, `error`, `stop`, `test`, `finish`), `message`, and `epoch` and
`step` if they are known.
"""


def record_event(folder: Path, event: str, message: str, **progress: int) -> None:
    """Append an event; `progress`: `epoch` and `step` (finished epochs and optimizer steps). Only rank 0 calls it."""
    line = {"time": now(), "event": event, "message": message, **progress}
    data = f"{escape(json.dumps(line, ensure_ascii=False))}\n".encode()
    with (folder / EVENTS).open("ab", buffering=0) as file:
        end = file.tell()
        if file.write(data) < len(data):  # the disk is full; a part of a line would damage the file
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


@contextlib.contextmanager
def record_failure(folder: Path) -> Iterator[None]:
    """Record an exception that leaves this context as an event: `stop` if a signal stopped the run, else `error`."""
    try:
        yield
    except BaseException as error:
        event = "stop" if isinstance(error, RunStopped) else "error"
        name = "" if isinstance(error, DdpkitError) else f"{type(error).__name__}: "
        with contextlib.suppress(OSError):  # the exception may be about the same disk
            record_event(folder, event, f"{name}{error}")
        raise


def now() -> str:
    """Return the current time in ISO 8601 and UTC, such as `2026-01-31T12:00:00+00:00`."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class EventHandler(logging.Handler):
    """Log handler that records warnings and errors as events. An error of the disk is left to the log file, which reports it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Append the message of the record, without its traceback."""
        try:
            record_event(self.folder, record.levelname.lower(), record.getMessage())
        except Exception:  # noqa: BLE001 - a wrong format string must not end a run
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a method of logging
        """Do nothing: the other handlers of the log report the same record."""
