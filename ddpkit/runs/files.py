"""File operations of a save. Each one is a method, so that a test can make it fail, or end the process after it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from ddpkit.errors import CheckpointError, ConfigError, Diagnostic
from ddpkit.terminal import escape

Chunk = bytes | bytearray | memoryview
REMEDY = "free disk space or correct the permissions, then continue from the newest checkpoint with '--resume'"
"""Advice in the error message if a run cannot write its files."""

SCRATCH = ".tmp"
"""Ending of the hidden files that are renamed when they are complete. A process that is killed may leave one."""


class Files:
    """File operations of a save. Each one raises OSError if it fails."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder, which must not exist."""
        folder.mkdir()

    def create(self, file: Path) -> int:
        """Create a file, which must not exist; return its descriptor, open for writing."""
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def write(self, file: int, chunk: Chunk) -> int:
        """Write the first bytes of the chunk; return their number, which may be less than the length of the chunk."""
        return os.write(file, chunk)

    def sync(self, file: int) -> None:
        """Flush the content of a file to the disk."""
        os.fsync(file)

    def close(self, file: int) -> None:
        """Close a file descriptor that `create` returned."""
        os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        """Rename atomically. An existing file `new` is replaced; a folder `new` must not exist."""
        old.rename(new)

    def sync_folder(self, folder: Path) -> None:
        """Flush the names in a folder to the disk."""
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def remove(self, file: Path) -> None:
        file.unlink()

    def remove_folder(self, folder: Path) -> None:
        """Delete a folder, which must be empty."""
        folder.rmdir()


@attrs.frozen
class FileDigest:
    """Size and digest of the data that was passed to `write_file`."""

    size: int
    """Size of the file in bytes."""
    sha256: str


@contextlib.contextmanager
def os_errors_as(folder: Path, remedy: str) -> Iterator[None]:
    """Convert an OSError inside the context to a CheckpointError.

    The message contains the path of the file if the error has it, otherwise `folder`, and the remedy.
    """
    try:
        yield
    except OSError as error:
        where = escape(str(error.filename or folder))
        raise CheckpointError(f"{where}: cannot be written: {error.strerror or error}; {remedy}") from error


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Convert an error that the content of a run folder's file causes inside the context to a ConfigError that names the file."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"is damaged: {type(error).__name__}: {error}; restore it from a copy of the run folder"
        raise ConfigError([Diagnostic(str(file), (), message)]) from error


def read_json(file: Path) -> Any:
    """Return the content of a JSON file in a run folder; {} if the file does not exist. Call it inside `reading`."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@contextlib.contextmanager
def os_errors_inside(folder: Path) -> Iterator[None]:
    """Convert an OSError about a path inside the folder to a CheckpointError; other errors of the code are passed on."""
    try:
        yield
    except OSError as error:
        if not isinstance(error.filename, str) or not Path(error.filename).is_relative_to(folder):
            raise
        raise CheckpointError(f"{error.filename}: cannot be written: {error.strerror}; {REMEDY}") from error


def check_run_folder(folder: Path) -> None:
    """Raise ConfigError if a command must not write to a run folder: it has links to other places, or a name that is not UTF-8.

    The folders in it are checked too, except the predictions, which are deleted before they are written.
    """
    problems = [
        f"{each} is a link to {os.path.realpath(each)}, but ddpkit writes only to the run folder; replace the link by its content"
        for each in sorted((*folder.glob("*"), *folder.glob("*/*")))
        if each.is_symlink() and each.parent.name != "predictions" and not leads_inside(each, folder)
    ]
    if str(folder).encode(errors="replace").decode() != str(folder):
        problems = [f"the path of the run folder is not valid UTF-8: {folder}; rename the folder"]
    if problems:
        raise ConfigError([Diagnostic("", (), problem) for problem in problems])


def leads_inside(link: Path, folder: Path) -> bool:
    return Path(os.path.realpath(link)).is_relative_to(os.path.realpath(folder))


def write_file(files: Files, file: Path, chunks: Iterable[Chunk]) -> FileDigest:
    """Write a new file and flush it to the disk; return its size and digest."""
    digest, size = hashlib.sha256(), 0
    opened = files.create(file)
    try:
        with ThreadPoolExecutor(1, "hash") as hashing:  # each chunk is hashed while it is written and synced
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
    return FileDigest(size, digest.hexdigest())


def replace_file(files: Files, file: Path, chunks: Iterable[Chunk]) -> None:
    """Write a file atomically: after a crash it is either the old version or the new one. Several processes may do so at once."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}{SCRATCH}")
    scratch.unlink(missing_ok=True)
    try:
        write_file(files, scratch, chunks)
        files.rename(scratch, file)
    except OSError:
        with contextlib.suppress(OSError):  # the disk may be read-only by now
            scratch.unlink(missing_ok=True)
        raise
    files.sync_folder(file.parent)


def remove_all(files: Files, folder: Path) -> None:
    """Delete a folder that contains only files."""
    for file in folder.iterdir():
        files.remove(file)
    files.remove_folder(folder)
