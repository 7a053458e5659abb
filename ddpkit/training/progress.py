"""Progress of a run: its finished epochs and steps."""

import math
from collections.abc import Mapping

import attrs


@attrs.define
class Progress:
    """Counts finished epochs and steps; equal on every rank."""

    epoch: int = 0
    """Number of finished epochs."""
    step: int = 0
    """Number of finished optimizer steps since the start of the run."""
    step_in_epoch: int = 0
    """Number of finished optimizer steps of the current epoch."""
    learning_rate: float | Mapping[str, float] = math.nan
    """Learning rate of the last optimizer step; by name if the run has several optimizers."""
    is_over: bool = False
    """Whether early stopping or a run hook has ended the run."""
    is_ending: bool = False
    """Whether a run hook has asked for the end of the run after the current epoch."""

    def end_step(self, learning_rate: float | Mapping[str, float]) -> None:
        """Count an optimizer step, and record its learning rate."""
        self.step += 1
        self.step_in_epoch += 1
        self.learning_rate = learning_rate

    def end_epoch(self) -> None:
        self.epoch += 1
        self.step_in_epoch = 0


def rate_columns(rate: float | Mapping[str, float]) -> dict[str, float]:
    """Return the columns of learning rates in the history: `learning_rate`, or `learning_rate/NAME` for each of several."""
    if isinstance(rate, Mapping):
        return {f"learning_rate/{name}": each for name, each in rate.items()}
    return {"learning_rate": rate}
