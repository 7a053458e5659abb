"""Shares of samples, from counts over the whole split: torchmetrics counts, each metric is a ratio in float64.

Pixels count like samples: over the whole split, not image by image. A share of nothing is 1 where nothing was mistaken for
the class and none of it missed, else 0; a class that is neither there nor predicted is left out of the mean.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_stat_scores, multilabel_stat_scores

from ddpkit_plugins.metrics.base import BINARY, Average, OfClasses


class Counts(NamedTuple):
    """True and false positives, true and false negatives: float64, of each class [C] or over all []."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor

    def accuracy(self) -> Tensor:
        """Of all that was said."""
        return self.share(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    def precision(self) -> Tensor:
        """Of what was found."""
        return self.share(self.tp, self.tp + self.fp)

    def recall(self) -> Tensor:
        """Of what is there."""
        return self.share(self.tp, self.tp + self.fn)

    def f1(self) -> Tensor:
        """Of both."""
        return self.share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def specificity(self) -> Tensor:
        """Of what is not there."""
        return self.share(self.tn, self.tn + self.fp)

    def iou(self) -> Tensor:
        """Of the union."""
        return self.share(self.tp, self.tp + self.fp + self.fn)

    def share(self, part: Tensor, whole: Tensor) -> Tensor:
        """Of nothing: 1 without a mistake, else 0."""
        return torch.where(whole > 0, part / whole.clamp(min=1), (self.fp + self.fn == 0).double())


Ratio = Callable[[Counts], Tensor]


class OfCounts(OfClasses):
    """A ratio of counts: `value`, and `per_class` without numbers for what is neither there nor predicted.

    Args:
        n_classes: See `OfClasses`.
        ratio: The one.
        average: "micro" = of the counts over all classes.
        ignore_index: A class of this index is left out of the mean as well.
        of_labels: Another ratio for labels.
        k: A class among the `k` most probable was found; for class indices alone.
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
        """Of each class, the most probable is found."""
        self.counts += multiclass_stat_scores(
            predictions,
            indices,
            num_classes=self.n_classes,
            average=None,
            top_k=self.k,
            ignore_index=self.ignore_index,
            validate_args=False,
        )

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """What has more than half is found."""
        if self.k > 1:
            raise ValueError(f"the best k are of classes, one a sample; got labels {list(truths.shape)}")
        self.counts += multilabel_stat_scores(
            predictions, truths, num_labels=self.n_classes, average=None, ignore_index=-1, validate_args=False
        )

    def compute(self) -> dict[str, Tensor]:
        """`value` [] and `per_class` [C], float64."""
        counts = Counts(*self.counts.double().unbind(1)[:4])
        ratio = self.ratio_of_labels if self.n_labelled else self.ratio
        present = self.present(counts)
        each = ratio(counts)
        over_all = ratio(Counts(*(count.sum() for count in counts)))
        value = over_all if self.average == "micro" else self.one_of(each, present)
        return {"value": value, "per_class": each.where(present, torch.nan)}

    def present(self, counts: Counts) -> Tensor:
        """The classes that are there or predicted: bool [C]."""
        present = counts.tp + counts.fp + counts.fn > 0
        if self.ignore_index is not None and not self.n_labelled:
            present = present & (torch.arange(self.n_classes, device=present.device) != self.ignore_index)
        return present


def accuracy(n_classes: int, average: Literal["micro", "macro"] = "micro", ignore_index: int | None = None) -> Metric:
    """Share of samples whose class is the most probable. Of labels: share of them that is right, each by itself.

    Args:
        n_classes: How many classes there are; given by the run. One output tells two classes apart.
        average: `micro` = over samples, `macro` = over classes, each as much.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.recall, average, ignore_index, of_labels=Counts.accuracy)


def top_k_accuracy(
    n_classes: int, k: int = 5, average: Literal["micro", "macro"] = "micro", ignore_index: int | None = None
) -> Metric:
    """Share of samples whose class is among the `k` most probable.

    Args:
        n_classes: Given by the run.
        k: From 1 to the number of classes.
        average: `micro` = over samples, `macro` = over classes, each as much.
        ignore_index: Targets of this value do not count.
    """
    if not 1 <= k <= max(n_classes, BINARY):
        raise ValueError(f"k is 1 to the number of classes, {max(n_classes, BINARY)}; got {k}")
    return OfCounts(n_classes, Counts.recall, average, ignore_index, k=k)


def precision(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples that were given a class, the share that is of it: TP / (TP + FP).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.precision, average, ignore_index)


def recall(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples of a class, the share that was given it: TP / (TP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.recall, average, ignore_index)


def f1(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.f1, average, ignore_index)


def specificity(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Of the samples that are not of a class, the share that was not given it: TN / (TN + FP).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.specificity, average, ignore_index)


def iou(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Intersection over union of what is of a class and what was given it (Jaccard): TP / (TP + FP + FN).

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.iou, average, ignore_index)


def dice(n_classes: int, average: Literal["macro", "micro"] | None = None, ignore_index: int | None = None) -> Metric:
    """Dice coefficient over all pixels of the split, 2 TP / (2 TP + FP + FN): another name of `f1`.

    Args:
        n_classes: Given by the run.
        average: Over classes or over samples; absent = the positive class of two, over classes of more.
        ignore_index: Targets of this value do not count.
    """
    return OfCounts(n_classes, Counts.f1, average, ignore_index)
