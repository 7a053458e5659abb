"""Overlap of masks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import class_indices, refuse_above


class Dice(nn.Module):
    """Soft Dice loss: for each sample and class `1 - (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)`.

    The sums go over the pixels of one sample, `p` are probabilities and `t` is 1 on the class's pixels (Drozdzal et al.
    2016, "The importance of skip connections in biomedical image segmentation"; Milletari et al. 2016, "V-Net", square
    the terms below). The loss is the mean over classes, then over samples: it does not depend on what else the batch
    holds, unlike a Dice over the batch.

    One logit a pixel [B, 1, H, W]: sigmoid, the foreground alone counts. More [B, C, H, W]: softmax. Targets are class
    indices [B, H, W] or [B, 1, H, W] of any integer type.

    Args:
        smooth: Above 0. A class that neither is there nor is predicted gives no loss.
        include_background: With several logits: count class 0 too.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    ) -> None:
        super().__init__()
        if not smooth > 0:
            raise ValueError(f"smooth is above 0, got {smooth}")
        self.smooth = smooth
        self.include_background = include_background

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C, H, W] and masks to a scalar."""
        if outputs.ndim <= 2:  # noqa: PLR2004 - samples and classes
            raise ValueError(f"dice compares masks; got outputs {list(outputs.shape)}")
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # sums over pixels leave float16's range
        predicted, true = masks(outputs, class_indices(outputs, targets))
        if outputs.shape[1] > 1 and not self.include_background:
            predicted, true = predicted[:, 1:], true[:, 1:]
        pixels = tuple(range(2, outputs.ndim))
        overlap = (predicted * true).sum(pixels)
        sizes = predicted.sum(pixels) + true.sum(pixels)
        return (1 - (2 * overlap + self.smooth) / (sizes + self.smooth)).mean()


def masks(outputs: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and targets of each class, [B, C, ...] both."""
    if indices.device.type == "cpu":  # a GPU would be waited for
        refuse_above(max(outputs.shape[1] - 1, 1), indices)
    if outputs.shape[1] == 1:
        return outputs.sigmoid(), indices.unsqueeze(1).to(outputs.dtype)
    one_hot = functional.one_hot(indices, outputs.shape[1]).movedim(-1, 1)
    return outputs.softmax(dim=1), one_hot.to(outputs.dtype)
