"""History of a run, one row per epoch: `history.jsonl` for programs, `history.csv` for people. Only rank 0 writes it."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import attrs

from ddpkit.runs.files import Files, reading, replace_file
from ddpkit.training.callbacks import Row

JSONL, CSV = "history.jsonl", "history.csv"


@attrs.frozen
class UnixLines:
    r"""File for `csv.writer(..., lineterminator="\r\n")`, whose lines end with "\n".

    The writer quotes a cell with a line break only if the break is part of its line terminator, so "\n" alone would not protect
    a name that contains "\r".
    """

    file: TextIO

    def write(self, row: str) -> None:
        """Write one row."""
        self.file.write(row.removesuffix("\r\n") + "\n")


def append_row(folder: Path, row: Row) -> None:
    """Append a row to both files in the run folder. A row with new columns changes the header, and so the complete table."""
    stored, table = to_storable(row), folder / CSV
    with (folder / JSONL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(stored, allow_nan=False) + "\n")
    if set(row) <= set(columns := read_columns(table)):
        with table.open("a", encoding="utf-8", newline="") as file:
            table_writer(file, columns).writerow(stored)
    else:
        write_table(table, read_rows(folder))


def read_columns(table: Path) -> list[str]:
    """Return the header of a table; [] if it does not exist yet."""
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def write_table(table: Path, rows: Sequence[Row]) -> None:
    """Write all rows. A column that a row lacks is empty in it."""
    text = io.StringIO()
    writer = table_writer(text, list(dict.fromkeys(column for row in rows for column in row)))
    writer.writeheader()
    writer.writerows(rows)
    replace_file(Files(), table, [text.getvalue().encode()])


def table_writer(file: TextIO, columns: Sequence[str]) -> "csv.DictWriter[str]":
    return csv.DictWriter(UnixLines(file), columns, lineterminator="\r\n")


def read_rows(folder: Path) -> list[Row]:
    """Return the rows so far; [] before the first epoch."""
    return [*read_json_lines(folder / JSONL)]


def read_json_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of a run folder, one per line; [] if the file does not exist."""
    with reading(file):
        return [dict(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def rewrite_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Replace both files: a resumed run keeps only the rows that its checkpoint contains."""
    for name in (JSONL, CSV):
        (folder / name).unlink(missing_ok=True)
    for row in rows:
        append_row(folder, row)


def to_storable(values: Row) -> dict[str, float | None]:
    """Replace NaN and infinity by None, since JSON has only finite numbers. None is `null` in JSON and an empty cell in CSV."""
    return {key: value if value is not None and math.isfinite(value) else None for key, value in values.items()}
