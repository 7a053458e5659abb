"""Base of the class metrics: checks of predictions and targets, and the average over classes."""

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from ddpkit_plugins.targets import are_labels, check_below, class_indices, class_labels

BINARY = 2
Average = Literal["macro", "micro"]


class ClassMetric(Metric):
    """Metric of class probabilities [B, C, ...].

    Targets are class indices [B, ...] or [B, 1, ...], or labels [B, C, ...] of 0 and 1. Other targets are rejected here, so
    torchmetrics need not validate them; its validation would sort all pixels.

    Args:
        n_classes: Number of classes; one output distinguishes two classes.
        average: Average over classes. None: with two classes, the value of the positive class; else "macro".
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
        # summed over ranks, because a rank without samples does not know the kind of the targets
        self.add_state("n_labelled", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a micro-batch of this rank. Raises ValueError for predictions or targets that do not fit."""
        if not isinstance(predictions, Tensor):
            raise ValueError("this metric requires class probabilities, but the predictions are boxes; use the metric 'map'")  # noqa: TRY004
        if predictions.ndim < BINARY or predictions.shape[1] != self.n_classes:
            given = list(predictions.shape)
            raise ValueError(f"this metric requires one probability for each of {self.n_classes} classes; got shape {given}")
        if are_labels(predictions, targets):
            self.n_labelled += 1
            self.take_labels(predictions, class_labels(targets, self.ignore_index))
            return
        indices = class_indices(predictions, targets)
        kept = indices if self.ignore_index is None else indices[indices != self.ignore_index]
        check_below(self.n_classes - 1, kept)
        self.take_classes(predictions, indices)

    def take_classes(self, predictions: Tensor, indices: Tensor) -> None:
        """Add a micro-batch with class indices, int64 [B, ...]."""
        raise NotImplementedError

    def take_labels(self, predictions: Tensor, truths: Tensor) -> None:
        """Add a micro-batch with labels, int64 [B, C, ...]: 1, 0, and -1 for ignored ones."""
        raise NotImplementedError

    def one_of(self, each: Tensor, selected: Tensor) -> Tensor:
        """Return the value of the positive class if there are two classes, else the mean over classes.

        `selected`, bool [C], marks the classes of the mean; if it marks none, the mean is over all classes.
        """
        if self.average is None and self.n_classes == BINARY and not self.n_labelled:
            return each[1]
        return each[selected].mean() if selected.any() else each.mean()
