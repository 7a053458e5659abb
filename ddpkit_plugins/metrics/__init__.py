"""Metrics: torchmetrics, under the names of the TOML."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """The metrics."""
    here = "ddpkit_plugins.metrics.classes"
    yield Component("accuracy", f"{here}:accuracy", doc="share of samples whose class was found")
    yield Component("precision", f"{here}:precision", doc="share of what was found that is right")
    yield Component("recall", f"{here}:recall", doc="share of what is there that was found")
    yield Component("f1", f"{here}:f1", doc="harmonic mean of precision and recall")
    yield Component("specificity", f"{here}:specificity", doc="share of what is not of a class that was not taken for it")
    yield Component("auc", f"{here}:auc", doc="area under the receiver operating characteristic")
    yield Component("iou", f"{here}:iou", doc="intersection over union (Jaccard), for segmentation")
    yield Component("dice", f"{here}:dice", doc="overlap of masks, the same number as f1 over all pixels")
