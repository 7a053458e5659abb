"""Causes of a difference between N ranks and one rank. Each is tested separately, on the first samples, in float64."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.data.sampler import Shard
from ddpkit.distributed.all_reduce import observe_all_reduce
from ddpkit.distributed.world import init_distributed
from ddpkit.plugins.manager import Plugins
from ddpkit.testing.ddp_comparison import TOLERANCE, VALUE_TOLERANCE
from ddpkit.testing.ddp_recording import build_trainer_in
from ddpkit.training.losses import Losses
from ddpkit.training.step_losses import RunLosses, StepLosses
from ddpkit.training.trainer import Trainer

TRIED = 6
"""Number of samples that each test of a cause uses."""
CUT = 4
"""Number of these samples in the first of two unequal groups, with which the criteria are tested."""
CRITERION, STEP_RESULT = "criterion", "result of the step"
STEP_REMEDY = "divide sums by the number of samples, or compute them over all ranks with 'ddpkit.all_reduce_sum'"
CRITERION_REMEDY = """\
sums over a batch cause this, and class weights or 'ignore_index' of a criterion without a method 'weight(targets)', such as \
those of torch.nn; add this method, compute the sums with 'ddpkit.all_reduce_sum', or accept that each rank normalises the loss \
over its own samples only"""


def find_causes(config: Config, plugins: Plugins) -> list[str]:
    """Return the causes that a test confirms, each as a text with a remedy."""
    with init_distributed(device=config.run.device) as world:
        trainer = build_trainer_in("float64", config, plugins, world)
        found = [
            *dataset_causes(trainer),
            *randomness_causes(trainer),
            *batchnorm_causes(trainer, synced=config.run.ddp.sync_batchnorm),
            *criterion_causes(trainer),
        ]
    return found or ["unknown; look for state or randomness in the model, and for operations across samples"]


def dataset_causes(trainer: Trainer) -> Iterator[str]:
    """Yield a cause if the first sample of the training split differs between two reads."""
    index = trainer.loader.sampler.indices[0]
    first = trainer.loader.samples[0, index]
    trainer.loader.samples[0, trainer.loader.sampler.indices[-1]]
    if not is_same(first, trainer.loader.samples[0, index]):
        yield (
            f"train sample {index} differs each time it is read: the dataset or a transform uses its own random generator;"
            " use the global generator of torch, numpy or Python, which ddpkit seeds for each sample"
        )


def is_same(first: object, second: object) -> bool:
    """Return whether two samples (images and targets), or two outputs of a model, are equal."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(is_same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(is_same(value, second[key]) for key, value in first.items())
    return bool(first == second)


def randomness_causes(trainer: Trainer) -> Iterator[str]:
    """Yield a cause if the model's outputs in training mode depend on the seed of the forward."""
    if draws_random(trainer):
        names = [name for name, layer in trainer.model.named_modules() if "drop" in type(layer).__name__.lower()]
        layers = f" ({', '.join(names[:3])})" if names else ""
        user = f"the model uses random numbers in its forward{layers}"
        if trainer.step.name:
            user = f"the step or the forward of the model{layers} uses random numbers other than those of context.draw"
        yield (
            f"{user}; each rank draws its own, so N ranks do not use the same"
            " numbers as one rank; this is not an error; disable them, for example dropout, to verify the rest"
        )


@torch.no_grad()
def draws_random(trainer: Trainer) -> bool:
    """Return whether the outputs in training mode change with the seed."""
    trainer.set_train_mode()
    samples = trainer.loader.sample(TRIED)
    return not is_same(*(call_step(trainer, *samples, seed=seed) for seed in (1, 2)))


def call_step(trainer: Trainer, images: Any, targets: Any, part: slice = slice(TRIED), seed: int = 1) -> tuple[Any, list[Tensor]]:
    """Return the outputs and the loss terms of the step for some of the first samples, in the current mode of the model.

    Args:
        trainer: Trainer of one rank.
        images: Images of the samples.
        targets: Targets of the samples.
        part: Place of the samples in the training split.
        seed: Seed of the global random generators.
    """
    seeding.seed_generators("trial", seed, device=trainer.world.device)
    indices = list(trainer.loader.sampler.indices[:TRIED])[part]
    context = attrs.evolve(trainer.context, shard=Shard(indices, len(indices), len(indices), 0))
    found = trainer.step(context, images, targets)
    return found.outputs, trainer.losses.terms_of(found)


