"""The metrics of a run: what each is given, and its one number over all ranks."""

import warnings
from typing import Literal

import attrs
import torch
from torch import Tensor
from torchmetrics import Metric


@attrs.frozen
class Measure:
    """A metric and what it takes."""

    metric: Metric
    takes: Literal["labels", "logits"] | None = None
    """None = the postprocess's predictions; `labels` = the most probable class; `logits` = the model's outputs."""

    def update(self, outputs: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Take in a micro-batch of this rank."""
        given = outputs if self.takes == "logits" else predictions
        self.metric.update(torch.argmax(given, dim=1) if self.takes == "labels" else given, targets)

    def value(self) -> float:
        """Over all ranks, which must all call this; the metric begins anew."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was called before the ``update``")  # a rank without samples
            value = float(self.metric.compute())
        self.metric.reset()
        return value
