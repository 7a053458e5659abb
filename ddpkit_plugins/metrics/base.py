"""Predictions and targets as metrics of classes read them, and how the numbers of the classes become one."""

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from ddpkit_plugins.targets import are_labels, class_indices, labels, refuse_above

BINARY = 2
Average = Literal["macro", "micro"]


class OfClasses(Metric):
    """Takes probabilities [B, C, ...] with class indices [B, ...] or [B, 1, ...], or with labels [B, C, ...] of 0 and 1.

    Targets that are neither are refused here, so torchmetrics need not look (it would sort all pixels).

    Args:
        n_classes: One output tells two classes apart.
        average: How the classes' numbers become one; None = the positive class's of two classes, else as "macro".
        ignore_index: Targets of this value do not count.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    n_labelled: Tensor

    def __init__(self, n_classes: int, average: Average | None, ignore_index: int | None) -> None:
        super().__init__()
        self.n_classes = max(n_classes, BINARY)
        self.average = average
        self.ignore_index = ignore_index
        self.add_state("n_labelled", torch.tensor(0), dist_reduce_fx="sum")  # a rank without samples cannot tell by itself

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in a micro-batch. Raises ValueError for what does not fit."""
        if not isinstance(predictions, Tensor):
            raise ValueError("metrics of classes want tensors, and these are boxes; 'map' is for boxes")  # noqa: TRY004
        if predictions.ndim < BINARY or predictions.shape[1] != self.n_classes:
            raise ValueError(f"metrics want a probability for each of {self.n_classes} classes, got {list(predictions.shape)}")
        if are_labels(predictions, targets):
            self.n_labelled += 1
            self.take_labels(predictions, labels(targets, self.ignore_index))
            return
        indices = class_indices(predictions, targets)
        kept = indices if self.ignore_index is None else indices[indices != self.ignore_index]
        refuse_above(self.n_classes - 1, kept)
        self.take_classes(predictions, indices)

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Class indices int64 [B, ...]."""
        raise NotImplementedError

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Labels int64 [B, C, ...]: 1, 0, and -1 for what does not count."""
        raise NotImplementedError

    def one_of(self, each: Tensor, counts: Tensor) -> Tensor:
        """The positive class's number of two, else the mean over the classes that count (bool [C]), or over all if none does."""
        if self.average is None and self.n_classes == BINARY and not self.n_labelled:
            return each[1]
        return each[counts].mean() if counts.any() else each.mean()
