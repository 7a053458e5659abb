"""Metric: a number that tells how good the predictions are."""

import torch
from torch.nn import functional
from torchmetrics import Metric


class BrierScore(Metric):
    """Mean squared error of the probabilities (Brier 1950), from 0 (best) to 2.

    The states are sums. torchmetrics adds them up over the ranks, so the value is that
    of all samples.
    """

    higher_is_better = False
    full_state_update = False
    errors: torch.Tensor
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        zero = torch.tensor(0.0, dtype=torch.float64)
        self.add_state("errors", zero, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        """Add probabilities [B, C] and class indices [B]."""
        truth = functional.one_hot(targets, predictions.shape[1])
        self.errors += (predictions.double() - truth).square().sum()
        self.count += len(targets)

    def compute(self) -> torch.Tensor:
        """Return the score of all samples, []."""
        return self.errors / self.count
