"""Sums of losses, for the means in history: float64, and separate for each shard."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ddpkit.distributed.world import World
from ddpkit.training.step_losses import RunLosses

ShardLosses = Sequence[tuple[Sequence[Tensor], int | Tensor]]
"""Losses of a shard: for each micro-batch, the loss terms (T scalars) and the weight over which they are means: the number of
samples, or the weight of each term, float64 [T]."""
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
    """`Losses.n_sums` sums for each of this rank's shards: each term times its weight, then the weights of `WeightedLosses`. The
    pending losses are not part of them: use `read`."""
    device: torch.device
    n_samples: int = 0
    """Number of samples that counted, over all ranks."""
    n_skipped: int = 0
    """Number of skipped steps."""
    pending: list[tuple[int, Sequence[Tensor], int | Tensor]] = attrs.field(factory=list)
    """Shard, terms and weight of each micro-batch that is not in `sums` yet."""

    @classmethod
    def zeros(cls, losses: RunLosses, n_shards: int, device: torch.device) -> "LossSums":
        """Return the sums at the start of an epoch; `n_shards`: number of this rank's shards."""
        return cls([[0.0] * losses.n_sums for _ in range(n_shards)], device)

    def add_step(self, step: StepResult) -> None:
        """Add the losses of a step."""
        for shard, losses in enumerate(step.losses):
            for terms, weight in losses:
                self.add(terms, weight, shard)
        self.n_samples += step.n_total
        self.n_skipped += step.is_skipped

    def add(self, terms: Sequence[Tensor], weight: int | Tensor, shard: int = 0) -> None:
        """Add the terms of a micro-batch, means over `weight` (see `ShardLosses`), to the sums of a shard."""
        self.pending.append((shard, terms, weight))
        if len(self.pending) >= MAX_PENDING:
            self.read()

    def read(self) -> Tensor:
        """Return the sums, float64 [shards, n_sums] on the device. Waits for the device."""
        n_sums = len(self.sums[0])
        if self.pending and n_sums:
            values = torch.stack([each for _, terms, weight in self.pending for each in summands(terms, weight)]).tolist()
            for number, (shard, _, weight) in enumerate(self.pending):
                sums, factor = self.sums[shard], 1 if isinstance(weight, Tensor) else weight
                for place in range(n_sums):
                    sums[place] += values[number * n_sums + place] * factor
        self.pending.clear()
        return torch.tensor(self.sums, dtype=torch.float64, device=self.device)

    def total(self, world: World) -> Tensor:
        """Return the sums over the shards of all ranks, float64 [n_sums] on the CPU. Every rank must call it."""
        return (world.sum(self.read().sum(0)) if self.sums[0] else torch.zeros(0)).cpu()


def summands(terms: Sequence[Tensor], weight: int | Tensor) -> Sequence[Tensor]:
    """Return the terms if the weight is a number of samples, else the products of terms and weights, and the weights."""
    return [*(torch.stack([*terms]).double() * weight), *weight] if isinstance(weight, Tensor) else terms
