"""Trace of the loading of plugins: one line on stderr for each import and each hook call, if a variable is set."""

import contextlib
import os
import time
from collections.abc import Iterator

from ddpkit.terminal import write_error

VARIABLE = "DDPKIT_TRACE_PLUGINS"
"""Environment variable that switches the trace on: `DDPKIT_TRACE_PLUGINS=1`."""


@contextlib.contextmanager
def traced(plugin: str, what: str) -> Iterator[None]:
    """Write how long the context took, and what it did for the plugin. Without the variable, it does nothing."""
    if os.environ.get(VARIABLE, "") in ("", "0"):
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        write_error(f"trace: {(time.perf_counter() - started) * 1000:8.1f} ms  {plugin}: {what}\n")
