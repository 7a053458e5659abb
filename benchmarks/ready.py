"""Micro-batches without a loader, to measure what stands behind it."""

from collections.abc import Iterator, Sequence

import attrs

from ddpkit.engine import Engine
from ddpkit.loader import Batch, Batches
from ddpkit.protocols import Watcher
from ddpkit.sampler import Sampler


@attrs.frozen
class Ready:
    """Stands for a part's `Batches` with all that a loader does done: the micro-batches of one epoch, again and again."""

    sampler: Sampler
    kept: list[Batch]

    @classmethod
    def of(cls, batches: Batches) -> "Ready":
        """What the loader gives in its first epoch."""
        return cls(batches.sampler, list(batches.epoch(0)))

    def epoch(self, _epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Those of an epoch, from the micro-batch `start`."""
        return iter(self.kept[start:])


def train_epoch(engine: Engine, watchers: Sequence[Watcher] = ()) -> None:
    """One epoch of training alone, and the next can begin."""
    engine.train_epoch(watchers)
    engine.progress.epoch_ended()
