"""CSV tables of a test: metrics per class, confusion matrices."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddpkit.training.metric_result import MetricResult

PER_CLASS = "test_metrics_per_class.csv"
CONFUSION = "confusion_matrix"


def build_tables(results: Mapping[str, MetricResult], classes: Sequence[str]) -> dict[str, list[list[Any]]]:
    """Return the rows of each file, by file name; classes without a name are numbered."""
    columns = {key: result.per_class for key, result in results.items() if result.per_class}
    tables = {PER_CLASS: per_class_table(columns, classes)} if columns else {}
    matrices = {key: result for key, result in results.items() if result.confusion}
    return tables | {confusion_file(key): confusion_table(result, classes) for key, result in matrices.items()}


def per_class_table(columns: Mapping[str, Sequence[float]], classes: Sequence[str]) -> list[list[Any]]:
    """Return a header, then one row per class with one column per metric; a NaN becomes an empty cell."""
    rows = itertools.zip_longest(*columns.values(), fillvalue=math.nan)
    cells = [["" if math.isnan(value) else value for value in row] for row in rows]
    return [["class", *columns], *([name, *row] for name, row in zip(row_labels(classes, len(cells)), cells, strict=True))]


def confusion_table(result: MetricResult, classes: Sequence[str]) -> list[list[Any]]:
    """Return a header, then one row per true class with one column per predicted class."""
    labels = row_labels(classes, len(result.confusion))
    return [["true", *labels], *([name, *row] for name, row in zip(labels, result.confusion, strict=True))]


def confusion_file(key: str) -> str:
    """Return `confusion_matrix.csv`, `ema-confusion_matrix.csv`, or `confusion_matrix-<name>.csv` for another metric name."""
    name = key.replace("/", "-")
    return f"{name}.csv" if name.endswith(CONFUSION) else f"{CONFUSION}-{name}.csv"


def picture_file(table: str) -> str:
    """Return the name of the picture of a confusion matrix, whose table has the name `confusion_matrix.csv`."""
    return f"{table.removesuffix('.csv')}.png"


def row_labels(classes: Sequence[str], n: int) -> list[str]:
    """Return the names of `n` classes, or their numbers if the config has no names."""
    return [*classes[:n], *map(str, range(len(classes), n))]
