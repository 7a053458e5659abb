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
    n_invalid: Tensor

    def __init__(self, n_classes: int, average: Average | None, ignore_index: int | None) -> None:
        super().__init__()
        self.n_classes = max(n_classes, BINARY)
        self.average = average
        self.ignore_index = ignore_index
        # summed over ranks, because a rank without samples does not know the kind of the targets
        self.add_state("n_labelled", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("n_invalid", torch.tensor(0), dist_reduce_fx="sum")

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
        self.take_classes(predictions, self.checked(class_indices(predictions, targets)))

    def checked(self, indices: Tensor) -> Tensor:
        """Return class indices. Raises ValueError for others; on a GPU, where that would wait, `check_counted` raises it."""
        if indices.device.type == "cpu":
            check_below(self.n_classes - 1, indices if self.ignore_index is None else indices[indices != self.ignore_index])
        return indices

    def check_counted(self) -> None:
        """Raise ValueError if `count_pairs` got targets that are not classes. Call it at the start of `compute`."""
        if self.n_invalid:
            raise ValueError(f"targets must be between 0 and {self.n_classes - 1}; {int(self.n_invalid)} targets are not")

    def count_pairs(self, predictions: Tensor, indices: Tensor) -> Tensor:
        """Return the number of elements of each true class (row) and most probable class (column): int64 [C, C].

        Ignored targets are left out. It never waits for the device, as a count by torch.bincount does.
        """
        found = predictions.max(dim=1).indices  # on the CPU, argmax over this dimension takes 13 times as long
        is_class = (indices >= 0) & (indices < self.n_classes)
        is_ignored = torch.zeros_like(is_class) if self.ignore_index is None else indices == self.ignore_index
        is_kept = is_class & ~is_ignored
        self.n_invalid += (~is_class & ~is_ignored).sum()
        n_pairs = self.n_classes**2
        pairs = (indices * self.n_classes + found).where(is_kept, n_pairs).flatten()
        counts = torch.zeros(n_pairs + 1, dtype=torch.int64, device=pairs.device)
        return counts.scatter_add_(0, pairs, torch.ones_like(pairs))[:-1].view(self.n_classes, self.n_classes)

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
