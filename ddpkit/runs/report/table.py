"""Table of the report, with a limited number of rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

MAX_ROWS = 1000
"""Largest number of rows of a table, so that the page stays below 1 MB."""


@attrs.frozen
class Table:
    """Header and rows of a table. Numbers are aligned to the right; the first cell of a row is its header."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Texts, numbers, or None = no value."""
    note: str = ""
    """Text below the table: where the rows are that it lacks."""
    is_long: bool = False
    """Whether the table is closed at first."""

    @property
    def aligned(self) -> list[str]:
        """Return the class of each column in the page: `number` if it contains one, `text` otherwise."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return ["number" if any(isinstance(cell, int | float) for cell in cells) else "text" for cells in columns]


def make_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], file: str, long: int = 25) -> Table:
    """Return a table of the first rows.

    `file`: name of the file with all rows. `long`: largest number of rows that are shown without a click.
    """
    listed = list(rows)
    note = f"the first {MAX_ROWS:,} of {len(listed):,} rows; {file} contains all" if len(listed) > MAX_ROWS else ""
    return Table(caption, columns, listed[:MAX_ROWS], note, len(listed) > long)


def to_number(text: str) -> float | str | None:
    """Return the number in a cell of a CSV file; None for an empty cell, the text itself if it is not a number."""
    try:
        return float(text) if text else None
    except ValueError:
        return text
