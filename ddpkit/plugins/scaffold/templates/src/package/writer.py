"""Writer: the output of `ddpkit predict`."""

from pathlib import Path
from typing import Any


class Lines:
    """File `predictions.txt` with one line per image: `name: class (probability)`.

    The writer is created on rank 0 only, and gets the predictions of all ranks in order.

    Args:
        folder: Folder of the predictions; passed by the run.
        digits: Number of digits of the probabilities.
    """

    def __init__(self, folder: Path, digits: int = 3) -> None:
        self.file = (folder / "predictions.txt").open("w", encoding="utf-8")
        self.digits = digits

    def write(self, name: str, prediction: Any) -> None:
        """Write the prediction of the image `name`.

        `prediction.values` contains plain values, such as `name` (of the class) and
        `probability`. `prediction.arrays` contains numpy arrays.
        """
        found = prediction.values
        probability = f"{found['probability']:.{self.digits}f}"
        self.file.write(f"{name}: {found['name']} ({probability})\n")

    def close(self) -> None:
        """Finish the file."""
        self.file.close()
