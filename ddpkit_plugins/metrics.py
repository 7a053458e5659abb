"""Metrics: torchmetrics, under the names of the TOML."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torchmetrics import Metric


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """The metrics."""
    yield Component("accuracy", "ddpkit_plugins.metrics:accuracy", doc="share of samples whose class was found")


def accuracy(n_classes: int, average: Literal["micro", "macro"] = "micro", top_k: int = 1) -> "Metric":
    """Share of samples whose class is among the `top_k` most probable.

    Args:
        n_classes: How many classes there are; given by the run. One output tells two classes apart.
        average: `micro` = over samples, `macro` = over classes, each as much.
        top_k: From 1.
    """
    from torchmetrics.classification import MulticlassAccuracy  # noqa: PLC0415 - heavy, and wanted by runs alone

    if not 1 <= top_k <= max(n_classes, 2):
        raise ValueError(f"top_k is 1 to the number of classes, {n_classes}; got {top_k}")
    return MulticlassAccuracy(max(n_classes, 2), average=average, top_k=top_k)
