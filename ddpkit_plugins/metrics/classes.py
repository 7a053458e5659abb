"""Metrics of classes: torchmetrics' own, given predictions and targets as ddpkit has them.

All take probabilities [B, C] with class indices [B], or [B, C, H, W] with masks [B, H, W] or [B, 1, H, W], of any integer
type. Pixels count like samples: over the whole split, not image by image. The value is one number.

With two classes (or one logit), and no `average` asked for, precision, recall, f1, specificity, iou and dice are those
of the positive class, index 1. With more they are the mean over classes ("macro") unless told otherwise; a class that is
neither there nor predicted is left out of that mean. "micro" is over all samples at once, where precision, recall and f1
all equal accuracy. A share of nothing is 0.
"""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, classification
from torchmetrics.utilities import dim_zero_cat

from ddpkit_plugins.targets import class_indices, refuse_above

BINARY = 2


class OfClasses(Metric):
    """Goes before a torchmetrics class: takes masks as they come, gives one number.

    It refuses targets that are no class, so torchmetrics need not (`validate_args`): it would sort all pixels.
    """

    num_classes: Any
    ignore_index: Any

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Probabilities [B, C, ...] and class indices [B, ...] or [B, 1, ...]."""
        if preds.ndim < BINARY or preds.shape[1] != self.num_classes:
            raise ValueError(f"metrics want a probability for each of {self.num_classes} classes, got {list(preds.shape)}")
        indices = class_indices(preds, target)
        refuse_above(self.num_classes - 1, indices[indices != self.ignore_index] if self.ignore_index is not None else indices)
        super().update(preds, indices)  # type: ignore[safe-super]

    def compute(self) -> Any:
        """The number, a tensor []; of several, one a class, that of the positive class."""
        values = super().compute()  # type: ignore[safe-super]
        return values[1] if values.ndim else values


class Accuracy(OfClasses, classification.MulticlassAccuracy):
    """See `accuracy`."""


class Precision(OfClasses, classification.MulticlassPrecision):
    """See `precision`."""


class Recall(OfClasses, classification.MulticlassRecall):
    """See `recall`."""


class F1(OfClasses, classification.MulticlassF1Score):
    """See `f1`."""


class Specificity(OfClasses, classification.MulticlassSpecificity):
    """See `specificity`."""


class Iou(OfClasses, classification.MulticlassJaccardIndex):
    """See `iou`."""


class Auc(OfClasses, classification.MulticlassAUROC):
    """See `auc`. Without thresholds it keeps all predictions; a rank without samples keeps none, in the others' shape."""

    preds: list[Tensor]
    target: list[Tensor]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """As float32: what ranks exchange is of one type."""
        super().update(preds.float(), target)

    def compute(self) -> Any:
        """The number, a tensor []."""
        if self.thresholds is not None:
            return super().compute()
        scores, targets = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        classes = [1] if self.num_classes == BINARY else range(self.num_classes)
        return torch.stack([share_in_order(scores[:, number], targets == number) for number in classes]).mean()

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        if self.thresholds is None:
            self.preds.append(torch.empty(0, self.num_classes, device=self.device))
            self.target.append(torch.empty(0, dtype=torch.long, device=self.device))


def share_in_order(scores: Tensor, positive: Tensor) -> Tensor:
    """The area under the curve, float64 []: the share of pairs of a positive and a negative that are in order, a tie being half.

    From the ranks of the scores, so that who is always right has exactly 1 (Hanley and McNeil 1982, "The meaning and use of
    the area under a receiver operating characteristic curve"). 0, with a warning, without a pair.

    Args:
        scores: [N].
        positive: bool [N].
    """
    _, places, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2.0).double()[places]  # ties share the mean of theirs
    n = positive.sum().double()
    pairs = n * (len(scores) - n)
    if not pairs:
        warnings.warn("auc: a class has no samples, or all; it counts 0", stacklevel=2)
        return torch.zeros_like(n)
    share: Tensor = (ranks[positive].sum() - n * (n + 1) / 2) / pairs
    return share


def accuracy(
    n_classes: int, average: Literal["micro", "macro"] = "micro", top_k: int = 1, ignore_index: int | None = None
) -> Metric:
    """Share of samples whose class is among the `top_k` most probable.

    Args:
        n_classes: How many classes there are; given by the run. One output tells two classes apart.
        average: `micro` = over samples, `macro` = over classes, each as much.
        top_k: From 1.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    if not 1 <= top_k <= n_classes:
        raise ValueError(f"top_k is 1 to the number of classes, {n_classes}; got {top_k}")
    return Accuracy(n_classes, average=average, top_k=top_k, ignore_index=ignore_index, validate_args=False)


def precision(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples that were given a class, the share that is of it: TP / (TP + FP).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return Precision(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def recall(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples of a class, the share that was given it: TP / (TP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return Recall(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def f1(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return F1(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def specificity(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples that are not of a class, the share that was not given it: TN / (TN + FP).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return Specificity(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def iou(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Intersection over union of what is of a class and what was given it (Jaccard): TP / (TP + FP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return Iou(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def dice(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Dice coefficient over all pixels of the split, 2 TP / (2 TP + FP + FN): another name of `f1`.

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    n_classes = max(n_classes, BINARY)
    return F1(n_classes, average=averaging(n_classes, average), ignore_index=ignore_index, validate_args=False)


def auc(n_classes: int, thresholds: int | None = None, ignore_index: int | None = None) -> Metric:
    """Area under the receiver operating characteristic: of two classes the positive one's, else the mean of one against the rest.

    A class without samples counts 0, with a warning.

    Args:
        n_classes: Given by the run.
        thresholds: From 2: the curve at so many points, in little memory. Absent: exact; every rank then keeps all
            predictions of an evaluation in memory, and gets all other ranks'. Too much for masks.
        ignore_index: Targets of this value do not count.
    """
    if thresholds is not None and thresholds < 2:  # noqa: PLR2004 - a line has two ends
        raise ValueError(f"thresholds are at least 2, got {thresholds}")
    n_classes = max(n_classes, BINARY)
    average: Literal["macro", "none"] = "none" if n_classes == BINARY else "macro"  # see `averaging`
    made = Auc(n_classes, average=average, thresholds=thresholds, ignore_index=ignore_index, validate_args=False)
    made.reset()
    return made


def averaging(n_classes: int, average: Literal["macro", "micro"] | None) -> Literal["macro", "micro", "none"]:
    """What torchmetrics is asked for: of two classes each one's number, of which the positive one's is taken."""
    return average or ("none" if n_classes == BINARY else "macro")
