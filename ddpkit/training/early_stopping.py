"""The best value of a history column so far, and when a run ends early because nothing improves."""

import math
from collections.abc import Mapping

import attrs


@attrs.define
class Best:
    """The best value of a column of history so far. Values are reduced over ranks, so all ranks judge alike."""

    column: str
    """`valid/loss`."""
    lower: bool = True
    """A lower value is better."""
    min_delta: float = 0.0
    """An improvement is more than this."""
    value: float = math.nan
    epoch: int = 0
    """When it was reached; 0 = nothing was judged yet."""

    def resume(self, value: float, epoch: int) -> None:
        """Go on from what an earlier process had."""
        self.value, self.epoch = value, epoch

    def improved(self, row: Mapping[str, float], epoch: int) -> bool:
        """Judge an epoch. The first one is always the best so far, and what is no number never is after that."""
        value = row[self.column]
        gain = (self.value - value) * (1 if self.lower else -1)
        if self.epoch and not (gain > self.min_delta or (math.isnan(self.value) and not math.isnan(value))):
            return False
        self.value, self.epoch = float(value), epoch  # the bare number of a score
        return True


@attrs.define
class EarlyStopping:
    """When to end before the last epoch."""

    best: Best
    patience: int
    """Epochs without an improvement."""

    def is_over(self, row: Mapping[str, float], epoch: int) -> bool:
        """Judge an epoch; whether the last improvement is too long ago."""
        return not self.best.improved(row, epoch) and epoch - self.best.epoch >= self.patience
