"""Output of a step. This file does not import torch, so that plugins that define a step are loaded fast."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs


@attrs.define
class StepOutput:
    """What a step returns for a micro-batch. A step that returns only losses need not create it."""

    losses: Any
    """Quantity to minimise, as the mean over the samples of the micro-batch: one scalar tensor; or `{optimizer name: scalar}` for
    `[[train.optimizer]]`; or the list that `context.criteria(outputs, targets)` returned. In evaluation also None: no loss."""
    outputs: Any = None
    """Outputs for the postprocess and the metrics; None: the step has none."""
    values: Mapping[str, Any] = MappingProxyType({})
    """Other scalars for the history, by the name of their column: means over the samples, without influence on the training."""
