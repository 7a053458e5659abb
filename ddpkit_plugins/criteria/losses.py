"""Losses that take targets as datasets give them: class numbers [B], masks [B, H, W] or [B, 1, H, W], of any integer type."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossEntropy(nn.Module):
    """Of logits [B, C, ...] and class indices [B, ...], the mean over the micro-batch.

    With `weight` or `ignore_index` it is torch's weighted mean, which is no mean over samples: N ranks then differ from one.

    Args:
        label_smoothing: 0..1, how much of each target is spread over all classes (Szegedy et al. 2016, "Rethinking the
            Inception architecture").
        weight: Of each class.
        ignore_index: Targets of this value do not count.
    """

    def __init__(self, label_smoothing: float = 0.0, weight: list[float] | None = None, ignore_index: int = -100) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing is between 0 and 1, got {label_smoothing}")
        if weight is not None and (not weight or min(weight) < 0):
            raise ValueError(f"weight holds a number from 0 for each class, got {weight}")
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        self.weight: Tensor | None
        self.register_buffer("weight", None if weight is None else torch.tensor(weight, dtype=torch.float64))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean."""
        weight = None if self.weight is None else self.weight.to(outputs.dtype)
        wanted = class_indices(outputs, targets)
        return functional.cross_entropy(
            outputs, wanted, weight, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing
        )


class BinaryCrossEntropy(nn.Module):
    """Of logits and as many targets 0 or 1, by sigmoid: one logit a sample or pixel, or one a label.

    Args:
        pos_weight: How much more a positive target counts, above 0.
    """

    def __init__(self, pos_weight: float | None = None) -> None:
        super().__init__()
        if pos_weight is not None and pos_weight <= 0:
            raise ValueError(f"pos_weight is above 0, got {pos_weight}")
        self.pos_weight = pos_weight

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over all of them."""
        if outputs.numel() != targets.numel():
            raise ValueError(f"bce takes a target for each logit, got {tuple(outputs.shape)} and {tuple(targets.shape)}")
        weight = None if self.pos_weight is None else outputs.new_tensor(self.pos_weight)
        wanted = targets.to(outputs.dtype).reshape(outputs.shape)
        return functional.binary_cross_entropy_with_logits(outputs, wanted, pos_weight=weight)


class Dice(nn.Module):
    """Soft Dice loss (Milletari, Navab and Ahmadi 2016, "V-Net"): `1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`.

    One logit a pixel: of its sigmoid. Several: of their softmax, the mean over the classes. The sums are over the pixels of a
    sample and the loss is the mean over the samples, so that N ranks give what one gives.

    Args:
        smooth: Above 0; keeps an empty mask from dividing by nothing.
        include_background: With several logits: count class 0 too.
    """

    def __init__(self, smooth: float = 1.0, include_background: bool = True) -> None:  # noqa: FBT001, FBT002 - keys of the TOML
        super().__init__()
        if smooth <= 0:
            raise ValueError(f"smooth is above 0, got {smooth}")
        self.smooth, self.include_background = smooth, include_background

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C, ...] and class indices [B, ...]."""
        shares, wanted = self.shares(outputs, class_indices(outputs, targets))
        overlap, total = (shares * wanted).flatten(2).sum(2), (shares + wanted).flatten(2).sum(2)
        return (1 - (2 * overlap + self.smooth) / (total + self.smooth)).mean()

    def shares(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and targets [B, C, ...], C = 1 for two classes."""
        if outputs.shape[1] == 1:
            return outputs.sigmoid(), targets.unsqueeze(1).to(outputs.dtype)
        one_hot = functional.one_hot(targets, outputs.shape[1]).movedim(-1, 1).to(outputs.dtype)
        first = 0 if self.include_background else 1
        return outputs.softmax(dim=1)[:, first:], one_hot[:, first:]


def class_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as int64 [B, ...] for logits [B, C, ...]: a channel of its own is dropped."""
    has_channel = targets.ndim == outputs.ndim and targets.shape[1] == 1
    return (targets.squeeze(1) if has_channel else targets).long()
