"""Area under the receiver operating characteristic, computed from pairs of a positive and a negative sample."""

import warnings

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ddpkit_plugins.metrics.base import ClassMetric


class AreaUnderCurve(ClassMetric):
    """Metric that separates each class from all others. Subclasses define how predictions are stored."""

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, None, ignore_index)

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Add a micro-batch; class indices become one label per class."""
        ignored = indices == self.ignore_index if self.ignore_index is not None else torch.zeros_like(indices, dtype=torch.bool)
        one_hot = torch.nn.functional.one_hot(indices.masked_fill(ignored, 0), self.n_classes).movedim(-1, 1)
        self.take_labels(predictions, one_hot.masked_fill(ignored.unsqueeze(1), -1))

    def result(self, areas: Tensor) -> dict[str, Tensor]:
        """Return `value` [] and `per_class` [C].

        The area of a class without positives or without negatives is NaN; the class is not part of the mean, and a warning
        is issued.
        """
        if areas.isnan().any():
            warnings.warn("auc: a class has no samples, or all samples; it is not part of the mean", stacklevel=2)
        return {"value": self.one_of(areas, ~areas.isnan()), "per_class": areas}


class ExactArea(AreaUnderCurve):
    """Exact area, from all predictions, which are kept in memory."""

    scores: list[Tensor]
    truths: list[Tensor]

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, ignore_index)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truths", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Reset the states to empty tensors."""
        super().reset()
        # a rank without samples still needs tensors with the shape and dtype of the other ranks
        self.scores.append(torch.empty(0, self.n_classes, dtype=torch.float64, device=self.device))
        self.truths.append(torch.empty(0, self.n_classes, dtype=torch.int8, device=self.device))

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Add the scores and labels of a micro-batch."""
        # ranks exchange these tensors, so their dtype is fixed
        self.scores.append(to_rows(predictions).double())
        self.truths.append(to_rows(truths).to(torch.int8))

    def compute(self) -> dict[str, Tensor]:
        """Return the areas, see `result`. All ranks must call it."""
        pairs = zip(dim_zero_cat(self.scores).unbind(1), dim_zero_cat(self.truths).unbind(1), strict=True)
        return self.result(torch.stack([compute_area(scores, truths) for scores, truths in pairs]))


class BinnedArea(AreaUnderCurve):
    """Approximate area, from counts of positives and negatives between thresholds."""

    bins: Tensor

    def __init__(self, n_classes: int, n_bins: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, ignore_index)
        self.add_state("bins", torch.zeros(self.n_classes, n_bins, 2, dtype=torch.long), dist_reduce_fx="sum")

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Add each score of a micro-batch to the bin of the highest threshold that does not exceed it."""
        n_bins = self.bins.shape[1]
        scores, true = to_rows(predictions), to_rows(truths)
        places = (scores * (n_bins - 1)).long().clamp(0, n_bins - 1) * 2 + true
        places = places + torch.arange(self.n_classes, device=places.device) * n_bins * 2
        self.bins += torch.bincount(places[true >= 0], minlength=self.bins.numel()).view_as(self.bins)

    def compute(self) -> dict[str, Tensor]:
        """Return the areas, see `result`. All ranks must call it."""
        negatives, positives = self.bins.unbind(2)
        return self.result(torch.stack([ranked_pairs_share(*each) for each in zip(positives, negatives, strict=True)]))


def to_rows(maps: Tensor) -> Tensor:
    """Reshape [B, C, ...] to [N, C]."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def compute_area(scores: Tensor, truths: Tensor) -> Tensor:
    """Return the area of one class, from scores [N] and labels [N] of 1, 0, and -1 for ignored ones."""
    _, places = torch.unique(scores[truths >= 0], return_inverse=True)
    is_positive = truths[truths >= 0] > 0
    counts = [torch.bincount(places[which], minlength=len(scores)) for which in (is_positive, ~is_positive)]
    return ranked_pairs_share(*counts)


def ranked_pairs_share(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the share of pairs of a positive and a negative in which the positive has the higher score; float64 [].

    A tie counts one half. This share is the area under the curve (Hanley and McNeil 1982, "The meaning and use of the area under
    a receiver operating characteristic curve"). Sums of integers and halves are exact, so a perfect classifier gets exactly 1.
    Without a pair, the result is NaN.

    Args:
        positives: Number of positives of each score, from the lowest score up; int64 [S].
        negatives: Number of negatives of each score, in the same order; int64 [S].
    """
    below = negatives.cumsum(0) - negatives  # of integers: CUDA's cumulative sum of floats is not deterministic
    in_order = positives * (below + negatives.double() / 2)
    return in_order.sum() / (positives.sum().double() * negatives.sum())


def auc(n_classes: int, thresholds: int | None = None, ignore_index: int | None = None) -> Metric:
    """Compute the area under the receiver operating characteristic.

    With two classes it is the area of the positive class, else the mean over classes of each class against the rest. A class
    without samples, or with all samples, has no area; it is not part of the mean, and a warning is issued.

    Args:
        n_classes: Number of classes; passed by the run.
        thresholds: Number of points of the curve, at least 2; this needs little memory. Raises ValueError below 2. Absent: the
            exact area. Every rank then keeps its predictions of an evaluation in memory and receives those of all other ranks,
            which needs too much memory for masks.
        ignore_index: Targets of this value do not count.
    """
    if thresholds is None:
        return ExactArea(n_classes, ignore_index)
    if thresholds < 2:  # noqa: PLR2004 - the two ends of the curve
        raise ValueError(f"thresholds must be at least 2; got {thresholds}")
    return BinnedArea(n_classes, thresholds, ignore_index)
