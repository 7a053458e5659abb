"""Optimizers of a run, each with its parameters, its learning-rate schedule and its limit of the gradient norm.

A run has one optimizer for all parameters, or several, each for a part of them. The training loop uses several as one: the
joined objects of this file have the methods of a single optimizer and of a single schedule.
"""

from collections.abc import Sequence
from typing import Any

import attrs
from torch import nn
from torch.optim import Optimizer

from ddpkit.errors import ComponentName, add_component_note
from ddpkit.training.gradients import Clipping, clear_gradients
from ddpkit.training.lr_schedule import LRSchedule


@attrs.frozen(kw_only=True)
class Optimization:
    """Optimizer with everything that belongs to it."""

    name: str = ""
    """Name of the `[[train.optimizer]]`; empty for the only optimizer of `[train.optimizer]`."""
    optimizer: Optimizer
    parameters: Sequence[nn.Parameter] = ()
    """Parameters of the optimizer, which a loss of its own trains."""
    lr_schedule: LRSchedule
    clipping: Clipping | None = None
    """Limit of the gradient norm; None: the norm is not needed."""
    component: ComponentName | None = None
    """Name of the optimizer's component, for messages."""


@attrs.define(slots=False, eq=False)  # the precision sets an attribute of an optimizer
class JoinedOptimizer:
    """Several optimizers as one.

    A loss scaler that gets this object skips the step of all optimizers if a gradient of any of them overflowed.
    """

    parts: Sequence[Optimization]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all optimizers, in order. Each optimizer replaces its own when its state is loaded."""
        return [group for each in self.parts for group in each.optimizer.param_groups]

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        for each in self.parts:
            clear_gradients(each.optimizer)

    def step(self) -> None:
        """Make a step of each optimizer, in order."""
        for each in self.parts:
            try:
                each.optimizer.step()
            except Exception as error:
                add_component_note(error, each.component)
                raise


@attrs.frozen
class JoinedSchedule:
    """Several learning-rate schedules as one."""

    parts: Sequence[Optimization]

    def end_step(self) -> None:
        """Make an update of each schedule whose updates are optimizer steps."""
        for each in self.parts:
            each.lr_schedule.end_step()

    def end_epoch(self, loss: float) -> None:
        """Make an update of each schedule whose updates are epochs; `loss` as in `LRSchedule.end_epoch`."""
        for each in self.parts:
            each.lr_schedule.end_epoch(loss)

    def rate(self) -> dict[str, float]:
        """Return the learning rate of each optimizer in the next step, by its name."""
        return {each.name: each.lr_schedule.rate() for each in self.parts}


def join_optimizers(parts: Sequence[Optimization]) -> Optimizer | JoinedOptimizer:
    """Return the only optimizer of a run without names, or several as one."""
    return JoinedOptimizer(parts) if parts[0].name else parts[0].optimizer


def join_schedules(parts: Sequence[Optimization]) -> LRSchedule | JoinedSchedule:
    """Return the only schedule of a run without names, or several as one."""
    return JoinedSchedule(parts) if parts[0].name else parts[0].lr_schedule
