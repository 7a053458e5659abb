"""Run in a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ddpkit.config.diff import format_change
from ddpkit.runs.comparison.config_keys import find_different_keys
from ddpkit.runs.comparison.results import Results, collect_results, find_best_epochs
from ddpkit.runs.record import RunRecord


@attrs.frozen(kw_only=True)
class ComparedRun:
    """Run in a comparison."""

    label: str
    """Run id; if several runs have the same id, also the folders above it. If only one config key differs, also its value."""
    record: RunRecord
    config: Mapping[str, Any]
    """Values of the keys that differ between the runs; None if a key is not set."""
    best_epochs: Mapping[str, int]
    """Best epoch of each model (`valid`, `ema`), as far as it is known."""
    results: Results

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.record.history)

    @property
    def epochs(self) -> int | None:
        """Number of epochs in the config; None if it is not known."""
        epochs = self.record.config.get("train", {}).get("epoch")
        return None if epochs is None else int(epochs)

    @property
    def seconds(self) -> float:
        """Duration of the finished epochs."""
        return sum(row.get("seconds") or 0.0 for row in self.record.history)


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read the runs in these folders. Raise ConfigError if a file of a run is damaged."""
    records = [RunRecord(folder) for folder in folders]
    different = find_different_keys([record.config for record in records])
    return [
        ComparedRun(
            label=label,
            record=record,
            config={key: values[number] for key, values in different.items()},
            best_epochs=find_best_epochs(record),
            results=collect_results(record),
        )
        for number, (record, label) in enumerate(zip(records, add_values(create_labels(folders), different), strict=True))
    ]


def add_values(labels: Sequence[str], different: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the labels with the value of the only key that differs between the runs, such as `fold 0`."""
    if len(different) != 1:
        return list(labels)
    [(key, values)] = different.items()
    return [f"{label} ({key.rpartition('.')[2]} {format_change(value)})" for label, value in zip(labels, values, strict=True)]


def create_labels(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that are unique: the run ids or, for example, `task/id`."""
    for n_parts in range(1, max(len(folder.parts) for folder in folders)):
        labels = ["/".join(folder.parts[-n_parts:]) for folder in folders]
        if len(set(labels)) == len(folders):
            return labels
    return [str(folder) for folder in folders]
