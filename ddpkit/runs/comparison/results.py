"""Results of one run: its values at the best epoch and in the test."""

from collections.abc import Mapping, Sequence

from ddpkit.runs.epoch_recorder import SUMMARY
from ddpkit.runs.files import reading
from ddpkit.runs.metric_tables import CONFUSION
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.curves import best_epochs

Results = Mapping[str, float | None]
"""Values by column, such as `valid/loss` or `test/accuracy`; None in place of a value that is not finite."""


def find_best_epochs(record: RunRecord) -> dict[str, int]:
    """Return the best epoch of each model (`valid`, `ema`), as far as it is known."""
    with reading(record.folder / SUMMARY):
        return dict(best_epochs(record))


def collect_results(record: RunRecord) -> dict[str, float | None]:
    """Return the values of the history at the best epoch, and those of the test.

    The columns `ema/...` have the values at the best epoch of the EMA, all others those at the best epoch of the trained model.
    """
    epochs, rows = find_best_epochs(record), {row.get("epoch"): row for row in record.history}
    results: dict[str, float | None] = {}
    for column in dict.fromkeys(column for row in record.history for column in row if "/" in column):
        model = column.partition("/")[0]
        row = rows.get(epochs.get(model, next(iter(epochs.values()), 0)), {})
        results |= {column: row[column]} if column in row else {}
    results |= {f"test/{key}": value for key, value in record.test_metrics.items()}
    return {column: value for column, value in results.items() if CONFUSION not in column}


def find_directions(records: Sequence[RunRecord]) -> dict[str, bool]:
    """Return name of a loss or metric -> whether a lower value is better, as far as it is known."""
    directions = {"loss": True}
    for record in records:
        with reading(record.folder / SUMMARY):
            directions |= record.summary.get("lower", {})
    return directions


def metric_name(column: str) -> str:
    """Return the name of a metric without the split and the model: `test/ema/accuracy` -> `accuracy`."""
    return column.rpartition("/")[2]
