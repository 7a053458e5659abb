"""Recording of the first steps of a run, in float64 and in float32."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import attrs
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpkit.config.loading import Config
from ddpkit.data.stream import is_stream
from ddpkit.data.stream_checks import refuse_stream
from ddpkit.distributed.world import World, init_distributed, rank_from_env
from ddpkit.plugins.manager import Plugins
from ddpkit.runs import plugin_manifest
from ddpkit.testing.ddp_comparison import DTYPES, VALUE, Recording
from ddpkit.training import builder
from ddpkit.training.step_losses import RunLosses, StepLosses
from ddpkit.training.trainer import Trainer

VALID_BATCHES = 8
"""Number of micro-batches of the validation split that are evaluated."""


def record(config: Config, found: Plugins, n_steps: int) -> dict[str, Recording]:
    """Record the first steps of this rank in each dtype. Every rank must call it."""
    ddp, used = config.run.ddp, plugin_manifest.list_used_plugins(config, found)
    with init_distributed(device=config.run.device, backend=ddp.backend, timeout=ddp.timeout, manifest=used) as world:
        return record_in_world(world, config, found, n_steps)


def record_in_world(world: World, config: Config, found: Plugins, n_steps: int) -> dict[str, Recording]:
    """Record the first steps in a world that is already initialised. Every rank must call it."""
    return {dtype: dict(record_steps(build_trainer_in(dtype, config, found, world), n_steps)) for dtype in DTYPES}


def build_trainer_in(dtype: Literal["float64", "float32"], config: Config, found: Plugins, world: World) -> Trainer:
    """Build the run's trainer for a dtype, with at most VALID_BATCHES micro-batches of validation.

    A value that is not finite raises an error: skipping the step would hide it.
    """
    train = attrs.evolve(config.run.train, scaler=attrs.evolve(config.run.train.scaler, compute_type=dtype), on_nonfinite="stop")
    trainer = builder.build_trainer(config.with_run(train=train), found.registry, world)
    if is_stream(trainer.loader.samples.dataset):
        raise refuse_stream(config, "'verify-ddp'", "the order of its training samples depends on the number of ranks")
    if valid := trainer.evaluator.valid:
        valid.batch_sampler.sampler = attrs.evolve(valid.sampler, limit=VALID_BATCHES)
    return trainer


def record_steps(trainer: Trainer, n_steps: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the losses and gradients of each step, the weights after the last step, then the values of the validation split.

    The steps are recorded in each phase of `model.freeze`, with the samples of the epoch in which the phase begins.
    """
    gradients: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        named = trainer.model.named_parameters()
        gradients.clear()  # another step may train other parameters
        gradients.update({name: each.grad.cpu().clone() for name, each in named if each.grad is not None})

    trainer.optimizations[0].optimizer.register_step_pre_hook(keep)  # all gradients are clipped before the first optimizer steps
    for epoch, position in record_positions(trainer, n_steps):
        trainer.progress.epoch, trainer.progress.step_in_epoch = epoch - 1, position
        trainer.set_train_mode()
        step = trainer.train_step(next(trainer.steps()))
        sums = trainer.zero_loss_sums()
        sums.add_step(step)
        means = trainer.losses.means(sums.total(trainer.world), step.n_total)
        when = f"epoch {epoch} " * (epoch > 1) + f"step {position + 1}"
        yield from record_numbers(when, "loss", trainer.losses, dict(zip(trainer.losses.keys, means, strict=True)))
        yield from ((f"{when}|gradient|{name}", gradient) for name, gradient in gradients.items())
    yield from (("end|weights|" + name, tensor.detach().cpu().clone()) for name, tensor in trainer.model.named_parameters())
    if trainer.evaluator.valid:
        evaluated = trainer.evaluator.evaluate(trainer.model, trainer.evaluator.valid)
        numbers = {key: torch.tensor(value, dtype=torch.float64) for key, value in evaluated.values.items()}
        yield from record_numbers("end", "valid", trainer.evaluator.losses, numbers)


def record_numbers(when: str, kind: str, losses: RunLosses, numbers: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield losses and metrics as `kind`, and values of a step as VALUE, without numbers that the step did not return (NaN)."""
    optional = losses.columns if isinstance(losses, StepLosses) else ()
    for key, number in numbers.items():
        if not (key in optional and number.isnan()):
            yield f"{when}|{VALUE if key in losses.values else kind}|{key}", number


def record_positions(trainer: Trainer, n_steps: int) -> list[tuple[int, int]]:
    """Return the epochs (1-based) and positions in them of the steps to record: `step_positions` in each phase of the run."""
    epochs = [epoch for epoch in trainer.freezing.phases if epoch <= trainer.options.epochs]
    return [(epoch, position) for epoch in epochs for position in step_positions(trainer.steps_per_epoch, n_steps)]


def step_positions(n_in_epoch: int, n_steps: int) -> list[int]:
    """Return the positions of the first steps of an epoch and of its last, which may have a short micro-batch."""
    return list(range(n_in_epoch)) if n_in_epoch <= n_steps else [*range(n_steps - 1), n_in_epoch - 1]


def save_recordings(recordings: Mapping[str, Recording], folder: Path) -> None:
    """Save the recordings of rank 0; other ranks do nothing."""
    place = rank_from_env()
    if place[0] == 0:
        for dtype, recording in recordings.items():
            # safetensors does not preserve the order of tensors: the numbers in the names do
            numbered = {f"{number:06d}|{name}": tensor.contiguous() for number, (name, tensor) in enumerate(recording.items())}
            save_file(numbered, folder / f"{dtype}.safetensors")


def load_recording(folder: Path, dtype: str) -> Recording:
    numbered = load_file(folder / f"{dtype}.safetensors")
    return {name.partition("|")[2]: numbered[name] for name in sorted(numbered)}
