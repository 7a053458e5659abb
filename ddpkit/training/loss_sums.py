"""Sums of losses on the way to the means that history shows: float64, on the device, of each shard by itself."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

Losses = Sequence[tuple[Sequence[Tensor], int]]
"""Of each micro-batch the loss terms, scalars, and of how many samples they are the mean."""
Sums = Sequence[Tensor]
"""Each loss term summed over samples: float64 scalars on the device."""


@attrs.frozen
class Step:
    """What one optimizer step did."""

    losses: Sequence[Losses]
    """Of each of this rank's shards."""
    n_global: int
    """Samples over all ranks; 0 when the step was left out."""


@attrs.define
class Tally:
    """The epoch in hand, so far."""

    sums: Sequence[Sums]
    """Of each of this rank's shards, over the samples that counted."""
    n_samples: int = 0
    """That counted, over all ranks."""
    n_skipped: int = 0
    """Steps that were left out."""

    def add(self, step: Step) -> None:
        """Count a step."""
        for sums, losses in zip(self.sums, step.losses, strict=False):  # a step that was left out has none
            for terms, n in losses:
                add(sums, terms, n)
        self.n_samples += step.n_global
        self.n_skipped += not step.n_global


def add(sums: Sums, terms: Sequence[Tensor], n: int) -> None:
    """Means of `n` samples into sums, in place."""
    for total, term in zip(sums, terms, strict=True):
        total.add_(term, alpha=n)


def added_up(sums: Sequence[Sums]) -> Tensor:
    """Over shards: float64 [T]."""
    return torch.stack([torch.stack(list(each)) for each in sums]).sum(0)
