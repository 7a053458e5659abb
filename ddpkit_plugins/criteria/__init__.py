"""Losses: declared here, one file a family."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """The losses."""
    here = "ddpkit_plugins.criteria"
    yield Component("cross_entropy", f"{here}.entropy:CrossEntropy", doc="of logits [B, C, ...] and class indices [B, ...]")
    yield Component("bce", f"{here}.entropy:BinaryCrossEntropy", doc="of logits and 0 or 1 each: binary, or multi-label")
    yield Component("dice", f"{here}.dice:Dice", doc="1 - overlap of predicted and true masks, for segmentation")
    yield Component("mse", f"{here}.regression:MeanSquaredError", doc="mean of squared differences")
    yield Component("l1", f"{here}.regression:MeanAbsoluteError", doc="mean of absolute differences")
    yield Component("smooth_l1", f"{here}.regression:SmoothL1", doc="absolute differences, squared where small (Huber)")
