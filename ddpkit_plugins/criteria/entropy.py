"""Losses of probabilities."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import class_indices, numbers, refuse_above


class CrossEntropy(nn.Module):
    """Torch's cross entropy of logits [B, C, ...]: the mean over samples, and over pixels if there are any.

    Targets are class indices [B, ...] or [B, 1, ...] of any integer type, or probabilities, floats of the logits' shape.
    With `weight` or ignored targets it is a weighted mean, as torch has it: the sum over a micro-batch divided by the
    weights of the targets that it holds, NaN if there are none. It is then not a mean over samples, and ranks or
    micro-batches that hold unlike targets give a slightly other gradient than one batch of all.

    Args:
        n_classes: How many there are, to check `weight` by; given by the run.
        label_smoothing: 0..1, how much of each target is spread over all classes (Szegedy et al. 2016, "Rethinking the
            Inception architecture").
        weight: One number a class, 0 or more.
        ignore_index: Targets of this value do not count, as the border of masks (often 255).
    """

    def __init__(
        self,
        n_classes: int | None = None,
        label_smoothing: float = 0.0,
        weight: list[float] | None = None,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing is between 0 and 1, got {label_smoothing}")
        if weight is not None and (len(weight) != (n_classes or len(weight)) or not min(weight, default=-1) >= 0):
            raise ValueError(f"weight holds one number a class, 0 or more, for {n_classes} classes; got {weight}")
        self.weight: Tensor | None
        self.register_buffer("weight", None if weight is None else torch.tensor(weight))
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C, ...] and targets to a scalar."""
        as_probabilities = targets.is_floating_point() and targets.shape == outputs.shape
        wanted = targets if as_probabilities else class_indices(outputs, targets)
        return functional.cross_entropy(
            outputs, wanted, self.weight, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing
        )


class BinaryCrossEntropy(nn.Module):
    """Torch's binary cross entropy with logits: the mean over all elements, and so over samples.

    One logit a sample ([B] or [B, 1]) or pixel ([B, 1, H, W]) with targets 0 to 1 of any type, the axis of one channel
    given or not; or one a class (multi-label), logits and targets [B, C, ...].

    Args:
        pos_weight: How much a positive counts, negatives count 1.
    """

    def __init__(self, pos_weight: float | None = None) -> None:
        super().__init__()
        if pos_weight is not None and not pos_weight > 0:
            raise ValueError(f"pos_weight is above 0, got {pos_weight}")
        self.loss = nn.BCEWithLogitsLoss(pos_weight=None if pos_weight is None else torch.tensor(pos_weight))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets to a scalar."""
        if targets.device.type == "cpu":  # a GPU would be waited for
            refuse_above(1, targets)
        loss: Tensor = self.loss(outputs, numbers(outputs, targets))
        return loss
