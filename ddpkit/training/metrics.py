"""Metrics of a run: the input of each metric, and its result over all ranks."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import attrs
from torch import Tensor
from torchmetrics import Metric

from ddpkit.errors import ComponentName, component_errors, named_errors
from ddpkit.training.heads import Head, explain_mappings
from ddpkit.training.metric_result import MetricResult


@attrs.frozen
class MetricAdapter:
    """Metric, with the kind of input that it needs."""

    metric: Metric
    takes: Literal["labels", "logits"] | None = None
    """None = predictions of the postprocess; `labels` = the most probable class of the predictions (argmax over axis 1);
    `logits` = the model's outputs."""
    name: ComponentName | None = None
    """Name for messages."""
    higher_is_better: bool | None = None
    """Whether a higher value is better; None = not known."""

    @property
    def is_shown(self) -> bool:
        """Whether the terminal shows the value; False if the class of the metric sets `is_shown = False`."""
        return bool(getattr(self.metric, "is_shown", True))

    def update(self, outputs: Any, predictions: Any, targets: Any) -> None:
        """Update the metric with a micro-batch of this rank."""
        given = outputs if self.takes == "logits" else predictions
        with named_errors(self.name):
            self.metric.update(given.max(dim=1).indices if self.takes == "labels" else given, targets)

    def sanity_check(self, outputs: Any, predictions: Any, targets: Any) -> None:
        """Update the metric with a trial micro-batch. A ValueError of the metric is prefixed with its name."""
        with component_errors(self.name), explain_mappings(predictions, targets):
            self.update(outputs, predictions, targets)

    def compute(self) -> MetricResult:
        """Return the result over all ranks, and reset the metric. Every rank must call it."""
        with named_errors(self.name), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was called before the ``update``")  # a rank without samples
            computed = self.metric.compute()
            self.metric.reset()
            return to_metric_result(computed)


@attrs.frozen
class HeadMetric(MetricAdapter):
    """Metric of a model with several heads: it gets one of them or, without a `head`, all outputs and targets."""

    head: Head | None = None

    def update(self, outputs: Any, predictions: Mapping[str, Any], targets: Any) -> None:
        """Update the metric with a micro-batch of this rank; `predictions`: those of `HeadPostprocess`."""
        if self.head:
            outputs, targets = self.head.select(outputs, targets)
        super().update(outputs, predictions.get(self.head.name if self.head else ""), targets)


def to_metric_result(computed: Tensor | Mapping[str, Tensor]) -> MetricResult:
    """Convert a result of torchmetrics: one number, or a mapping whose first value is the number.

    The mapping may also have `per_class` [C] and `confusion` [C, C]. Raises TypeError for anything else.
    """
    if not isinstance(computed, Mapping):
        return MetricResult(to_number(computed))
    per_class = computed["per_class"].reshape(-1).tolist() if "per_class" in computed else ()
    confusion = computed["confusion"].tolist() if "confusion" in computed else ()
    return MetricResult(to_number(next(iter(computed.values()), None)), per_class, confusion)


def to_number(value: Any) -> float:
    """Return a tensor with one element, or a number, as a float. Raises TypeError for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor with several elements raises RuntimeError
        given = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        message = f"compute() must return one number, or a mapping whose first value is one number; got {given}"
        raise TypeError(message) from error
