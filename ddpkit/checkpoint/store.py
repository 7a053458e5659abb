"""Store of a run's checkpoints: one folder per step, which is either complete or absent and is verified before use.

A save writes to a temporary folder, flushes every file to the disk, renames the folder, and flushes the name too. Only then
does it return, and only then may older checkpoints be deleted. A read uses the newest checkpoint that passes verification;
it does not trust a pointer such as "latest".
"""

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint import manifest
from ddpkit.checkpoint.manifest import CorruptError
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk, Files, os_errors_as, remove_all, write_file

LOGGER = logging.getLogger(__name__)
STEP = re.compile(r"step-(\d{12})")
SCRATCH, OLD, TRASH, BAD, LEFT = ".tmp-", ".old-", ".trash-", ".bad-", ".left-"
"""Prefixes of folders: partly written, being replaced, partly deleted, corrupt, newer than the checkpoint that was resumed."""
KEPT = "kept"
"""File that marks a permanent checkpoint."""
ROLLING = 2
"""Smallest number of newest checkpoints to keep: the newest one may become corrupt, so it must not be the only one."""
STATE = "state.json"


@attrs.frozen
class Checkpoint:
    """Verified checkpoint with the content of its files."""

    folder: Path
    step: int
    """Number of optimizer steps done."""
    files: dict[str, bytes] = attrs.field(repr=False)

    @property
    def plain(self) -> Any:
        """State without its tensors, as `serialization.split_tensors` returns it."""
        return json.loads(self.files[STATE])

    def ending(self, end: str) -> dict[str, bytes]:
        """Return the files whose names end with `end`."""
        return {name: data for name, data in self.files.items() if name.endswith(end)}

    def release(self) -> None:
        """Drop the content of the files after the restore; otherwise it would stay in memory until the run ends."""
        self.files.clear()


def parse_step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


