"""Losses that compare probability distributions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import check_below, class_indices, class_numbers

TOLERANCE = 1e-2
"""Maximum deviation of the sum of probabilities from 1: the deviation of 16-bit numbers."""
TORCH_IGNORE_INDEX = -100
"""Targets that torch's cross entropy ignores by default."""


class CrossEntropy(nn.Module):
    """Cross entropy of logits [B, C, ...], computed by torch: the mean over samples, and over pixels if there are any.

    Targets are class indices [B, ...] or [B, 1, ...] of any integer dtype, or probabilities: floats of the logits' shape.

    With `weight` or `ignore_index` it is torch's weighted mean: the sum over a batch, divided by the sum of the weights of its
    targets. The batch is that of the whole optimizer step, over all ranks and micro-batches. If no target counts, the loss is 0
    (torch returns NaN).

    Args:
        label_smoothing: Share, from 0 to 1, of each target that is spread over all classes (Szegedy et al. 2016, "Rethinking
            the Inception architecture").
        weight: One number per class, at least 0.
        ignore_index: Targets of this value do not count, such as the border of masks (often 255). Absent: torch's default, -100.
            If there are targets of -100, set it: only then do several ranks divide by the weight of the targets of all ranks.

    Raises:
        ValueError: A parameter is out of range; in `forward`, the targets do not fit the logits.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        weight: list[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be between 0 and 1; got {label_smoothing}")
        if weight is not None and not min(weight, default=-1) >= 0:
            raise ValueError(f"weight must have one number per class, each at least 0; got {weight}")
        self.class_weight: Tensor | None
        self.register_buffer("class_weight", None if weight is None else torch.tensor(weight))
        self.ignore_index = TORCH_IGNORE_INDEX if ignore_index is None else ignore_index
        self.label_smoothing = label_smoothing
        if weight is not None or ignore_index is not None:
            self.weight = self.total_weight  # without it, the loss is a mean over samples, which costs nothing to combine

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits [B, C, ...] and targets."""
        as_probabilities = targets.is_floating_point() and targets.shape == outputs.shape
        weight = None if self.class_weight is None else check_one_per_output("weight", self.class_weight, outputs)
        if as_probabilities:
            return functional.cross_entropy(outputs, targets, weight, label_smoothing=self.label_smoothing)
        indices = class_indices(outputs, targets)
        ignored, smoothing = self.ignore_index, self.label_smoothing
        if outputs.device.type == "cpu":  # on a GPU, the check for NaN would wait for the device
            loss = functional.cross_entropy(outputs, indices, weight, ignore_index=ignored, label_smoothing=smoothing)
            if not math.isnan(loss.item()):
                return loss
        total = functional.cross_entropy(
            outputs, indices, weight, ignore_index=ignored, label_smoothing=smoothing, reduction="sum"
        )
        total_weight = self.total_weight(indices)
        return (total / total_weight.where(total_weight > 0, 1)).to(total.dtype)

    def total_weight(self, targets: Tensor) -> Tensor:
        """Return the sum of the weights of all targets that count, a scalar; probabilities count as one each."""
        if targets.is_floating_point():
            return torch.tensor(targets[:, 0].numel(), device=targets.device)
        indices = targets.long()
        kept = indices != self.ignore_index
        if self.class_weight is None:
            return kept.sum()
        return (self.class_weight.double()[indices.where(kept, 0)] * kept).sum()


class BinaryCrossEntropy(nn.Module):
    """Binary cross entropy of logits, computed by torch: the mean over all elements, and therefore over samples.

    Binary: one logit per sample ([B] or [B, 1]) or per pixel ([B, 1, H, W]), with targets from 0 to 1 of any dtype; the channel
    axis may be missing in either. Multi-label: one logit per class, logits and targets [B, C, ...].

    Args:
        pos_weight: Weight of positives, greater than 0; negatives have the weight 1. One number, or one number per label.

    Raises:
        ValueError: `pos_weight` is out of range; in `forward`, the targets do not fit the logits.
    """

    def __init__(self, pos_weight: float | list[float] | None = None) -> None:
        super().__init__()
        weights = pos_weight if isinstance(pos_weight, list) else [1.0 if pos_weight is None else pos_weight]
        if not min(weights, default=0) > 0:
            raise ValueError(f"pos_weight must be greater than 0; got {pos_weight}")
        self.pos_weight: Tensor | None
        self.register_buffer("pos_weight", None if pos_weight is None else torch.tensor(pos_weight))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits and targets."""
        if targets.device.type == "cpu":  # on a GPU, the check would wait for the device
            check_below(1, targets)
        weight = self.pos_weight
        if weight is not None:
            weight = weight.to(outputs.dtype) if weight.ndim == 0 else check_one_per_output("pos_weight", weight, outputs)
            weight = weight.view(-1, *[1] * (outputs.ndim - 2))  # [C, 1, ...]
        return functional.binary_cross_entropy_with_logits(outputs, class_numbers(outputs, targets), pos_weight=weight)


class KullbackLeibler(nn.Module):
    """Kullback-Leibler divergence from target probabilities: `sum(t * (log t - log p))` over classes.

    `p` is the softmax of logits [B, C, ...], `t` the targets. The loss is the mean over samples, and over pixels if there are any
    (torch's `batchmean` sums over pixels). The gradient equals that of the cross entropy with the same targets; the divergence is
    0 for a perfect prediction (Kullback and Leibler 1951, "On information and sufficiency").

    Targets are floats of the logits' shape, at least 0, with a sum of 1 over the classes. `forward` raises ValueError for others.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits and target probabilities."""
        if not targets.is_floating_point() or targets.shape != outputs.shape:
            got = f"{targets.dtype} {list(targets.shape)}"
            raise ValueError(f"outputs {list(outputs.shape)} require probabilities, floats of the same shape; got {got}")
        if targets.device.type == "cpu":  # on a GPU, the check would wait for the device
            check_distribution(targets)
        divergence = functional.kl_div(outputs.log_softmax(dim=1), targets.to(outputs.dtype), reduction="none")
        return divergence.sum(dim=1).mean()


def check_one_per_output(name: str, weights: Tensor, outputs: Tensor) -> Tensor:
    """Return weights [C] in the dtype of the outputs [B, C, ...]; outputs [B] count as one output.

    Raises ValueError for another number of weights.
    """
    n_outputs = 1 if outputs.ndim == 1 else outputs.shape[1]
    if len(weights) != n_outputs:
        raise ValueError(f"{name} must have one number for each of the {n_outputs} outputs of the model; got {len(weights)}")
    return weights.to(outputs.dtype)


def check_distribution(targets: Tensor) -> None:
    """Raise ValueError for targets [B, C, ...] that are not probabilities of classes."""
    total = targets.sum(dim=1)
    if targets.numel() and not (targets.amin() >= 0 and (total - 1).abs().amax() <= TOLERANCE):
        raise ValueError(
            "targets must be probabilities: at least 0, with a sum of 1 over the classes;"
            f" got a minimum of {targets.amin()}, and sums from {total.amin()} to {total.amax()}"
        )
