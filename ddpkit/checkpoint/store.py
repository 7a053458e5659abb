"""The checkpoints of a run: a folder a step, there whole or not at all, and verified before it is used.

A save writes aside, brings every file down to the disk, renames, and brings the name down too. Only then it returns, and
only then older ones may go. What is read is the newest that verifies; no pointer is trusted.
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
from ddpkit.checkpoint.manifest import DamagedError
from ddpkit.errors import CheckpointError
from ddpkit.runs.files import Chunk, Files, explained, remove_all, write_file

LOGGER = logging.getLogger(__name__)
STEP = re.compile(r"step-(\d{12})")
SCRATCH, OLD, TRASH, BAD, LEFT = ".tmp-", ".old-", ".trash-", ".bad-", ".left-"
"""Prefixes: half written, giving way, half removed, damaged, newer than the one that a run went on from."""
KEPT = "kept"
"""Marks a checkpoint that stays."""
ROLLING = 2
"""So many of the newest stay at least: the last one may be hit while it is the only one."""
STATE = "state.json"


@attrs.frozen
class Checkpoint:
    """One that was verified."""

    folder: Path
    step: int
    """Optimizer steps that were done."""
    files: dict[str, bytes] = attrs.field(repr=False)

    @property
    def plain(self) -> Any:
        """The state without its tensors, as `state.split` wrote it."""
        return json.loads(self.files[STATE])

    def ending(self, end: str) -> dict[str, bytes]:
        """Its files whose names end so."""
        return {name: data for name, data in self.files.items() if name.endswith(end)}

    def release(self) -> None:
        """Forget what the files hold, once it is where it belongs; a run would keep it in memory to its end."""
        self.files.clear()


def step_of(folder: Path) -> int:
    """Of a checkpoint's folder."""
    return int(folder.name.removeprefix("step-"))


@attrs.frozen
class Store:
    """`checkpoints/` of a run; one process at a time may write it."""

    folder: Path
    files: Files = attrs.field(factory=Files)
    n_rolling: int = ROLLING
    """The newest, which stay though nobody said so."""

    def save(self, step: int, parts: Mapping[str, Iterable[Chunk]], *, is_kept: bool = False) -> Path:
        """Make a checkpoint of files by name; when this returns, it outlives a power cut. Raises OSError, and leaves the others.

        One of the same step gives way to it. `is_kept`: it stays for good.
        """
        final = self.folder / f"step-{step:012d}"
        scratch = self.folder / f"{SCRATCH}{final.name}"
        try:
            self.write(scratch, step, parts, is_kept=is_kept or (final / KEPT).exists())
            self.put(scratch, final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            self.restore()
            raise
        self.prune()
        return final

    def put(self, scratch: Path, final: Path) -> None:
        """Give a whole checkpoint its name. Between the two names of one that gives way, `restore` finds it."""
        old = final.with_name(f"{OLD}{final.name}")
        if final.exists():
            if old.exists():
                remove_all(self.files, old)
            self.files.rename(final, old)
            self.files.sync_folder(self.folder)
        self.files.rename(scratch, final)
        self.files.sync_folder(self.folder)

    def restore(self) -> None:
        """Give one its name back that gave way to none."""
        for old in self.folder.glob(f"{OLD}*"):
            final = old.with_name(old.name.removeprefix(OLD))
            if not final.exists():
                with contextlib.suppress(OSError):  # another rank did it; else the one before is used
                    self.files.rename(old, final)

    def write(self, scratch: Path, step: int, parts: Mapping[str, Iterable[Chunk]], *, is_kept: bool) -> None:
        """All files of a checkpoint, the manifest last."""
        if scratch.exists():
            remove_all(self.files, scratch)
        self.files.make_folder(scratch)
        written = {name: write_file(self.files, scratch / name, chunks) for name, chunks in parts.items()}
        if is_kept:
            write_file(self.files, scratch / KEPT, [])
        write_file(self.files, scratch / manifest.NAME, [manifest.encoded(step, written)])
        self.files.sync_folder(scratch)

    def prune(self) -> None:
        """Remove what need not stay. What cannot be removed is said, and harms nobody."""
        try:
            for old in self.folder.glob(f"{OLD}*"):
                remove_all(self.files, old)
            for folder in self.folders()[self.n_rolling :]:
                if not (folder / KEPT).exists():
                    self.remove(folder)
        except OSError as error:
            LOGGER.warning("an old checkpoint stays where it is: %s", error)

    def remove(self, folder: Path) -> None:
        """From one instant to the next it is no checkpoint any more."""
        trash = folder.with_name(f"{TRASH}{folder.name}")
        self.files.rename(folder, trash)
        self.files.sync_folder(self.folder)
        remove_all(self.files, trash)

    def folders(self) -> list[Path]:
        """The newest first; verified or not."""
        found = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted((each for each in found if STEP.fullmatch(each.name)), reverse=True)

    def newest(self) -> Checkpoint | None:
        """The newest good one; None where there was never any. Damaged ones are named, and set aside.

        Raises CheckpointError when all are damaged; then nothing is touched.
        """
        damaged: dict[Path, DamagedError] = {}
        self.restore()
        for folder in self.folders():
            try:
                found = self.open(folder)
            except DamagedError as error:
                damaged[folder] = error
                continue
            for bad, why in damaged.items():
                LOGGER.warning("%s is damaged, and set aside: %s", bad, why)
                with contextlib.suppress(FileNotFoundError):  # another rank did it
                    self.set_aside(bad, BAD)
            return found
        if damaged:
            listed = "\n".join(f"{folder}: {error}" for folder, error in damaged.items())
            raise CheckpointError(f"{listed}\nno checkpoint is good; bring one back from a backup, or begin a run of another id")
        return None

    def open(self, folder: Path) -> Checkpoint:
        """Read and verify one. Raises DamagedError."""
        files = manifest.verified(folder)
        return Checkpoint(folder, step_of(folder), files)

    def tidy(self, newest: int | None = None) -> None:
        """Once, before the first save: leftovers go; what is newer than the step from which the run goes on is set aside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for prefix in (SCRATCH, OLD, TRASH):
            for leftover in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(leftover)
        for folder in self.folders():
            if newest is None or step_of(folder) > newest:
                LOGGER.warning("%s is not of this run any more, and set aside: it went on from %s", folder, newest)
                self.set_aside(folder, LEFT)

    def set_aside(self, folder: Path, prefix: str) -> None:
        """Under a name that no run looks for, and nobody else has."""
        names = (folder.with_name(f"{prefix}{folder.name}{suffix}") for suffix in ("", *(f".{n}" for n in range(1, 1000))))
        self.files.rename(folder, next(name for name in names if not name.exists()))
        self.files.sync_folder(self.folder)

    def probe(self, size: int) -> None:
        """Find out before training whether checkpoints of `size` bytes can be kept. Raises CheckpointError."""
        with explained(self.folder, "choose another 'output_dir'"):
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
            raise CheckpointError(f"{self.folder}: {ROLLING} checkpoints need {needed} MB, {there} MB are free; make room")
