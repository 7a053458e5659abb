"""Decide after which steps and epochs a run is saved automatically."""

import attrs

from ddpkit.config import schema


@attrs.frozen(kw_only=True)
class SavePolicy:
    """Save policy of a run: `train.save_period`, `save_recovery_period` and `save_recovery_seconds`."""

    kept: float
    """Period of permanent checkpoints, see `is_period_end`."""
    rolling: float
    """Period of rolling checkpoints, see `is_period_end`."""
    seconds: float
    """Time between two rolling checkpoints; 0: no limit."""
    epochs: int
    """Number of epochs of the run."""
    steps: int
    """Number of optimizer steps per epoch."""

    @classmethod
    def of(cls, train: schema.Train, steps_per_epoch: int) -> "SavePolicy":
        return cls(
            kept=train.save_period,
            rolling=train.save_recovery_period,
            seconds=train.save_recovery_seconds,
            epochs=train.epoch,
            steps=steps_per_epoch,
        )

    def is_permanent(self, epoch: int) -> bool:
        """Return whether the checkpoint at the end of this epoch (1-based) is permanent."""
        return is_period_end(self.kept, self.epochs, epoch)

    def saves_epoch(self, epoch: int) -> bool:
        """Return whether this epoch (1-based) ends with a rolling checkpoint."""
        return self.rolling >= 1 and is_period_end(self.rolling, self.epochs, epoch)

    def is_last_of_epoch(self, step: int) -> bool:
        """Return whether this step (1-based) is the last one of its epoch."""
        return step == self.steps

    def saves_step(self, step: int) -> bool:
        """Return whether this optimizer step of the run (1-based) ends with a rolling checkpoint."""
        return 0 < self.rolling < 1 and is_period_end(self.rolling, self.epochs * self.steps, step)


def is_period_end(period: float, total: int, number: int) -> bool:
    """Return whether a period ends at `number`, an epoch or a step (1-based).

    `period`: 1 or more is a number of epochs or steps. A value between 0 and 1 is a fraction of `total`, rounded to at least 1.
    With 0, no period ever ends.
    """
    size = round(period) if period >= 1 else max(1, round(period * total))
    return period > 0 and number % size == 0
