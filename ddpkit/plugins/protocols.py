"""What a plugin's loggers and prediction writers must be: the shapes of the objects."""

from collections.abc import Mapping
from typing import Any, Protocol


class Logger(Protocol):
    """What a plugin's logger must be; on global rank 0 only."""

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        """A row of history."""

    def close(self) -> None:
        """The run is over."""


class Writer(Protocol):
    """What a plugin's writer of predictions must be; on global rank 0 only."""

    def write(self, name: str, prediction: Any) -> None:
        """What was found in an input; `name` is its own, and can be that of a file."""

    def close(self) -> None:
        """All inputs are written."""
