"""Run hooks of the plugins in `[plugins] enable` and of local files.

They are resolved once, so unused hooks cost nothing.
"""

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
from ddpkit.training.callbacks import Callback, Row
from ddpkit.training.trainer import Trainer

Hook = Callable[..., Any]
LOGGER = logging.getLogger(__name__)
SAVE, LOAD = "ddpkit_checkpoint_save", "ddpkit_checkpoint_load"


@attrs.frozen(kw_only=True)
class RunInfo:
    """Facts about a run that its run hooks receive. They are the same on every rank, except `rank` and `device`."""

    folder: Path
    """Path of the run folder, which rank 0 creates."""
    config: Mapping[str, Any]
    """Resolved config as plain tables."""
    rank: int
    n_ranks: int
    device: torch.device
    model: nn.Module
    """Model, not wrapped by DDP."""
    optimizer: Optimizer

    @classmethod
    def of(cls, config: Config, trainer: Trainer, folder: Path) -> "RunInfo":
        """Collect the facts about the run that this rank is about to start."""
        return cls(
            folder=folder,
            config=loading.to_tables(config.run),
            rank=trainer.world.rank,
            n_ranks=trainer.world.size,
            device=trainer.world.device,
            model=trainer.model,
            optimizer=trainer.optimizer,
        )


@attrs.frozen
class RunHooks(Callback):
    """Callback that calls the run hooks, on every rank."""

    run: RunInfo
    step_end: Sequence[Hook]
    epoch_end: Sequence[Hook]

    def on_train_step_end(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:  # noqa: ARG002 - signature of a callback
        """Call `ddpkit_step_end` of each plugin."""
        for hook in self.step_end:
            hook(run=self.run, epoch=epoch, step=step)

    def on_epoch_end(self, row: Row) -> None:
        """Call `ddpkit_epoch_end` of each plugin."""
        for hook in self.epoch_end:
            hook(run=self.run, row=row)


@contextlib.contextmanager
def open_run_hooks(plugins: Plugins, run: RunInfo) -> Iterator[list[Callback]]:
    """Call `ddpkit_run_start` and `ddpkit_run_end` around the context; yield the callback for steps and epochs, if needed."""
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


def are_enabled(plugins: Plugins) -> bool:
    """Return whether steps or epochs call hooks of plugins."""
    return any(plugins.hooks(name) for name in ("ddpkit_step_end", "ddpkit_epoch_end"))


def collect_plugin_state(plugins: Plugins, run: RunInfo) -> dict[str, Any]:
    """Return the state that `ddpkit_checkpoint_save` of each plugin returns, by plugin name; None is omitted."""
    given = {plugin.name: plugin.hooks[SAVE](run=run) for plugin in plugins.plugins if SAVE in plugin.hooks}
    return {name: state for name, state in given.items() if state is not None}


def restore_plugin_state(plugins: Plugins, run: RunInfo, states: Mapping[str, Any]) -> None:
    """Pass each plugin its saved state (`ddpkit_checkpoint_load`); warn about a plugin that is not enabled or lacks the hook."""
    hooks = {plugin.name: plugin.hooks[LOAD] for plugin in plugins.plugins if LOAD in plugin.hooks}
    for name, state in states.items():
        if name in hooks:
            hooks[name](run=run, state=state)
        else:
            LOGGER.warning(
                "the saved state of plugin %s is not restored: add it to 'enable' in [plugins], and define the hook %s in it",
                name,
                LOAD,
            )
