"""List of the runs in an output folder. It imports no torch, and reads one small file per run."""

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ddpkit.checkpoint.resume import CHECKPOINTS_FOLDER
from ddpkit.checkpoint.store import Store
from ddpkit.errors import ConfigError, Diagnostic
from ddpkit.runs.epoch_recorder import SUMMARY
from ddpkit.runs.files import reading
from ddpkit.runs.lookup import run_of_config
from ddpkit.runs.record import RunRecord


@attrs.frozen(kw_only=True)
class ListedRun:
    """Run in a list. None in place of a value that its folder does not contain."""

    task: str
    id: str
    folder: str
    state: str
    """`running` (a process has locked the run), `finished`, `resumable` (a checkpoint exists) or `stopped`."""
    epoch: int | None = None
    """Number of finished epochs."""
    epochs: int | None = None
    """Number of epochs in the config."""
    best_column: str | None = None
    """Column of the history that selects the best weights."""
    best_value: float | None = None
    best_epoch: int | None = None
    started: str
    """Start of the run (ISO 8601, UTC); of a run without `summary.json`, the time of its `config.toml`."""
    age: float
    """Seconds since the start."""
    size: int
    """Bytes of all files in the folder."""
    error: str | None = None
    """Message if a file of the run is damaged."""


def list_runs(output_dir: Path) -> list[ListedRun]:
    """Return the runs in `<output_dir>/<task>/<run_id>/`, sorted by task, then by start. Other folders are ignored.

    Raise ConfigError if `output_dir` is not a folder.
    """
    if not output_dir.is_dir():
        raise ConfigError([Diagnostic("DIR", (), f"{output_dir} is not a folder; pass the 'output_dir' of your runs")])
    found = [listed for folder in find_run_folders(output_dir) if (listed := describe_run(folder))]
    return sorted(found, key=lambda run: (run.task, run.started, run.id))


def find_run_folders(output_dir: Path) -> Iterator[Path]:
    files = output_dir.absolute().glob("*/*/config.toml")
    return (folder for file in files if (folder := run_of_config(file)))


def describe_run(folder: Path) -> ListedRun | None:
    """Return the facts about a run; None if its folder was deleted in the meantime."""
    try:
        recorded = dt.datetime.fromtimestamp((folder / "config.toml").stat().st_mtime, dt.UTC)
        facts: dict[str, Any] = {"started": recorded, "state": find_state(folder), "size": measure_size(folder)}
    except OSError:
        return None
    try:
        facts |= read_progress(RunRecord(folder))
    except ConfigError as error:
        facts["error"] = str(error)
    started = facts.pop("started")
    age = max(0.0, (dt.datetime.now(dt.UTC) - started).total_seconds())
    return ListedRun(
        task=folder.parent.name,
        id=folder.name,
        folder=str(folder),
        started=started.isoformat(timespec="seconds"),
        age=age,
        **facts,
    )


def find_state(folder: Path) -> str:
    """Return the state, see `ListedRun`. The folder of a checkpoint has its final name only if it is complete."""
    record = RunRecord(folder)
    if record.is_running:
        return "running"
    if record.is_finished:
        return "finished"
    return "resumable" if Store(folder / CHECKPOINTS_FOLDER).folders() else "stopped"


def read_progress(record: RunRecord) -> dict[str, Any]:
    """Return the epochs, the best value of the trained model (not of its EMA) and the start, as far as they are known."""
    if not record.summary:
        return {"epoch": len(record.history)}
    with reading(record.folder / SUMMARY):
        return parse_summary(record.summary)


def parse_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        "epoch": int(summary["epoch"]),
        "epochs": int(summary["epochs"]),
        "started": dt.datetime.fromisoformat(summary["started"]).astimezone(dt.UTC),
    }
    best = next(iter(summary["best"].values()), None)
    if not best or not best["epoch"]:
        return facts
    value = None if best["value"] is None else float(best["value"])
    return {**facts, "best_column": str(best["column"]), "best_value": value, "best_epoch": int(best["epoch"])}


def measure_size(folder: Path) -> int:
    """Return the bytes of all files in a folder. Links are not followed; a file that disappears meanwhile is not counted."""
    return sum(file_size(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)  # noqa: PTH118


def file_size(file: str) -> int:
    try:
        return os.lstat(file).st_size
    except OSError:
        return 0
