"""Why N ranks may give what one does not: each cause is tried by itself, on the first samples, in double precision."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.distributed.world import join_world
from ddpkit.plugins.manager import Plugins
from ddpkit.testing.ddp_comparison import TOLERANCE
from ddpkit.testing.ddp_recording import engine_in
from ddpkit.training.trainer import Engine

TRIED = 6
"""Samples; cut into unequal parts to try the criteria."""
CUT = 4


def found(config: Config, plugins: Plugins) -> list[str]:
    """Those that a trial shows, in words, with what to do."""
    with join_world(device=config.run.device) as world:
        engine = engine_in("float64", config, plugins, world)
        tried = [
            *dataset(engine),
            *randomness(engine),
            *batchnorm(engine, synced=config.run.ddp.sync_batchnorm),
            *criteria(engine),
        ]
    return tried or ["none that is known: is there state or randomness in the model, or an operation across samples?"]


def dataset(engine: Engine) -> Iterator[str]:
    """The first sample of the training split looks the same whenever it is read."""
    index = engine.train.sampler.indices[0]
    first = engine.train.samples[0, index]
    engine.train.samples[0, engine.train.sampler.indices[-1]]
    if not same(first, engine.train.samples[0, index]):
        yield (
            f"train sample {index} differs each time it is read: the dataset or a transform draws from a generator of its own;"
            " draw from torch's, numpy's or Python's global one, which is seeded for each sample"
        )


def same(first: object, second: object) -> bool:
    """Samples, pictures and targets; or what a model made of them."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    return bool(first == second)


def randomness(engine: Engine) -> Iterator[str]:
    """The model's outputs in training do not depend on the seed of the forward."""
    if draws(engine):
        names = [name for name, layer in engine.model.named_modules() if "drop" in type(layer).__name__.lower()]
        layers = f" ({', '.join(names[:3])})" if names else ""
        yield (
            f"the model draws at random in its forward{layers}, each rank for its own samples, so N ranks draw otherwise than"
            " one; that is no mistake: switch it off to verify the rest"
        )


@torch.no_grad()
def draws(engine: Engine) -> bool:
    """The outputs of training are others under another seed."""
    engine.set_training()
    inputs, seen = engine.criteria.inputs(*engine.train.sample(TRIED)), []
    for seed in (1, 2):
        seeding.seed_generators("trial", seed, device=engine.world.device)
        seen.append(engine.precision(engine.model, *inputs))
    return not same(*seen)


def batchnorm(engine: Engine, *, synced: bool) -> Iterator[str]:
    """No layer normalises by the statistics of a rank's own samples."""
    engine.set_training()
    names = [name for name, layer in engine.model.named_modules() if is_norm(layer) and layer.training]
    if names and not synced:
        yield (
            f"{len(names)} BatchNorm layers ({', '.join(names[:3])}) normalise each rank's samples by themselves;"
            " 'ddp.sync_batchnorm = true' makes it the samples of all"
        )


def is_norm(layer: nn.Module) -> bool:
    """It looks at all samples of a batch."""
    return isinstance(layer, _BatchNorm)


@torch.no_grad()
def criteria(engine: Engine) -> Iterator[str]:
    """Each term of the loss is the mean of what it is for each sample; of a model that draws, its own losses are not tried."""
    are_own = engine.criteria.in_evaluation != engine.criteria
    images, targets = engine.train.sample(TRIED)
    if len(images) == 1 or (are_own and draws(engine)):
        return
    engine.model.train(are_own)
    for layer in filter(is_norm, engine.model.modules()):
        layer.eval()
    cut = max(1, len(images) * CUT // TRIED)
    values = [terms(engine, images[part], targets[part]) for part in (slice(None), slice(cut), slice(cut, None))]
    for key, *each in zip(engine.criteria.keys, *values, strict=True):
        gap = distance_from_mean(each, len(images), cut)
        if not gap <= TOLERANCE:
            yield (
                f"{'own loss' if are_own else 'criterion'} {key!r} is no mean over samples: for {len(images)} of them it is"
                f" {gap:.1e} (relative) off the mean of its parts, as with class weights, 'ignore_index' and sums over a"
                " batch; ranks weigh their samples anew"
            )


def terms(engine: Engine, images: Any, targets: Any) -> list[Tensor]:
    """Of a batch, in the mode that the model is in."""
    return engine.criteria(engine.precision(engine.model, *engine.criteria.inputs(images, targets)), targets)


def distance_from_mean(values: Sequence[Tensor], n: int, cut: int) -> float:
    """Relative, between a loss of all `n` samples and the weighted mean over the first `cut` of them and the rest."""
    whole, first, rest = map(float, values)
    mean = (first * cut + rest * (n - cut)) / n
    return abs(whole - mean) / max(abs(whole), 1e-12)
