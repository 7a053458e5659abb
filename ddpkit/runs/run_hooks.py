"""Run hooks of the plugins that `[plugins] enable` names: resolved once, so what nobody asked for costs nothing."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn
from torch.optim import Optimizer

from ddpkit.config import loading
from ddpkit.config.loading import Config
from ddpkit.plugins.manager import Plugins
from ddpkit.training.callbacks import Row, Watcher
from ddpkit.training.trainer import Engine

Hook = Callable[..., Any]
LOGGER = logging.getLogger(__name__)
SAVE, LOAD = "ddpkit_checkpoint_save", "ddpkit_checkpoint_load"


@attrs.frozen(kw_only=True)
class RunInfo:
    """What run hooks are told of a run; the same on every rank but for `rank` and `device`."""

    folder: Path
    """Of the run; made by rank 0."""
    config: Mapping[str, Any]
    """The resolved config as plain tables."""
    rank: int
    n_ranks: int
    device: torch.device
    model: nn.Module
    """Not wrapped."""
    optimizer: Optimizer

    @classmethod
    def of(cls, config: Config, engine: Engine, folder: Path) -> "RunInfo":
        """Of the run that this rank is about to begin."""
        return cls(
            folder=folder,
            config=loading.tables(config.run),
            rank=engine.world.rank,
            n_ranks=engine.world.size,
            device=engine.world.device,
            model=engine.model,
            optimizer=engine.optimizer,
        )


@attrs.frozen
class RunHooks:
    """The watcher that calls them, on every rank."""

    run: RunInfo
    step_end: Sequence[Hook]
    epoch_end: Sequence[Hook]

    def train_step_ended(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:  # noqa: ARG002 - a watcher's
        """`ddpkit_step_end`."""
        for hook in self.step_end:
            hook(run=self.run, epoch=epoch, step=step)

    def epoch_ended(self, row: Row) -> None:
        """`ddpkit_epoch_end`."""
        for hook in self.epoch_end:
            hook(run=self.run, row=row)


@contextlib.contextmanager
def called(plugins: Plugins, run: RunInfo) -> Iterator[list[Watcher]]:
    """`ddpkit_run_start` and `ddpkit_run_end` around a run, and the watcher in between, if any plugin wants it."""
    for hook in plugins.hooks("ddpkit_run_start"):
        hook(run=run)
    step_end, epoch_end = plugins.hooks("ddpkit_step_end"), plugins.hooks("ddpkit_epoch_end")
    error: BaseException | None = None
    try:
        yield [RunHooks(run, step_end, epoch_end)] if step_end or epoch_end else []
    except BaseException as raised:
        error = raised
        raise
    finally:
        for hook in plugins.hooks("ddpkit_run_end"):
            hook(run=run, error=error)


def kept(plugins: Plugins, run: RunInfo) -> dict[str, Any]:
    """What `ddpkit_checkpoint_save` gives, by name of plugin."""
    given = {plugin.name: plugin.hooks[SAVE](run=run) for plugin in plugins.plugins if SAVE in plugin.hooks}
    return {name: state for name, state in given.items() if state is not None}


def give_back(plugins: Plugins, run: RunInfo, states: Mapping[str, Any]) -> None:
    """To each plugin what it had kept (`ddpkit_checkpoint_load`)."""
    hooks = {plugin.name: plugin.hooks[LOAD] for plugin in plugins.plugins if LOAD in plugin.hooks}
    for name, state in states.items():
        if name in hooks:
            hooks[name](run=run, state=state)
        else:
            LOGGER.warning("what plugin %s kept is not given back: it is not in '[plugins] enable', or has no %s", name, LOAD)
