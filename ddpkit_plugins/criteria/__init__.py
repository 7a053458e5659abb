"""Losses: declared here, one module per family."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """Yield the built-in losses."""
    here = "ddpkit_plugins.criteria"
    yield Component(
        "cross_entropy",
        f"{here}.entropy:CrossEntropy",
        doc="for logits [B, C, ...] and class indices [B, ...]",
        binary_outputs=2,
        draws=(),
    )
    yield Component(
        "bce",
        f"{here}.entropy:BinaryCrossEntropy",
        doc="for logits and targets of 0 or 1: binary, or multi-label",
        binary_outputs=1,
        draws=(),
    )
    yield Component(
        "focal", f"{here}.focal:Focal", doc="cross entropy with less weight on easy samples, for rare classes", draws=()
    )
    yield Component("kl", f"{here}.entropy:KullbackLeibler", doc="divergence from target probabilities [B, C, ...]", draws=())
    yield Component("dice", f"{here}.overlap:Dice", doc="1 - Dice coefficient of predicted and true masks", draws=())
    yield Component(
        "tversky", f"{here}.overlap:Tversky", doc="Dice loss with separate weights for false positives and negatives", draws=()
    )
    yield Component("jaccard", f"{here}.overlap:Jaccard", doc="1 - IoU of predicted and true masks", draws=())
    yield Component("mse", f"{here}.regression:MeanSquaredError", doc="mean of squared differences", draws=())
    yield Component("l1", f"{here}.regression:MeanAbsoluteError", doc="mean of absolute differences", draws=())
    yield Component(
        "smooth_l1", f"{here}.regression:SmoothL1", doc="absolute differences, squared if they are small (Huber)", draws=()
    )
