"""Rows for people and for scripts: a table on a terminal, lines with tabs in a pipe."""

import sys
from collections.abc import Iterable, Sequence


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """To stdout. Cells of a pipe are free of tabs and line ends."""
    if not sys.stdout.isatty():
        lines = ("\t".join(" ".join(cell.split()) for cell in row).rstrip("\t") + "\n" for row in rows)
        sys.stdout.write("\t".join(columns) + "\n" + "".join(lines))
        return
    from rich.console import Console  # noqa: PLC0415 - for terminals alone
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
