"""Sums of losses, for the means in history: float64, and separate for each shard."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ddpkit.distributed.world import World
from ddpkit.training.losses import Losses

ShardLosses = Sequence[tuple[Sequence[Tensor], int]]
"""Losses of a shard: for each micro-batch, the loss terms (scalars, each a mean over samples) and the number of these samples."""
MAX_PENDING = 1000
"""Number of micro-batches after which their losses are read from the device."""


@attrs.define
class StepResult:
    """Losses of one optimizer step."""

    losses: Sequence[ShardLosses]
    """Losses of each of this rank's shards."""
    n_total: int
    """Number of samples over all ranks whose losses count."""
    is_skipped: bool = False
    """Whether the optimizer left the weights unchanged, because the gradient was not finite."""


@attrs.define
class LossSums:
    """Sums of the loss terms over the samples that counted.

    The losses of a micro-batch stay on the device until the sums are read, because reading waits for the device. They are added
    one after the other, so the sums do not depend on when they are read.
    """

    sums: list[list[float]]
    """Sum of each term, for each of this rank's shards. It lacks the pending losses: use `read`."""
    device: torch.device
    n_samples: int = 0
    """Number of samples that counted, over all ranks."""
    n_skipped: int = 0
    """Number of skipped steps."""
    pending: list[tuple[int, Sequence[Tensor], int]] = attrs.field(factory=list)
    """Shard, terms and number of samples of each micro-batch that is not in `sums` yet."""

    @classmethod
    def zeros(cls, losses: Losses, n_shards: int, device: torch.device) -> "LossSums":
        """Return the sums at the start of an epoch; `n_shards`: number of this rank's shards."""
        return cls([[0.0] * len(losses.terms) for _ in range(n_shards)], device)

    def add_step(self, step: StepResult) -> None:
        """Add the losses of a step."""
        for shard, losses in enumerate(step.losses):
            for terms, n in losses:
                self.add(terms, n, shard)
        self.n_samples += step.n_total
        self.n_skipped += step.is_skipped

    def add(self, terms: Sequence[Tensor], n: int, shard: int = 0) -> None:
        """Add `terms`, means over the `n` samples of a micro-batch, to the sums of a shard."""
        self.pending.append((shard, terms, n))
        if len(self.pending) >= MAX_PENDING:
            self.read()

    def read(self) -> Tensor:
        """Return the sums, float64 [shards, T] on the device. Waits for the device."""
        n_terms = len(self.sums[0])
        if self.pending and n_terms:
            values = torch.stack([term for _, terms, _ in self.pending for term in terms]).tolist()
            for number, (shard, _, n) in enumerate(self.pending):
                sums = self.sums[shard]
                for place in range(n_terms):
                    sums[place] += values[number * n_terms + place] * n
        self.pending.clear()
        return torch.tensor(self.sums, dtype=torch.float64, device=self.device)

    def mean_losses(self, losses: Losses, n_samples: int, world: World) -> dict[str, float]:
        """Return `loss` and each term as means over `n_samples` of all ranks; {} without terms. Every rank must call it."""
        return losses.name_values((world.sum(self.read().sum(0)) / n_samples).tolist()) if losses.terms else {}
