"""Which samples each rank sees, and when: a pure function of (seed, epoch, position), whatever the number of ranks."""

from collections.abc import Iterator, Sequence

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


@attrs.define(kw_only=True)
class Sampler:
    """A batch sampler: yields lists of `(epoch, index)`, one list a micro-batch of this rank.

    The order of an epoch is cut into micro-batches of `batch_size` over all ranks; each is dealt in equal runs, a short
    last one as evenly as can be. Set `epoch` before iterating; loader workers get it with every index.
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
    epoch: int = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for share in self.shares():
            yield [(self.epoch, index) for index in share.indices]

    def __len__(self) -> int:
        return self.n_batches() if self.keep_company else len(self.shares())

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

    def shares(self) -> list[Share]:
        """This rank's parts of the epoch, in order."""
        dealt = [deal(batch, self.rank, self.n_ranks) for batch in self.batches()]
        return dealt if self.keep_company else [share for share in dealt if share.n_real]

    def batches(self) -> list[list[int]]:
        """The micro-batches of the epoch over all ranks."""
        order = self.order()
        return [order[start : start + self.batch_size] for start in range(0, self.n_samples(), self.batch_size)]

    def order(self) -> list[int]:
        """The samples of the epoch in the order in which they are seen."""
        if not self.shuffle:
            return list(self.indices)
        generator = seeding.generator_for("order", self.seed, self.epoch)
        permutation = torch.randperm(len(self.indices), generator=generator).tolist()
        return [self.indices[position] for position in permutation]


def deal(batch: list[int], rank: int, n_ranks: int) -> Share:
    """This rank's run of a micro-batch; the first ranks get one more where it does not divide."""
    each, left = divmod(len(batch), n_ranks)
    start = rank * each + min(rank, left)
    mine = batch[start : start + each + (rank < left)]
    return Share(mine or batch[:1], n_real=len(mine), n_global=len(batch))
