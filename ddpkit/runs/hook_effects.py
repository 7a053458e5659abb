"""Effects of run hooks: the columns that they add to the history, and changes of the model that would have no effect."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from torch import nn
from torch.optim import Optimizer

from ddpkit.errors import DdpkitError, list_first
from ddpkit.runs.log import LOGGER
from ddpkit.training.callbacks import Row

SHOWN = 3
"""Maximum number of parameters or columns in a message."""


def check_columns(plugin: str, returned: Any, row: Row) -> dict[str, float]:
    """Return the columns that `ddpkit_epoch_end` of a plugin returned as plain numbers; {} for None.

    Raises DdpkitError for anything but a mapping of numbers, and for a column that the row has already.
    """
    where = f"plugin {plugin}: ddpkit_epoch_end"
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise DdpkitError(f"{where} must return None or a dict of new columns; got {type(returned).__name__}")
    columns: dict[str, float] = {}
    for name, value in returned.items():
        if not isinstance(value, numbers.Real) or not isinstance(name, str):
            raise DdpkitError(f"{where} must return numbers by name; got {name!r}: {type(value).__name__}; use float(value)")
        if name in row:
            raise DdpkitError(f"{where} returned the column {name!r}, which the history already has; return only new columns")
        columns[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
    return columns


def describe_changes(plugin: str, row: Row, changed: Row) -> str:
    """Return a warning for a plugin that changed its copy of the row."""
    names = [name for name in {**row, **changed} if name not in row or name not in changed or row[name] != changed[name]]
    message = f"plugin {plugin} changed {list_first(names, SHOWN)} in its copy of the row, which has no effect"
    return f"{message}; return new columns from ddpkit_epoch_end instead, such as return {{{names[0]!r}: value}}"


@attrs.define
class UntrainedParameters:
    """Warns about parameters that a run hook unfroze, but that no optimizer has."""

    model: nn.Module
    optimizers: Sequence[Optimizer]
    known: set[str] = attrs.field(factory=set)
    """Names of the parameters that need no warning."""

    @classmethod
    def of(cls, model: nn.Module, optimizers: Sequence[Optimizer]) -> "UntrainedParameters":
        """Create it before the first hook is called: parameters that no optimizer has already need no warning."""
        made = cls(model, optimizers)
        made.known |= made.find()
        return made

    def find(self) -> set[str]:
        """Return the names of the parameters that require a gradient and are in no group of an optimizer."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        optimized = {id(each) for group in groups for each in group["params"]}
        return {name for name, each in self.model.named_parameters() if each.requires_grad and id(each) not in optimized}

    def warn(self, plugins: Sequence[str]) -> None:
        """Warn once about each parameter that was unfrozen since the last call, by hooks of these plugins."""
        if found := sorted(self.find() - self.known):
            self.known.update(found)
            names = list_first(found, SHOWN)
            message = "plugin %s unfroze parameters that no optimizer has, so they are not trained: %s; %s"
            LOGGER.warning(message, " or ".join(plugins), names, "to train them, remove their patterns from 'model.freeze'")
