"""End a process together with its parent, so that a killed launcher leaves no process running."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def die_with_parent(is_there: Callable[[], bool]) -> None:
    """Ask the kernel to kill this process when its parent ends; kill it now if the parent has already ended.

    Works on Linux only; elsewhere it does nothing (torch's own loader workers watch their parent on every platform). Call it
    early: if the parent ends before the call, this process keeps running until then.

    Args:
        is_there: Returns whether the parent is still running.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not is_there():  # the parent ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)
