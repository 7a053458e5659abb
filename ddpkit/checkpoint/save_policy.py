"""When a run is saved by itself."""

import attrs

from ddpkit.config import schema


@attrs.frozen(kw_only=True)
class Periods:
    """`train.save_period`, `save_recovery_period` and `save_recovery_seconds`."""

    kept: float
    rolling: float
    seconds: float
    epochs: int
    """Of the whole run."""
    steps: int
    """Of an epoch."""

    @classmethod
    def of(cls, train: schema.Train, steps_per_epoch: int) -> "Periods":
        """As the config says."""
        return cls(
            kept=train.save_period,
            rolling=train.save_recovery_period,
            seconds=train.save_recovery_seconds,
            epochs=train.epoch,
            steps=steps_per_epoch,
        )

    def is_kept(self, epoch: int) -> bool:
        """Whether the checkpoint at the end of this epoch (from 1) stays for good."""
        return every(self.kept, self.epochs, epoch)

    def ends_with_save(self, epoch: int) -> bool:
        """Whether this epoch ends with a recovery point."""
        return self.rolling >= 1 and every(self.rolling, self.epochs, epoch)

    def is_last_of_epoch(self, step: int) -> bool:
        """Whether nothing of an epoch is left to train after this step of it (from 1)."""
        return step == self.steps

    def saves_step(self, step: int) -> bool:
        """Whether this optimizer step of the run (from 1) ends with a recovery point."""
        return 0 < self.rolling < 1 and every(self.rolling, self.epochs * self.steps, step)


def every(period: float, total: int, number: int) -> bool:
    """Period: `>= 1` that many, between 0 and 1 that fraction of `total`, though at least one; else never."""
    size = round(period) if period >= 1 else max(1, round(period * total))
    return period > 0 and number % size == 0
