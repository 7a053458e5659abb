"""Weights file, and the epoch that it is from."""

from pathlib import Path

import attrs


@attrs.frozen
class SavedWeights:
    """Weights file that a run saved, or that is from elsewhere."""

    file: Path
    epoch: int | None = None
    """Epoch (1-based) after which the file was written; None = unknown, such as for a file from elsewhere."""
    monitor: str | None = None
    """History column whose best value selected the epoch; None = the epoch was not selected."""

    def path_in(self, folder: Path) -> str:
        """Return the path of the file: relative to the run folder if the file is inside, otherwise absolute."""
        return str(self.file.relative_to(folder) if self.file.is_relative_to(folder) else self.file.absolute())
