"""What the first steps of a run compute, in double and in single precision."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import attrs
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpkit.config.loading import Config
from ddpkit.distributed.world import World, join_world, place_from_environment
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import plugin_manifest
from ddpkit.testing.ddp_comparison import DTYPES, Recording
from ddpkit.training import builder
from ddpkit.training.loss_sums import Tally, added_up
from ddpkit.training.trainer import Engine

VALID_BATCHES = 8
"""Micro-batches of the valid part that are evaluated."""


def record(config: Config, found: Plugins, n_steps: int) -> dict[str, Recording]:
    """Under each number format, what this process computes as a rank, or alone. Every rank must call it."""
    ddp, used = config.run.ddp, plugin_manifest.plugins_of(config, found)
    with join_world(device=config.run.device, backend=ddp.backend, timeout=ddp.timeout, manifest=used) as world:
        return record_in(world, config, found, n_steps)


def record_in(world: World, config: Config, found: Plugins, n_steps: int) -> dict[str, Recording]:
    """The same in a world that was joined."""
    return {dtype: dict(values(engine_in(dtype, config, found, world), n_steps)) for dtype in DTYPES}


def engine_in(dtype: Literal["float64", "float32"], config: Config, found: Plugins, world: World) -> Engine:
    """The run's engine, in a number format of our choice; nothing is skipped, so that what is not finite is seen."""
    train = attrs.evolve(config.run.train, scaler=attrs.evolve(config.run.train.scaler, compute_type=dtype), on_nonfinite="stop")
    engine = builder.engine(attrs.evolve(config, run=attrs.evolve(config.run, train=train)), found.registry, world)
    if engine.valid:
        engine.valid.sampler = attrs.evolve(engine.valid.sampler, limit=VALID_BATCHES)
    return engine


def values(engine: Engine, n_steps: int) -> Iterator[tuple[str, Tensor]]:
    """Losses and gradients of each step, the weights after the last, then the valid part's values."""
    gradients: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        named = engine.model.named_parameters()
        gradients.update({name: each.grad.cpu().clone() for name, each in named if each.grad is not None})

    engine.optimizer.register_step_pre_hook(keep)
    engine.set_training()
    for position in positions(-(-engine.train.sampler.n_batches() // engine.accumulation), n_steps):
        engine.progress.step_in_epoch = position
        step = engine.train_step(next(engine.steps()))
        tally = Tally(engine.zeros(engine.criteria))
        tally.add(step)
        losses = engine.world.sum(added_up(tally.sums)).cpu() / step.n_global
        yield from ((f"step {position + 1}|loss|{key}", loss) for key, loss in zip(engine.criteria.keys, losses, strict=True))
        yield from ((f"step {position + 1}|gradient|{name}", gradient) for name, gradient in gradients.items())
    yield from (("end|weights|" + name, tensor.detach().cpu().clone()) for name, tensor in engine.model.named_parameters())
    if engine.valid:
        evaluated = engine.evaluate(engine.model, engine.valid)
        yield from ((f"end|valid|{key}", torch.tensor(value, dtype=torch.float64)) for key, value in evaluated.items())


def positions(n_in_epoch: int, n_steps: int) -> list[int]:
    """The first steps of an epoch and its last, which is where a short micro-batch is."""
    return list(range(n_in_epoch)) if n_in_epoch <= n_steps else [*range(n_steps - 1), n_in_epoch - 1]


def save(recordings: Mapping[str, Recording], folder: Path) -> None:
    """Of rank 0. Numbers before the names keep the order, which the format does not."""
    place = place_from_environment()
    if place[0] == 0:
        for dtype, recording in recordings.items():
            numbered = {f"{number:06d}|{name}": tensor.contiguous() for number, (name, tensor) in enumerate(recording.items())}
            save_file(numbered, folder / f"{dtype}.safetensors")


def load(folder: Path, dtype: str) -> Recording:
    """What was saved there."""
    numbered = load_file(folder / f"{dtype}.safetensors")
    return {name.partition("|")[2]: numbered[name] for name in sorted(numbered)}
