"""The CSV tables of a test: metrics per class, confusion matrices."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddpkit.training.metric_result import Score

PER_CLASS = "test_metrics_per_class.csv"
CONFUSION = "confusion_matrix"


def tables(values: Mapping[str, float], classes: Sequence[str]) -> dict[str, list[list[Any]]]:
    """By name of the file, its rows; classes without a name are numbered."""
    scores = {key: value for key, value in values.items() if isinstance(value, Score)}
    each = {key: score.per_class for key, score in scores.items() if score.per_class}
    found = {PER_CLASS: per_class_table(each, classes)} if each else {}
    return found | {confusion_file(key): confusion_table(score, classes) for key, score in scores.items() if score.confusion}


def per_class_table(columns: Mapping[str, Sequence[float]], classes: Sequence[str]) -> list[list[Any]]:
    """A row a class, a column a metric; empty where there is no number."""
    rows = itertools.zip_longest(*columns.values(), fillvalue=math.nan)
    cells = [["" if math.isnan(value) else value for value in row] for row in rows]
    return [["class", *columns], *([name, *row] for name, row in zip(names(classes, len(cells)), cells, strict=True))]


def confusion_table(score: Score, classes: Sequence[str]) -> list[list[Any]]:
    """A row a true class, a column a predicted one."""
    known = names(classes, len(score.confusion))
    return [["true", *known], *([name, *row] for name, row in zip(known, score.confusion, strict=True))]


def confusion_file(key: str) -> str:
    """`confusion_matrix.csv`, `ema-confusion_matrix.csv`; of a metric of another name `confusion_matrix-<name>.csv`."""
    name = key.replace("/", "-")
    return f"{name}.csv" if name.endswith(CONFUSION) else f"{CONFUSION}-{name}.csv"


def names(classes: Sequence[str], n: int) -> list[str]:
    """Of `n` classes; their numbers where the config has no names."""
    return [*classes[:n], *map(str, range(len(classes), n))]
