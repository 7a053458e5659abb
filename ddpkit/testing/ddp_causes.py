"""Causes of a difference between N ranks and one rank. Each is tested separately, on the first samples, in float64."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.distributed.all_reduce import observe_all_reduce
from ddpkit.distributed.world import init_distributed
from ddpkit.plugins.manager import Plugins
from ddpkit.testing.ddp_comparison import TOLERANCE
from ddpkit.testing.ddp_recording import build_trainer_in
from ddpkit.training.losses import Losses, LossTerm
from ddpkit.training.trainer import Trainer

TRIED = 6
"""Number of samples that each test of a cause uses."""
CUT = 4
"""Number of these samples in the first of two unequal groups, with which the criteria are tested."""


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
        yield (
            f"the model uses random numbers in its forward{layers}; each rank draws its own, so N ranks do not use the same"
            " numbers as one rank; this is not an error; disable them, for example dropout, to verify the rest"
        )


@torch.no_grad()
def draws_random(trainer: Trainer) -> bool:
    """Return whether the outputs in training mode change with the seed."""
    trainer.set_train_mode()
    inputs, seen = trainer.losses.inputs(*trainer.loader.sample(TRIED)), []
    for seed in (1, 2):
        seeding.seed_generators("trial", seed, device=trainer.world.device)
        seen.append(trainer.precision(trainer.model, *inputs))
    return not is_same(*seen)


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
    """Yield a cause for each loss term that is neither a mean over samples nor over its own weight.

    A term that uses `all_reduce_sum` is no cause, because it is the same on each rank. Losses that the model computes itself are
    not tested if the model uses random numbers.
    """
    are_own = trainer.losses.in_evaluation != trainer.losses
    images, targets = trainer.loader.sample(TRIED)
    if len(images) == 1 or (are_own and draws_random(trainer)):
        return
    trainer.model.train(are_own)
    for layer in filter(is_batchnorm, trainer.model.modules()):
        layer.eval()
    cut = max(1, len(images) * CUT // TRIED)
    parts = [(images[part], select_samples(targets, part)) for part in (slice(None), slice(cut), slice(cut, None))]
    values = [compute_terms(trainer, *part) for part in parts]
    weights = [compute_weights(trainer, *part) for part in parts]
    for number, term in enumerate(trainer.losses.terms):
        gap = distance_from_mean([each[number] for each in values], [each[number] for each in weights])
        if not (gap <= TOLERANCE or sums_over_ranks(trainer, term, images, targets)):
            yield (
                f"{'model-computed loss' if are_own else 'criterion'} {term.key!r} is not a mean over samples: its value for"
                f" {len(images)} samples and the weighted mean of its values for two parts of them differ by {gap:.1e}"
                " (relative); sums over a batch cause this, and class weights or 'ignore_index' of a criterion without a method"
                " 'weight(targets)', such as those of torch.nn; add this method, compute the sums with 'ddpkit.all_reduce_sum',"
                " or accept that each rank normalises the loss over its own samples only"
            )


def select_samples(targets: Any, part: slice) -> Any:
    """Return the targets of a part of the samples, also of targets in a mapping."""
    if isinstance(targets, Mapping):
        return {key: select_samples(each, part) for key, each in targets.items()}
    return targets[part]


def compute_terms(trainer: Trainer, images: Any, targets: Any) -> list[float]:
    """Return the loss terms of a batch in the current mode of the model."""
    outputs = trainer.precision(trainer.model, *trainer.losses.inputs(images, targets))
    return [term.item() for term in trainer.losses(outputs, targets)]


def compute_weights(trainer: Trainer, images: Any, targets: Any) -> list[float]:
    """Return the weight of each loss term in a batch: the number of samples, or the criterion's own weight of the targets."""
    weight = torch.as_tensor(trainer.losses.weight(targets, len(images), trainer.world.device), dtype=torch.float64)
    return weight.expand(len(trainer.losses.terms)).tolist()


def sums_over_ranks(trainer: Trainer, term: LossTerm, images: Any, targets: Any) -> bool:
    """Return whether a loss term, or the model, uses `all_reduce_sum`: such a term is the same on each rank."""
    calls: list[None] = []
    with observe_all_reduce(lambda: calls.append(None)):
        Losses([term])(trainer.precision(trainer.model, *trainer.losses.inputs(images, targets)), targets)
    return bool(calls)


def distance_from_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the relative difference between a loss of all samples and the weighted mean of its values for two parts of them.

    Values and weights are those of all samples, of the first part and of the second part.
    """
    full, *parts = values
    total, *shares = weights
    mean = sum(part * share for part, share in zip(parts, shares, strict=True)) / total if total else 0.0
    return abs(full - mean) / max(abs(full), 1e-12)
