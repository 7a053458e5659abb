"""Error of a prediction: 0 if it is correct. It orders the samples of a test; it is not a metric.

B: samples, C: classes, N: boxes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ddpkit.inference.prediction import PredictionDecoder

LEAST_IOU = 0.5
"""Intersection over union from which a predicted box matches a true box of its class."""
DECIMALS = 6
"""Decimals of an error: further ones differ between machines and numbers of ranks."""


def prediction_errors(decoder: PredictionDecoder, predictions: Any, targets: Any) -> list[float | None]:
    """Return the error of each prediction of a micro-batch, on the device of the predictions.

    class: the probability of a wrong class. labels: the largest difference of a probability from a target that the threshold
    separates. mask: the share of wrong pixels. boxes: 1 - F1 score of the boxes above the threshold. Other predictions with the
    shape of the targets: the mean absolute difference. None: a target that is not a class or is of an unknown kind, or an error
    that is not finite.
    """
    if decoder.gives == "boxes":
        pairs = zip(predictions, targets, strict=True)
        return [round(box_error(found, truth, decoder.threshold), DECIMALS) for found, truth in pairs]
    if not isinstance(predictions, Tensor) or not isinstance(targets, Tensor):
        return [None] * len(predictions)
    found = predictions.detach()
    kind = (decoder.gives, found.ndim)
    if kind == ("class", 2) and targets.ndim == 1:
        errors = class_errors(decoder, found, targets)
    elif kind == ("mask", 4) and targets.numel() == found[:, 0].numel():
        errors = mask_errors(decoder, found, targets.reshape(found[:, 0].shape))
    elif found.shape != targets.shape:
        return [None] * len(found)
    else:
        is_wrong = (found >= decoder.threshold) != (targets > 0.5)  # noqa: PLR2004 - targets are 0 or 1
        difference = (found.double() - targets).abs()
        errors = (difference * is_wrong).amax(dim=1) if kind == ("labels", 2) else difference[:, None].flatten(1).mean(dim=1)
    return [round(value, DECIMALS) if math.isfinite(value) else None for value in errors.tolist()]


def class_errors(decoder: PredictionDecoder, probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the errors [B] of class probabilities [B, C]; NaN for a target that is not a class."""
    labels = decoder.choose(probabilities.movedim(1, 0))
    confidence = probabilities.gather(1, labels[:, None])[:, 0].double()
    is_class = (targets >= 0) & (targets < probabilities.shape[1])
    return (confidence * (labels != targets)).where(is_class, torch.nan)


def mask_errors(decoder: PredictionDecoder, probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the errors [B] of class probabilities [B, C, h, w]; pixels that have no class do not count."""
    is_class = (targets >= 0) & (targets < probabilities.shape[1])
    is_wrong = (decoder.choose(probabilities.movedim(1, 0)) != targets) & is_class
    return is_wrong.flatten(1).sum(dim=1).double() / is_class.flatten(1).sum(dim=1)


def box_error(found: Mapping[str, Tensor], truth: Mapping[str, Tensor], threshold: float) -> float:
    """Return 1 - F1 score. The boxes are matched in the order of their scores, each with the true box that it overlaps most."""
    kept = found["scores"] >= threshold
    boxes, labels = found["boxes"][kept], found["labels"][kept]
    n_boxes = len(boxes) + len(truth["boxes"])
    if not len(boxes) or not len(truth["boxes"]):
        return 1.0 if n_boxes else 0.0
    overlap = box_iou(boxes, truth["boxes"].to(boxes)) * (labels[:, None] == truth["labels"].to(labels)[None])
    order: Sequence[int] = found["scores"][kept].argsort(descending=True, stable=True).tolist()
    n_matched = 0
    for row in order:
        best = overlap[row].argmax()
        if overlap[row, best] >= LEAST_IOU:
            n_matched += 1
            overlap[:, best] = 0
    return 1 - 2 * n_matched / n_boxes
