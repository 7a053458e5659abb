"""The moving average of a model's weights (`train.ema_decay`)."""

import copy
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn


@attrs.define
class MovingAverage:
    """A second model that follows the first: after each step, `average = decay * average + (1 - decay) * weights`.

    At the beginning the decay is smaller, `(1 + n) / (10 + n)` in the n-th step, else a short run's average would be little
    but the weights that it began with (TensorFlow's ExponentialMovingAverage, `num_updates`).
    """

    model: nn.Module
    decay: float
    updates: int = 0
    """Steps that it followed."""

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> "MovingAverage":
        """A copy of the model as it is now."""
        return cls(copy.deepcopy(model), decay)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, and how many steps they followed."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        self.updates = state["updates"]
        self.model.load_state_dict(state["model"])

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of a step, and the running statistics; what is no float is copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = list(zip(tensors(self.model), tensors(model), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [theirs for _, theirs in floats], 1 - decay)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)


def tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*model.parameters(), *model.buffers()]
