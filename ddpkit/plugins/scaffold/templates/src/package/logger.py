"""Logger: a record of the history."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Markdown:
    """Table `history.md` in the run folder, with one row per epoch.

    The logger is created on rank 0 only. A resumed run may repeat epochs, so epochs that
    the table contains are not written again.

    Args:
        folder: The run folder; passed by the run.
        columns: Names of the columns in the history.
    """

    def __init__(
        self,
        folder: Path,
        columns: tuple[str, ...] = ("train/loss", "valid/loss"),
    ) -> None:
        self.file, self.columns = folder / "history.md", ("epoch", *columns)
        if not self.file.exists():
            self.append(self.columns)
            self.append(["---"] * len(self.columns))
        self.n_epochs = len(self.file.read_text(encoding="utf-8").splitlines()) - 2

    def append(self, cells: Any) -> None:
        """Add a row to the table."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"| {' | '.join(map(str, cells))} |\n")

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Record an epoch; `row` contains its columns of the history by name."""
        if row["epoch"] > self.n_epochs:
            self.append([row.get(name, "") for name in self.columns])

    def close(self) -> None:
        """Finish the record. Each row is in the file already."""
