"""Overlap of masks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import class_indices, refuse_above


class Tversky(nn.Module):
    """For each sample and class `1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)`.

    With probabilities p and t = 1 on the class's pixels, else 0, summed over the pixels of one sample: tp = sum(p * t),
    fp = sum(p * (1 - t)), fn = sum((1 - p) * t) (Salehi et al. 2017, "Tversky loss function for image segmentation using 3D
    fully convolutional deep networks"). The loss is the mean over classes, then over samples: it does not depend on what
    else the batch holds, unlike an overlap over the batch.

    One logit a pixel [B, 1, H, W]: sigmoid, the foreground alone counts. More [B, C, H, W]: softmax. Targets are class
    indices [B, H, W] or [B, 1, H, W] of any integer type.

    Args:
        alpha: How much counts what is found and is not there; 0 or more.
        beta: How much counts what is there and is not found; 0 or more.
        smooth: Above 0. A class that neither is there nor is predicted gives no loss.
        include_background: With several logits: count class 0 too.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    ) -> None:
        super().__init__()
        if not (min(alpha, beta) >= 0 and alpha + beta > 0):
            raise ValueError(f"alpha and beta are 0 or more, and not both 0, got {alpha} and {beta}")
        if not smooth > 0:
            raise ValueError("smooth is above 0")
        self.alpha, self.beta, self.smooth = alpha, beta, smooth
        self.include_background = include_background

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C, H, W] and masks to a scalar."""
        if outputs.ndim <= 2:  # noqa: PLR2004 - samples and classes
            raise ValueError(f"an overlap is of masks; got outputs {list(outputs.shape)}")
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # sums over pixels leave float16's range
        predicted, true = masks(outputs, class_indices(outputs, targets))
        if outputs.shape[1] > 1 and not self.include_background:
            predicted, true = predicted[:, 1:], true[:, 1:]
        pixels = tuple(range(2, outputs.ndim))
        found = (predicted * true).sum(pixels)
        rest = 1 - self.alpha - self.beta  # fp and fn are sums of whole masks without what is found
        whole = rest * found + self.alpha * predicted.sum(pixels) + self.beta * true.sum(pixels)
        return (1 - (found + self.smooth) / (whole + self.smooth)).mean()


class Dice(Tversky):
    """Soft Dice loss: for each sample and class `1 - (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)`.

    Tversky's with both weights 1/2 (Drozdzal et al. 2016, "The importance of skip connections in biomedical image
    segmentation"; Milletari et al. 2016, "V-Net", square the terms below). Outputs, targets and means are as there.

    Args:
        smooth: Above 0. A class that neither is there nor is predicted gives no loss.
        include_background: With several logits: count class 0 too.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    ) -> None:
        super().__init__(0.5, 0.5, smooth / 2, include_background)


class Jaccard(Tversky):
    """Soft Jaccard loss, 1 - IoU: for each sample and class `1 - (sum(p * t) + smooth) / (sum(p + t - p * t) + smooth)`.

    Tversky's with both weights 1 (Rahman and Wang 2016, "Optimizing intersection-over-union in deep neural networks for image
    segmentation"). Outputs, targets and means are as there.

    Args:
        smooth: Above 0. A class that neither is there nor is predicted gives no loss.
        include_background: With several logits: count class 0 too.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
    ) -> None:
        super().__init__(1.0, 1.0, smooth, include_background)


def masks(outputs: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and targets of each class, [B, C, ...] both."""
    if indices.device.type == "cpu":  # a GPU would be waited for
        refuse_above(max(outputs.shape[1] - 1, 1), indices)
    if outputs.shape[1] == 1:
        return outputs.sigmoid(), indices.unsqueeze(1).to(outputs.dtype)
    one_hot = functional.one_hot(indices, outputs.shape[1]).movedim(-1, 1)
    return outputs.softmax(dim=1), one_hot.to(outputs.dtype)
