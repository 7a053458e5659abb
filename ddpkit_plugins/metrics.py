"""Metrics: torchmetrics, under the names of the TOML.

All take probabilities [B, C] and classes [B], or [B, C, H, W] and masks [B, H, W] or [B, 1, H, W], which count by pixel. Of two
classes, all but accuracy are about the second one; of more, `macro` is the mean over the classes that occur or are predicted.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """The metrics."""
    here = "ddpkit_plugins.metrics"
    yield Component("accuracy", f"{here}:accuracy", doc="share of samples whose class was found")
    yield Component("precision", f"{here}:precision", doc="of those found, how many are right")
    yield Component("recall", f"{here}:recall", doc="of those there are, how many were found")
    yield Component("specificity", f"{here}:specificity", doc="of those that are not, how many were not found")
    yield Component("f1", f"{here}:f1", doc="harmonic mean of precision and recall")
    yield Component("dice", f"{here}:dice", doc="overlap of masks, 2 |A and B| / (|A| + |B|): F1 by pixel")
    yield Component("iou", f"{here}:iou", doc="overlap of masks, |A and B| / |A or B|")
    yield Component("auc", f"{here}:auc", doc="area under the ROC curve")


def accuracy(n_classes: int, average: Literal["micro", "macro"] = "micro", top_k: int = 1) -> "Metric":
    """Share of samples whose class is among the `top_k` most probable.

    Args:
        n_classes: How many classes there are; given by the run. One output tells two classes apart.
        average: `micro` = over samples, `macro` = over classes, each as much.
        top_k: From 1.
    """
    from torchmetrics.classification import MulticlassAccuracy  # noqa: PLC0415 - heavy, and wanted by runs alone

    if not 1 <= top_k <= max(n_classes, 2):
        raise ValueError(f"top_k is 1 to the number of classes, {n_classes}; got {top_k}")
    return taking_masks(MulticlassAccuracy(max(n_classes, 2), average=average, top_k=top_k))


def precision(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """True positives over all that were predicted."""
    from torchmetrics import classification  # noqa: PLC0415

    return of_classes(n_classes, classification.BinaryPrecision, classification.MulticlassPrecision, average=average)


def recall(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """True positives over all that there are."""
    from torchmetrics import classification  # noqa: PLC0415

    return of_classes(n_classes, classification.BinaryRecall, classification.MulticlassRecall, average=average)


def specificity(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """True negatives over all that are not of the class."""
    from torchmetrics import classification  # noqa: PLC0415

    return of_classes(n_classes, classification.BinarySpecificity, classification.MulticlassSpecificity, average=average)


def f1(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """`2 TP / (2 TP + FP + FN)`."""
    from torchmetrics import classification  # noqa: PLC0415

    return of_classes(n_classes, classification.BinaryF1Score, classification.MulticlassF1Score, average=average)


def dice(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """The F1 score of pixels, over the whole split at once: no mean over images."""
    return f1(n_classes, average)


def iou(n_classes: int, average: Literal["macro", "micro"] = "macro") -> "Metric":
    """`TP / (TP + FP + FN)` (Jaccard), over the whole split at once."""
    from torchmetrics import classification  # noqa: PLC0415

    return of_classes(n_classes, classification.BinaryJaccardIndex, classification.MulticlassJaccardIndex, average=average)


def auc(n_classes: int, thresholds: int | None = None) -> "Metric":
    """Area under the ROC curve; of more than two classes the mean of each against the rest.

    Args:
        n_classes: Given by the run.
        thresholds: Absent = exact, with all predictions in memory; else at so many points, for masks.
    """
    from torchmetrics import classification  # noqa: PLC0415

    if thresholds is not None and thresholds < 2:  # noqa: PLR2004 - a line has two ends
        raise ValueError(f"thresholds are at least 2, got {thresholds}")
    return of_classes(n_classes, classification.BinaryAUROC, classification.MulticlassAUROC, thresholds=thresholds)


def of_classes(n_classes: int, binary: Any, multiclass: Any, **options: Any) -> "Metric":
    """Of two classes the metric of the second one, of more the multi-class one."""
    if n_classes > 2:  # noqa: PLR2004
        return taking_masks(multiclass(n_classes, **options))
    options.pop("average", None)
    return taking_masks(binary(**options), second_class)


def second_class(predictions: "Tensor") -> "Tensor":
    """Its probability [B, ...]."""
    return predictions[:, 1]


def whole(predictions: "Tensor") -> "Tensor":
    """As they are."""
    return predictions


def taking_masks(metric: "Metric", chosen: Any = whole) -> "Metric":
    """The metric, given what is chosen of the predictions, and masks without a channel of their own."""
    from torchmetrics.wrappers import LambdaInputTransformer  # noqa: PLC0415

    return LambdaInputTransformer(metric, transform_pred=chosen, transform_target=without_channel)


def without_channel(targets: "Tensor") -> "Tensor":
    """[B, 1, H, W] to [B, H, W], int64."""
    return (targets.squeeze(1) if targets.ndim == 4 else targets).long()  # noqa: PLR2004 - B, 1, H, W
