"""Why a run that goes on may not be the run that was left alone: each cause is tried by itself, on the first steps."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddpkit.checkpoint import trainer_state
from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.distributed.world import join_world
from ddpkit.plugins.manager import Plugins
from ddpkit.testing import ddp_causes
from ddpkit.training import builder
from ddpkit.training.trainer import Engine

UNKNOWN = (
    "none that is known: is there state in a plugin's run hooks (ddpkit_checkpoint_save), in files that a run writes and"
    " reads, or a kernel that is not deterministic ('train.deterministic = true')?"
)
STEPS = 2
"""Optimizer steps before the run goes on in a new place."""


def found(config: Config, plugins: Plugins) -> list[str]:
    """Those that a trial shows, in words, with what to do."""
    with join_world(device=config.run.device) as world:
        engines = [builder.engine(config, plugins.registry, world) for _ in range(3)]
        tried = [*ddp_causes.dataset(engines[0]), *weights(*engines[:2]), *forward(engines[2])]
        tried = tried or [*going_on(*engines[:2])]  # which needs the others
    return tried or [UNKNOWN]


def weights(first: Engine, second: Engine) -> Iterator[str]:
    """A model that is built twice has the same initial weights."""
    names = different(first.model, second.model)
    if names:
        yield (
            f"the model has other initial weights each time it is built ({', '.join(names[:3])}): it draws from a generator of"
            " its own; draw from torch's global one, which is seeded"
        )


@torch.no_grad()
def forward(engine: Engine) -> Iterator[str]:
    """Two forwards of the same samples under one seed are the same."""
    engine.set_training()
    inputs, outputs = engine.criteria.inputs(*engine.train.sample(ddp_causes.TRIED)), []
    for _ in range(2):
        seeding.seed_generators("trial", 1, device=engine.world.device)
        outputs.append(engine.precision(engine.model, *inputs))
    if not ddp_causes.same(*outputs):
        yield (
            "the model gives other outputs for the same images under one seed: it draws from a generator of its own, or counts"
            " its calls; draw from torch's, numpy's or Python's global one, and keep what it counts in a buffer"
        )


def going_on(first: Engine, second: Engine) -> Iterator[str]:
    """A step is the same in a run that was there all along and in one that was put back from a snapshot."""
    train(first, STEPS)
    trainer_state.put_back(second, copy.deepcopy(trainer_state.taken(first)))
    for engine in (first, second):
        train(engine, 1)
    names = different(first.model, second.model)
    if names:
        yield (
            f"the step after a snapshot is another in a run that goes on from it (first in {names[0]}): model, criterion or"
            " optimizer keeps something that is in no state_dict; a model keeps it in a buffer"
        )


def train(engine: Engine, n_steps: int) -> None:
    """So many optimizer steps, from epoch to epoch."""
    done = 0
    engine.set_training()
    while done < n_steps:
        for micro_batches in engine.steps():
            engine.train_step(micro_batches)
            done += 1
            if done == n_steps:
                return
        engine.progress.epoch_ended()


def different(first: nn.Module, second: nn.Module) -> list[str]:
    """Names of parameters and buffers that are not the same to the bit."""
    theirs: dict[str, Tensor] = second.state_dict()
    return [name for name, tensor in first.state_dict().items() if not torch.equal(tensor, theirs[name])]
