"""Gradients of an optimizer step: their mean over virtual shards, their scale, and a backward that adds zero.

Virtual shards: a smaller world takes the shards of the ranks that it lacks in turn, with bit-identical results.
"""

from collections.abc import Iterable
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import backward

from ddpkit.data.nested import tensors_in


@attrs.define
class GradientMean:
    """The mean over shards, as two ranks reach it in an all-reduce: each divides, then they add."""

    n_shards: int
    sums: dict[nn.Parameter, Tensor] = attrs.field(factory=dict)

    def take(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of a shard, and leave room for the next one's."""
        for parameter in parameters:
            if parameter.grad is not None:
                part = parameter.grad / self.n_shards
                self.sums[parameter] = self.sums[parameter] + part if parameter in self.sums else part
                parameter.grad = None

    def give(self) -> None:
        """Make the mean the gradient."""
        for parameter, mean in self.sums.items():
            parameter.grad = mean


def backward_nought(model: nn.Module, outputs: Any) -> None:
    """A backward that reaches what any does, and gives no parameter anything, be the outputs infinite."""
    reached = [each for each in tensors_in(outputs) if each.requires_grad]
    trained = [each for each in model.parameters() if each.requires_grad]
    hooks = [each.register_hook(torch.zeros_like) for each in trained]  # type: ignore[no-untyped-call]
    backward(reached, [torch.zeros_like(each) for each in reached])
    for hook in hooks:
        hook.remove()


def scaled(loss: Tensor, factor: float) -> Tensor:
    """`loss * factor`, which costs nothing where it changes nothing."""
    return loss if factor == 1 else loss * factor
