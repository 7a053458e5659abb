"""Confusion matrices of the report: the heat map, and the pairs of classes that are confused most."""

import functools
import heapq
from collections.abc import Sequence

import attrs

from ddpkit.runs.files import reading
from ddpkit.runs.metric_tables import CONFUSION
from ddpkit.runs.record import RunRecord
from ddpkit.runs.report.table import Table

MAX_CLASSES = 40
"""Largest number of classes of which the page contains the complete matrix."""
MAX_PAIRS = 15
TITLE = CONFUSION.replace("_", " ").capitalize()


@attrs.frozen
class Matrix:
    """Confusion matrix of a test."""

    file: str
    """Name of its CSV file."""
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    """One row per true class, one column per predicted class."""
    unit: str = "samples"
    """What is counted: `samples` or `pixels`."""

    @property
    def title(self) -> str:
        """Return `Confusion matrix`, or this with the name of another model or metric."""
        name = self.file.removesuffix(".csv").replace(CONFUSION, "").strip("-")
        return f"{TITLE}: {name}" if name else TITLE

    @property
    def is_shown(self) -> bool:
        return len(self.classes) <= MAX_CLASSES

    @functools.cached_property
    def shares(self) -> list[list[float]]:
        """Return the counts as shares of their rows, 0 to 1; 0 in a row without samples."""
        totals = [max(sum(row), 1) for row in self.counts]
        return [[count / total for count in row] for row, total in zip(self.counts, totals, strict=True)]

    @property
    def pairs(self) -> Table:
        """Return the pairs of different classes with the largest counts."""
        found = [
            (self.classes[true], self.classes[predicted], count, self.shares[true][predicted])
            for true, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if count and true != predicted
        ]
        columns = ("true class", "predicted class", self.unit, "share of the true class")
        most = heapq.nlargest(MAX_PAIRS, found, key=lambda pair: pair[2])
        return Table("Most frequent confusions", columns, most)


def read_matrices(record: RunRecord) -> list[Matrix]:
    """Return the matrices of the test, those of the trained model before those of its EMA."""
    return [read_matrix(record, name) for name in sorted(record.confusion, key=lambda name: name.startswith("ema-"))]


def read_matrix(record: RunRecord, name: str) -> Matrix:
    """Return the matrix in the CSV file with this name."""
    with reading(record.folder / name):
        header, *rows = record.confusion[name]
        counts = [[int(cell) for cell in cells] for _, *cells in rows]
        if not counts or {len(row) for row in counts} | {len(counts)} != {len(header) - 1}:
            raise ValueError(f"the matrix is not square: {len(counts)} rows, {len(header) - 1} columns")
    return Matrix(name, header[1:], counts, "pixels" if record.gives == {"mask"} else "samples")
