"""Metrics, under the names of the TOML. Definitions and results for empty classes: docs/metrics.md."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """Yield the built-in metrics."""
    here = "ddpkit_plugins.metrics"
    yield Component(
        "accuracy", f"{here}.stat_scores:accuracy", doc="share of samples whose class is predicted correctly", draws=()
    )
    yield Component(
        "top_k_accuracy", f"{here}.stat_scores:top_k_accuracy", doc="share of samples whose class is among the top k", draws=()
    )
    yield Component("precision", f"{here}.stat_scores:precision", doc="share of predicted positives that are correct", draws=())
    yield Component("recall", f"{here}.stat_scores:recall", doc="share of actual positives that are found", draws=())
    yield Component("f1", f"{here}.stat_scores:f1", doc="harmonic mean of precision and recall", draws=())
    yield Component("specificity", f"{here}.stat_scores:specificity", doc="true negative rate: TN / (TN + FP)", draws=())
    yield Component("iou", f"{here}.stat_scores:iou", doc="intersection over union (Jaccard), for segmentation", draws=())
    yield Component("dice", f"{here}.stat_scores:dice", doc="overlap of masks; equals f1 over all pixels", draws=())
    yield Component("auc", f"{here}.auroc:auc", doc="area under the receiver operating characteristic", draws=())
    yield Component(
        "confusion_matrix",
        f"{here}.confusion_matrix:confusion_matrix",
        doc="number of samples for each pair of true and predicted class",
        draws=(),
    )
    library = "pycocotools>=2.0.8"
    yield Component(
        "map", f"{here}.mean_ap:mean_average_precision", doc="mean average precision of boxes", requires=(library,), draws=()
    )
