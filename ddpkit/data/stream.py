"""Streams: datasets that are read shard by shard, and the order in which their shards and samples are read.

A *slot* is one reader of a run: a loader worker of a rank, or the rank itself without loader workers. In each epoch, every
training shard belongs to one slot. The order depends only on the seed, the epoch, and the number of slots.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import attrs

from ddpkit.data import seeding
from ddpkit.data.sampler import shuffle_by_key

T = TypeVar("T")
EMPTY = """\
read_shard() yields no sample for any shard of this reader; give the stream no empty shards, or set a smaller \
'dataloader.num_workers'"""


class Stream(Protocol):
    """Interface of a stream."""

    shards: Mapping[str, Sequence[str]]
    """Split (`train`, `valid`, `test`) -> names of its shards, such as paths or URLs."""
    samples_per_epoch: int
    """Number of training samples in an epoch over all ranks."""

    def read_shard(self, shard: str, /) -> Iterable[tuple[Any, Any]]:
        """Yield the samples `(image, target)` of a shard, always in the same order."""


class Position(NamedTuple):
    """Position of a slot in an epoch of the training split."""

    lap: int = 0
    """Number of times that the slot has read all its shards in this epoch."""
    place: int = 0
    """Place of the current shard in the list of the slot."""
    taken: int = 0
    """Number of samples that were taken from the current shard."""


@attrs.frozen(kw_only=True)
class ShardOrder:
    """Order in which each slot reads its shards."""

    n_shards: int
    n_slots: int
    """Number of slots over all ranks."""
    seed: int
    shuffle: bool

    def shards(self, epoch: int, slot: int, lap: int) -> list[int]:
        """Return the numbers of the slot's shards, in the order of its lap number `lap` (from 0) in the epoch."""
        order = list(range(self.n_shards))
        if not self.shuffle:
            return order[slot :: self.n_slots]
        mine = shuffle_by_key(order, "shards", self.seed, epoch)[slot :: self.n_slots]
        return shuffle_by_key(mine, "lap", self.seed, epoch, slot, lap) if lap else mine

    def read(
        self, read_shard: Callable[[int, int], Iterable[T]], epoch: int, slot: int, start: Position
    ) -> Iterator[tuple[T, Position]]:
        """Yield the samples of a slot from a position on, without end, each with the position after it.

        `read_shard` yields the samples of a shard, given the number of the lap and of the shard. Raises ValueError if no shard of
        the slot has a sample.
        """
        lap, first, skipped = start
        for current in itertools.count(lap):
            is_empty = True
            for place, shard in enumerate(self.shards(epoch, slot, current)[first:], start=first):
                for taken, sample in enumerate(read_shard(current, shard), start=1):
                    is_empty = False
                    if taken > skipped:
                        yield sample, Position(current, place, taken)
                skipped = 0
            if is_empty and not first:
                raise ValueError(EMPTY)
            first = 0


def shuffle_in_buffer(items: Iterable[T], size: int, seed: int) -> Iterator[T]:
    """Yield the items in a random order: each is drawn from a buffer of `size` items, which the next item refills."""
    drawn, buffer = random.Random(seed), list[T]()  # noqa: S311 - not for secrets
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        elif size:
            place = drawn.randrange(size)
            yield buffer[place]
            buffer[place] = item
        else:
            yield item
    drawn.shuffle(buffer)
    yield from buffer


def buffer_seed(seed: int, epoch: int, lap: int, shard: int) -> int:
    """Return the seed of the shuffle buffer for a shard."""
    return seeding.seed_for("buffer", seed, epoch, lap, shard)


def name_shards(stream: Stream) -> dict[str, list[str]]:
    """Return the names of the shards of each split, without their folders if they remain unique: the data may be moved."""
    names = {split: [Path(shard).name for shard in shards] for split, shards in stream.shards.items()}
    every = list(itertools.chain.from_iterable(names.values()))
    return names if len(set(every)) == len(every) else {split: list(shards) for split, shards in stream.shards.items()}


def is_stream(dataset: Any) -> bool:
    """Return whether a dataset is a stream: it has the method `read_shard`."""
    return callable(getattr(dataset, "read_shard", None))
