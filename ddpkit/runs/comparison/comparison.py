"""Comparison of runs: all that the command prints, and the page shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.runs.comparison.compared_run import ComparedRun, read_runs
from ddpkit.runs.comparison.folds import Folds, find_folds
from ddpkit.runs.comparison.results import find_directions, metric_name
from ddpkit.runs.screen.text_table import format_value


@attrs.frozen
class Comparison:
    """Compared runs, in the order in which they were given."""

    runs: Sequence[ComparedRun]
    folds: Sequence[Folds]
    lower: Mapping[str, bool]
    """Name of a metric -> whether a lower value is better, for the metrics whose direction is known."""

    def best_of(self, column: str, values: Sequence[float | None]) -> float | None:
        """Return the best of the values of a column; None if the direction is unknown, or if the values are shown as equal."""
        known, lower = [value for value in values if value is not None], self.lower.get(metric_name(column))
        if lower is None or len(set(map(format_value, known))) < 2:  # noqa: PLR2004
            return None
        return min(known) if lower else max(known)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "runs": [
                {
                    "run": run.label,
                    "folder": str(run.record.folder),
                    "config": run.config,
                    "best_epochs": run.best_epochs,
                    "results": run.results,
                    "epoch": run.epoch,
                    "epochs": run.epochs,
                    "seconds": run.seconds,
                }
                for run in self.runs
            ],
            "folds": [
                {
                    "runs": [run.label for run in group.runs],
                    "folds": group.numbers,
                    "config": group.config,
                    "results": {column: attrs.asdict(value) for column, value in group.results.items()},
                }
                for group in self.folds
            ],
        }


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare the runs in these folders. Raise ConfigError if a file of a run is damaged."""
    runs = read_runs(folders)
    return Comparison(runs, find_folds(runs), find_directions([run.record for run in runs]))
