"""Why N ranks may give what one does not: each cause is tried by itself, on the first samples, in double precision."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ddpkit import dist, seeding
from ddpkit.config import Config
from ddpkit.engine import Engine
from ddpkit.plugins import Plugins
from ddpkit.verification.comparison import TOLERANCE
from ddpkit.verification.recording import engine_in

TRIED = 6
"""Samples; cut into unequal parts to try the criteria."""
CUT = 4


def found(config: Config, plugins: Plugins) -> list[str]:
    """Those that a trial shows, in words, with what to do."""
    with dist.join_world(device=config.run.device) as world:
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
    """Samples: pictures and targets."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return all(map(same, first, second))
    return bool(first == second)


@torch.no_grad()
def randomness(engine: Engine) -> Iterator[str]:
    """The model's outputs in training do not depend on the seed of the forward."""
    engine.set_training()
    images, _ = engine.train.sample(TRIED)
    seen = []
    for seed in (1, 2):
        seeding.seed_generators("trial", seed, device=engine.world.device)
        seen.append(engine.precision(engine.model, images))
    if not torch.equal(*seen):
        names = [name for name, layer in engine.model.named_modules() if "drop" in type(layer).__name__.lower()]
        layers = f" ({', '.join(names[:3])})" if names else ""
        yield (
            f"the model draws at random in its forward{layers}, each rank for its own samples, so N ranks draw otherwise than"
            " one; that is no mistake: switch it off to verify the rest"
        )


def batchnorm(engine: Engine, *, synced: bool) -> Iterator[str]:
    """No layer normalises by the statistics of a rank's own samples."""
    engine.set_training()
    names = [name for name, layer in engine.model.named_modules() if isinstance(layer, _BatchNorm) and layer.training]
    if names and not synced:
        yield (
            f"{len(names)} BatchNorm layers ({', '.join(names[:3])}) normalise each rank's samples by themselves;"
            " 'ddp.sync_batchnorm = true' makes it the samples of all"
        )


@torch.no_grad()
def criteria(engine: Engine) -> Iterator[str]:
    """Each criterion is the mean of what it is for each sample."""
    images, targets = engine.train.sample(TRIED)
    outputs = engine.precision(engine.model.eval(), images)
    for term in engine.criteria.terms:
        gap = distance_from_mean(term.criterion, outputs, targets)
        if not gap <= TOLERANCE:
            yield (
                f"criterion {term.key!r} is no mean over samples: for {len(images)} of them it is {gap:.1e} (relative) off the"
                " mean of its parts, as with class weights, 'ignore_index' and sums over a batch; ranks weigh their samples anew"
            )


def distance_from_mean(criterion: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> float:
    """Relative, between the criterion of all samples and the weighted mean over two unequal parts."""
    cut = max(1, len(outputs) * CUT // TRIED)
    if cut == len(outputs):
        return 0.0
    whole, first, rest = (float(criterion(outputs[part], targets[part])) for part in (slice(None), slice(cut), slice(cut, None)))
    mean = (first * cut + rest * (len(outputs) - cut)) / len(outputs)
    return abs(whole - mean) / max(abs(whole), 1e-12)
