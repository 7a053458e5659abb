"""Capture the state of a run between two optimizer steps, and restore it into a newly built trainer.

The state contains no random generator: random numbers depend only on seed, epoch, step and sample (`seeding`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ddpkit.training.early_stopping import BestTracker
from ddpkit.training.loss_sums import LossSums
from ddpkit.training.progress import Progress
from ddpkit.training.trainer import Trainer


def capture_state(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a run, whose tensors the next optimizer step changes. Every rank must call it; rank 0 saves its state.

    The states of the ranks differ only in the statistics of BatchNorm; evaluation uses those of rank 0.
    """
    stopping = trainer.evaluator.early_stopping
    trainer.loader.unreadable.sync(trainer.world)
    return {
        "progress": attrs.asdict(trainer.progress),
        "tally": {
            "sums": gather_loss_sums(trainer),
            "n_samples": trainer.loss_sums.n_samples,
            "n_skipped": trainer.loss_sums.n_skipped,
        },
        "model": model_state(trainer.model),
        "optimizer": by_name({each.name: named_state(each.optimizer, trainer.model) for each in trainer.optimizations}),
        "schedule": by_name({each.name: each.lr_schedule.state_dict() for each in trainer.optimizations}),
        "precision": trainer.precision.state_dict(),
        "average": trainer.ema.state_dict() if trainer.ema else {},
        "best": {each.name: best_state(each.best) for each in trainer.evaluator.models},
        "stopping": best_state(stopping.best) if stopping else {},
        "positions": trainer.loader.gather_positions(),
        "unreadable": {str(index): error for index, error in trainer.loader.unreadable.errors.items()},
    }


def by_name(states: Mapping[str, Any]) -> Any:
    """Return the states of optimizers by name; the state alone if the run has only one, without a name."""
    return states.get("", states)


def best_state(best: BestTracker) -> dict[str, Any]:
    return {"value": best.value, "epoch": best.epoch}


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return the state dict of a model, with copies of its buffers."""
    buffers = {name for name, _ in model.named_buffers()}  # the next forward changes them before the state is staged
    return {name: value.clone() if name in buffers else value for name, value in model.state_dict().items()}


def restore_state(
    trainer: Trainer, state: Mapping[str, Any], rescheduled: Collection[str] = (), losses: Sequence[float] = ()
) -> None:
    """Restore a state into a newly built trainer. Every rank must call it.

    Args:
        trainer: Trainer without any finished step.
        state: State that `capture_state` returned.
        rescheduled: Names of the optimizers whose options or schedules changed; the new options apply from here on.
        losses: Validation losses of all epochs so far, for these schedules.

    Raises:
        RuntimeError, ValueError, KeyError: The model, the parameters of an optimizer or the evaluated models differ from those of
            the state.
    """
    saved, sums = state["tally"], own_sums(trainer, state["tally"]["sums"])
    trainer.progress = Progress(**state["progress"])
    if 0 < trainer.progress.step_in_epoch < trainer.steps_per_epoch:
        trainer.loader.restore_positions(state.get("positions", []))
    trainer.loader.unreadable.errors |= {int(index): error for index, error in state.get("unreadable", {}).items()}
    trainer.loss_sums = LossSums(sums.tolist(), trainer.world.device, saved["n_samples"], saved["n_skipped"])
    trainer.model.load_state_dict(state["model"])
    for each in trainer.optimizations:
        optimizer, schedule = (state[key][each.name] if each.name else state[key] for key in ("optimizer", "schedule"))
        if each.name in rescheduled:
            each.lr_schedule.replay(schedule["updates"], losses)
        else:
            each.lr_schedule.load_state_dict(schedule)
        load_named_state(each.optimizer, trainer.model, optimizer, options=each.name not in rescheduled)
    trainer.precision.load_state_dict(state["precision"])
    if trainer.ema:
        trainer.ema.load_state_dict(state["average"])
    for candidate in trainer.evaluator.models:
        candidate.best.restore(**state["best"][candidate.name])
    if trainer.evaluator.early_stopping:
        trainer.evaluator.early_stopping.best.restore(**state["stopping"])


def gather_loss_sums(trainer: Trainer) -> Tensor:
    """Return the losses of the current epoch, summed over the samples of each shard: float64 [V, T]. Every rank must call it."""
    sums = trainer.world.gather(trainer.loss_sums.read())  # [ranks, own shards, T]: shard = rank + ranks * position
    return sums.transpose(0, 1).flatten(0, 1)


def own_sums(trainer: Trainer, sums: Tensor) -> Tensor:
    """Return the sums of this rank's shards, [shards, n_sums], from those of all shards.

    Other criteria have other sums: zeros between two epochs. Raise ValueError within an epoch.
    """
    if sums.shape[1] != trainer.losses.n_sums:
        if sums.any():
            message = "the checkpoint is within an epoch and has sums of other losses"
            raise ValueError(f"{message} ({sums.shape[1]} instead of {trainer.losses.n_sums}); restore the criteria of the run")
        sums = sums.new_zeros(len(sums), trainer.losses.n_sums)
    return redistribute_sums(sums, trainer.loader.sampler.n_shards)[list(trainer.loader.sampler.shards)]


def redistribute_sums(sums: Tensor, n_shards: int) -> Tensor:
    """Return the sums for `n_shards` shards: unchanged, or all in the first shard if the number of shards changed."""
    if len(sums) == n_shards:
        return sums
    return torch.cat([sums.sum(0, keepdim=True), sums.new_zeros(n_shards - 1, sums.shape[1])])


def named_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return `state`, the values of each parameter by name, and `groups`, the options of each group with its `params` by name."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    groups = [{**group, "params": [names[each] for each in group["params"]]} for group in optimizer.param_groups]
    return {"state": {names[each]: dict(values) for each, values in optimizer.state.items()}, "groups": groups}


def load_named_state(optimizer: Optimizer, model: nn.Module, saved: dict[str, Any], *, options: bool = True) -> None:
    """Load what `named_state` returned. Raise ValueError if the parameters, or their groups, are different.

    `options`: load the options of the groups too (learning rates, weight decay, ...); otherwise keep the current ones.
    """
    now = named_state(optimizer, model)["groups"]
    for number, (mine, theirs) in enumerate(zip(now, saved["groups"], strict=True)):
        if different := set(mine["params"]) ^ set(theirs["params"]):
            shown = ", ".join(sorted(different)[:3])
            raise ValueError(f"group {number} of the optimizer has different parameters than in the checkpoint: {shown}")
    places = {name: place for place, name in enumerate(name for group in now for name in group["params"])}
    groups = [
        {**(theirs if options else mine), "params": [places[name] for name in mine["params"]]}
        for mine, theirs in zip(now, saved["groups"], strict=True)
    ]
    state = {places[name]: values for name, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
