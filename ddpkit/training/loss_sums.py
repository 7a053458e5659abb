"""Sums of losses, for the means in history. They are float64, on the device, and separate for each shard."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ddpkit.distributed.world import World
from ddpkit.training.losses import Losses

ShardLosses = Sequence[tuple[Sequence[Tensor], int]]
"""Losses of a shard: for each micro-batch, the loss terms (scalars, each a mean over samples) and the number of these samples."""
TermSums = Sequence[Tensor]
"""Sum of each loss term over samples: float64 scalars on the device."""


@attrs.frozen
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
    """Loss sums of the current epoch so far."""

    sums: Sequence[TermSums]
    """Sums for each of this rank's shards, over the samples that counted."""
    n_samples: int = 0
    """Number of samples that counted, over all ranks."""
    n_skipped: int = 0
    """Number of skipped steps."""

    @classmethod
    def zeros(cls, losses: Losses, n_shards: int, device: torch.device) -> "LossSums":
        """Return the sums at the start of an epoch; `n_shards`: number of this rank's shards."""
        return cls(zero_sums(losses, n_shards, device))

    def add(self, step: StepResult) -> None:
        """Add the losses of a step."""
        for sums, losses in zip(self.sums, step.losses, strict=False):  # a skipped step may have no losses
            for terms, n in losses:
                add_means(sums, terms, n)
        self.n_samples += step.n_total
        self.n_skipped += step.is_skipped


def zero_sums(losses: Losses, n_shards: int, device: torch.device) -> list[TermSums]:
    """Return zeros for each loss term of each of this rank's shards."""
    return [each.unbind() for each in torch.zeros(n_shards, len(losses.terms), dtype=torch.float64, device=device)]


def add_means(sums: TermSums, terms: Sequence[Tensor], n: int) -> None:
    """Add `terms`, means over `n` samples, to the sums in place."""
    for total, term in zip(sums, terms, strict=True):
        total.add_(term, alpha=n)


def sum_over_shards(sums: Sequence[TermSums]) -> Tensor:
    """Return the sums over all of this rank's shards: float64 [T]."""
    return torch.stack([torch.stack(list(each)) for each in sums]).sum(0)


def mean_losses(losses: Losses, sums: Sequence[TermSums], n_samples: int, world: World) -> dict[str, float]:
    """Return `loss` and each term as means over the `n_samples` of all ranks; {} without terms. Every rank must call it."""
    return losses.name_values((world.sum(sum_over_shards(sums)) / n_samples).tolist()) if losses.terms else {}
