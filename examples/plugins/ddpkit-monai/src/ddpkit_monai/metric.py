"""Metrics of MONAI for predicted classes [B, H, W] and masks [B, H, W], per image and class."""

import math
import warnings
from collections.abc import Callable
from functools import partial

import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric


class MeanOverImages(Metric):
    """Mean of a measure over the images of each class, then over the classes.

    The measure gets two one-hot masks [B, C, H, W] and returns [B, C], NaN where it is undefined: such images do not count. The
    states are sums, which torchmetrics adds up over the ranks, so the value is that of all samples.
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor], n_classes: int, include_background: bool):
        super().__init__()
        self.measure, self.n_classes, self.first = measure, max(n_classes, 2), 0 if include_background else 1
        self.add_state("totals", torch.zeros(self.n_classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(self.n_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, labels: Tensor, masks: Tensor) -> None:
        """Add predicted and true classes [B, H, W]. A class in only one of both has the diagonal as its distance."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI warns in each batch about classes that do not occur
            values = self.measure(self.one_hot(labels), self.one_hot(masks)).to(self.totals)
        values = values.where(~values.isinf(), math.hypot(*masks.shape[-2:]))
        self.totals[self.first :] += values.nan_to_num(0).sum(0)
        self.counts[self.first :] += (~values.isnan()).sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return the mean over the classes that occur, and the value of each class, [C]."""
        per_class = self.totals / self.counts
        return {"mean": per_class.nanmean(), "per_class": per_class}

    def one_hot(self, masks: Tensor) -> Tensor:
        return functional.one_hot(masks.long(), self.n_classes).movedim(-1, 1)


def dice(n_classes: int, include_background: bool = False) -> MeanOverImages:
    """Build the Dice coefficient, over the images that have the class."""
    measure = partial(compute_dice, include_background=include_background)
    return MeanOverImages(measure, n_classes, include_background)


def iou(n_classes: int, include_background: bool = False) -> MeanOverImages:
    """Build the intersection over union, over the images that have the class."""
    measure = partial(compute_iou, include_background=include_background)
    return MeanOverImages(measure, n_classes, include_background)


def hausdorff(n_classes: int, include_background: bool = False, percentile: float | None = None) -> MeanOverImages:
    """Build the Hausdorff distance in pixels: the largest distance between the borders, or its percentile, 0..100."""
    measure = partial(compute_hausdorff_distance, include_background=include_background, percentile=percentile)
    return MeanOverImages(measure, n_classes, include_background)


def surface_distance(n_classes: int, include_background: bool = False, symmetric: bool = False) -> MeanOverImages:
    """Build the mean distance in pixels from the predicted border to the true one; `symmetric`: in both directions."""
    measure = partial(compute_average_surface_distance, include_background=include_background, symmetric=symmetric)
    return MeanOverImages(measure, n_classes, include_background)


def surface_dice(n_classes: int, include_background: bool = False, tolerance: float = 1.0) -> MeanOverImages:
    """Build the share of the borders whose distance from the other border is at most `tolerance` pixels."""
    thresholds = [tolerance] * (max(n_classes, 2) - 1 + include_background)
    measure = partial(compute_surface_dice, class_thresholds=thresholds, include_background=include_background)
    return MeanOverImages(measure, n_classes, include_background)
