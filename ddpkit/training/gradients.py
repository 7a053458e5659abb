"""Gradients of an optimizer step: mean over ranks or virtual shards, several losses, clipping, and zero gradients.

Virtual shards: if there are fewer ranks than shards, a rank processes several shards in turn. The results are bit-identical.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.optim import Optimizer

from ddpkit.data.nested import iterate_tensors
from ddpkit.distributed.world import World


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
    if optimizer.__class__.zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Average the gradients over all ranks, for a backward without DDP. Every rank must call it.

    A parameter that has no gradient on any rank keeps none, so its optimizer leaves it unchanged, as with one rank.
    """
    by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for group in by_dtype.values():
        average_group(group, world)


def average_group(parameters: Sequence[nn.Parameter], world: World) -> None:
    """Average the gradients of parameters with the same dtype, with one collective."""
    flags = torch.tensor([each.grad is not None for each in parameters], dtype=parameters[0].dtype, device=world.device)
    parts = [torch.zeros_like(each) if each.grad is None else each.grad / world.size for each in parameters]
    total = world.sum(torch.cat([*(part.flatten() for part in parts), flags]))
    *means, counts = torch.split(total, [*(each.numel() for each in parameters), len(parameters)])
    for number, (parameter, mean) in enumerate(zip(parameters, means, strict=True)):
        if parameter.grad is not None or counts[number]:  # reads the device only for a parameter without a gradient
            parameter.grad = mean.view_as(parameter)


def backward_each(
    losses: Mapping[str, Tensor], parameters: Mapping[str, Sequence[nn.Parameter]], backward: Callable[..., None]
) -> None:
    """Add the gradient of each loss to the parameters of its optimizer, and only to these.

    `backward`: function with the parameters of torch's.
    """
    trained = {name: [each for each in parameters[name] if each.requires_grad] for name in losses}
    names = [name for name in losses if trained[name]]
    for name in names:
        backward(losses[name], inputs=trained[name], retain_graph=name != names[-1])


@contextlib.contextmanager
def keep_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Keep the gradients as they are; a parameter without a gradient gets zeros if the context adds a gradient to it."""
    before = {each: each.grad for each in parameters if each.requires_grad}
    for each in before:
        each.grad = None
    yield
    for each, gradient in before.items():
        each.grad = gradient if gradient is not None or each.grad is None else torch.zeros_like(each)


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
