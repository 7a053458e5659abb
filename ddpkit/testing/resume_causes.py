"""Causes of a difference between a resumed run and an uninterrupted one. Each is tested separately, on the first steps."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddpkit.checkpoint import trainer_state
from ddpkit.config.loading import Config
from ddpkit.data import seeding
from ddpkit.distributed.world import init_distributed
from ddpkit.plugins.manager import Plugins
from ddpkit.testing import ddp_causes
from ddpkit.training import builder
from ddpkit.training.trainer import Trainer

UNKNOWN = (
    "none that is known: is there state in a plugin's run hooks (ddpkit_checkpoint_save), in files that a run writes and"
    " reads, or a kernel that is not deterministic ('train.deterministic = true')?"
)
STEPS = 2
"""Number of optimizer steps before the state is restored into another trainer."""


def find_causes(config: Config, plugins: Plugins) -> list[str]:
    """Return the causes that a trial confirms, each as a text with a remedy."""
    with init_distributed(device=config.run.device) as world:
        trainers = [builder.build_trainer(config, plugins.registry, world) for _ in range(3)]
        tried = [*ddp_causes.dataset_causes(trainers[0]), *initial_weights_causes(*trainers[:2]), *forward_causes(trainers[2])]
        tried = tried or [*resume_step_causes(*trainers[:2])]  # conclusive only if the other trials found no cause
    return tried or [UNKNOWN]


def initial_weights_causes(first: Trainer, second: Trainer) -> Iterator[str]:
    """Yield a cause if a model that is built twice has different initial weights."""
    names = first_different(first.model, second.model)
    if names:
        yield (
            f"the model has other initial weights each time it is built ({', '.join(names[:3])}): it draws from a generator of"
            " its own; draw from torch's global one, which is seeded"
        )


@torch.no_grad()
def forward_causes(trainer: Trainer) -> Iterator[str]:
    """Yield a cause if two forwards of the same samples with the same seed have different outputs."""
    trainer.set_train_mode()
    inputs, outputs = trainer.losses.inputs(*trainer.loader.sample(ddp_causes.TRIED)), []
    for _ in range(2):
        seeding.seed_generators("trial", 1, device=trainer.world.device)
        outputs.append(trainer.precision(trainer.model, *inputs))
    if not ddp_causes.is_same(*outputs):
        yield (
            "the model gives other outputs for the same images under one seed: it draws from a generator of its own, or counts"
            " its calls; draw from torch's, numpy's or Python's global one, and keep what it counts in a buffer"
        )


def resume_step_causes(first: Trainer, second: Trainer) -> Iterator[str]:
    """Yield a cause if a step after a restore differs from the same step without a restore."""
    train_steps(first, STEPS)
    trainer_state.restore_state(second, copy.deepcopy(trainer_state.capture_state(first)))
    for trainer in (first, second):
        train_steps(trainer, 1)
    names = first_different(first.model, second.model)
    if names:
        yield (
            f"the step after a snapshot is another in a run that is resumed from it (first in {names[0]}): model, criterion or"
            " optimizer keeps something that is in no state_dict; a model keeps it in a buffer"
        )


def train_steps(trainer: Trainer, n_steps: int) -> None:
    """Run `n_steps` optimizer steps, over as many epochs as needed."""
    done = 0
    trainer.set_train_mode()
    while done < n_steps:
        for micro_batches in trainer.steps():
            trainer.train_step(micro_batches)
            done += 1
            if done == n_steps:
                return
        trainer.progress.end_epoch()


def first_different(first: nn.Module, second: nn.Module) -> list[str]:
    """Return the names of parameters and buffers that are not bit-identical."""
    theirs: dict[str, Tensor] = second.state_dict()
    return [name for name, tensor in first.state_dict().items() if not torch.equal(tensor, theirs[name])]