def batchnorm_causes(trainer: Trainer, *, synced: bool) -> Iterator[str]:
    """Yield a cause if a layer normalises with the statistics of only this rank's samples."""
    trainer.set_train_mode()
    names = [name for name, layer in trainer.model.named_modules() if is_batchnorm(layer) and layer.training]
    if names and not synced:
        yield (
            f"{len(names)} BatchNorm layers ({', '.join(names[:3])}) use only the statistics of each rank's own samples;"
            " set 'ddp.sync_batchnorm = true' to use those of all ranks"
        )


def is_batchnorm(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm)


@torch.no_grad()
def criterion_causes(trainer: Trainer) -> Iterator[str]:
    """Yield a cause for each loss that is neither a mean over samples nor over its own weight.

    A loss that uses `all_reduce_sum` is no cause, because it is the same on each rank. Losses of the model or of the step are not
    tested if they use random numbers.
    """
    kind = kind_of_losses(trainer.losses)
    images, targets = trainer.loader.sample(TRIED)
    n = len(trainer.loader.sampler.indices[:TRIED])
    if n == 1 or (kind != CRITERION and draws_random(trainer)):
        return
    trainer.model.train(kind != CRITERION)
    for layer in filter(is_batchnorm, trainer.model.modules()):
        layer.eval()
    cut = max(1, n * CUT // TRIED)
    parts = [
        (select_samples(images, part), select_samples(targets, part), part)
        for part in (slice(TRIED), slice(cut), slice(cut, TRIED))
    ]
    values = [[term.item() for term in call_step(trainer, *part)[1]] for part in parts]
    weights = [compute_weights(trainer, *part) for part in parts]
    for number, key in enumerate(trainer.losses.keys):
        gap = distance_from_mean([each[number] for each in values], [each[number] for each in weights])
        tolerance = VALUE_TOLERANCE if key in trainer.losses.values else TOLERANCE
        if not (gap <= tolerance or sums_over_ranks(trainer, number, *parts[0])):
            yield (
                f"{kind} {key!r} is not a mean over samples: its value for"
                f" {n} samples and the weighted mean of its values for two parts of them differ by {gap:.1e}"
                f" (relative); {STEP_REMEDY if kind == STEP_RESULT else CRITERION_REMEDY}"
            )


def kind_of_losses(losses: RunLosses) -> str:
    """Return what computes the losses, for messages."""
    if isinstance(losses, StepLosses):
        return STEP_RESULT
    return CRITERION if losses.in_evaluation == losses else "model-computed loss"


def select_samples(values: Any, part: slice) -> Any:
    """Return the images or targets of a part of the samples, also of those in a mapping."""
    if isinstance(values, Mapping):
        return {key: select_samples(each, part) for key, each in values.items()}
    return values[part]


def compute_weights(trainer: Trainer, images: Any, targets: Any, part: slice) -> list[float]:  # noqa: ARG001 - as `call_step`
    """Return the weight of each loss in a batch: the number of samples, or the criterion's own weight of the targets."""
    n = len(trainer.loader.sampler.indices[:TRIED][part])
    weight = torch.as_tensor(trainer.losses.weight(targets, n, trainer.world.device), dtype=torch.float64)
    return weight.expand(len(trainer.losses.keys)).tolist()


def sums_over_ranks(trainer: Trainer, number: int, images: Any, targets: Any, part: slice) -> bool:
    """Return whether the loss with this number, or the model, uses `all_reduce_sum`: such a loss is the same on each rank."""
    calls: list[None] = []
    with observe_all_reduce(lambda: calls.append(None)):
        if isinstance(trainer.losses, Losses):
            Losses([trainer.losses.terms[number]])(
                trainer.precision(trainer.model, *trainer.losses.inputs(images, targets)), targets
            )
        else:
            call_step(trainer, images, targets, part)
    return bool(calls)


def distance_from_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the relative difference between a loss of all samples and the weighted mean of its values for two parts of them.

    Values and weights are those of all samples, of the first part and of the second part.
    """
    full, *parts = values
    total, *shares = weights
    mean = sum(part * share for part, share in zip(parts, shares, strict=True)) / total if total else 0.0
    return abs(full - mean) / max(abs(full), 1e-12)
