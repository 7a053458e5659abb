"""Timed all-reduce between two ranks of this machine, which ddpkit's launcher starts like the ranks of a run."""

import gc
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from ddpkit.distributed import launcher
from ddpkit.errors import RunStopped
from ddpkit.tasks.doctor.finding import Finding

N_RANKS = 2
N_VALUES = 25_000_000 // 4
"""Number of float32 values: 25 MB, as much as DDP reduces at once."""
REPEATS = 5
LIMIT = 20
"""Seconds after which a rank is terminated, so that the command cannot hang."""
MEASURED = "all_reduce.json"
"""File in which rank 0 saves the seconds of each all-reduce."""


def check_all_reduce() -> Iterator[Finding]:
    """Start two ranks on the CPU, and report the time of an all-reduce between them."""
    with tempfile.TemporaryDirectory(prefix="ddpkit-") as folder:
        try:
            launcher.run_ranks(N_RANKS, ["doctor", "--measure", folder])
        except RunStopped:
            raise
        except Exception as error:  # noqa: BLE001 - torch's agent raises errors of many types
            yield judge_failure(error, os.environ.get("GLOO_SOCKET_IFNAME"))
            return
        yield describe_times(json.loads((Path(folder) / MEASURED).read_text()))


def describe_times(seconds: list[float]) -> Finding:
    """Return the median time and the bandwidth of the all-reduces."""
    time_of_one, n_bytes = median(seconds), N_VALUES * 4
    speed = n_bytes / time_of_one / 1e9
    return Finding("ok", f"{time_of_one * 1000:.1f} ms for {n_bytes / 1e6:.0f} MB between 2 ranks (gloo), {speed:.2f} GB/s")


def judge_failure(error: Exception, interface: str | None) -> Finding:
    """Return the finding for ranks that failed. `interface`: value of `GLOO_SOCKET_IFNAME`, if it is set."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if interface:
        remedy = "unset GLOO_SOCKET_IFNAME, or set it to an interface that this command lists: ip -brief address"
    else:
        remedy = "export GLOO_SOCKET_IFNAME=lo (on one machine), or write the name of this machine in /etc/hosts"
    return Finding("error", f"2 ranks cannot communicate: {lines[-1].strip()}", remedy, str(error))


def measure_rank(folder: Path) -> None:
    """Measure all-reduces as one of the ranks; rank 0 saves their seconds in `folder`. Every rank must call it."""
    import torch  # noqa: PLC0415 - only ranks need it

    from ddpkit.distributed.world import init_distributed  # noqa: PLC0415

    signal.alarm(LIMIT)  # also ends a rank that waits inside a function of torch
    with init_distributed(device="cpu", timeout=LIMIT / 2) as world:
        values, seconds = torch.ones(N_VALUES), []
        for _ in range(REPEATS + 1):
            world.barrier()
            started = time.perf_counter()
            world.sum(values)
            seconds.append(time.perf_counter() - started)
        if world.is_main:
            (folder / MEASURED).write_text(json.dumps(seconds[1:]))  # the first one opens the connections
    gc.collect()  # free the process group: if its thread outlives the interpreter, the process aborts
