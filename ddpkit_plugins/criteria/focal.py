"""Cross entropy that looks away from what is easy."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from ddpkit_plugins.targets import class_indices, numbers, refuse_above


class Focal(nn.Module):
    """Cross entropy of each element times `(1 - p)^gamma`, p being the probability of what is right; the mean over elements.

    (Lin et al. 2017, "Focal loss for dense object detection".) So it is a mean over samples.

    One logit a sample or pixel, [B] or [B, 1, ...], with targets 0 to 1, or one a label with targets of the logits' shape
    (multi-label, [B, C] or [B, C, ...]): sigmoid, torchvision's. More logits [B, C, ...] with class indices [B, ...] or
    [B, 1, ...] of any integer type: softmax.

    Args:
        gamma: 0 is cross entropy; else 1 or more, since the slope of a smaller power has no bound.
        alpha: With sigmoid: what a positive counts, 0..1; a negative counts `1 - alpha`. The paper has 0.25. Left out:
            both count 1.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if not (gamma == 0 or gamma >= 1):
            raise ValueError(f"gamma is 0, or 1 or more, got {gamma}")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha is between 0 and 1, got {alpha}")
        self.gamma, self.alpha = gamma, alpha

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets to a scalar."""
        if outputs.ndim == 1 or outputs.shape[1] == 1 or outputs.shape == targets.shape:
            return self.by_label(outputs, targets)
        return self.by_class(outputs, targets)

    def by_label(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Each logit by itself."""
        if targets.device.type == "cpu":  # a GPU would be waited for
            refuse_above(1, targets)
        alpha = -1 if self.alpha is None else self.alpha  # torchvision's word for none
        loss: Tensor = sigmoid_focal_loss(outputs, numbers(outputs, targets), alpha=alpha, gamma=self.gamma, reduction="mean")
        return loss

    def by_class(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """One class of several."""
        if self.alpha is not None:
            raise ValueError("alpha weighs positives against negatives, which several classes do not have; leave it out")
        indices = class_indices(outputs, targets)
        if indices.device.type == "cpu":
            refuse_above(outputs.shape[1] - 1, indices)
        entropy = functional.cross_entropy(outputs, indices, reduction="none")
        return ((1 - torch.exp(-entropy)) ** self.gamma * entropy).mean()
