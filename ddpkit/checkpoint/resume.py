"""Lookup of the run and the checkpoint to resume (`--resume`, `model.continue_checkpoint`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint.manifest import CorruptError
from ddpkit.checkpoint.store import STEP, Checkpoint, Store
from ddpkit.config.classes import with_recorded_classes
from ddpkit.config.loading import Config
from ddpkit.errors import CheckpointError, ConfigError, Diagnostic
from ddpkit.runs import folder as run_folder
from ddpkit.runs import lock
from ddpkit.runs.files import read_json, reading

NEWEST = ""
"""Value of `--resume` without a path."""
CHECKPOINTS_FOLDER = "checkpoints"


@attrs.frozen
class ResumePoint:
    """Run and checkpoint to resume from."""

    folder: Path
    """Path of the run folder."""
    checkpoint: Checkpoint | None
    """Checkpoint to restore; None if the run has not written one yet."""
    allowed: Sequence[str] = ()
    """Keys that may differ from the config of that run."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Config, plugins, data and history in the checkpoint, see `RunMetadata`; empty without a checkpoint."""
        return self.checkpoint.plain["run"] if self.checkpoint else {}

    @property
    def progress(self) -> Mapping[str, int]:
        """`epoch` and `step` of the checkpoint: the number of finished epochs and optimizer steps."""
        found = self.checkpoint.plain["progress"] if self.checkpoint else {}
        return {name: found.get(name, 0) for name in ("epoch", "step")}


def requested_resume(config: Config, option: str | None) -> str | None:
    """Return what to resume: a path, `NEWEST`, or None for a new run."""
    model = config.run.model
    return option if option is not None else (model.continue_checkpoint or model.continue_ext_checkpoint or None)


def find_resume_point(config: Config, option: str | None, allowed: Sequence[str] = ()) -> ResumePoint | None:
    """Return the point to resume from, with its checkpoint verified; None for a new run.

    Raise ConfigError if the path contains no checkpoint, CheckpointError if all checkpoints are corrupt, RunLockedError if
    another process holds the lock of the run.
    """
    path = requested_resume(config, option)
    if path is None:
        return None
    folder, chosen = locate_path(config, Path(path).absolute(), option) if path else (find_latest_run(config), None)
    if folder is None or not folder.is_dir():
        return None
    with lock.hold_lock(folder, shared=True):
        store = Store(folder / CHECKPOINTS_FOLDER)
        return ResumePoint(folder, open_checkpoint(store, chosen) if chosen else store.newest(), allowed)


def locate_path(config: Config, path: Path, option: str | None) -> tuple[Path, Path | None]:
    """Return the run folder and the checkpoint of a path; None for the checkpoint if the path is a run folder.

    Raise ConfigError if it is neither a checkpoint nor a run folder.
    """
    if STEP.fullmatch(path.name) and path.is_dir():
        return path.parent.parent, path
    if (path / CHECKPOINTS_FOLDER).is_dir() or (path / "config.toml").is_file():
        return path, None
    problem = "contains no checkpoint" if path.exists() else "was not found"
    message = f"{path} {problem}; use a run folder, or one of its folders '{CHECKPOINTS_FOLDER}/step-...'"
    key = ("model", "continue_checkpoint" if config.run.model.continue_checkpoint else "continue_ext_checkpoint")
    raise ConfigError([Diagnostic("--resume", (), message) if option else config.problem(key, message)])


def open_checkpoint(store: Store, folder: Path) -> Checkpoint:
    """Open the requested checkpoint. Raise CheckpointError if it is corrupt."""
    try:
        return store.open(folder)
    except CorruptError as error:
        remedy = f"use '--resume {folder.parent.parent}' to resume from the newest valid checkpoint"
        raise CheckpointError(f"{folder} is corrupt: {error}; {remedy}") from error


def find_latest_run(config: Config) -> Path | None:
    """Return the folder of the run `run_id`; without an id, the newest unfinished run of the task, or None."""
    if config.run.run_id:
        return run_folder.run_path(config.run)
    task = (Path(config.run.output_dir) / config.run.task).absolute()
    runs = sorted(task.glob("*/config.toml"), key=lambda file: file.stat().st_mtime, reverse=True)
    return next((file.parent for file in runs if not (file.parent / run_folder.FINISHED).exists()), None)


def resolve_config(config: Config, resume_point: ResumePoint) -> Config:
    """Return the config with the output folder, task and id of the run, and with the seed and the classes of its checkpoint."""
    folder = resume_point.folder
    config = config.with_run(output_dir=str(folder.parent.parent), task=folder.parent.name, run_id=folder.name)
    before = resume_point.metadata.get("config", {})
    config = with_recorded_classes(config, before)
    return config.with_run(seed=before.get("seed", -1)) if config.run.seed == -1 else config


def is_finished(config: Config, resume_point: ResumePoint) -> bool:
    """Return whether nothing is left to do: the run has finished at this checkpoint, and no more epochs are requested."""
    marker = resume_point.folder / run_folder.FINISHED
    if not marker.exists():
        return False
    with reading(marker):
        end = read_json(marker)
        step, epoch, is_over = int(end["step"]), int(end["epoch"]), bool(end["is_over"])
    if resume_point.checkpoint is None or resume_point.checkpoint.step < step:
        return False
    return is_over or config.run.train.epoch <= epoch
