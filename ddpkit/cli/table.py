"""Tables of aligned columns, wrapped to the width of the terminal; in a pipe, each row is one line."""

import itertools
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len

from ddpkit.terminal import write

GAP = "  "
WIDEST = 48
"""Largest width of a column in a pipe, in characters; a longer cell moves only the cells behind it."""
WORD, PART = re.compile(r"\S+"), re.compile(r"[^\s/_]+[/_]?|[/_]")
"""Text that stays whole: a word or, if the terminal is too narrow for the longest words, a part of a name or path."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout. Line breaks within a cell become spaces."""
    cells = [tuple(" ".join(cell.split()) for cell in row) for row in (columns, *rows)]
    lines = wrap_rows(cells, shutil.get_terminal_size().columns) if sys.stdout.isatty() else align_rows(cells)
    write("".join(f"{line}\n" for line in lines))


def print_wide_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as several tables, one below the other, if its columns do not fit on the terminal."""
    available = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for number, (part, *lines) in enumerate(split_columns([columns, *rows], available)):
        write("\n" * (number > 0))
        print_table(part, lines)


def split_columns(rows: Sequence[Sequence[str]], available: int) -> Iterator[list[Sequence[str]]]:
    """Yield tables that have the first column and as many of the other columns as their headers, `rows[0]`, allow."""
    first = max(cell_len(row[0]) for row in rows)
    widest = max(cell_len(word) for header in rows[0][1:] for word in header.split())
    n = max(1, (available - first) // (len(GAP) + widest))
    for start in range(1, len(rows[0]), n):
        yield [(row[0], *row[start : start + n]) for row in rows]


def align_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield one line per row."""
    widths = [
        max((cell_len(cell) for cell in column if cell_len(cell) <= WIDEST), default=0) for column in zip(*rows, strict=True)
    ]
    for row in rows:
        yield join_cells(row, widths)


def wrap_rows(rows: Sequence[Sequence[str]], available: int) -> Iterator[str]:
    """Yield the lines of rows whose cells are wrapped, so that a line has at most `available` characters if possible."""
    widths = fit_widths(list(zip(*rows, strict=True)), available)
    for row in rows:
        wrapped = [wrap_cell(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*wrapped, fillvalue=""):
            yield join_cells(line, widths)


def fit_widths(columns: Sequence[Sequence[str]], available: int) -> list[int]:
    """Return the widths of the columns. The widest ones are reduced first, but never the first column."""
    widths = [max(map(cell_len, column)) for column in columns]
    for pattern in (WORD, PART):
        least = [
            widths[0],
            *(max(cell_len(text) for cell in column for text in pattern.findall(cell) or [""]) for column in columns[1:]),
        ]
        while sum(widths) + len(GAP) * (len(widths) - 1) > available:
            reducible = [number for number, width in enumerate(widths) if width > least[number]]
            if not reducible:
                break
            widths[max(reducible, key=widths.__getitem__)] -= 1
    return widths


def wrap_cell(cell: str, width: int) -> list[str]:
    """Return the lines of a cell. Only a word that is longer than a line is divided."""
    lines = [""]
    for word in cell.split():
        gap = " " if lines[-1] else ""
        for part in [word] if cell_len(word) <= width else PART.findall(word):
            if lines[-1] and cell_len(lines[-1] + gap + part) > width:
                lines.append(part)
            else:
                lines[-1] += gap + part
            gap = ""
    return lines


def join_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line. A Chinese character takes two columns of a terminal."""
    return GAP.join(cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()
