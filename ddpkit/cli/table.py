"""Tables for people and for scripts: aligned columns on a terminal, tab-separated lines in a pipe."""

import sys
from collections.abc import Iterable, Sequence

from ddpkit.terminal import escape, write


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows to stdout. In a pipe, tabs and line breaks within a cell become spaces."""
    if not sys.stdout.isatty():
        lines = ("\t".join(" ".join(cell.split()) for cell in row).rstrip("\t") + "\n" for row in rows)
        write("\t".join(columns) + "\n" + "".join(lines))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(escape(cell, keep="\n")) for cell in row))
    Console().print(table)
