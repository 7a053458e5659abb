"""Losses of probabilities."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpkit_plugins.targets import class_indices, numbers, refuse_above

TOLERANCE = 1e-2
"""By which the sum of probabilities may miss 1: as much as 16-bit numbers do."""


class CrossEntropy(nn.Module):
    """Torch's cross entropy of logits [B, C, ...]: the mean over samples, and over pixels if there are any.

    Targets are class indices [B, ...] or [B, 1, ...] of any integer type, or probabilities, floats of the logits' shape.
    With `weight` or ignored targets it is a weighted mean, as torch has it: the sum over a micro-batch divided by the
    weights of the targets that it holds; 0 if there are none, where torch has NaN. It is then not a mean over samples, and
    ranks or micro-batches that hold unlike targets give a slightly other gradient than one batch of all.

    Args:
        label_smoothing: 0..1, how much of each target is spread over all classes (Szegedy et al. 2016, "Rethinking the
            Inception architecture").
        weight: One number a class, 0 or more.
        ignore_index: Targets of this value do not count, as the border of masks (often 255).
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        weight: list[float] | None = None,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing is between 0 and 1, got {label_smoothing}")
        if weight is not None and not min(weight, default=-1) >= 0:
            raise ValueError(f"weight holds one number a class, 0 or more; got {weight}")
        self.weight: Tensor | None
        self.register_buffer("weight", None if weight is None else torch.tensor(weight))
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C, ...] and targets to a scalar."""
        as_probabilities = targets.is_floating_point() and targets.shape == outputs.shape
        weight = None if self.weight is None else one_an_output("weight", self.weight, outputs)
        if as_probabilities:
            return functional.cross_entropy(outputs, targets, weight, label_smoothing=self.label_smoothing)
        wanted = class_indices(outputs, targets)
        total = functional.cross_entropy(
            outputs, wanted, weight, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, reduction="sum"
        )
        counts = self.counted(wanted, weight)
        return total / counts.where(counts > 0, 1)

    def counted(self, wanted: Tensor, weight: Tensor | None) -> Tensor:
        """The weights of all targets that count, a scalar."""
        kept = wanted != self.ignore_index
        return kept.sum() if weight is None else (weight[wanted.where(kept, 0)] * kept).sum()


class BinaryCrossEntropy(nn.Module):
    """Torch's binary cross entropy with logits: the mean over all elements, and so over samples.

    One logit a sample ([B] or [B, 1]) or pixel ([B, 1, H, W]) with targets 0 to 1 of any type, the axis of one channel
    given or not; or one a class (multi-label), logits and targets [B, C, ...].

    Args:
        pos_weight: How much a positive counts, negatives count 1; one number, or one a label.
    """

    def __init__(self, pos_weight: float | list[float] | None = None) -> None:
        super().__init__()
        weights = pos_weight if isinstance(pos_weight, list) else [1.0 if pos_weight is None else pos_weight]
        if not min(weights, default=0) > 0:
            raise ValueError(f"pos_weight is above 0, got {pos_weight}")
        self.pos_weight: Tensor | None
        self.register_buffer("pos_weight", None if pos_weight is None else torch.tensor(pos_weight))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets to a scalar."""
        if targets.device.type == "cpu":  # a GPU would be waited for
            refuse_above(1, targets)
        weight = self.pos_weight
        if weight is not None:
            weight = weight.to(outputs.dtype) if weight.ndim == 0 else one_an_output("pos_weight", weight, outputs)
            weight = weight.view(-1, *[1] * (outputs.ndim - 2))  # [C, 1, ...]
        return functional.binary_cross_entropy_with_logits(outputs, numbers(outputs, targets), pos_weight=weight)


class KullbackLeibler(nn.Module):
    """Divergence of the softmax of logits [B, C, ...] from target probabilities: `sum(t * (log t - log p))` over classes.

    The mean over samples, and over pixels if there are any (torch's `batchmean` sums over pixels). Cross entropy of the same
    targets has the same gradient; the divergence is 0 where the model is right (Kullback and Leibler 1951, "On information and
    sufficiency").

    Targets are floats of the logits' shape, 0 or more, 1 in sum over the classes.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits and probabilities to a scalar."""
        if not targets.is_floating_point() or targets.shape != outputs.shape:
            got = f"{targets.dtype} {list(targets.shape)}"
            raise ValueError(f"outputs {list(outputs.shape)} want probabilities, floats of that shape; got {got}")
        if targets.device.type == "cpu":  # a GPU would be waited for
            refuse_no_distribution(targets)
        divergence = functional.kl_div(outputs.log_softmax(dim=1), targets.to(outputs.dtype), reduction="none")
        return divergence.sum(dim=1).mean()


def one_an_output(name: str, weights: Tensor, outputs: Tensor) -> Tensor:
    """Weights [C] in the dtype of the outputs [B, C, ...]; [B] is one output. Raises ValueError for another number."""
    n_outputs = 1 if outputs.ndim == 1 else outputs.shape[1]
    if len(weights) != n_outputs:
        raise ValueError(f"{name} holds one number an output of the model, of which there are {n_outputs}; got {len(weights)}")
    return weights.to(outputs.dtype)


def refuse_no_distribution(targets: Tensor) -> None:
    """ValueError for targets [B, C, ...] that are not probabilities of classes."""
    total = targets.sum(dim=1)
    if targets.numel() and not (targets.amin() >= 0 and (total - 1).abs().amax() <= TOLERANCE):
        raise ValueError(
            f"targets are probabilities, which add up to 1 over the classes; got {targets.amin()} and more,"
            f" and sums from {total.amin()} to {total.amax()}"
        )
