"""One process writes a run folder. The kernel takes the lock back when it ends, however it ends."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ddpkit.errors import HeldError

NAME = "run.lock"
WAIT = 5.0
"""Seconds: the ranks of a launcher that was killed need a moment to end."""


@contextlib.contextmanager
def held(folder: Path, wait: float = WAIT, *, shared: bool = False) -> Iterator[None]:
    """Hold the run in `folder`, which must be there; `shared`: with others who only read.

    Raises HeldError when another process does, after `wait` seconds.
    """
    with (folder / NAME).open("a+") as file:
        deadline = time.monotonic() + wait
        while not taken(file.fileno(), fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                file.seek(0)
                raise HeldError(f"{folder} is held by another process, {file.read(200).strip()}; end it, or wait for it")
            time.sleep(0.05)
        if shared:
            yield
            return
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")  # for people; the lock is the kernel's
        file.flush()
        yield


def taken(file: int, kind: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
