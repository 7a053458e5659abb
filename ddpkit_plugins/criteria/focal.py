"""Focal loss: cross entropy that gives less weight to easy samples."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from ddpkit_plugins.targets import check_below, class_indices, class_numbers


class Focal(nn.Module):
    """Cross entropy times `(1 - p)^gamma`, where `p` is the probability of the true class; the mean over elements.

    The mean over elements is also a mean over samples. Source: Lin et al. 2017, "Focal loss for dense object detection".

    Sigmoid (computed by torchvision): one logit per sample or pixel, [B] or [B, 1, ...], with targets from 0 to 1; or one logit
    per label with targets of the logits' shape (multi-label, [B, C] or [B, C, ...]). Softmax: two or more logits [B, C, ...] with
    class indices [B, ...] or [B, 1, ...] of any integer dtype.

    Args:
        gamma: Exponent. 0 is cross entropy; else at least 1, because a smaller exponent has an unbounded gradient.
        alpha: Weight of a positive, from 0 to 1, for sigmoid only; a negative has the weight `1 - alpha`. The paper uses 0.25.
            Absent: both have the weight 1.

    Raises:
        ValueError: A parameter is out of range; in `forward`, the targets do not fit the logits.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if not (gamma == 0 or gamma >= 1):
            raise ValueError(f"gamma must be 0 or at least 1; got {gamma}")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1; got {alpha}")
        self.gamma, self.alpha = gamma, alpha

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits and targets."""
        if outputs.ndim == 1 or outputs.shape[1] == 1 or outputs.shape == targets.shape:
            return self.by_label(outputs, targets)
        return self.by_class(outputs, targets)

    def by_label(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sigmoid loss, where each logit is independent."""
        if targets.device.type == "cpu":  # on a GPU, the check would wait for the device
            check_below(1, targets)
        alpha = -1 if self.alpha is None else self.alpha  # torchvision's value for no weighting
        loss: Tensor = sigmoid_focal_loss(
            outputs, class_numbers(outputs, targets), alpha=alpha, gamma=self.gamma, reduction="mean"
        )
        return loss

    def by_class(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the softmax loss, where exactly one class is true."""
        if self.alpha is not None:
            raise ValueError("alpha weighs positives against negatives, which class indices do not have; remove 'alpha'")
        indices = class_indices(outputs, targets)
        if indices.device.type == "cpu":
            check_below(outputs.shape[1] - 1, indices)
        entropy = functional.cross_entropy(outputs, indices, reduction="none")
        return ((1 - torch.exp(-entropy)) ** self.gamma * entropy).mean()
