"""Micro-batches without a loader, to measure what stands behind it."""

from collections.abc import Iterator, Sequence

import attrs

from ddpkit.data.loader import Batch, SplitLoader
from ddpkit.training.callbacks import Callback
from ddpkit.training.trainer import Trainer


@attrs.define(kw_only=True)
class Ready(SplitLoader):
    """A part with all that its loader does done: the micro-batches of one epoch, again and again."""

    kept: list[Batch]

    @classmethod
    def of(cls, batches: SplitLoader) -> "Ready":
        """What the loader gives in its first epoch."""
        parts = {field.name: getattr(batches, field.name) for field in attrs.fields(SplitLoader)}
        return cls(kept=list(batches.epoch(0)), **parts)

    def epoch(self, _epoch: int, start: int = 0) -> Iterator[Batch]:
        """Those of an epoch, from the micro-batch `start`."""
        return iter(self.kept[start:])


def train_epoch(trainer: Trainer, callbacks: Sequence[Callback] = ()) -> None:
    """One epoch of training alone, and the next can begin."""
    trainer.train_epoch(callbacks)
    trainer.progress.end_epoch()
