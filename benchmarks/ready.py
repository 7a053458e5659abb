"""Loader with micro-batches in memory, to measure a training without the cost of loading."""

from collections.abc import Iterator, Sequence

import attrs

from ddpkit.data.loader import Batch, SplitLoader
from ddpkit.training.callbacks import Callback
from ddpkit.training.trainer import Trainer


@attrs.define(kw_only=True)
class CachedLoader(SplitLoader):
    """Loader that returns the same micro-batches from memory in every epoch."""

    batches: list[Batch]

    @classmethod
    def from_loader(cls, loader: SplitLoader) -> "CachedLoader":
        """Read the first epoch of a loader."""
        fields = {field.name: getattr(loader, field.name) for field in attrs.fields(SplitLoader)}
        return cls(batches=list(loader.epoch(0)), **fields)

    def epoch(self, _epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the micro-batches, from number `start` on."""
        return iter(self.batches[start:])


def train_epoch(trainer: Trainer, callbacks: Sequence[Callback] = ()) -> None:
    """Train one epoch without evaluation, and advance to the next epoch."""
    trainer.train_epoch(callbacks)
    trainer.progress.end_epoch()
