"""Training steps."""

from collections.abc import Iterator
from typing import Any

from ddpkit import Component, StepOutput, hookimpl


@hookimpl
def ddpkit_steps() -> Iterator[Component]:
    """Yield the built-in step."""
    yield Component("supervised", f"{__name__}:Supervised", doc="the criteria of the model's outputs and the targets", draws=())


class Supervised:
    """The model computes outputs from the images; the criteria compare them with the targets.

    Without `[[criterion]]`, the model computes its losses itself in training, from images and targets.
    """

    def __call__(self, context: Any, images: Any, targets: Any) -> StepOutput:
        """Return the terms of the criteria, and the outputs."""
        outputs = context.model(*context.criteria.inputs(images, targets))
        return StepOutput(context.criteria(outputs, targets), outputs)
