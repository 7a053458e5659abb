"""Curves of a run: the columns of its history as charts."""

from collections.abc import Iterable, Mapping, Sequence

from ddpkit.runs.metric_tables import CONFUSION
from ddpkit.runs.record import Row, RunRecord
from ddpkit.runs.report.chart import Chart, Marker, Series

MODELS = {"train": 0, "valid": 1, "ema": 2}
"""Part of a column before the `/` -> colour of its series."""
NOT_SHOWN = ("epoch", "step")
TIMES = ("seconds per epoch", "samples per second")
"""Titles of the charts that the picture of the curves lacks."""
RATE = "learning_rate"
OTHER_TITLES = {RATE: "learning rate", **dict(zip(("seconds", "samples_per_second"), TIMES, strict=True))}
MAX_VALUES = 25_000
"""Largest number of values in all charts of a page, so that it stays below 1 MB."""


def run_charts(record: RunRecord) -> list[Chart]:
    """Return one chart per quantity of the history: losses and metrics first, then learning rate, time and speed."""
    rows = thin(record.history, best_epochs(record).values())
    markers = find_markers(record, with_best=True)
    resumes = find_markers(record, with_best=False)
    x = [int(row["epoch"]) for row in rows]
    found: dict[tuple[tuple[float | None, ...], ...], Chart] = {}
    for title, columns in group_columns(record.history).items():
        series = [
            Series(label, [row.get(key) for row in rows], MODELS.get(label, number))
            for number, (label, key) in enumerate(columns.items())
        ]
        shown = resumes if title in OTHER_TITLES.values() else markers
        # a chart with the values of an earlier one is left out: the single term of a loss, accuracy under another name
        found.setdefault(tuple(tuple(each.values) for each in series), Chart(title, "epoch", x, series, shown))
    return list(found.values())


def group_columns(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Return title -> label of the series -> column of the history: `loss` -> `train` -> `train/loss`.

    The learning rates of several groups of parameters are one chart.
    """
    groups: dict[str, dict[str, str]] = {}
    columns = [column for column in dict.fromkeys(key for row in rows for key in row) if column not in NOT_SHOWN]
    for column in sorted(columns, key=lambda column: "/" not in column):
        first, slash, rest = column.partition("/")
        title, label = (rest, first) if slash and first != RATE else (OTHER_TITLES.get(first, first.replace("_", " ")), rest)
        if CONFUSION not in title:
            groups.setdefault(title, {})[label or title] = column
    return groups


def thin(rows: Sequence[Row], kept: Iterable[int], limit: int = MAX_VALUES) -> Sequence[Row]:
    """Return every k-th row, the last one and those of the epochs `kept`, so that there are at most about `limit` values."""
    every = -(-len(rows) * len(rows[-1]) // limit) if rows else 1
    epochs = {*kept}
    return [row for number, row in enumerate(rows, 1) if not number % every or number == len(rows) or row["epoch"] in epochs]


def best_epochs(record: RunRecord) -> Mapping[str, int]:
    """Return the best epoch of each model (`valid`, `ema`) as far as it is known."""
    if best := record.summary.get("best"):
        return {model: int(each["epoch"]) for model, each in best.items() if each.get("epoch")}
    tested = {"valid": record.tested, "ema": record.tested.get("ema", {})}
    return {model: int(each["epoch"]) for model, each in tested.items() if each.get("epoch")}


def find_markers(record: RunRecord, *, with_best: bool) -> list[Marker]:
    """Return a marker for each best epoch and each epoch after which the run was resumed; one for all of the same epoch."""
    texts: dict[int, dict[str, None]] = {}
    best = best_epochs(record) if with_best else {}
    for model, epoch in best.items():
        texts.setdefault(epoch, {})["best" if model == "valid" else f"best {model}"] = None
    for event in record.events:
        if event["event"] == "resume" and event.get("epoch") is not None:
            texts.setdefault(int(event["epoch"]), {})["resumed"] = None
    return [Marker(epoch, ", ".join(texts[epoch]), epoch in best.values()) for epoch in sorted(texts)]
