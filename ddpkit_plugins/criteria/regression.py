"""Losses of numbers: targets of the outputs' shape, cast to their dtype; [B] and [B, 1] are the same."""

from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import numbers


class MeanSquaredError(nn.Module):
    """Mean over all elements of the squared differences."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs and targets of one shape to a scalar."""
        return functional.mse_loss(outputs, numbers(outputs, targets))


class MeanAbsoluteError(nn.Module):
    """Mean over all elements of the absolute differences."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs and targets of one shape to a scalar."""
        return functional.l1_loss(outputs, numbers(outputs, targets))


class SmoothL1(nn.Module):
    """Mean over all elements of `d^2 / (2 beta)` where the difference d is below beta, else of `|d| - beta / 2`.

    Huber's loss divided by beta (Girshick 2015, "Fast R-CNN").

    Args:
        beta: Where the square passes into the line, above 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta is above 0, got {beta}")
        self.beta = beta

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs and targets of one shape to a scalar."""
        return functional.smooth_l1_loss(outputs, numbers(outputs, targets), beta=self.beta)
