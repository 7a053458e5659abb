"""The metrics of a run: what each is given, and its one number over all ranks."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import torch
from torch import Tensor
from torchmetrics import Metric

from ddpkit.errors import refusals
from ddpkit.training.metric_result import Score


@attrs.frozen
class Measure:
    """A metric and what it takes."""

    metric: Metric
    takes: Literal["labels", "logits"] | None = None
    """None = the postprocess's predictions; `labels` = the most probable class; `logits` = the model's outputs."""

    def update(self, outputs: Any, predictions: Any, targets: Any) -> None:
        """Take in a micro-batch of this rank."""
        given = outputs if self.takes == "logits" else predictions
        self.metric.update(torch.argmax(given, dim=1) if self.takes == "labels" else given, targets)

    def rehearse(self, name: str, outputs: Any, predictions: Any, targets: Any) -> None:
        """Take in a micro-batch that is forgotten. Raises ValueError, with the metric's name, for what it refuses."""
        with refusals(f"metric {name!r}"):
            self.update(outputs, predictions, targets)

    def value(self) -> Score:
        """Over all ranks, which must all call this; the metric begins anew."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was called before the ``update``")  # a rank without samples
            score = score_of(self.metric.compute())
        self.metric.reset()
        return score


def score_of(computed: Tensor | Mapping[str, Tensor]) -> Score:
    """A metric's result: one number, or a mapping whose first value is the number and that may have the parts of a `Score`."""
    if not isinstance(computed, Mapping):
        return Score(computed)
    score = Score(next(iter(computed.values())))
    if "per_class" in computed:
        score.per_class = computed["per_class"].reshape(-1).tolist()
    if "confusion" in computed:
        score.confusion = computed["confusion"].tolist()
    return score
