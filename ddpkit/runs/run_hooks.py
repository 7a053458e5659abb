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
from ddpkit.config.plugin_params import hook_params
from ddpkit.plugins.hookspecs import RUN_HOOKS
from ddpkit.plugins.manager import Plugins
from ddpkit.runs.hook_effects import UntrainedParameters, check_columns, describe_changes
from ddpkit.training.callbacks import Callback, Row
from ddpkit.training.trainer import Trainer

LOGGER = logging.getLogger(__name__)
STEP_END, EPOCH_END = "ddpkit_step_end", "ddpkit_epoch_end"
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
    """Only optimizer of the run; the first of several."""
    optimizers: Mapping[str, Optimizer]
    """All optimizers by name; the name of the only optimizer is empty."""
    stop: Callable[[], None]
    """Function without arguments that ends the run after the current epoch, as early stopping does; one rank may call it."""

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
            optimizer=trainer.optimizations[0].optimizer,
            optimizers={each.name: each.optimizer for each in trainer.optimizations},
            stop=trainer.end_after_epoch,
        )


@attrs.frozen
class RunHook:
    """Run hook of one plugin, with its parameters."""

    plugin: str
    function: Callable[..., Any]
    params: Mapping[str, Any]

    def __call__(self, **values: Any) -> Any:
        """Call the hook."""
        return self.function(**values, **self.params)


def find_hooks(plugins: Plugins, run: RunInfo, name: str) -> list[RunHook]:
    """Return a run hook of each enabled plugin that has it, with the parameters that the config sets."""
    tables = run.config["plugins"]["config"]
    return [RunHook(each.name, each.hooks[name], hook_params(each, name, tables)) for each in plugins.with_hook(name)]


@attrs.frozen
class RunHooks(Callback):
    """Callback that calls the run hooks, on every rank."""

    run: RunInfo
    step_end: Sequence[RunHook]
    epoch_end: Sequence[RunHook]
    untrained: UntrainedParameters
    warned: set[str] = attrs.field(factory=set)
    """Plugins that were warned about a change of their copy of the row."""

    def on_train_step_end(self, epoch: int, step: int, steps: int, loss: Callable[[], float]) -> None:  # noqa: ARG002 - signature of a callback
        """Call `ddpkit_step_end` of each plugin."""
        for hook in self.step_end:
            hook(run=self.run, epoch=epoch, step=step)

    def extend_row(self, row: Row) -> Row:
        """Call `ddpkit_epoch_end` of each plugin with a copy of the row; return the columns that the plugins add."""
        if self.step_end:
            self.untrained.warn([hook.plugin for hook in self.step_end])
        columns: dict[str, float] = {}
        for hook in self.epoch_end:
            given = {**row, **columns}
            copy = dict(given)
            columns |= check_columns(hook.plugin, hook(run=self.run, row=copy), given)
            self.untrained.warn([hook.plugin])
            if copy != given and hook.plugin not in self.warned:
                self.warned.add(hook.plugin)
                LOGGER.warning("%s", describe_changes(hook.plugin, given, copy))
        return columns


@contextlib.contextmanager
def open_run_hooks(plugins: Plugins, run: RunInfo) -> Iterator[list[Callback]]:
    """Call `ddpkit_run_start` and `ddpkit_run_end` around the context; yield the callback for steps and epochs, if needed."""
    untrained = UntrainedParameters.of(run.model, list(run.optimizers.values()))
    for hook in find_hooks(plugins, run, "ddpkit_run_start"):
        hook(run=run)
        untrained.warn([hook.plugin])
    step_end, epoch_end = find_hooks(plugins, run, STEP_END), find_hooks(plugins, run, EPOCH_END)
    error: BaseException | None = None
    try:
        yield [RunHooks(run, step_end, epoch_end, untrained)] if step_end or epoch_end else []
    except BaseException as raised:
        error = raised
        raise
    finally:
        for hook in find_hooks(plugins, run, "ddpkit_run_end"):
            hook(run=run, error=error)


def are_enabled(plugins: Plugins) -> bool:
    """Return whether the run calls hooks of plugins."""
    return any(plugins.with_hook(name) for name in RUN_HOOKS)


def collect_plugin_state(plugins: Plugins, run: RunInfo) -> dict[str, Any]:
    """Return the state that `ddpkit_checkpoint_save` of each plugin returns, by plugin name; None is omitted."""
    given = {hook.plugin: hook(run=run) for hook in find_hooks(plugins, run, SAVE)}
    return {name: state for name, state in given.items() if state is not None}


def restore_plugin_state(plugins: Plugins, run: RunInfo, states: Mapping[str, Any]) -> None:
    """Pass each plugin its saved state (`ddpkit_checkpoint_load`); warn about a plugin that is not enabled or lacks the hook."""
    hooks = {hook.plugin: hook for hook in find_hooks(plugins, run, LOAD)}
    for name, state in states.items():
        if name in hooks:
            hooks[name](run=run, state=state)
        else:
            LOGGER.warning(
                "the saved state of plugin %s is not restored: add it to 'enable' in [plugins], and define the hook %s in it",
                name,
                LOAD,
            )
