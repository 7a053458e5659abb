"""Causes of a difference between a resumed run and an uninterrupted one. Each is tested separately, on the first steps."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddpkit.checkpoint import trainer_state
from ddpkit.config.loading import Config
from ddpkit.distributed.world import init_distributed
from ddpkit.plugins.manager import Plugins
from ddpkit.testing import ddp_causes
from ddpkit.training import builder
from ddpkit.training.trainer import Trainer

UNKNOWN = (
    "unknown; look for state in the run hooks of a plugin (save it with ddpkit_checkpoint_save), for state in files that the run"
    " writes and reads, and for kernels that are not deterministic (set 'train.deterministic = true')"
)
STEPS = 2
"""Number of optimizer steps before the state is restored into another trainer."""


def find_causes(config: Config, plugins: Plugins) -> list[str]:
    """Return the causes that a test confirms, each as a text with a remedy."""
    with init_distributed(device=config.run.device) as world:
        trainers = [builder.build_trainer(config, plugins.registry, world) for _ in range(3)]
        found = [*ddp_causes.dataset_causes(trainers[0]), *initial_weights_causes(*trainers[:2]), *forward_causes(trainers[2])]
        found = found or [*resume_step_causes(*trainers[:2])]  # conclusive only if the other tests found no cause
    return found or [UNKNOWN]


def initial_weights_causes(first: Trainer, second: Trainer) -> Iterator[str]:
    """Yield a cause if a model that is built twice has different initial weights."""
    names = first_different(first.model, second.model)
    if names:
        yield (
            f"the model has different initial weights each time it is built ({', '.join(names[:3])}): it uses its own random"
            " generator; use torch's global generator, which ddpkit seeds"
        )


@torch.no_grad()
def forward_causes(trainer: Trainer) -> Iterator[str]:
    """Yield a cause if two forwards of the same samples with the same seed have different outputs."""
    trainer.set_train_mode()
    samples = trainer.loader.sample(ddp_causes.TRIED)
    if not ddp_causes.is_same(*(ddp_causes.call_step(trainer, *samples) for _ in range(2))):
        yield (
            "the model returns different outputs for the same images and the same seed: it uses its own random generator, or has"
            " state that changes with each call; use the global generator of torch, numpy or Python, and keep state in a buffer"
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
            f"the first step after a resume differs from the same step without a resume (first in {names[0]}): the model, a"
            " criterion or the optimizer has state that is not in its state_dict; a model must store its state in a buffer"
        )


def train_steps(trainer: Trainer, n_steps: int) -> None:
    """Run `n_steps` optimizer steps, over as many epochs as needed."""
    done = 0
    while done < n_steps:
        trainer.set_train_mode()
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
