"""Processes that end when their parent does, so that a killed launcher leaves nothing running."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def end_with_parent(is_there: Callable[[], bool]) -> None:
    """Have the kernel kill this process when the one that started it ends; at once when it `is_there` no more.

    Linux only; elsewhere nothing is done (torch's own loader workers watch their parent everywhere).
    Call it early: what runs before it can outlive the parent.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not is_there():  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)
