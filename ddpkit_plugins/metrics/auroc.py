"""The area under the receiver operating characteristic, from pairs of a positive and a negative."""

import warnings

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ddpkit_plugins.metrics.base import OfClasses


class Areas(OfClasses):
    """Of each class against the rest. How its predictions are kept is for subclasses."""

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, None, ignore_index)

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Each class is a label."""
        ignored = indices == self.ignore_index if self.ignore_index is not None else torch.zeros_like(indices, dtype=torch.bool)
        one_hot = torch.nn.functional.one_hot(indices.masked_fill(ignored, 0), self.n_classes).movedim(-1, 1)
        self.take_labels(predictions, one_hot.masked_fill(ignored.unsqueeze(1), -1))

    def result(self, areas: Tensor) -> dict[str, Tensor]:
        """`value` [] and `per_class` [C]: not a number for a class without a pair, which is left out of the mean."""
        if areas.isnan().any():
            warnings.warn("auc: a class has no samples, or all; it is left out", stacklevel=2)
        return {"value": self.one_of(areas, ~areas.isnan()), "per_class": areas}


class ExactAreas(Areas):
    """Keeps all predictions; a rank without samples keeps none, in the others' shape."""

    scores: list[Tensor]
    truths: list[Tensor]

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, ignore_index)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truths", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self.scores.append(torch.empty(0, self.n_classes, dtype=torch.float64, device=self.device))
        self.truths.append(torch.empty(0, self.n_classes, dtype=torch.int8, device=self.device))

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """What ranks exchange is of one type."""
        self.scores.append(rows(predictions).double())
        self.truths.append(rows(truths).to(torch.int8))

    def compute(self) -> dict[str, Tensor]:
        """See `result`."""
        pairs = zip(dim_zero_cat(self.scores).unbind(1), dim_zero_cat(self.truths).unbind(1), strict=True)
        return self.result(torch.stack([area_of(scores, truths) for scores, truths in pairs]))


class BinnedAreas(Areas):
    """Counts the positives and negatives between thresholds."""

    bins: Tensor

    def __init__(self, n_classes: int, n_bins: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, ignore_index)
        self.add_state("bins", torch.zeros(self.n_classes, n_bins, 2, dtype=torch.long), dist_reduce_fx="sum")

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Into the bin of the highest threshold that is not above."""
        n_bins = self.bins.shape[1]
        scores, true = rows(predictions), rows(truths)
        places = (scores * (n_bins - 1)).long().clamp(0, n_bins - 1) * 2 + true
        places = places + torch.arange(self.n_classes, device=places.device) * n_bins * 2
        self.bins += torch.bincount(places[true >= 0], minlength=self.bins.numel()).view_as(self.bins)

    def compute(self) -> dict[str, Tensor]:
        """See `result`."""
        negatives, positives = self.bins.unbind(2)
        return self.result(torch.stack([share_in_order(*each) for each in zip(positives, negatives, strict=True)]))


def rows(maps: Tensor) -> Tensor:
    """[B, C, ...] to [N, C]."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def area_of(scores: Tensor, truths: Tensor) -> Tensor:
    """Of one class: scores [N] and truths [N] of 1, 0, and -1 for what does not count."""
    _, places = torch.unique(scores[truths >= 0], return_inverse=True)
    is_positive = truths[truths >= 0] > 0
    counts = [torch.bincount(places[which], minlength=len(scores)) for which in (is_positive, ~is_positive)]
    return share_in_order(*counts)


def share_in_order(positives: Tensor, negatives: Tensor) -> Tensor:
    """The share of pairs of a positive and a negative in which the positive has the higher score, a tie being half; float64 [].

    This is the area under the curve (Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating
    characteristic curve"). Sums of whole and half numbers are exact, so who is always right has exactly 1. Not a number
    without a pair.

    Args:
        positives: How many have each score, from the lowest score up; int64 [S].
        negatives: The same.
    """
    below = negatives.cumsum(0) - negatives  # of whole numbers: of others, CUDA has no sum that repeats to the bit
    in_order = positives * (below + negatives.double() / 2)
    return in_order.sum() / (positives.sum().double() * negatives.sum())


def auc(n_classes: int, thresholds: int | None = None, ignore_index: int | None = None) -> Metric:
    """Area under the receiver operating characteristic: of two classes the positive one's, else the mean of one against the rest.

    A class without samples, or with all, has none, and is left out with a warning.

    Args:
        n_classes: Given by the run.
        thresholds: From 2: the curve at so many points, in little memory. Absent: exact; every rank then keeps all
            predictions of an evaluation in memory, and gets all other ranks'. Too much for masks.
        ignore_index: Targets of this value do not count.
    """
    if thresholds is None:
        return ExactAreas(n_classes, ignore_index)
    if thresholds < 2:  # noqa: PLR2004 - a line has two ends
        raise ValueError(f"thresholds are at least 2, got {thresholds}")
    return BinnedAreas(n_classes, thresholds, ignore_index)
