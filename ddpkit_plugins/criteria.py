"""Losses."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """The losses."""
    yield Component(
        "cross_entropy", "ddpkit_plugins.criteria:cross_entropy", doc="of logits [B, C, ...] and class indices [B, ...]"
    )


def cross_entropy(label_smoothing: float = 0.0) -> "nn.Module":
    """Torch's cross entropy: the mean over the micro-batch.

    Args:
        label_smoothing: 0..1, how much of each target is spread over all classes (Szegedy et al. 2016, "Rethinking the
            Inception architecture").
    """
    from torch import nn  # noqa: PLC0415 - heavy, and wanted by runs alone

    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is between 0 and 1, got {label_smoothing}")
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
