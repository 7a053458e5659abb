"""Criterion: the loss that the training minimises."""

import torch
from torch import nn
from torch.nn import functional


class PolyLoss(nn.Module):
    """Cross entropy plus a linear term (Leng et al. 2022, "PolyLoss").

    ddpkit combines the losses of all ranks by their numbers of samples. So the loss
    must be a mean over the samples.

    Args:
        epsilon: Weight of the linear term; 0 is the cross entropy.
    """

    def __init__(self, epsilon: float = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss [] for logits [B, C] and class indices [B]."""
        entropy = functional.cross_entropy(outputs, targets, reduction="none")
        probability = torch.exp(-entropy)  # of the right class, [B]
        return (entropy + self.epsilon * (1 - probability)).mean()
