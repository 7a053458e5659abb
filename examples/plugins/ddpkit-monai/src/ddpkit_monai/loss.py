"""Losses of MONAI for logits [B, C, H, W] and masks [B, H, W]; one logit (C = 1) means foreground."""

from typing import Any

import torch
from monai import losses
from torch import nn


class ForMasks(nn.Module):
    """Loss of MONAI, which gets masks with a channel, [B, 1, H, W]."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, outputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the mean over the images, []."""
        masks = masks.unsqueeze(1)
        value: torch.Tensor = self.loss(outputs, masks.to(outputs.dtype) if outputs.shape[1] == 1 else masks)
        return value


def activation(n_classes: int) -> dict[str, Any]:
    """Return the options of a loss for logits: softmax for several outputs, else a sigmoid."""
    return {"softmax": True, "to_onehot_y": True} if n_classes > 1 else {"sigmoid": True}


def dice(n_classes: int, include_background: bool = True, squared_pred: bool = False, jaccard: bool = False) -> ForMasks:
    """Build the Dice loss: a mean over images and classes.

    Args:
        n_classes: Number of outputs of the model; passed by the run.
        include_background: Count class 0 too; has no effect with one output.
        squared_pred: Use squares in the denominator (V-Net).
        jaccard: Use the intersection over union.
    """
    options = {"squared_pred": squared_pred, "jaccard": jaccard, **activation(n_classes)}
    return ForMasks(losses.DiceLoss(include_background=include_background or n_classes == 1, **options))


def dice_ce(n_classes: int, include_background: bool = True, lambda_dice: float = 1.0, lambda_ce: float = 1.0) -> ForMasks:
    """Build `lambda_dice` x Dice loss + `lambda_ce` x cross entropy."""
    options = {"lambda_dice": lambda_dice, "lambda_ce": lambda_ce, **activation(n_classes)}
    return ForMasks(losses.DiceCELoss(include_background=include_background or n_classes == 1, **options))


def dice_focal(n_classes: int, gamma: float = 2.0, lambda_dice: float = 1.0, lambda_focal: float = 1.0) -> ForMasks:
    """Build `lambda_dice` x Dice loss + `lambda_focal` x focal loss with the exponent `gamma`."""
    options = {"lambda_dice": lambda_dice, "lambda_focal": lambda_focal, **activation(n_classes)}
    return ForMasks(losses.DiceFocalLoss(gamma=gamma, **options))


def generalized_dice(n_classes: int, w_type: str = "square") -> ForMasks:
    """Build the generalized Dice loss. `w_type` of the class weights: `square` or `simple` (1 / area), or `uniform`."""
    return ForMasks(losses.GeneralizedDiceLoss(w_type=w_type, **activation(n_classes)))


def tversky(n_classes: int, alpha: float = 0.5, beta: float = 0.5) -> ForMasks:
    """Build the Tversky loss. `alpha` is the weight of false positives, `beta` that of false negatives."""
    return ForMasks(losses.TverskyLoss(alpha=alpha, beta=beta, **activation(n_classes)))


def focal(n_classes: int, gamma: float = 2.0, alpha: float | None = None) -> ForMasks:
    """Build the focal loss: a mean over pixels and classes. `alpha` is the weight of the foreground, 0..1."""
    several = n_classes > 1
    return ForMasks(losses.FocalLoss(to_onehot_y=several, use_softmax=several, gamma=gamma, alpha=alpha))


def hausdorff(n_classes: int, alpha: float = 2.0) -> ForMasks:
    """Build the Hausdorff loss, on the foreground. `alpha` is the exponent of the distance. It is computed on the CPU."""
    return ForMasks(losses.HausdorffDTLoss(alpha=alpha, include_background=n_classes == 1, **activation(n_classes)))
