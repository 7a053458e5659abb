"""Record of each epoch in the run folder: a row of the history, and a summary, so that a list of many runs is fast."""

from typing import TYPE_CHECKING, Any

import attrs

from ddpkit.config import schema
from ddpkit.runs.events import now
from ddpkit.runs.files import read_json, reading
from ddpkit.runs.history import to_storable
from ddpkit.training.callbacks import Callback, Row

if TYPE_CHECKING:
    from ddpkit.runs.folder import RunFolder
    from ddpkit.training.trainer import Trainer

SUMMARY = "summary.json"
"""File with the state after the last epoch.

`task`, `run_id`, `started` and `updated` (ISO 8601, UTC), `epoch`, `epochs`, `step`, `lower`: loss or metric whose direction is
known -> whether a lower value is better, and `best`: model (`valid` or `ema`) -> `column`, `lower`, `value` and `epoch`.
"""


@attrs.frozen
class EpochRecorder(Callback):
    """Callback that appends the row of each epoch to the history, and writes the summary. Only global rank 0 has one."""

    folder: "RunFolder"
    trainer: "Trainer"
    identity: dict[str, Any]
    """Values that do not change: `task`, `run_id`, `started`, `epochs`, `lower`."""

    @classmethod
    def start(cls, folder: "RunFolder", trainer: "Trainer", run: schema.Run) -> "EpochRecorder":
        """Write the first summary of a run; a resumed run keeps the time of its start."""
        file = folder.path / SUMMARY
        with reading(file):
            started = read_json(file).get("started", now())
        identity = {"task": run.task, "run_id": run.run_id, "started": started, "epochs": trainer.options.epochs}
        recorder = cls(folder, trainer, {**identity, "lower": find_directions(trainer)})
        recorder.write_summary()
        return recorder

    def on_epoch_end(self, row: Row) -> None:
        """Record an epoch and the state after it."""
        self.folder.append_row(row)
        self.write_summary()

    def write_summary(self) -> None:
        """Write the current state."""
        progress = self.trainer.progress
        state = {"updated": now(), "epoch": progress.epoch, "step": progress.step, "best": self.best()}
        self.folder.write_json(SUMMARY, self.identity | state)

    def best(self) -> dict[str, dict[str, Any]]:
        """Return the best epoch of each model; `value` is None and `epoch` 0 before the first validation."""
        trackers = {each.name: each.best for each in self.trainer.evaluator.models}
        return {
            name: {"column": each.column, "lower": each.lower, "epoch": each.epoch, **to_storable({"value": each.value})}
            for name, each in trackers.items()
        }


def find_directions(trainer: "Trainer") -> dict[str, bool]:
    """Return name of a loss or metric -> whether a lower value is better; a metric whose direction is not known is left out."""
    losses = [*trainer.losses.columns, *trainer.evaluator.losses.columns]
    metrics = {key: metric.higher_is_better for key, metric in trainer.evaluator.metrics.items()}
    return {**dict.fromkeys(losses, True), **{key: not higher for key, higher in metrics.items() if higher is not None}}
