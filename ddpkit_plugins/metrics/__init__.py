"""Metrics, under the names of the TOML. What they count, and what they say of nothing: docs/metrics.md."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """The metrics."""
    here = "ddpkit_plugins.metrics"
    yield Component("accuracy", f"{here}.classes:accuracy", doc="share of samples whose class was found")
    yield Component("top_k_accuracy", f"{here}.classes:top_k_accuracy", doc="share of samples whose class is among the best k")
    yield Component("precision", f"{here}.classes:precision", doc="share of what was found that is right")
    yield Component("recall", f"{here}.classes:recall", doc="share of what is there that was found")
    yield Component("f1", f"{here}.classes:f1", doc="harmonic mean of precision and recall")
    yield Component("specificity", f"{here}.classes:specificity", doc="share of what is not of a class that was not taken for it")
    yield Component("iou", f"{here}.classes:iou", doc="intersection over union (Jaccard), for segmentation")
    yield Component("dice", f"{here}.classes:dice", doc="overlap of masks, the same number as f1 over all pixels")
    yield Component("auc", f"{here}.areas:auc", doc="area under the receiver operating characteristic")
    yield Component("confusion_matrix", f"{here}.confusion:confusion_matrix", doc="how often which class was taken for which")
    library = "pycocotools>=2.0.8"
    yield Component("map", f"{here}.boxes:mean_average_precision", doc="mean average precision of boxes", requires=(library,))
