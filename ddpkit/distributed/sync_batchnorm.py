"""BatchNorm over all ranks (`ddp.sync_batchnorm`): each layer normalises with the statistics of the samples of all ranks."""

from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpkit.distributed.all_reduce import AllReduceSum, count_valid_samples

LayerT = TypeVar("LayerT", bound=_BatchNorm)


def convert_to_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace BatchNorm layers by layers whose statistics cover all ranks; parameters and buffers stay the same objects."""
    kind = SyncBatchNormCuda if device.type == "cuda" else SyncBatchNormCpu
    replaced: dict[nn.Module, nn.Module] = {}  # a layer that the model contains twice is replaced by one layer
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(layer, _BatchNorm):
            continue
        replaced[layer] = replaced.get(layer) or replace_layer(layer, kind)
        if not name:
            return replaced[layer]
        model.set_submodule(name, replaced[layer])
    return model


def replace_layer(layer: _BatchNorm, kind: type[LayerT]) -> LayerT:
    """Return a layer of another class with the parameters and buffers of `layer`."""
    made = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(layer, name))
    return made.train(layer.training)


class SyncBatchNormCuda(nn.SyncBatchNorm):
    """Torch's own layer, except for micro-batches with padding samples: torch's layer would count them."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise [B, C, ...]; return the same shape."""
        n_valid = count_valid_samples()
        if self.training and n_valid is not None:
            return normalise(self, input, n_valid)
        return super().forward(input)


class SyncBatchNormCpu(_BatchNorm):
    """Plain torch code with the same arithmetic, because torch's own layer does not support the CPU."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Accept any number of dimensions: the channels are the second axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise [B, C, ...]; return the same shape."""
        return normalise(self, input, count_valid_samples()) if self.training else super().forward(input)


def normalise(layer: _BatchNorm, images: Tensor, n_valid: int | None) -> Tensor:
    """Normalise by Ioffe and Szegedy 2015, algorithm 1, over the samples of all ranks, in at least float32.

    Every rank must call it.

    Args:
        layer: BatchNorm layer; its running statistics are updated.
        images: [B, C, ...] of this rank.
        n_valid: Number of samples, from the first, that enter the statistics; None = all. All samples are normalised.

    Raises:
        ValueError: All ranks together have one value per channel. Every rank raises it.
    """
    values = images.to(torch.promote_types(images.dtype, torch.float32))
    axes = [0, *range(2, values.ndim)]
    seen = values[:n_valid]
    n_mine = values.new_tensor([seen.numel() / values.shape[1]])
    sums = cast("Tensor", AllReduceSum.apply(torch.cat([seen.sum(axes), n_mine])))
    n = sums[-1].detach()
    if n <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got {int(n)} over all ranks")
    shape = [1, -1, *[1] * (values.ndim - 2)]
    mean = (sums[:-1] / n).view(shape)
    variance = (AllReduceSum.apply(((seen - mean) ** 2).sum(axes)) / n).view(shape)
    update_running_stats(layer, mean.detach().flatten(), variance.detach().flatten() * n / (n - 1))
    outputs: Tensor = (values - mean) * torch.rsqrt(variance + layer.eps)
    if layer.affine:
        outputs = outputs * layer.weight.view(shape) + layer.bias.view(shape)
    return outputs.to(images.dtype)


@torch.no_grad()
def update_running_stats(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as BatchNorm does; `variance` is the unbiased one. Both are [C]."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    weight = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), weight)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), weight)
