"""Losses: declared here; those that torch does not have as they are, are in `losses.py`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """The losses."""
    here = "ddpkit_plugins.criteria"
    yield Component("cross_entropy", f"{here}.losses:CrossEntropy", doc="of logits [B, C, ...] and class indices [B, ...]")
    yield Component("bce", f"{here}.losses:BinaryCrossEntropy", doc="of logits and targets 0 or 1, one each")
    yield Component("dice", f"{here}.losses:Dice", doc="1 - overlap of masks, two classes by one logit or several by softmax")
    yield Component("mse", f"{here}:mse", doc="mean of squared differences")
    yield Component("l1", f"{here}:l1", doc="mean of absolute differences")
    yield Component("smooth_l1", f"{here}:smooth_l1", doc="squared near zero, absolute beyond beta")


def mse() -> "nn.Module":
    """The mean of `(output - target)^2`; both of one shape."""
    from torch import nn  # noqa: PLC0415 - heavy, and wanted by runs alone

    return nn.MSELoss()


def l1() -> "nn.Module":
    """The mean of `|output - target|`; both of one shape."""
    from torch import nn  # noqa: PLC0415

    return nn.L1Loss()


def smooth_l1(beta: float = 1.0) -> "nn.Module":
    """The mean of `d^2 / (2 beta)` where `d = |output - target|` is below `beta`, else of `d - beta / 2` (Girshick 2015).

    Args:
        beta: Above 0.
    """
    from torch import nn  # noqa: PLC0415

    if beta <= 0:
        raise ValueError(f"beta is above 0, got {beta}")
    return nn.SmoothL1Loss(beta=beta)
