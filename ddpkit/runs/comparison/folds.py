"""Mean and standard deviation over the folds of a k-fold."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ddpkit.runs.comparison.compared_run import ComparedRun

FOLD = "dataset.split.fold"
"""Key that selects the fold of a k-fold."""


@attrs.frozen
class Statistic:
    """Mean of a value over several runs."""

    mean: float
    std: float | None
    """Sample standard deviation (n - 1); None for a single value."""
    n: int
    """Number of runs that have the value."""


@attrs.frozen(kw_only=True)
class Folds:
    """Runs whose configs differ only in the fold."""

    runs: Sequence[ComparedRun]
    config: Mapping[str, Any]
    """Values of the other keys that differ between the runs of the comparison."""

    @property
    def label(self) -> str:
        """Label of the first run, and the number of the others."""
        return f"{self.runs[0].label} and {len(self.runs) - 1} more"

    @property
    def numbers(self) -> list[Any]:
        """Fold of each run."""
        return [run.config[FOLD] for run in self.runs]

    @property
    def results(self) -> dict[str, Statistic]:
        """Statistics of each column over the runs that have a value."""
        columns = dict.fromkeys(column for run in self.runs for column in run.results)
        values = {column: [value for run in self.runs if (value := run.results.get(column)) is not None] for column in columns}
        return {
            column: Statistic(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))
            for column, found in values.items()
            if found
        }


def find_folds(runs: Sequence[ComparedRun]) -> list[Folds]:
    """Return the groups of runs whose configs differ only in the fold."""
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        others = {key: value for key, value in run.config.items() if key != FOLD}
        groups.setdefault(json.dumps(others, default=str), []).append(run)
    return [
        Folds(runs=group, config={key: value for key, value in group[0].config.items() if key != FOLD})
        for group in groups.values()
        if len({json.dumps(run.config.get(FOLD)) for run in group}) > 1
    ]
