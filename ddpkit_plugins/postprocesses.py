"""From a model's outputs to predictions."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

BINARY = 2


@hookimpl
def ddpkit_postprocesses() -> Iterator[Component]:
    """The postprocesses."""
    here = "ddpkit_plugins.postprocesses"
    yield Component("classification", f"{here}:classification", doc="logits to probabilities")
    yield Component("binary_segmentation", f"{here}:binary_segmentation", doc="one or two logits a pixel to two probabilities")
    yield Component("segmentation", f"{here}:segmentation", doc="logits of each class a pixel to probabilities")
    yield Component("multilabel", f"{here}:multilabel", doc="logits to a probability of each label by itself")


def classification() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C] to probabilities [B, C] by softmax; one logit [B, 1] to those of two classes [B, 2] by sigmoid."""
    return probabilities


def binary_segmentation() -> "Callable[[Tensor], Tensor]":
    """Of background and foreground [B, 2, H, W]: from one logit [B, 1, H, W] by sigmoid, from two by softmax."""
    return of_two


def segmentation() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C, H, W] of two classes or more to probabilities [B, C, H, W] by softmax."""
    return of_classes


def multilabel() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C, ...] to probabilities of the same shape by sigmoid: a sample may have several labels, or none."""
    return of_labels


def probabilities(outputs: "Tensor") -> "Tensor":
    """Of each class: float [B, C, ...] in 0..1; one logit is that of the second of two classes."""
    import torch  # noqa: PLC0415

    if outputs.shape[1] > 1:
        return outputs.softmax(dim=1)
    positive = outputs.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)


def of_two(outputs: "Tensor") -> "Tensor":
    """Of each of two classes. Raises ValueError for more logits."""
    if outputs.shape[1] > BINARY:
        raise ValueError(f"binary_segmentation takes one or two logits a pixel ('segmentation' more), got {outputs.shape[1]}")
    return probabilities(outputs)


def of_classes(outputs: "Tensor") -> "Tensor":
    """Of each class. Raises ValueError for a single logit, whose softmax is always 1."""
    if outputs.shape[1] < BINARY:
        raise ValueError(f"segmentation takes a logit a class ('binary_segmentation' one alone), got {outputs.shape[1]}")
    return outputs.softmax(dim=1)


def of_labels(outputs: "Tensor") -> "Tensor":
    """Of each label by itself."""
    return outputs.sigmoid()
