"""What a save does to the disk, one operation at a time: tests let each of them fail, or be the last."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from ddpkit.errors import CheckpointError

Chunk = bytes | bytearray | memoryview
REMEDY = "make room; '--resume' goes on from the newest checkpoint"
"""Where a run cannot write what it is for."""


class Files:
    """The operations. Each raises OSError."""

    def make_folder(self, folder: Path) -> None:
        """One that is not there."""
        folder.mkdir()

    def create(self, file: Path) -> int:
        """Open a new file to write."""
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def write(self, file: int, chunk: Chunk) -> int:
        """Some of the chunk; returns how much."""
        return os.write(file, chunk)

    def sync(self, file: int) -> None:
        """Down to the disk."""
        os.fsync(file)

    def close(self, file: int) -> None:
        """A file that `create` opened."""
        os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        """In one instant; an old file of the new name is replaced, a folder must not be there."""
        old.rename(new)

    def sync_folder(self, folder: Path) -> None:
        """The names in it, down to the disk."""
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def remove(self, file: Path) -> None:
        """A file."""
        file.unlink()

    def remove_folder(self, folder: Path) -> None:
        """An empty one."""
        folder.rmdir()


@attrs.frozen
class Written:
    """A file as it was meant to be."""

    size: int
    """Bytes."""
    sha256: str


@contextlib.contextmanager
def explained(folder: Path, remedy: str) -> Iterator[None]:
    """The disk's refusal as a person's problem: raises CheckpointError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {error.strerror or error}; {remedy}") from error


def write_file(files: Files, file: Path, chunks: Iterable[Chunk]) -> Written:
    """A new file, down to the disk; each chunk is hashed while it is written and synced."""
    digest, size = hashlib.sha256(), 0
    opened = files.create(file)
    try:
        with ThreadPoolExecutor(1, "hash") as hashing:
            hashed = hashing.submit(digest.update, b"")
            for chunk in chunks:
                rest = memoryview(chunk).cast("B")
                size += len(rest)
                hashed.result()
                hashed = hashing.submit(digest.update, rest)
                while rest:
                    rest = rest[files.write(opened, rest) :]
            files.sync(opened)
    finally:
        files.close(opened)
    return Written(size, digest.hexdigest())


def replace_file(files: Files, file: Path, chunks: Iterable[Chunk]) -> None:
    """Write a file of which there is always the old version or the new one."""
    scratch = file.with_name(f".{file.name}.tmp")
    scratch.unlink(missing_ok=True)
    write_file(files, scratch, chunks)
    files.rename(scratch, file)
    files.sync_folder(file.parent)


def remove_all(files: Files, folder: Path) -> None:
    """A folder of files."""
    for file in folder.iterdir():
        files.remove(file)
    files.remove_folder(folder)
