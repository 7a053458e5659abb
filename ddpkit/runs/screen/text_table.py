"""Table of text whose rows are logged one by one: aligned, without line breaks, with fewer columns on a narrow terminal."""

from collections.abc import Collection, Mapping, Sequence

import attrs
from rich.cells import cell_len

from ddpkit.runs.log import CONSOLE, LOGGER
from ddpkit.terminal import escape

GAP = "  "


@attrs.define
class TextTable:
    """Table with one header. The first column is aligned to the left, the others to the right."""

    widths: Mapping[str, int]
    """Width of each column in characters, by its header, in the order of display; a longer header widens its column."""
    importance: Sequence[str]
    """Headers, from the last column that a narrow terminal drops to the first."""
    shown: Collection[str] = attrs.field(default=(), init=False)
    """Columns of the header that was logged last."""

    def log_row(self, cells: Mapping[str, str]) -> None:
        """Log a row; before it the header, if the columns that fit into the terminal have changed. A missing cell is empty."""
        fitting = self.fit(CONSOLE.width) if CONSOLE.is_terminal else set(self.widths)
        if fitting != self.shown:
            self.shown = fitting
            self.log_line({name: name for name in self.widths})
        self.log_line(cells)

    def log_line(self, cells: Mapping[str, str]) -> None:
        """Log a line: all columns to the log file, and those that fit to the terminal."""
        LOGGER.info("%s", self.line(cells, self.widths), extra={"short": self.line(cells, self.shown)})

    def fit(self, limit: int) -> set[str]:
        """Return the most important columns that fit into `limit` characters; at least one."""
        kept: list[str] = []
        for name in self.importance:
            width = sum(self.width(each) for each in (*kept, name)) + len(GAP) * len(kept)
            if kept and width > limit:
                break
            kept.append(name)
        return set(kept)

    def line(self, cells: Mapping[str, str], columns: Collection[str]) -> str:
        """Return the line with these columns."""
        first, *_ = self.widths
        padded = [
            pad(escape(cells.get(name, "")), self.width(name), left=name == first) for name in self.widths if name in columns
        ]
        return GAP.join(padded).rstrip()

    def width(self, name: str) -> int:
        return max(self.widths[name], cell_len(name))


def pad(text: str, width: int, *, left: bool) -> str:
    """Fill a text with spaces up to its width on a terminal, where a Chinese character is two columns wide."""
    space = " " * (width - cell_len(text))
    return text + space if left else space + text


def format_value(value: float | None) -> str:
    """Return a number with four decimals, or as a power of ten if it is too small or too large; `-` for NaN and None."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"  # noqa: PLR2004


def count(number: int, noun: str) -> str:
    """Return a number with a noun in singular or plural: `1 rank`, `1,000 ranks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_size(n_bytes: float, decimals: int = 1) -> str:
    """Return a size in GB (10^9 bytes) with one decimal or, below that, in MB with `decimals`."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.{decimals}f} MB"  # noqa: PLR2004


def format_duration(seconds: float) -> str:
    """Return a duration in one unit, such as `0.4 s`, `12 min` or `3.5 h`; `-` for NaN."""
    for unit, size, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400), ("d", 86400, float("inf"))):
        if seconds < limit:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"  # noqa: PLR2004
    return "-"