@attrs.frozen
class Store:
    """Store of the checkpoints of a run (`checkpoints/`). Only one process at a time may write to it."""

    folder: Path
    files: Files = attrs.field(factory=Files)
    n_rolling: int = ROLLING
    """Number of newest checkpoints that are kept even if they are not permanent."""

    def save(self, step: int, parts: Mapping[str, Iterable[Chunk]], *, is_permanent: bool = False) -> Path:
        """Save a checkpoint that consists of `parts`, its files by name; return its folder.

        A saved checkpoint survives a power failure. An existing checkpoint of the same step is replaced; if that one is
        permanent, the new one is too. `is_permanent`: the retention policy never deletes it. Raise OSError if it cannot be
        written; the other checkpoints are not affected.
        """
        final = self.folder / f"step-{step:012d}"
        scratch = self.folder / f"{SCRATCH}{final.name}"
        try:
            self.write(scratch, step, parts, is_permanent=is_permanent or (final / KEPT).exists())
            self.commit(scratch, final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            self.restore()
            raise
        self.prune()
        return final

    def commit(self, scratch: Path, final: Path) -> None:
        """Publish a finished checkpoint by rename.

        An existing one of the same step is first renamed to `.old-...`; `restore` recovers it after a crash in between.
        """
        old = final.with_name(f"{OLD}{final.name}")
        if final.exists():
            if old.exists():
                remove_all(self.files, old)
            self.files.rename(final, old)
            self.files.sync_folder(self.folder)
        self.files.rename(scratch, final)
        self.files.sync_folder(self.folder)

    def restore(self) -> None:
        """Rename `.old-...` checkpoints back if their replacement was not published."""
        for old in self.folder.glob(f"{OLD}*"):
            final = old.with_name(old.name.removeprefix(OLD))
            if not final.exists():
                with contextlib.suppress(OSError):  # another rank did it; after any other error, the previous checkpoint is used
                    self.files.rename(old, final)

    def write(self, scratch: Path, step: int, parts: Mapping[str, Iterable[Chunk]], *, is_permanent: bool) -> None:
        """Write all files of a checkpoint, the manifest last."""
        if scratch.exists():
            remove_all(self.files, scratch)
        self.files.make_folder(scratch)
        written = {name: write_file(self.files, scratch / name, chunks) for name, chunks in parts.items()}
        if is_permanent:
            write_file(self.files, scratch / KEPT, [])
        write_file(self.files, scratch / manifest.NAME, [manifest.encode_manifest(step, written)])
        self.files.sync_folder(scratch)

    def prune(self) -> None:
        """Delete checkpoints outside the retention policy; failures are only logged."""
        try:
            for old in self.folder.glob(f"{OLD}*"):
                remove_all(self.files, old)
            for folder in self.folders()[self.n_rolling :]:
                if not (folder / KEPT).exists():
                    self.remove(folder)
        except OSError as error:
            LOGGER.warning("an old checkpoint could not be deleted: %s", error)

    def remove(self, folder: Path) -> None:
        trash = folder.with_name(f"{TRASH}{folder.name}")
        # rename first, which is atomic: a partly deleted folder never has the name of a checkpoint
        self.files.rename(folder, trash)
        self.files.sync_folder(self.folder)
        remove_all(self.files, trash)

    def folders(self) -> list[Path]:
        """Return the folders of all checkpoints, newest first, without verifying them."""
        found = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted((each for each in found if STEP.fullmatch(each.name)), reverse=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, None without checkpoints; log and quarantine newer ones that are corrupt.

        Raise CheckpointError if all checkpoints are corrupt; then none of them is quarantined.
        """
        damaged: dict[Path, CorruptError] = {}
        self.restore()
        for folder in self.folders():
            try:
                found = self.open(folder)
            except CorruptError as error:
                damaged[folder] = error
                continue
            for bad, why in damaged.items():
                LOGGER.warning("%s is corrupt; it is renamed to '%s...' and not used: %s", bad, BAD, why)
                with contextlib.suppress(FileNotFoundError):  # another rank did it
                    self.quarantine(bad, BAD)
            return found
        if damaged:
            listed = "\n".join(f"{folder}: {error}" for folder, error in damaged.items())
            remedy = "restore one from a backup, or start a new run with another 'run_id'"
            raise CheckpointError(f"{listed}\nno checkpoint is valid; {remedy}")
        return None

    def open(self, folder: Path) -> Checkpoint:
        """Read and verify a checkpoint. Raise CorruptError if it differs from what was written."""
        files = manifest.verify_checkpoint(folder)
        return Checkpoint(folder, parse_step(folder), files)

    def clean_up(self, newest: int | None = None) -> None:
        """Delete leftovers and quarantine checkpoints newer than `newest`, the step to resume from; None: all of them.

        Call it once, before the first save.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for prefix in (SCRATCH, OLD, TRASH):
            for leftover in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(leftover)
        for folder in self.folders():
            if newest is None or parse_step(folder) > newest:
                start = "the beginning" if newest is None else f"step {newest}"
                LOGGER.warning("the run continues from %s: the newer checkpoint %s is renamed to '%s...'", start, folder, LEFT)
                self.quarantine(folder, LEFT)

    def quarantine(self, folder: Path, prefix: str) -> None:
        """Rename a folder to an unused name with a prefix, which no run reads as a checkpoint."""
        names = (folder.with_name(f"{prefix}{folder.name}{suffix}") for suffix in ("", *(f".{n}" for n in range(1, 1000))))
        self.files.rename(folder, next(name for name in names if not name.exists()))
        self.files.sync_folder(self.folder)

    def check_writable(self, size: int) -> None:
        """Raise CheckpointError if the folder is not writable or lacks space for ROLLING checkpoints of `size` bytes.

        Call it before training.
        """
        with os_errors_as(self.folder, "set 'output_dir' to a folder that is writable"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".probe*"):
                leftover.unlink()
            write_file(self.files, self.folder / ".probe", [b"."])
            self.files.rename(self.folder / ".probe", self.folder / ".probed")
            self.files.sync_folder(self.folder)
            self.files.remove(self.folder / ".probed")
        free = shutil.disk_usage(self.folder).free
        if free < ROLLING * size:
            needed, there = (round(each / 1e6) for each in (ROLLING * size, free))
            message = f"{ROLLING} checkpoints require {needed} MB, but only {there} MB are free"
            raise CheckpointError(f"{self.folder}: {message}; free disk space, or set another 'output_dir'")
