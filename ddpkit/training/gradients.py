"""Gradients of an optimizer step: mean over virtual shards, clipping, and a backward with zero gradients.

Virtual shards: if there are fewer ranks than shards, a rank processes several shards in turn. The results are bit-identical.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.optim import Optimizer

from ddpkit.data.nested import iterate_tensors


@attrs.define
class GradientMean:
    """Mean of the gradients over shards. As in the all-reduce of two ranks, each gradient is divided before it is added."""

    n_shards: int
    sums: dict[nn.Parameter, Tensor] = attrs.field(factory=dict)

    def accumulate(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of a shard, and clear them for the next shard."""
        for parameter in parameters:
            if parameter.grad is not None:
                part = parameter.grad / self.n_shards
                self.sums[parameter] = self.sums[parameter] + part if parameter in self.sums else part
                parameter.grad = None

    def apply(self) -> None:
        """Set the gradient of each parameter to the mean."""
        for parameter, mean in self.sums.items():
            parameter.grad = mean


@attrs.frozen
class Clipping:
    """Limit of the norm of the gradient of some parameters."""

    parameters: Sequence[nn.Parameter]
    max_norm: float
    """Maximum norm; infinite: the norm is only computed, to find gradients that are not finite."""


def clear_gradients(optimizer: Any) -> None:
    """Clear the gradients as `optimizer.zero_grad()` does, without its profiler record, which costs more than a small layer."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def backward_with_zero_grad(model: nn.Module, outputs: Any, terms: Sequence[Tensor]) -> None:
    """Run backward with zero gradients, so that DDP's hooks run for every parameter that a normal backward reaches.

    The collectives of the criteria run too. Every gradient in the model is exactly zero, even if the outputs or the loss terms
    are infinite or NaN.
    """
    reached = [each for each in iterate_tensors(outputs) if each.requires_grad]
    trained = [each for each in model.parameters() if each.requires_grad]
    # Zero gradients at the loss terms are not enough: 0 * inf is NaN.
    hooks = [each.register_hook(torch.zeros_like) for each in [*reached, *trained]]  # type: ignore[no-untyped-call]
    roots = [*reached, *(each for each in terms if each.requires_grad)]
    backward(roots, [torch.zeros_like(each) for each in roots])
    for hook in hooks:
        hook.remove()
