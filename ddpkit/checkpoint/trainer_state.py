"""All that a run is between two optimizer steps, as tensors and plain data; and back into a run that was built anew.

No state of a random generator: what is drawn depends on seed, epoch, step and sample alone (`seeding`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ddpkit.training.loss_sums import Tally
from ddpkit.training.progress import Progress
from ddpkit.training.trainer import Engine


def taken(engine: Engine) -> dict[str, Any]:
    """The state of a run, by reference: the next step of the optimizer changes it. Every rank must call it; rank 0's is to keep.

    (Ranks differ in BatchNorm's statistics alone, and those of rank 0 are the ones that a run is evaluated with.)
    """
    return {
        "progress": attrs.asdict(engine.progress),
        "tally": {
            "sums": sums_of_shards(engine),
            "n_samples": engine.tally.n_samples,
            "n_skipped": engine.tally.n_skipped,
        },
        "model": weights_of(engine.model),
        "optimizer": named_state(engine.optimizer, engine.model),
        "schedule": engine.schedule.state_dict(),
        "precision": engine.precision.state_dict(),
        "average": engine.average.state_dict() if engine.average else {},
        "best": {each.name: {"value": each.best.value, "epoch": each.best.epoch} for each in engine.candidates},
        "stopping": {"value": engine.stopping.best.value, "epoch": engine.stopping.best.epoch} if engine.stopping else {},
    }


def weights_of(model: nn.Module) -> dict[str, Any]:
    """A model's state; buffers, which a forward changes, are copied."""
    buffers = {name for name, _ in model.named_buffers()}
    return {name: value.clone() if name in buffers else value for name, value in model.state_dict().items()}


def put_back(engine: Engine, state: Mapping[str, Any], losses: Sequence[float] | None = None) -> None:
    """Make a run that was built anew go on from a state. Every rank must call it.

    `losses`: given when schedule or optimizer have other options now, which then hold from here on: the validation losses so
    far, for a schedule that looks at them. Raises ValueError when the model or the optimizer's parameters are others.
    """
    tally, shards = state["tally"], engine.train.sampler.shards
    sums = dealt(tally["sums"], engine.train.sampler.n_shards)[list(shards)].to(engine.world.device, copy=True)
    engine.progress = Progress(**state["progress"])
    engine.tally = Tally([each.unbind() for each in sums], tally["n_samples"], tally["n_skipped"])
    engine.model.load_state_dict(state["model"])
    if losses is None:
        engine.schedule.load_state_dict(state["schedule"])
    else:
        engine.schedule.replay(state["schedule"]["updates"], losses)
    load_named_state(engine.optimizer, engine.model, state["optimizer"], options=losses is None)
    engine.precision.load_state_dict(state["precision"])
    if engine.average:
        engine.average.load_state_dict(state["average"])
    for candidate in engine.candidates:
        candidate.best.resume(**state["best"][candidate.name])
    if engine.stopping:
        engine.stopping.best.resume(**state["stopping"])


def sums_of_shards(engine: Engine) -> Tensor:
    """The losses of the epoch in hand, summed over the samples of each shard: float64 [V, T]. Every rank must call it."""
    mine = torch.stack([torch.stack(list(sums)) for sums in engine.tally.sums])
    return engine.world.gather(mine).transpose(0, 1).flatten(0, 1)  # [ranks, own shards, T]: shard = rank + ranks * place


def dealt(sums: Tensor, n_shards: int) -> Tensor:
    """The same for as many shards as there are now: all in the first, where the number is another."""
    if len(sums) == n_shards:
        return sums
    return torch.cat([sums.sum(0, keepdim=True), sums.new_zeros(n_shards - 1, sums.shape[1])])


def named_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """`state`: what is kept of each parameter, under its name. `groups`: their options, and the `names` in them."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    groups = [{**group, "params": [names[each] for each in group["params"]]} for group in optimizer.param_groups]
    return {"state": {names[each]: dict(values) for each, values in optimizer.state.items()}, "groups": groups}


def load_named_state(optimizer: Optimizer, model: nn.Module, saved: dict[str, Any], *, options: bool = True) -> None:
    """Put back what `named_state` gave. Raises ValueError when the parameters are others, or in other groups.

    `options`: of the groups too (rates, decay, ...); else those of now stay.
    """
    now = named_state(optimizer, model)["groups"]
    for number, (mine, theirs) in enumerate(zip(now, saved["groups"], strict=True)):
        if different := set(mine["params"]) ^ set(theirs["params"]):
            raise ValueError(f"group {number} of the optimizer had other parameters: {', '.join(sorted(different)[:3])}")
    places = {name: place for place, name in enumerate(name for group in now for name in group["params"])}
    groups = [
        {**(theirs if options else mine), "params": [places[name] for name in mine["params"]]}
        for mine, theirs in zip(now, saved["groups"], strict=True)
    ]
    state = {places[name]: values for name, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
