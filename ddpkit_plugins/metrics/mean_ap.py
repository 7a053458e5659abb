"""Metric of boxes: COCO's mean average precision, computed by torchmetrics."""

from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision

STATES = (
    *("detection_box", "detection_scores", "detection_labels"),
    *("groundtruth_box", "groundtruth_labels", "groundtruth_crowds", "groundtruth_area"),
)
"""States of the torchmetrics metric: lists with one tensor per image."""
OVERLAPS = np.linspace(0.5, 0.95, 10).tolist()
RECALLS = np.linspace(0, 1, 101).tolist()
"""Overlaps and recalls of COCO, in float64.

torchmetrics has them in float32, where an overlap or recall of 0.8 does not reach the limit of 0.8.
"""


class BoxPrecision(MeanAveragePrecision):
    """Metric of boxes, see `mean_average_precision`.

    It accepts torchvision's mappings, one per image: `boxes` and `labels`, and for predictions also `scores`.
    """

    def __init__(self, n_classes: int | None, threshold: float | None) -> None:
        super().__init__(
            iou_thresholds=OVERLAPS if threshold is None else [threshold],
            rec_thresholds=RECALLS,
            extended_summary=True,  # contains the values per class; `class_metrics` would compute them a second time
            compute_on_cpu=True,
        )
        self.warn_on_many_detections = False  # the documentation says that the best 100 boxes count
        self.n_classes = n_classes or 0

    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        """Add a micro-batch of this rank.

        Raises ValueError if predictions or targets are not boxes, and for a true box with the label of the background.
        """
        if not isinstance(preds, list) or not isinstance(target, list):
            raise ValueError("map requires boxes; use a dataset with boxes, and set 'postprocess = \"detection\"'")  # noqa: TRY004
        if any((image["labels"] < 1).any() for image in target):
            raise ValueError("labels of boxes must be at least 1 (0 is the background), but a target has a smaller label")
        super().update(preds, target)

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:  # noqa: ARG002 - the signature of torchmetrics
        """Gather the images of all ranks. All ranks must call it."""
        # torchmetrics' own gathering never returns if ranks have different numbers of images
        for name in STATES:
            setattr(self, name, gather_states(getattr(self, name)))

    def compute(self) -> dict[str, Tensor]:
        """Return `value` [] and `per_class` [C] of the labels 1 to C; the value of a class without a true box is NaN.

        All ranks must call it.
        """
        self.sort_images()
        result = super().compute()
        labels = result["classes"].reshape(-1).tolist()
        each = torch.full((max([self.n_classes, *labels]),), torch.nan)
        for label, values in zip(labels, result["precision"][..., 0, -1].unbind(2), strict=True):
            each[label - 1] = mean_without_nan(values)
        return {"value": mean_without_nan(result["map"]), "per_class": each}

    def sort_images(self) -> None:
        """Sort the images by their content, so that the order is the same for any number of ranks."""
        # boxes of equal score are ranked in the order of the images
        images = zip(*(getattr(self, name) for name in STATES), strict=True)
        in_order = sorted(images, key=lambda image: [part.flatten().tolist() for part in image])
        for name, parts in zip(STATES, zip(*in_order, strict=True), strict=True):
            setattr(self, name, list(parts))


def gather_states(mine: list[Tensor]) -> list[Tensor]:
    """Gather the tensors of all ranks. All ranks must call it."""
    shares: list[list[Tensor]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(shares, mine)
    return [each for share in shares for each in share]


def mean_without_nan(values: Tensor) -> Tensor:
    """Return the mean of the values above -1, which is COCO's mark for a missing value; NaN if all are missing."""
    return values[values > -1].mean()


def mean_average_precision(n_classes: int | None = None, threshold: float | None = None) -> Metric:
    """Compute the mean average precision of boxes (Lin et al. 2014, "COCO").

    It is the mean over classes of the area under the precision-recall curve, for the best 100 boxes of each class in an image. A
    class without a true box is not part of the mean, whatever is predicted, as in COCO. Targets may have `iscrowd` and `area`.

    Args:
        n_classes: Number of classes without the background, whose labels are 1 to n_classes; passed by the run.
        threshold: Minimum intersection over union of a box that counts as found, greater than 0 and at most 1. Absent: the mean
            over 0.5, 0.55, ..., 0.95. Raises ValueError for others.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f"threshold must be greater than 0 and at most 1; got {threshold}")
    return BoxPrecision(n_classes, threshold)
