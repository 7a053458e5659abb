"""Learning-rate schedule: the learning rate of each step."""

import torch
from torch.optim.lr_scheduler import LRScheduler


class Polynomial(LRScheduler):
    """Decay to 0 along a power of the remaining steps.

    ddpkit does the warm-up itself, before the first step of the schedule.

    Args:
        optimizer: Optimizer; passed by the run.
        total_steps: Number of steps of the schedule; passed by the run.
        power: Exponent; 1 is a linear decay.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        power: float = 0.9,
    ) -> None:
        self.total_steps, self.power = total_steps, power
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rate of each parameter group."""
        left = max(0.0, 1 - self.last_epoch / self.total_steps)
        return [rate * left**self.power for rate in self.base_lrs]
