"""From a model's outputs to predictions."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


@hookimpl
def ddpkit_postprocesses() -> Iterator[Component]:
    """The postprocesses."""
    yield Component("classification", "ddpkit_plugins.postprocesses:classification", doc="logits to probabilities")


def classification() -> "Callable[[Tensor], Tensor]":
    """Logits [B, C] to probabilities [B, C] by softmax; one logit [B, 1] to those of two classes [B, 2] by sigmoid."""
    return probabilities


def probabilities(outputs: "Tensor") -> "Tensor":
    """Of each class: float [B, C] in 0..1."""
    import torch  # noqa: PLC0415

    if outputs.shape[1] > 1:
        return outputs.softmax(dim=1)
    positive = outputs.sigmoid()
    return torch.cat([1 - positive, positive], dim=1)
