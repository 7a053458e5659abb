"""Saves beside the training: a thread copies the state while the next step computes its gradient, then writes it."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from ddpkit.checkpoint.serialization import Staging, split
from ddpkit.checkpoint.store import Store
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk

LOGGER = logging.getLogger(__name__)
CHUNK = 1 << 22
Files = Mapping[str, Sequence[Chunk]]


@attrs.define
class Saver:
    """Writes one checkpoint at a time."""

    store: Store
    staging: Staging = attrs.field(factory=Staging)
    saved: int | None = None
    """The step of the last one that is safe on disk."""
    copied: threading.Event = attrs.field(init=False)
    """Set while nobody reads tensors that `save` was given."""
    _thread: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1, "checkpoint"), init=False)
    _writing: "Future[None] | None" = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.copied = threading.Event()
        self.copied.set()

    def save(self, step: int, state: Mapping[str, Any], files: Mapping[str, Path], *, is_kept: bool = False) -> None:
        """Begin to save a state; waits for the one before. Tensors of the CPU may not change until they are `copied`.

        Raises TypeError for what a checkpoint cannot hold.

        Args:
            step: Optimizer steps done.
            state: Tensors and plain data.
            files: Copied as they are now, under these names.
            is_kept: It stays for good.
        """
        self.wait()
        opened = {name: file.open("rb") for name, file in files.items()}  # stays what it is if the name is given away
        stage = functools.partial(self.staging.stage, *split(state))
        if self.staging.pinned:
            stage = functools.partial(dict, stage())  # a copy from CUDA is over soon, and is of the stream of this thread
        self.copied.clear()
        self._writing = self._thread.submit(self.write, step, stage, opened, is_kept=is_kept)

    def write(self, step: int, stage: Callable[[], Files], opened: Mapping[str, BinaryIO], *, is_kept: bool) -> None:
        """In the thread. A disk that refuses is no reason to stop training."""
        try:
            parts = stage()
        finally:
            self.copied.set()
        try:
            with contextlib.ExitStack() as stack:
                files = {name: chunks_of(stack.enter_context(stream)) for name, stream in opened.items()}
                self.store.save(step, {**parts, **files}, is_kept=is_kept)
        except OSError as error:
            LOGGER.warning("step %d is not saved: %s; the checkpoint before it stays, and training goes on", step, error)
        else:
            self.saved = step
            LOGGER.debug("saved step %d", step)

    def surface(self) -> None:
        """Raise what the thread raised, if it is done: a bug must not wait for the next save."""
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until what was begun is done. A bug in the thread is raised here."""
        if self._writing:
            self._writing.result()
            self._writing = None

    def finish(self, step: int) -> None:
        """Raises CheckpointError unless this step, which was handed over last, is safe on disk."""
        self.wait()
        if self.saved != step:
            raise CheckpointError(f"{self.store.folder}: step {step} is not saved, see above; the newest there is {self.saved}")

    def close(self) -> None:
        """Wait, and end the thread."""
        self._thread.shutdown()


def chunks_of(stream: BinaryIO) -> Iterator[Chunk]:
    """What an open file holds."""
    while chunk := stream.read(CHUNK):
        yield chunk
