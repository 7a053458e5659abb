"""Metrics that are ratios of counts over the whole split. torchmetrics counts; each ratio is computed in float64.

Pixels count like samples: over the whole split, not image by image. A ratio whose denominator is 0 is 1 if the class has no false
positive and no false negative, else 0. A class that neither occurs nor is predicted is not part of the mean.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_stat_scores, multilabel_stat_scores

from ddpkit_plugins.metrics.base import BINARY, Average, ClassMetric


class Counts(NamedTuple):
    """Counts of true and false positives, true and false negatives: float64, per class [C] or over all classes []."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor

    def accuracy(self) -> Tensor:
        """Return the share of all decisions that are correct: (TP + TN) / all."""
        return self.share(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    def precision(self) -> Tensor:
        """Return the share of predicted positives that are true: TP / (TP + FP)."""
        return self.share(self.tp, self.tp + self.fp)

    def recall(self) -> Tensor:
        """Return the share of samples of a class that are found: TP / (TP + FN)."""
        return self.share(self.tp, self.tp + self.fn)

    def f1(self) -> Tensor:
        """Return the harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
        return self.share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def specificity(self) -> Tensor:
        """Return the share of negatives that are not predicted as positives: TN / (TN + FP)."""
        return self.share(self.tn, self.tn + self.fp)

    def iou(self) -> Tensor:
        """Return the intersection over union: TP / (TP + FP + FN)."""
        return self.share(self.tp, self.tp + self.fp + self.fn)

    def share(self, part: Tensor, whole: Tensor) -> Tensor:
        """Return `part / whole`. Elements whose `whole` is 0 are 1 without false positives and false negatives, else 0."""
        return torch.where(whole > 0, part / whole.clamp(min=1), (self.fp + self.fn == 0).double())


Ratio = Callable[[Counts], Tensor]


class CountMetric(ClassMetric):
    """Metric that is a ratio of counts: `value`, and `per_class`, which is NaN for a class that neither occurs nor is predicted.

    Args:
        n_classes: Number of classes, see `ClassMetric`.
        ratio: Function from counts to the ratio.
        average: Average over classes, see `ClassMetric`; "micro" = the ratio of the counts over all classes.
        ignore_index: Targets of this value do not count, and the class of this index is not part of the mean.
        of_labels: Ratio for labels, if it is not `ratio`.
        k: A class counts as found if it is among the `k` most probable ones; for class indices only.
    """

    counts: Tensor

    def __init__(
        self,
        n_classes: int,
        ratio: Ratio,
        average: Average | None = None,
        ignore_index: int | None = None,
        *,
        of_labels: Ratio | None = None,
        k: int = 1,
    ) -> None:
        super().__init__(n_classes, average, ignore_index)
        self.ratio = ratio
        self.ratio_of_labels = of_labels or ratio
        self.k = k
        self.add_state("counts", torch.zeros(self.n_classes, 5, dtype=torch.long), dist_reduce_fx="sum")

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Add the counts of a micro-batch; the most probable class, or the top `k`, counts as found."""
        if self.k > 1:
            self.counts += multiclass_stat_scores(
                predictions, indices, self.n_classes, None, self.k, ignore_index=self.ignore_index, validate_args=False
            )
            return
        pairs = self.count_pairs(predictions, indices)
        tp, found, true = pairs.diagonal(), pairs.sum(0), pairs.sum(1)
        self.counts += torch.stack([tp, found - tp, pairs.sum() - found - true + tp, true - tp, true], dim=1)

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Add the counts of a micro-batch; a label with a probability above one half counts as found."""
        if self.k > 1:
            given = f"multi-label targets of shape {list(truths.shape)}"
            raise ValueError(f"top_k_accuracy requires one class per sample; got {given}")
        self.counts += multilabel_stat_scores(
            predictions, truths, num_labels=self.n_classes, average=None, ignore_index=-1, validate_args=False
        )

    def compute(self) -> dict[str, Tensor]:
        """Return `value` [] and `per_class` [C], float64. All ranks must call it."""
        self.check_counted()
        counts = Counts(*self.counts.double().unbind(1)[:4])
        ratio = self.ratio_of_labels if self.n_labelled else self.ratio
        present = self.present(counts)
        each = ratio(counts)
        over_all = ratio(Counts(*(count.sum() for count in counts)))
        value = over_all if self.average == "micro" else self.one_of(each, present)
        return {"value": value, "per_class": each.where(present, torch.nan)}

    def present(self, counts: Counts) -> Tensor:
        """Return which classes occur or are predicted: bool [C]."""
        present = counts.tp + counts.fp + counts.fn > 0
        if self.ignore_index is not None and not self.n_labelled:
            present = present & (torch.arange(self.n_classes, device=present.device) != self.ignore_index)
        return present


def accuracy(n_classes: int, average: Literal["micro", "macro"] = "micro", ignore_index: int | None = None) -> Metric:
    """Compute the share of samples whose true class is the most probable one.

    For labels, it is the share of correct labels; each label counts separately.

    Args:
        n_classes: Number of classes; passed by the run. One output distinguishes two classes.
        average: `micro` = over samples, `macro` = over classes, all with the same weight.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.recall, average, ignore_index, of_labels=Counts.accuracy)


def top_k_accuracy(
    n_classes: int, k: int = 5, average: Literal["micro", "macro"] = "micro", ignore_index: int | None = None
) -> Metric:
    """Compute the share of samples whose true class is among the `k` most probable ones.

    Args:
        n_classes: Number of classes; passed by the run.
        k: From 1 to the number of classes. Raises ValueError for others.
        average: `micro` = over samples, `macro` = over classes, all with the same weight.
        ignore_index: Targets of this value do not count.
    """
    if not 1 <= k <= max(n_classes, BINARY):
        raise ValueError(f"k must be between 1 and the number of classes, {max(n_classes, BINARY)}; got {k}")
    return CountMetric(n_classes, Counts.recall, average, ignore_index, k=k)


def precision(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the share of samples predicted as a class that belong to it: TP / (TP + FP).

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.precision, average, ignore_index)


def recall(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the share of samples of a class that are predicted as this class: TP / (TP + FN).

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.recall, average, ignore_index)


def f1(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.f1, average, ignore_index)


def specificity(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the share of samples of other classes that are not predicted as this class: TN / (TN + FP).

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.specificity, average, ignore_index)


def iou(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the intersection over union (Jaccard) of true and predicted samples of a class: TP / (TP + FP + FN).

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.iou, average, ignore_index)


def dice(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the Dice coefficient over all pixels of the split: 2 TP / (2 TP + FP + FN). It equals `f1`.

    Args:
        n_classes: Number of classes; passed by the run.
        average: `macro` = over classes, `micro` = over samples. Absent: only the positive class of two classes, else `macro`.
        ignore_index: Targets of this value do not count.
    """
    return CountMetric(n_classes, Counts.f1, average, ignore_index)
