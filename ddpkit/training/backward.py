"""Backward of a micro-batch: of one loss, of one loss for each optimizer, or with zero gradients for a padding sample."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from torch import Tensor, nn

from ddpkit.training.gradients import backward_each, backward_with_zero_grad, keep_gradients
from ddpkit.training.precision import Precision
from ddpkit.training.step_losses import RunLosses, StepLosses


@attrs.define
class Backward:
    """Adds the gradients of a micro-batch to those of the optimizer step."""

    model: nn.Module
    losses: RunLosses
    precision: Precision
    parameters: Mapping[str, Sequence[nn.Parameter]]
    """Parameters of each optimizer, by its name."""
    several: StepLosses | None = attrs.field(init=False)
    """`losses`, if each optimizer has its own."""

    def __attrs_post_init__(self) -> None:
        self.several = self.losses if isinstance(self.losses, StepLosses) and self.losses.optimizers else None

    def add(self, terms: Sequence[Tensor], factor: Any) -> None:
        """Add the gradients of the loss terms; `factor`: share of the micro-batch in the optimizer step, see `scaled_loss`."""
        if self.several is None:
            self.precision.backward(self.losses.scaled_loss(terms, factor))
        else:
            backward_each(self.several.scaled_losses(terms, factor), self.parameters, self.precision.backward)

    def add_zeros(self, outputs: Any, terms: Sequence[Tensor], factor: Any) -> None:
        """Run the backward of a padding sample, which leaves the gradients unchanged.

        The rank has no sample of its own, but all ranks must join the collectives, also those of the criteria. The gradient is
        zero even if the outputs are infinite or NaN.
        """
        if self.losses.uses_ddp:
            backward_with_zero_grad(self.model, outputs, terms)
            return
        with keep_gradients(self.model.parameters()):
            self.add(terms, factor)
