"""Confusion matrix: number of samples for each pair of true and predicted class."""

import torch
from torch import Tensor
from torchmetrics import Metric

from ddpkit_plugins.metrics.base import ClassMetric


class ConfusionMatrix(ClassMetric):
    """Metric that counts pairs of true and predicted classes, see `confusion_matrix`."""

    is_shown = False  # the terminal shows the accuracy, which is the same number
    matrix: Tensor

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, "micro", ignore_index)
        self.add_state("matrix", torch.zeros(self.n_classes, self.n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Add the counts of a micro-batch."""
        self.matrix += self.count_pairs(predictions, indices)

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:  # noqa: ARG002 - rejected for any prediction
        """Raise ValueError: labels are independent of each other, so a confusion matrix is not defined."""
        raise ValueError(f"confusion_matrix requires one class per sample; got multi-label targets of shape {list(truths.shape)}")

    def compute(self) -> dict[str, Tensor]:
        """Return `value` [], the share on the diagonal, and `confusion` [C, C].

        `confusion` has one row per true class and one column per predicted class. All ranks must call it.
        """
        self.check_counted()
        return {"value": self.matrix.trace().double() / self.matrix.sum(), "confusion": self.matrix}


def confusion_matrix(n_classes: int, ignore_index: int | None = None) -> Metric:
    """Count the samples (or pixels) of each true class by predicted class, for `confusion_matrix.csv` of the test.

    The number in the history is the share on the diagonal, which is the accuracy. Raises ValueError for
    labels, i.e. several classes per sample.

    Args:
        n_classes: Number of classes; passed by the run.
        ignore_index: Targets of this value do not count.
    """
    return ConfusionMatrix(n_classes, ignore_index)
