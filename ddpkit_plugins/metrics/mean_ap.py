"""Metrics of boxes: COCO's, by torchmetrics."""

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
"""What torchmetrics keeps: lists of a tensor an image."""
OVERLAPS = np.linspace(0.5, 0.95, 10).tolist()
RECALLS = np.linspace(0, 1, 101).tolist()
"""COCO's own; those of torchmetrics are of float32, which an overlap or a recall of 0.8 does not reach."""


class BoxPrecision(MeanAveragePrecision):
    """See `mean_average_precision`. Takes torchvision's mappings, one an image: `boxes`, `labels`, predictions `scores` too."""

    def __init__(self, n_classes: int | None, threshold: float | None) -> None:
        super().__init__(
            iou_thresholds=OVERLAPS if threshold is None else [threshold],
            rec_thresholds=RECALLS,
            extended_summary=True,  # it has the classes' values, which `class_metrics` would compute once more
            compute_on_cpu=True,
        )
        self.n_classes = n_classes or 0

    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        """Take in a micro-batch. Raises ValueError for what are no boxes, and for a true box of the background."""
        if not isinstance(preds, list) or not isinstance(target, list):
            raise ValueError("map is for boxes, of a dataset and 'postprocess = \"detection\"' that give them")  # noqa: TRY004
        if any((image["labels"] < 1).any() for image in target):
            raise ValueError("labels of boxes begin at 1, and there are smaller ones")
        super().update(preds, target)

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:  # noqa: ARG002 - torchmetrics' own
        """Gather all ranks' images; torchmetrics would wait forever where ranks have other numbers of them."""
        for name in STATES:
            setattr(self, name, gathered(getattr(self, name)))

    def compute(self) -> dict[str, Tensor]:
        """`value` [] and `per_class` [C] of labels 1 to C, which are not numbers where no true box is."""
        self.sort_images()
        result = super().compute()
        labels = result["classes"].reshape(-1).tolist()
        each = torch.full((max([self.n_classes, *labels]),), torch.nan)
        for label, values in zip(labels, result["precision"][..., 0, -1].unbind(2), strict=True):
            each[label - 1] = mean_of_known(values)
        return {"value": mean_of_known(result["map"]), "per_class": each}

    def sort_images(self) -> None:
        """By what is in them: boxes of one score count in the order of the images, which is another on other ranks."""
        images = zip(*(getattr(self, name) for name in STATES), strict=True)
        in_order = sorted(images, key=lambda image: [part.flatten().tolist() for part in image])
        for name, parts in zip(STATES, zip(*in_order, strict=True), strict=True):
            setattr(self, name, list(parts))


def gathered(mine: list[Tensor]) -> list[Tensor]:
    """Those of all ranks, which must all call this."""
    shares: list[list[Tensor]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(shares, mine)
    return [each for share in shares for each in share]


def mean_of_known(values: Tensor) -> Tensor:
    """COCO writes -1 for what there is not; not a number if that is all."""
    return values[values > -1].mean()


def mean_average_precision(n_classes: int | None = None, threshold: float | None = None) -> Metric:
    """Mean over classes of the area under the precision-recall curve, of the best 100 boxes an image (Lin et al. 2014, "COCO").

    A class without a true box is left out of the mean, whatever is predicted of it, as COCO does it. Targets may have `iscrowd`
    and `area`.

    Args:
        n_classes: Without the background: labels are 1 to n_classes; given by the run.
        threshold: Intersection over union from which a box is found, above 0 to 1. Absent: the mean over 0.5, 0.55, ..., 0.95.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f"threshold is above 0 and at most 1, got {threshold}")
    return BoxPrecision(n_classes, threshold)
