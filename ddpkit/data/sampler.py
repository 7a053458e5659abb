"""Which samples each rank sees, and when: a pure function of (seed, epoch, position), whatever the number of ranks.

A micro-batch is dealt to shards. A rank has one, or, where the world is smaller than the number of shards, several in turn.
"""

from collections import defaultdict
from collections.abc import Sequence

import attrs
import torch

from ddpkit.data import seeding


@attrs.frozen
class Share:
    """One shard's part of a micro-batch."""

    indices: list[int]
    n_real: int
    """How many of the indices count. 0: the shard has no sample of its own and repeats one, to meet the collectives."""
    n_global: int
    """Samples of the micro-batch over all shards."""
    shard: int


@attrs.frozen(kw_only=True)
class Sampler:
    """Deals the samples of a split.

    The order of an epoch is cut into micro-batches of `batch_size` over all shards; each is dealt in equal runs, a short
    last one as evenly as can be.
    """

    indices: Sequence[int]
    """The samples of this split."""
    batch_size: int
    """Samples of a micro-batch over all shards."""
    shards: Sequence[int]
    """This rank's own."""
    n_shards: int
    """Over all ranks."""
    seed: int
    shuffle: bool = False
    drop_last: bool = False
    keep_company: bool = False
    """A shard without a sample of its own gets one to repeat (training); else its micro-batch is left out (evaluation)."""
    limit: int | None = None
    """At most so many micro-batches an epoch."""
    labels: Sequence[int] | None = None
    """The class of each of `indices`, if every class is to be seen as often (`shuffle`)."""

    def n_batches(self) -> int:
        """Micro-batches of one epoch over all ranks."""
        whole, left = divmod(len(self.indices), self.batch_size)
        n = whole + (left > 0 and not self.drop_last)
        return n if self.limit is None else min(n, self.limit)

    def n_samples(self) -> int:
        """Samples that count in one epoch, over all ranks."""
        return min(len(self.indices), self.n_batches() * self.batch_size)

    def n_common(self) -> int:
        """Shares of an epoch that every rank has: of each of its shards the micro-batches with a sample for all shards."""
        whole, left = divmod(self.n_samples(), self.batch_size)
        return len(self.shards) * (whole * (self.batch_size >= self.n_shards) + (left >= self.n_shards))

    def last_share(self) -> Share:
        """This rank's part of a micro-batch as small as the smallest of an epoch, which is the last; of other samples."""
        n_last = self.n_samples() - (self.n_batches() - 1) * self.batch_size
        return deal(list(self.indices[:n_last]), self.shards[-1], self.n_shards)

    def shares(self, epoch: int) -> list[Share]:
        """This rank's parts of an epoch, in order: in training the shards take turns, else one is seen after the other."""
        batches = self.batches(epoch)
        if self.keep_company:
            return [deal(batch, shard, self.n_shards) for batch in batches for shard in self.shards]
        dealt = [deal(batch, shard, self.n_shards) for shard in self.shards for batch in batches]
        return [share for share in dealt if share.n_real]

    def batches(self, epoch: int) -> list[list[int]]:
        """The micro-batches of an epoch over all shards."""
        order = self.order(epoch)
        return [order[start : start + self.batch_size] for start in range(0, self.n_samples(), self.batch_size)]

    def order(self, epoch: int) -> list[int]:
        """The samples of an epoch in the order in which they are seen."""
        if not self.shuffle:
            return list(self.indices)
        drawn = self.indices if self.labels is None else self.balanced(self.labels, epoch)
        return shuffled(drawn, "order", self.seed, epoch)

    def balanced(self, labels: Sequence[int], epoch: int) -> list[int]:
        """As many samples as there are, of each class as many as of any other, give or take one.

        A class goes through its samples in rounds, each in an order of its own: none is seen again before all were seen.
        """
        members: dict[int, list[int]] = defaultdict(list)
        for index, label in zip(self.indices, labels, strict=True):
            members[label].append(index)
        each, left = divmod(len(self.indices), len(members))
        drawn = []
        for place, label in enumerate(shuffled(sorted(members), "classes", self.seed, epoch)):
            rounds = -(-(each + 1) // len(members[label]))
            lap = [index for lap in range(rounds) for index in shuffled(members[label], "class", self.seed, epoch, label, lap)]
            drawn += lap[: each + (place < left)]
        return drawn


def deal(batch: list[int], shard: int, n_shards: int) -> Share:
    """This shard's run of a micro-batch; the first shards get one more where it does not divide."""
    each, left = divmod(len(batch), n_shards)
    start = shard * each + min(shard, left)
    mine = batch[start : start + each + (shard < left)]
    return Share(mine or batch[:1], n_real=len(mine), n_global=len(batch), shard=shard)


def shuffled(items: Sequence[int], *key: int | str) -> list[int]:
    """The items in an order that the key alone decides."""
    permutation = torch.randperm(len(items), generator=seeding.generator_for(*key))
    return [int(item) for item in torch.as_tensor(items)[permutation].tolist()]
