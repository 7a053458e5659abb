"""BatchNorm over all ranks (`ddp.sync_batchnorm`): every layer normalises with the statistics of the whole micro-batch."""

from typing import Any

import attrs
import torch
import torch.distributed
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


@attrs.define
class Counted:
    """What part of the micro-batch in hand counts. The engine sets it before each forward of training."""

    n_real: int | None = None
    """The first so many samples of this rank; None = all. 0: it repeats a sample of another rank."""
    everywhere: bool = True
    """Every rank has a sample of its own."""


def synchronise(model: nn.Module, counted: Counted, device: torch.device) -> nn.Module:
    """The model with its BatchNorm layers made into such as share their statistics; parameters keep their names."""
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    for layer in model.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            # Torch's conversion made the layer; ours is a class without state of its own but `counted`.
            layer.__class__ = OnCuda if device.type == "cuda" else OnCpu  # type: ignore[assignment]
            layer.counted = counted  # type: ignore[assignment]
    return model


class OnCuda(nn.SyncBatchNorm):
    """Torch's own layer, but where it would count a repeated sample."""

    counted: Counted

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[B, C, ...] -> the same shape."""
        if self.training and not self.counted.everywhere:
            return normalised(self, input, self.counted)
        return super().forward(input)


class OnCpu(_BatchNorm):
    """The same arithmetic in plain torch, since torch's layer refuses the CPU."""

    counted: Counted

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Any: the channels are the second axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[B, C, ...] -> the same shape."""
        return normalised(self, input, self.counted) if self.training else super().forward(input)


def normalised(layer: _BatchNorm, images: Tensor, counted: Counted) -> Tensor:
    """Ioffe and Szegedy 2015, algorithm 1, over the samples of all ranks, in at least float32. Every rank must call it.

    Args:
        layer: Its running statistics are moved on.
        images: [B, C, ...] of this rank.
        counted: The samples that the statistics see; all are normalised.

    Raises:
        ValueError: All ranks together have one value a channel. Every rank raises it.
    """
    values = images.to(torch.promote_types(images.dtype, torch.float32))
    axes = [0, *range(2, values.ndim)]
    seen = values[: counted.n_real]
    n_mine = values.new_tensor([seen.numel() / values.shape[1]])
    sums = Summed.apply(torch.cat([seen.sum(axes), n_mine]))
    n = sums[-1].detach()
    if n <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got {int(n)} over all ranks")
    shape = [1, -1, *[1] * (values.ndim - 2)]
    mean = (sums[:-1] / n).view(shape)
    variance = (Summed.apply(((seen - mean) ** 2).sum(axes)) / n).view(shape)
    remember(layer, mean.detach().flatten(), variance.detach().flatten() * n / (n - 1))
    outputs: Tensor = (values - mean) * torch.rsqrt(variance + layer.eps)
    if layer.affine:
        outputs = outputs * layer.weight.view(shape) + layer.bias.view(shape)
    return outputs.to(images.dtype)


@torch.no_grad()
def remember(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics on, as BatchNorm does; `variance` is the unbiased one. Both are [C]."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    weight = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), weight)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), weight)


class Summed(Function):
    """A tensor added up over the ranks, through which gradients flow: theirs are added up too."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        """The sum over all ranks."""
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients of all ranks."""
        return Summed.forward(None, gradient)
