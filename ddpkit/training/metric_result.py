"""Results of an evaluation: the values for history, and the details of metrics.

This file does not import torch, so that the files of a run can be written and read without it.
"""

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen
class MetricResult:
    """Value of a metric over a split, and its details."""

    value: float
    per_class: Sequence[float] = ()
    """One number per class; NaN for a class that does not occur."""
    confusion: Sequence[Sequence[int]] = ()
    """Number of samples by class: rows are true classes, columns are predicted classes."""


@attrs.frozen
class EvaluationResult:
    """Losses and metrics of a split."""

    values: Mapping[str, float]
    """`loss`, loss terms and metrics, under their names in history."""
    metrics: Mapping[str, MetricResult]
    """Full results of the metrics, under the same names."""
    n_left_out: int = 0
    """Number of unreadable samples that were left out."""
