"""Exponential moving average of the weights of a model (`train.ema_decay`)."""

import copy
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn


@attrs.define
class EMA:
    """Second model with averaged weights: after each step, `average = decay * average + (1 - decay) * weights`.

    At the beginning the decay is smaller, `(1 + n) / (10 + n)` in the n-th step; otherwise the average of a short run would
    consist mainly of the initial weights (as in TensorFlow's ExponentialMovingAverage with `num_updates`).

    `torch.optim.swa_utils.AveragedModel` gives bit-identical results, but would not need less code: its counter must start at 1,
    because its first update copies the weights, and its averaging function must compute our decay and copy the tensors that
    are not floating-point. It also ignores tensors that only one of the two models has.
    """

    model: nn.Module
    decay: float
    updates: int = 0
    """Number of steps that the average includes; `n` above."""

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> "EMA":
        """Start with a copy of the model."""
        return cls(copy.deepcopy(model), decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates. Existing checkpoints have this format, so it must not change."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.updates = state["updates"]
        self.model.load_state_dict(state["model"])

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Include the weights and buffers of `model` after a step. Integer tensors, such as counters, are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = list(zip(all_tensors(self.model), all_tensors(model), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [current for _, current in floats], 1 - decay)
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)


def all_tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
