"""Protocols of objects that plugins provide: loggers and writers of predictions."""

from collections.abc import Mapping
from typing import Any, Protocol


class Logger(Protocol):
    """Logger of a plugin; created and called on global rank 0 only."""

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Record one row of the history, as a mapping of column to value."""

    def close(self) -> None:
        """Close the logger at the end of the run."""


class Writer(Protocol):
    """Writer of predictions of a plugin; created and called on global rank 0 only."""

    def write(self, name: str, prediction: Any) -> None:
        """Write the prediction for one input. Called for the inputs in order.

        Args:
            name: Name of the input without its suffix; unique, and safe as a file name.
            prediction: Object with `values` (plain values for JSON) and `arrays` (numpy arrays by name).
        """

    def close(self) -> None:
        """Complete the output after the last input."""
