"""Best value of a history column, and early stopping when it does not improve."""

import math
from collections.abc import Mapping

import attrs


@attrs.define
class BestTracker:
    """Tracks the best value of a history column. Values are reduced over ranks, so all ranks make the same decision."""

    column: str
    """Name of the column, such as `valid/loss`."""
    lower: bool = True
    """Whether a lower value is better."""
    min_delta: float = 0.0
    """Minimum gain: an improvement must be larger than this value."""
    value: float = math.nan
    epoch: int = 0
    """Epoch (1-based) of the best value; 0: no epoch was evaluated yet."""

    def restore(self, value: float, epoch: int) -> None:
        """Restore the best value and its epoch from a checkpoint."""
        self.value, self.epoch = value, epoch

    def update(self, row: Mapping[str, float], epoch: int) -> bool:
        """Update the best value with the row of an epoch; return whether this epoch is the best so far.

        NaN means that the epoch has no value, such as the AUC of a single class. Until an epoch has a value, the last epoch is
        the best so far. After that, NaN is never an improvement.
        """
        value = row[self.column]
        gain = (self.value - value) * (1 if self.lower else -1)
        if not (math.isnan(self.value) or gain > self.min_delta):
            return False
        self.value, self.epoch = float(value), epoch
        return True


@attrs.define
class EarlyStopping:
    """Decides whether a run ends before its last epoch."""

    best: BestTracker
    patience: int
    """Number of epochs without an improvement after which the run ends."""

    def should_stop(self, row: Mapping[str, float], epoch: int) -> bool:
        """Update with the row of an epoch; return whether the last improvement is `patience` or more epochs ago.

        An epoch whose value is NaN never ends the run.
        """
        is_better = self.best.update(row, epoch)
        return not is_better and not math.isnan(row[self.best.column]) and epoch - self.best.epoch >= self.patience
