"""Try the model, losses, postprocess and metrics with a few samples before training, without changing the model."""

import warnings

import torch
from torch import nn
from torch.autograd import backward

from ddpkit.data.loader import N_SANITY_SAMPLES, SplitLoader
from ddpkit.errors import component_errors
from ddpkit.training.evaluator import Evaluator
from ddpkit.training.freezing import FreezeSchedule
from ddpkit.training.heads import explain_mappings
from ddpkit.training.losses import Losses
from ddpkit.training.trainer import set_train_mode, without_padding


def sanity_check(
    model: nn.Module, losses: Losses, loader: SplitLoader, evaluator: Evaluator, freezing: FreezeSchedule
) -> tuple[Losses, dict[str, int]]:
    """Run a training step without the optimizer for each phase of the schedule, and an evaluation. Every rank must call it.

    An exception of a component is passed on, before anything is written. Buffers and gradients are restored afterwards, and the
    parameters of the first epoch are frozen.

    Returns:
        The losses, now with the names of losses that the model computes itself; and the names of trained parameters that got no
        gradient, each with the first epoch in which this happens.
    """
    unused: dict[str, int] = {}
    before = [buffer.clone() for buffer in model.buffers()]
    for epoch in reversed(freezing.phases):  # ends with the first epoch
        freezing.apply(epoch)
        set_train_mode(model, freezing.frozen_norms)
        losses = check_training(model, losses, loader, evaluator)
        unused |= {name: epoch for name, each in model.named_parameters() if each.requires_grad and each.grad is None}
        for parameter in model.parameters():
            parameter.grad = None
    with torch.no_grad():
        for buffer, old in zip(model.buffers(), before, strict=True):
            buffer.copy_(old)
        for each in [loader, evaluator.valid, evaluator.test]:
            if each is not None:
                check_evaluation(model, each, evaluator)
    return losses, unused


def check_training(model: nn.Module, losses: Losses, loader: SplitLoader, evaluator: Evaluator) -> Losses:
    """Run forward and backward with as few samples as the smallest shard has, because BatchNorm fails for a single value."""
    smallest, n_shards = loader.sampler.smallest_shard(), loader.sampler.n_shards
    images, targets = loader.check_sample(min(max(smallest.n_total // n_shards, 1), 2))
    with without_padding(smallest, n_shards):
        outputs = evaluator.precision(model, *losses.inputs(images, targets))
    losses = losses.found_in(outputs)
    backward(losses.loss(losses.sanity_check(outputs, targets)))
    return losses


def check_evaluation(model: nn.Module, loader: SplitLoader, evaluator: Evaluator) -> None:
    """Run forward, losses, postprocess and metrics in evaluation mode."""
    images, targets = loader.check_sample(N_SANITY_SAMPLES)
    model.eval()
    outputs = evaluator.precision(model, images)
    evaluator.losses.sanity_check(outputs, targets)
    with component_errors(evaluator.postprocess_name), explain_mappings(outputs):
        predictions = evaluator.postprocess(outputs)
    with warnings.catch_warnings(action="ignore"):  # torchmetrics warns about classes that are absent from these few samples
        for metric in evaluator.metrics.values():
            metric.sanity_check(outputs, predictions, targets)
            metric.compute()
