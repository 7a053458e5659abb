"""How far a run is, and what was best."""

import math

import attrs


@attrs.define
class Progress:
    """Counts what is finished; every rank has the same."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimizer steps since the run began."""
    learning_rate: float = math.nan
    """Of the last optimizer step."""
    best: float = math.inf
    """The lowest loss that chose weights so far."""
    best_epoch: int = 0

    def step_ended(self, learning_rate: float) -> None:
        """Count an optimizer step."""
        self.step += 1
        self.learning_rate = learning_rate

    def epoch_ended(self, loss: float) -> bool:
        """Count an epoch; returns whether its loss is the best so far. The first one always is."""
        self.epoch += 1
        if self.best_epoch and not loss < self.best:  # not a number is never better
            return False
        self.best, self.best_epoch = (loss if math.isfinite(loss) else math.inf), self.epoch
        return True
