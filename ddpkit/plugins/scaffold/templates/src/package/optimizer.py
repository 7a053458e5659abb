"""Optimizer: the change of the parameters in a step."""

from collections.abc import Iterable
from typing import Any

import torch


class Signum(torch.optim.Optimizer):
    """Steps by the sign of the momentum (Bernstein et al. 2018, "signSGD").

    The momentum is in `self.state`, so checkpoints contain it, and a resumed run gives
    the same result.

    Args:
        params: Parameters to train; passed by the run.
        lr: Size of a step; the key `learning_rate` of the TOML.
        momentum: Weight of the earlier gradients, at least 0 and less than 1.
        weight_decay: Decrease of each parameter in a step, relative to `lr`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group)

    def update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        """Change one parameter."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(group["lr"] * state["momentum"].sign())
