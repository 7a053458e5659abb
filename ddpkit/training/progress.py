"""Progress of a run: finished epochs and steps."""

import math

import attrs


@attrs.define
class Progress:
    """Counts what is finished; every rank has the same."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimizer steps since the run began."""
    step_in_epoch: int = 0
    """Finished optimizer steps of the epoch in hand."""
    learning_rate: float = math.nan
    """Of the last optimizer step."""
    is_over: bool = False
    """Nothing improves any more."""

    def step_ended(self, learning_rate: float) -> None:
        """Count an optimizer step."""
        self.step += 1
        self.step_in_epoch += 1
        self.learning_rate = learning_rate

    def epoch_ended(self) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.step_in_epoch = 0
