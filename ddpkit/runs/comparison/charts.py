"""Charts of a comparison: each column of the history, with the curves of all runs over each other."""

from collections.abc import Sequence

from ddpkit.runs.comparison.compared_run import ComparedRun
from ddpkit.runs.report.chart import Chart, Series
from ddpkit.runs.report.curves import MAX_VALUES, group_columns, thin

N_COLORS = 8
"""Number of colours of a chart; the next runs have the same colours with dashed lines."""


def compare_curves(runs: Sequence[ComparedRun]) -> list[Chart]:
    """Return one chart per column of the histories; a column with the same curves as an earlier one is left out."""
    limit = MAX_VALUES // len(runs)
    kept = [thin(run.record.history, run.best_epochs.values(), limit) for run in runs]
    rows = [{int(row["epoch"]): row for row in each} for each in kept]
    epochs = sorted({epoch for each in rows for epoch in each})
    groups = group_columns([row for each in rows for row in each.values()])
    charts: dict[tuple[tuple[float | None, ...], ...], Chart] = {}
    for column in (column for group in groups.values() for column in group.values()):
        values = tuple(tuple(each.get(epoch, {}).get(column) for epoch in epochs) for each in rows)
        series = [
            Series(run.label, curve, number % N_COLORS, is_dashed=number // N_COLORS % 2 == 1)
            for number, (run, curve) in enumerate(zip(runs, values, strict=True))
        ]
        charts.setdefault(values, Chart(column, "epoch", epochs, series))
    return list(charts.values())
