"""Assignment of samples to ranks and steps. The order depends only on (seed, epoch, position), not on the number of ranks.

A micro-batch is split into shards. A rank has one shard. If there are fewer ranks than shards, a rank has several, which it
processes one after the other.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch

from ddpkit.data import seeding


@attrs.frozen
class Shard:
    """One shard of a micro-batch."""

    indices: Sequence[int]
    n_valid: int
    """Number of indices that count. 0: the shard has no sample of its own, and `indices` contains one padding sample, so that the
    rank can join the collectives."""
    n_total: int
    """Number of samples in the micro-batch over all shards."""
    number: int


@attrs.frozen(kw_only=True)
class Sampler:
    """Assigns the samples of a split to shards.

    The order of an epoch is cut into micro-batches of `batch_size` samples over all shards; the last one may be shorter. Each
    micro-batch is cut into contiguous shards, whose sizes differ by at most one sample.
    """

    indices: Sequence[int]
    """Indices of the split's samples in the dataset."""
    batch_size: int
    """Number of samples in a micro-batch over all shards."""
    shards: Sequence[int]
    """Numbers of this rank's shards."""
    n_shards: int
    """Number of shards over all ranks."""
    seed: int
    shuffle: bool = False
    drop_last: bool = False
    shards_in_turn: bool = False
    """Order of this rank's shards: those of a micro-batch before those of the next one (training), or one shard number after the
    other (evaluation)."""
    limit: int | None = None
    """Maximum number of micro-batches in an epoch; None: no limit."""
    labels: Sequence[int] | None = None
    """Class index of each sample in `indices`, to draw all classes equally often (only with `shuffle`); None: no balancing."""

    def n_batches(self) -> int:
        """Return the number of micro-batches in an epoch; each is counted once over all ranks."""
        whole, left = divmod(len(self.indices), self.batch_size)
        n = whole + (left > 0 and not self.drop_last)
        return n if self.limit is None else min(n, self.limit)

    def n_samples(self) -> int:
        """Return the number of samples that count in an epoch, over all ranks."""
        return min(len(self.indices), self.n_batches() * self.batch_size)

    def n_forwards(self) -> int:
        """Return the number of forwards that each rank makes in an epoch."""
        return self.n_batches() * len(self.shards)

    def smallest_shard(self) -> Shard:
        """Return this rank's shard of a micro-batch as small as the last one of an epoch, which is the smallest.

        It contains the first samples of the split, not those of the actual last micro-batch.
        """
        n_last = self.n_samples() - (self.n_batches() - 1) * self.batch_size
        return shard_batch(self.indices[:n_last], self.shards[-1], self.n_shards)

    def epoch_shards(self, epoch: int) -> list[Shard]:
        """Return this rank's shards of an epoch, in order; every rank has the same number."""
        batches = self.batches(epoch)
        if self.shards_in_turn:
            return [shard_batch(batch, shard, self.n_shards) for batch in batches for shard in self.shards]
        return [shard_batch(batch, shard, self.n_shards) for shard in self.shards for batch in batches]

    def batches(self, epoch: int) -> list[Sequence[int]]:
        """Return the micro-batches of an epoch over all shards."""
        order = self.order(epoch)
        return [order[start : start + self.batch_size] for start in range(0, self.n_samples(), self.batch_size)]

    def order(self, epoch: int) -> Sequence[int]:
        if not self.shuffle:
            return self.indices
        drawn = self.indices if self.labels is None else self.balanced(self.labels, epoch)
        return shuffle_by_key(drawn, "order", self.seed, epoch)

    def balanced(self, labels: Sequence[int], epoch: int) -> list[int]:
        """Draw as many samples as the split has, with class counts that differ by at most one.

        Within the epoch, no sample is drawn again before all samples of its class were drawn. Each pass over the samples of a
        class has its own order.
        """
        members: dict[int, list[int]] = defaultdict(list)
        for index, label in zip(self.indices, labels, strict=True):
            members[label].append(index)
        each, left = divmod(len(self.indices), len(members))
        drawn = []
        for place, label in enumerate(shuffle_by_key(sorted(members), "classes", self.seed, epoch)):
            rounds = -(-(each + 1) // len(members[label]))
            lap = [
                index for lap in range(rounds) for index in shuffle_by_key(members[label], "class", self.seed, epoch, label, lap)
            ]
            drawn += lap[: each + (place < left)]
        return drawn


def shard_batch(batch: Sequence[int], shard: int, n_shards: int) -> Shard:
    """Return one shard of a micro-batch: contiguous samples. The first shards get one more if the number does not divide evenly.

    An empty shard gets the first sample of the micro-batch as padding sample (`n_valid` = 0).
    """
    each, left = divmod(len(batch), n_shards)
    start = shard * each + min(shard, left)
    mine = batch[start : start + each + (shard < left)]
    return Shard(mine or batch[:1], n_valid=len(mine), n_total=len(batch), number=shard)


def shuffle_by_key(items: Sequence[int], *key: int | str) -> list[int]:
    """Return the items in an order that depends only on the key and on their number."""
    permutation = torch.randperm(len(items), generator=seeding.generator_for(*key))
    return [int(item) for item in torch.as_tensor(items)[permutation].tolist()]


@attrs.define
class BatchSampler:
    """Batch sampler for torch's DataLoader: yields this rank's micro-batches of an epoch as lists of (epoch, index)."""

    sampler: Sampler
    epoch: int = 0
    shards: Sequence[Shard] = ()

    def set_epoch(self, epoch: int, start: int = 0) -> Sequence[Shard]:
        """Select an epoch, from its micro-batch number `start` (from 0); return this rank's shards of it."""
        self.epoch, self.shards = epoch, self.sampler.epoch_shards(epoch)[start:]
        return self.shards

    def keys(self, start: int, stop: int) -> list[list[tuple[int, int]]]:
        """Return the keys of the selected micro-batches from `start` to `stop`, as in a slice."""
        return [[(self.epoch, index) for index in shard.indices] for shard in self.shards[start:stop]]

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.keys(0, len(self.shards)))

    def __len__(self) -> int:
        return len(self.shards)
