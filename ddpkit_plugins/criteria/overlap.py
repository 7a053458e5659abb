"""Losses that measure the overlap of predicted and true masks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit import all_reduce_sum
from ddpkit_plugins.targets import check_below, class_indices


class Tversky(nn.Module):
    """Tversky loss: for each sample and class `1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)`.

    `p` are the probabilities; `t` is 1 on the pixels of the class, else 0. The sums are over the pixels of one sample: `tp =
    sum(p * t)`, `fp = sum(p * (1 - t))`, `fn = sum((1 - p) * t)` (Salehi et al. 2017, "Tversky loss function for image
    segmentation using 3D fully convolutional deep networks"). The loss is the mean over classes, then over samples.

    With `batch`, the sums are over the pixels of all samples in the micro-batch, of all ranks, and the loss is the mean over
    classes. A small object then counts less than a large one of the same class in another sample. With gradient accumulation,
    each micro-batch has its own sums, so 3 micro-batches of 16 samples differ from one of 48.

    One logit per pixel [B, 1, H, W]: sigmoid, and only the foreground counts. More logits [B, C, H, W]: softmax. Targets are
    class indices [B, H, W] or [B, 1, H, W] of any integer dtype.

    Args:
        alpha: Weight of false positives, at least 0.
        beta: Weight of false negatives, at least 0.
        smooth: Smoothing term, above 0. With it, a class that neither occurs nor is predicted has a loss of 0.
        include_background: Whether class 0 also counts, if there are several logits.
        batch: Whether the sums are over the whole micro-batch instead of each sample.

    Raises:
        ValueError: A parameter is out of range, or both weights are 0; in `forward`, the targets do not fit the logits.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
        batch: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__()
        if not (min(alpha, beta) >= 0 and alpha + beta > 0):
            raise ValueError(f"alpha and beta must be at least 0, and not both 0; got {alpha} and {beta}")
        if not smooth > 0:
            raise ValueError("smooth must be greater than 0")
        self.alpha, self.beta, self.smooth = alpha, beta, smooth
        self.include_background, self.batch = include_background, batch

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits [B, C, H, W] and masks."""
        if outputs.ndim <= 2:  # noqa: PLR2004 - samples and classes
            raise ValueError(f"overlap losses require logits per pixel [B, C, H, W]; got outputs {list(outputs.shape)}")
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # sums over pixels exceed the range of float16
        predicted, true = one_hot_masks(outputs, class_indices(outputs, targets))
        if outputs.shape[1] > 1 and not self.include_background:
            predicted, true = predicted[:, 1:], true[:, 1:]
        axes = (*[0] * self.batch, *range(2, outputs.ndim))
        sums = [(predicted * true).sum(axes), predicted.sum(axes), true.sum(axes)]
        found, positive, relevant = all_reduce_sum(torch.stack(sums)) if self.batch else sums
        rest = 1 - self.alpha - self.beta  # fp and fn are the sums of the complete masks minus tp
        whole = rest * found + self.alpha * positive + self.beta * relevant
        return (1 - (found + self.smooth) / (whole + self.smooth)).mean()


class Dice(Tversky):
    """Soft Dice loss: for each sample and class `1 - (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)`.

    It is the Tversky loss with both weights 1/2 (Drozdzal et al. 2016, "The importance of skip connections in biomedical image
    segmentation"; Milletari et al. 2016, "V-Net", square the terms of the denominator). Outputs, targets and means: see the loss
    `tversky`.

    Args:
        smooth: Smoothing term, above 0. With it, a class that neither occurs nor is predicted has a loss of 0.
        include_background: Whether class 0 also counts, if there are several logits.
        batch: Whether the sums are over the whole micro-batch instead of each sample.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
        batch: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__(0.5, 0.5, smooth / 2, include_background, batch)


class Jaccard(Tversky):
    """Soft Jaccard loss, 1 - IoU: for each sample and class `1 - (sum(p * t) + smooth) / (sum(p + t - p * t) + smooth)`.

    It is the Tversky loss with both weights 1 (Rahman and Wang 2016, "Optimizing intersection-over-union in deep neural networks
    for image segmentation"). Outputs, targets and means: see the loss `tversky`.

    Args:
        smooth: Smoothing term, above 0. With it, a class that neither occurs nor is predicted has a loss of 0.
        include_background: Whether class 0 also counts, if there are several logits.
        batch: Whether the sums are over the whole micro-batch instead of each sample.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        include_background: bool = True,  # noqa: FBT001, FBT002 - a key of the TOML
        batch: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__(1.0, 1.0, smooth, include_background, batch)


def one_hot_masks(outputs: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and one-hot targets, both [B, C, ...]."""
    if indices.device.type == "cpu":  # on a GPU, the check would wait for the device
        check_below(max(outputs.shape[1] - 1, 1), indices)
    if outputs.shape[1] == 1:
        return outputs.sigmoid(), indices.unsqueeze(1).to(outputs.dtype)
    one_hot = functional.one_hot(indices, outputs.shape[1]).movedim(-1, 1)
    return outputs.softmax(dim=1), one_hot.to(outputs.dtype)
