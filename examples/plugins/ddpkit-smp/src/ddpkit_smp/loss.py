"""Losses of segmentation-models-pytorch for logits [B, C, H, W] and masks [B, H, W]; one logit (C = 1) means foreground."""

import torch
from segmentation_models_pytorch import losses
from torch import nn


class PerImage(nn.Module):
    """Mean of a loss over the images of a batch.

    The library adds up overlaps over the batch, so its loss depends on how a batch is divided among ranks. The mean over the
    images does not.
    """

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, outputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the loss [] of logits and masks of any integer type."""
        pairs = zip(outputs.split(1), masks.long().split(1), strict=True)
        return torch.stack([self.loss(*pair) for pair in pairs]).mean()


def mode_of(n_classes: int) -> str:
    return losses.MULTICLASS_MODE if n_classes > 1 else losses.BINARY_MODE


def dice(n_classes: int, smooth: float = 0.0, log_loss: bool = False, class_weights: list[float] | None = None) -> PerImage:
    """Build the Dice loss.

    Args:
        n_classes: Number of outputs of the model; passed by the run.
        smooth: Number that is added to numerator and denominator.
        log_loss: Use -log(Dice) in place of 1 - Dice.
        class_weights: Factor of the loss of each class, for at least two outputs.
    """
    return PerImage(losses.DiceLoss(mode_of(n_classes), smooth=smooth, log_loss=log_loss, class_weights=class_weights))


def jaccard(n_classes: int, smooth: float = 0.0, log_loss: bool = False, class_weights: list[float] | None = None) -> PerImage:
    """Build the Jaccard loss, with the parameters of `dice`."""
    return PerImage(losses.JaccardLoss(mode_of(n_classes), smooth=smooth, log_loss=log_loss, class_weights=class_weights))


def tversky(n_classes: int, alpha: float = 0.5, beta: float = 0.5, gamma: float = 1.0, smooth: float = 0.0) -> PerImage:
    """Build the Tversky loss.

    Args:
        n_classes: Number of outputs of the model; passed by the run.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        gamma: Exponent of the loss.
        smooth: Number that is added to numerator and denominator.
    """
    return PerImage(losses.TverskyLoss(mode_of(n_classes), alpha=alpha, beta=beta, gamma=gamma, smooth=smooth))


def focal(n_classes: int, gamma: float = 2.0, alpha: float | None = None) -> PerImage:
    """Build the focal loss, a mean over the pixels and a sum over the classes.

    Args:
        n_classes: Number of outputs of the model; passed by the run.
        gamma: Exponent; 0 is the cross entropy.
        alpha: Weight of the foreground, 0..1. Absent: all pixels have the same weight.
    """
    return PerImage(losses.FocalLoss(mode_of(n_classes), gamma=gamma, alpha=alpha))


def lovasz(n_classes: int) -> PerImage:
    """Build the Lovasz loss: softmax for several outputs, hinge for one."""
    return PerImage(losses.LovaszLoss(mode_of(n_classes)))
