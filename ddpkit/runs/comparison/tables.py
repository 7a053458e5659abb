"""Tables of a comparison as texts, for the terminal and for the page."""

from collections.abc import Sequence

from ddpkit.config.diff import format_change
from ddpkit.runs.comparison.comparison import Comparison
from ddpkit.runs.comparison.folds import Statistic
from ddpkit.runs.screen.text_table import format_duration, format_value

MARK = "*"
"""Mark after the best value of a row."""
NOTE = f"{MARK} best value of the row"
FOLDS_NOTE = "mean ± sample standard deviation (n - 1)"
Row = tuple[str, ...]


def key_rows(found: Comparison) -> list[Row]:
    """Return the config keys that differ, with their value in each run."""
    return [(key, *(format_change(run.config[key]) for run in found.runs)) for key in found.runs[0].config]


def result_rows(found: Comparison) -> list[Row]:
    """Return best epochs, values at the best epoch, test metrics, number of epochs and time of each run."""
    models = dict.fromkeys(model for run in found.runs for model in run.best_epochs)
    columns = dict.fromkeys(column for run in found.runs for column in run.results)
    return [
        *((f"best epoch {model}", *(str(run.best_epochs.get(model, "-")) for run in found.runs)) for model in models),
        *(value_row(found, column, [run.results.get(column) for run in found.runs]) for column in columns),
        ("epochs", *(f"{run.epoch}/{run.epochs or '-'}" for run in found.runs)),
        ("time", *(format_duration(run.seconds) for run in found.runs)),
    ]


def value_row(found: Comparison, column: str, values: Sequence[float | None]) -> Row:
    best = found.best_of(column, values)
    return (column, *(format_value(value) + mark(value, best) for value in values))


def mark(value: float | None, best: float | None) -> str:
    """Return the mark of a value that is shown like the best one."""
    return MARK if value is not None and best is not None and format_value(value) == format_value(best) else ""


def fold_rows(found: Comparison) -> list[Row]:
    """Return the folds, the other keys that differ, and the statistics of each group of folds."""
    columns = dict.fromkeys(column for group in found.folds for column in group.results)
    return [
        ("folds", *(", ".join(map(format_change, group.numbers)) for group in found.folds)),
        *((key, *(format_change(group.config[key]) for group in found.folds)) for key in found.folds[0].config),
        *(statistic_row(found, column) for column in columns),
    ]


def statistic_row(found: Comparison, column: str) -> Row:
    values = [group.results.get(column) for group in found.folds]
    best = found.best_of(column, [value.mean if value else None for value in values])
    cells = [
        format_statistic(value, len(group.runs)) + mark(value.mean, best) if value else "-"
        for value, group in zip(values, found.folds, strict=True)
    ]
    return (column, *cells)


def format_statistic(value: Statistic, n_runs: int) -> str:
    """Return mean and deviation, and the number of values if some runs have none."""
    deviation = "" if value.std is None else f" ± {format_value(value.std)}"
    return f"{format_value(value.mean)}{deviation}{f' (n = {value.n})' * (value.n < n_runs)}"
