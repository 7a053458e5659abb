"""Losses of regression: targets have the shape of the outputs ([B] and [B, 1] are equal), and are cast to their dtype."""

from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import class_numbers


class MeanSquaredError(nn.Module):
    """Mean over all elements of the squared differences. `forward` raises ValueError for targets of another shape."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of outputs and targets of one shape."""
        return functional.mse_loss(outputs, class_numbers(outputs, targets))


class MeanAbsoluteError(nn.Module):
    """Mean over all elements of the absolute differences. `forward` raises ValueError for targets of another shape."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of outputs and targets of one shape."""
        return functional.l1_loss(outputs, class_numbers(outputs, targets))


class SmoothL1(nn.Module):
    """Mean over all elements of `d^2 / (2 beta)` if the absolute difference d is below beta, else of `d - beta / 2`.

    It is Huber's loss divided by beta (Girshick 2015, "Fast R-CNN"). `forward` raises ValueError for targets of another shape.

    Args:
        beta: Difference at which the square changes to a line, greater than 0. Raises ValueError for others.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta must be greater than 0; got {beta}")
        self.beta = beta

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of outputs and targets of one shape."""
        return functional.smooth_l1_loss(outputs, class_numbers(outputs, targets), beta=self.beta)
