"""Which samples each rank sees, and when: a pure function of (seed, epoch, position), whatever the number of ranks."""

from collections import defaultdict
from collections.abc import Sequence

import attrs
import torch

from ddpkit import seeding


@attrs.frozen
class Share:
    """One rank's part of a micro-batch."""

    indices: list[int]
    n_real: int
    """How many of the indices count. 0: the rank has no sample of its own and repeats one, to meet the collectives."""
    n_global: int
    """Samples of the micro-batch over all ranks."""


@attrs.frozen(kw_only=True)
class Sampler:
    """Deals the samples of a split.

    The order of an epoch is cut into micro-batches of `batch_size` over all ranks; each is dealt in equal runs, a short
    last one as evenly as can be.
    """

    indices: Sequence[int]
    """The samples of this split."""
    batch_size: int
    """Samples of a micro-batch over all ranks."""
    rank: int
    n_ranks: int
    seed: int
    shuffle: bool = False
    drop_last: bool = False
    keep_company: bool = False
    """A rank without a sample of its own gets one to repeat (training); else its micro-batch is left out (evaluation)."""
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

    def last_share(self) -> Share:
        """This rank's part of a micro-batch as small as the smallest of an epoch, which is the last; of other samples."""
        n_last = self.n_samples() - (self.n_batches() - 1) * self.batch_size
        return deal(list(self.indices[:n_last]), self.rank, self.n_ranks)

    def shares(self, epoch: int) -> list[Share]:
        """This rank's parts of an epoch, in order."""
        dealt = [deal(batch, self.rank, self.n_ranks) for batch in self.batches(epoch)]
        return dealt if self.keep_company else [share for share in dealt if share.n_real]

    def batches(self, epoch: int) -> list[list[int]]:
        """The micro-batches of an epoch over all ranks."""
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


def deal(batch: list[int], rank: int, n_ranks: int) -> Share:
    """This rank's run of a micro-batch; the first ranks get one more where it does not divide."""
    each, left = divmod(len(batch), n_ranks)
    start = rank * each + min(rank, left)
    mine = batch[start : start + each + (rank < left)]
    return Share(mine or batch[:1], n_real=len(mine), n_global=len(batch))


def shuffled(items: Sequence[int], *key: int | str) -> list[int]:
    """The items in an order that the key alone decides."""
    permutation = torch.randperm(len(items), generator=seeding.generator_for(*key))
    return [int(item) for item in torch.as_tensor(items)[permutation].tolist()]
