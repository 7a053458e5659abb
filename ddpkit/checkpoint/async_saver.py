"""Asynchronous saves: a thread copies the state while the next step computes its gradient, then writes it to the disk."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from ddpkit.checkpoint.serialization import Staging, split_tensors
from ddpkit.checkpoint.store import Store
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk

LOGGER = logging.getLogger(__name__)
CHUNK = 1 << 22
FileChunks = Mapping[str, Sequence[Chunk]]


@attrs.define
class Saver:
    """Writes checkpoints in a thread, one at a time."""

    store: Store
    staging: Staging = attrs.field(factory=Staging)
    saved: int | None = None
    """Step of the newest checkpoint that is safe on disk; None before the first one."""
    staged: threading.Event = attrs.field(init=False)
    """Event that is set unless the thread still reads the tensors passed to `save`."""
    _thread: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1, "checkpoint"), init=False)
    _writing: "Future[None] | None" = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.staged = threading.Event()
        self.staged.set()

    def save(self, step: int, state: Mapping[str, Any], files: Mapping[str, Path], *, is_permanent: bool = False) -> None:
        """Wait for the previous save, then start to save a state. CPU tensors must not change until `staged` is set.

        Raise TypeError if the state contains a value that a checkpoint cannot store.

        Args:
            step: Number of optimizer steps done.
            state: Tensors and plain data.
            files: Files to copy as they are now, by their names in the checkpoint.
            is_permanent: The retention policy never deletes this checkpoint.
        """
        self.wait()
        opened = {name: file.open("rb") for name, file in files.items()}  # an open file keeps its content when it is replaced
        stage = functools.partial(self.staging.stage, *split_tensors(state))
        if self.staging.pinned:
            stage = functools.partial(dict, stage())  # a copy from CUDA is fast and must use the stream of this thread
        self.staged.clear()
        self._writing = self._thread.submit(self.write, step, stage, opened, is_permanent=is_permanent)

    def write(self, step: int, stage: Callable[[], FileChunks], opened: Mapping[str, BinaryIO], *, is_permanent: bool) -> None:
        """Copy the state and write the checkpoint; runs in the thread."""
        try:
            parts = stage()
        finally:
            self.staged.set()
        try:
            with contextlib.ExitStack() as stack:
                files = {name: split_chunks(stack.enter_context(stream)) for name, stream in opened.items()}
                self.store.save(step, {**parts, **files}, is_permanent=is_permanent)
        except OSError as error:  # a full disk must not stop the training
            LOGGER.warning("step %d could not be saved: %s; the previous checkpoint is kept and training continues", step, error)
        else:
            self.saved = step
            LOGGER.debug("saved step %d", step)

    def raise_pending_error(self) -> None:
        """Raise the exception of the thread if its save is done: a bug must be reported before the next save."""
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the current save is done. Raise the exception of the thread, which is a bug."""
        if self._writing:
            self._writing.result()
            self._writing = None

    def finish(self, step: int) -> None:
        """Wait for the save of `step`, the last one. Raise CheckpointError if it is not safe on disk."""
        self.wait()
        if self.saved != step:
            last = "no step was saved" if self.saved is None else f"the last step that was saved is {self.saved}"
            message = f"step {step} could not be saved (see the warning above); {last}"
            raise CheckpointError(f"{self.store.folder}: {message}")

    def close(self) -> None:
        """Wait for the current save, then end the thread."""
        self._thread.shutdown()


def split_chunks(stream: BinaryIO) -> Iterator[Chunk]:
    while chunk := stream.read(CHUNK):
        yield chunk
