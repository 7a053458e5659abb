"""Lock of a run folder: only one process writes it. The kernel releases the lock when that process ends, even by a crash."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ddpkit.errors import RunLockedError
from ddpkit.runs.files import REMEDY, check_run_folder, os_errors_as
from ddpkit.terminal import escape

NAME = "run.lock"
WAIT = 5.0
"""Seconds to wait for the lock: the ranks of a killed launcher need a moment to end."""


@contextlib.contextmanager
def hold_lock(folder: Path, wait: float = WAIT, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the run in `folder`, which must exist. `shared`: for reading, together with other readers.

    Raise RunLockedError if another process still holds the lock after `wait` seconds, ConfigError if the folder has links to
    places outside of it.
    """
    check_run_folder(folder)
    with contextlib.ExitStack() as stack:
        with os_errors_as(folder, REMEDY):
            file = stack.enter_context((folder / NAME).open("a+"))
        deadline = time.monotonic() + wait
        while not try_lock(file.fileno(), fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                file.seek(0)
                raise RunLockedError(
                    f"{escape(str(folder))}: locked by another process {file.read(200).strip()}; wait until it ends, or stop it"
                )
            time.sleep(0.05)
        if shared:
            yield
            return
        with os_errors_as(folder, REMEDY):
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")  # for the message above
            file.flush()
        yield


def is_held(folder: Path) -> bool:
    """Return whether another process holds the lock of the run in `folder` to write it. Nothing is created or waited for."""
    try:
        with (folder / NAME).open() as file:
            return not try_lock(file.fileno(), fcntl.LOCK_SH)
    except OSError:  # no lock file, or one that must not be read
        return False


def try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
