"""From a model's outputs to predictions."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


@hookimpl
def ddpkit_postprocesses() -> Iterator[Component]:
    """The postprocesses."""
    here = "ddpkit_plugins.postprocesses"
    yield Component("classification", f"{here}:classification", doc="logits to probabilities")
    yield Component("segmentation", f"{here}:segmentation", doc="logits of each pixel to probabilities")
    yield Component("binary_segmentation", f"{here}:binary_segmentation", doc="one logit a pixel to those of two classes")
    yield Component("multilabel", f"{here}:multilabel", doc="logits to a probability for each label")


def classification() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C] to probabilities [B, C] by softmax; one logit [B, 1] to those of two classes [B, 2] by sigmoid."""
    return probabilities


def segmentation() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C, H, W] to probabilities [B, C, H, W] by softmax; one logit as in binary_segmentation."""
    return probabilities


def binary_segmentation() -> "Callable[[Tensor], Tensor]":
    """One logit [B, 1, H, W] to the probabilities of two classes [B, 2, H, W] by sigmoid; two logits by softmax."""
    return probabilities


def multilabel() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C] to a probability for each label [B, C] by sigmoid."""
    return each_by_itself


def probabilities(outputs: "Tensor") -> "Tensor":
    """Of each class: float [B, C, ...] in 0..1, adding up to 1."""
    import torch  # noqa: PLC0415

    if outputs.shape[1] > 1:
        return outputs.softmax(dim=1)
    positive = outputs.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)


def each_by_itself(outputs: "Tensor") -> "Tensor":
    """Of each label: float [B, C] in 0..1."""
    return outputs.sigmoid()
