"""Which run goes on, and from where (`--resume`, `model.continue_checkpoint`)."""

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from ddpkit.checkpoint.manifest import DamagedError
from ddpkit.checkpoint.store import STEP, Checkpoint, Store
from ddpkit.config.loading import Config
from ddpkit.errors import CheckpointError, ConfigError, Problem
from ddpkit.runs import folder as run_folder
from ddpkit.runs import lock

NEWEST = ""
"""`--resume` without a path."""
FOLDER = "checkpoints"


@attrs.frozen
class Origin:
    """Where a run goes on from."""

    folder: Path
    """Of the run."""
    checkpoint: Checkpoint | None
    """None: none was written yet."""
    allowed: Sequence[str] = ()
    """Keys that may differ from those of that run."""


def asked(config: Config, option: str | None) -> str | None:
    """What is to go on: a path, `NEWEST`, or None for a new run."""
    model = config.run.model
    return option if option is not None else (model.continue_checkpoint or model.continue_ext_checkpoint or None)


def origin_of(config: Config, option: str | None, allowed: Sequence[str] = ()) -> Origin | None:
    """Where this run goes on from; None for a new one. Verifies the checkpoint.

    Raises ConfigError for a path that holds none, CheckpointError when all are damaged, HeldError while another process has it.
    """
    path = asked(config, option)
    if path is None:
        return None
    folder, chosen = named(config, Path(path).absolute(), option) if path else (latest(config), None)
    if folder is None or not folder.is_dir():
        return None
    with lock.held(folder, shared=True):
        store = Store(folder / FOLDER)
        return Origin(folder, opened(store, chosen) if chosen else store.newest(), allowed)


def named(config: Config, path: Path, option: str | None) -> tuple[Path, Path | None]:
    """The run and the checkpoint that a path means: a run's folder, or one of its checkpoints."""
    if STEP.fullmatch(path.name) and path.is_dir():
        return path.parent.parent, path
    if (path / FOLDER).is_dir() or (path / "config.toml").is_file():
        return path, None
    message = f"{path} holds no checkpoint; name the folder of a run, or a 'checkpoints/step-...' in it"
    key = ("model", "continue_checkpoint" if config.run.model.continue_checkpoint else "continue_ext_checkpoint")
    raise ConfigError([Problem("--resume", (), message) if option else config.problem(key, message)])


def opened(store: Store, folder: Path) -> Checkpoint:
    """The checkpoint that was asked for. Raises CheckpointError when it is damaged."""
    try:
        return store.open(folder)
    except DamagedError as error:
        raise CheckpointError(
            f"{folder} is damaged: {error}; '--resume {folder.parent.parent}' takes the newest good one"
        ) from error


def latest(config: Config) -> Path | None:
    """The run of `run_id`, else the newest unfinished one of this task."""
    if config.run.run_id:
        return run_folder.path_of(config.run)
    task = (Path(config.run.output_dir) / config.run.task).absolute()
    runs = sorted(task.glob("*/config.toml"), key=lambda file: file.stat().st_mtime, reverse=True)
    return next((file.parent for file in runs if not (file.parent / run_folder.FINISHED).exists()), None)


def settled(config: Config, origin: Origin) -> Config:
    """The config, as that run: its folder, and the seed that was drawn for it."""
    run, folder = config.run, origin.folder
    seed = origin.checkpoint.plain["run"]["config"]["seed"] if origin.checkpoint and run.seed == -1 else run.seed
    run = attrs.evolve(run, output_dir=str(folder.parent.parent), task=folder.parent.name, run_id=folder.name, seed=seed)
    return attrs.evolve(config, run=run)


def is_finished(config: Config, origin: Origin) -> bool:
    """Whether nothing is left to do: it came to its end, which is where it goes on, and no more epochs are asked for."""
    marker = origin.folder / run_folder.FINISHED
    if not marker.exists():
        return False
    end = json.loads(marker.read_text(encoding="utf-8"))
    if origin.checkpoint is None or origin.checkpoint.step < end["step"]:
        return False
    return bool(end["is_over"]) or config.run.train.epoch <= int(end["epoch"])
