"""Loader workers: processes that read the micro-batches of a rank ahead."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from ddpkit.distributed.parent_death import die_with_parent
from ddpkit.errors import SampleError

FAILURES = {
    "DataLoader worker (pid": "a loader worker died while it read {}, for example because memory ran out or a library crashed;",
    "DataLoader timed out": "no loader worker returned a micro-batch within 'ddp.timeout' while the workers read {};",
}
"""Text in torch's RuntimeError -> start of our message. A signal handler raises the error for a dead worker, so it can be raised
at any line that the rank executes."""
SETTLING = 0.01
"""Seconds to wait before workers are forked, so that the threads of collectives become idle. A worker that is forked while one
of these threads enters the interpreter inherits a locked lock and hangs forever (CPython 3.11)."""


def init_worker(_worker: int) -> None:
    """Set up a loader worker. It ends when the rank that created it ends, for every start method of multiprocessing."""
    # Signals to the rank's process group must not end the worker: the rank may save first, and ends its workers itself.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the rank ends its workers with SIGTERM; the inherited handler is its own
    rank = multiprocessing.parent_process()
    die_with_parent(lambda: rank is not None and rank.is_alive())


def make_loader(
    samples: Any,
    batch_sampler: Iterable[list[Any]],
    *,
    num_workers: int,
    timeout: float,
    persistent: bool = False,
    pin: bool = False,
) -> "DataLoader[Any]":
    """Return a DataLoader over `samples`; each list of `batch_sampler` contains the keys of one micro-batch.

    Workers use torch's default start method. If workers deliver nothing for `timeout` seconds, torch raises an error, which
    `guard_workers` translates.
    """
    return DataLoader(
        samples,
        batch_sampler=batch_sampler,
        collate_fn=keep_collated,
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=pin,
        timeout=timeout if num_workers else 0,
        worker_init_fn=init_worker,
    )


def start_loader(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Return an iterator over the micro-batches of the loader, in order. The workers start to read ahead immediately."""
    if loader.num_workers:
        time.sleep(SETTLING)
        return name_dead_worker(iter(loader))
    return iter(loader)


def name_dead_worker(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the micro-batches. If a worker dies while it sends one, raise torch's error for a dead worker."""
    try:
        yield from batches
    except (ConnectionError, EOFError) as error:
        raise RuntimeError(f"DataLoader worker (pid unknown) closed its connection: {error}") from error


@contextlib.contextmanager
def guard_workers(reading: Callable[[], str]) -> Iterator[None]:
    """Raise SampleError if a loader worker dies or hangs inside the context.

    `reading` returns a description of the samples that the workers may be reading.
    """
    try:
        yield
    except RuntimeError as error:
        failure = next((ours for theirs, ours in FAILURES.items() if theirs in str(error)), None)
        if failure is None:
            raise
        remedy = "set 'dataloader.num_workers = 0' to read without worker processes"
        raise SampleError(f"{failure.format(reading())} {remedy} ({error})") from None


def keep_collated(read: Any) -> Any:
    """Return `read` unchanged: `__getitems__` has already collated it, or it needs no collation."""
    return read
