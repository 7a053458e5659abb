"""Which class was taken for which."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ddpkit_plugins.metrics.base import OfClasses


class Confusion(OfClasses):
    """See `confusion_matrix`."""

    matrix: Tensor

    def __init__(self, n_classes: int, ignore_index: int | None) -> None:
        super().__init__(n_classes, "micro", ignore_index)
        self.add_state("matrix", torch.zeros(self.n_classes, self.n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Count."""
        self.matrix += multiclass_confusion_matrix(
            predictions, indices, self.n_classes, ignore_index=self.ignore_index, validate_args=False
        )

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:  # noqa: ARG002 - refused whatever is predicted
        """Raises ValueError: a label is not taken for another."""
        raise ValueError(f"a confusion matrix is of classes, one a sample; got labels {list(truths.shape)}")

    def compute(self) -> dict[str, Tensor]:
        """`value` [], the share on the diagonal, and `confusion` [C, C]: a row a true class, a column a predicted one."""
        return {"value": self.matrix.trace().double() / self.matrix.sum(), "confusion": self.matrix}


def confusion_matrix(n_classes: int, ignore_index: int | None = None) -> Metric:
    """How many samples (or pixels) of each class were taken for which: `confusion_matrix.csv` of the test.

    Its number in history is the share on the diagonal, which is the accuracy.

    Args:
        n_classes: Given by the run.
        ignore_index: Targets of this value do not count.
    """
    return Confusion(n_classes, ignore_index)
