"""Step: the loss of a micro-batch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from ddpkit import StepOutput


class Consistency:
    """The criteria, plus a loss for outputs that change if the images get noise.

    ddpkit runs the backward, averages the gradients over the ranks and makes the
    optimizer steps. It also calls the step in evaluation, without gradients.

    Args:
        weight: Weight of the second loss.
        noise: Standard deviation of the noise.
    """

    def __init__(self, weight: float = 1.0, noise: float = 0.1) -> None:
        self.weight, self.noise = weight, noise

    def __call__(
        self,
        context: Any,
        images: torch.Tensor,
        targets: torch.Tensor,
    ) -> StepOutput:
        """Return the loss [], the logits [B, n_classes], and a value for the history.

        Args:
            context: The model, the criteria and random numbers of the run.
            images: Images [B, C, H, W] on the device.
            targets: Targets of these images on the device.
        """
        outputs = context.model(images)
        # one generator for each sample: the numbers do not depend on the number of ranks
        noise = context.draw("noise", partial(draw_noise, images.shape[1:]))
        changed = context.model(images + self.noise * noise)
        difference = (changed - outputs).square().mean()
        loss = context.loss(outputs, targets) + self.weight * difference
        return StepOutput(loss, outputs, values={"difference": difference})


def draw_noise(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return noise for one image."""
    return torch.randn(shape, generator=generator)
