"""Select the trained parameters and divide them into groups: `model.freeze`, `train.optimizer.groups`, weight decay."""

import fnmatch
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ddpkit.config import schema
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, KeyPath, closest, list_first, suggest
from ddpkit.training.freezing import FreezeSchedule, FrozenGroup

LOGGER = logging.getLogger(__name__)

GROUP_KEYS = {"learning_rate": "lr"}
"""Keys of `optimizer.groups` -> names that torch's optimizers use."""
SHOWN = 3
"""Maximum number of parameters in a message."""


def freeze(model: nn.Module, config: Config) -> FreezeSchedule:
    """Freeze the parameters of `model.freeze` that are never trained; return the schedule of the others.

    A parameter is frozen as long as one entry freezes it; those that the model itself freezes stay frozen. Raises ConfigError
    for an entry without an effect, or if no trained parameter remains.
    """
    parameters = dict(model.named_parameters())
    matched = [match_parameters(config, number, parameters) for number in range(len(config.run.model.freeze))]
    last_epochs = {name: 0.0 if each.requires_grad else math.inf for name, each in parameters.items()}
    for entry, names in zip(config.run.model.freeze, matched, strict=True):
        last_epochs |= {name: max(last_epochs[name], entry.until or math.inf) for name in names}
    for name, last_epoch in last_epochs.items():
        parameters[name].requires_grad = last_epoch < math.inf
    check_freeze(config, matched, last_epochs)
    return FreezeSchedule(model, frozen_groups(config, parameters, last_epochs))


def match_parameters(config: Config, number: int, names: Iterable[str]) -> list[str]:
    """Return the names that match an entry of `model.freeze`. Raises ConfigError if there are none."""
    return match_names(config, ("model", "freeze", number, "match"), config.run.model.freeze[number].match, names)


def match_names(config: Config, path: KeyPath, pattern: str, names: Iterable[str], none: str = "no parameter") -> list[str]:
    """Return the names that match the pattern at `path`. Raises ConfigError, which begins with `none`, if there are none."""
    if found := fnmatch.filter(names, pattern):
        return found
    suggestion = suggest(pattern, suggest_patterns(pattern, names))
    raise ConfigError([config.problem(path, f"{none} matches {pattern!r}; {suggestion}")])


def check_freeze(config: Config, matched: Sequence[Sequence[str]], last_epochs: Mapping[str, float]) -> None:
    """Raise ConfigError for an entry with `until` that has no effect, or if an epoch has no parameter to train.

    Args:
        config: Config of the run.
        matched: Names of the parameters that each entry of `model.freeze` matches.
        last_epochs: Name of each parameter -> last epoch in which it is frozen; 0: never frozen, inf: never trained.
    """
    for number, (entry, names) in enumerate(zip(config.run.model.freeze, matched, strict=True)):
        if entry.until and all(last_epochs[name] > entry.until for name in names):
            message = "has no effect, because the model or another entry freezes these parameters longer; remove this entry"
            raise ConfigError([config.problem(("model", "freeze", number), message)])
    if 0 not in last_epochs.values():
        when = " in the first epochs" * (min(last_epochs.values()) < math.inf)
        raise ConfigError([config.problem(("model", "freeze"), f"leaves no parameter to train{when}; remove a pattern")])


def frozen_groups(config: Config, parameters: Mapping[str, nn.Parameter], last_epochs: Mapping[str, float]) -> list[FrozenGroup]:
    """Return the parameters that are frozen in the first epochs only, a group for each last epoch."""
    groups = []
    for last in sorted({epoch for epoch in last_epochs.values() if 0 < epoch < math.inf}):
        patterns = [entry.match for entry in config.run.model.freeze if entry.until == last]
        groups.append(FrozenGroup(int(last), [each for name, each in parameters.items() if last_epochs[name] == last], patterns))
    return groups


def suggest_patterns(given: str, names: Iterable[str]) -> list[str]:
    """Return suggestions for a pattern that matches nothing: the names if one is similar, else the model's top-level modules."""
    names = list(names)
    return names if closest(given, names) else list(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in names))


def divide_parameters(model: nn.Module, config: Config) -> list[dict[str, nn.Parameter]]:
    """Return the trained parameters of each optimizer by name; a single `[train.optimizer]` gets all of them.

    Raises ConfigError for a pattern that matches nothing, and for parameters that no optimizer matches.
    """
    left = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    tables = config.run.train.optimizer
    if not isinstance(tables, list):
        return [left]
    divided = []
    for number, table in enumerate(tables):
        names = match_optimizer(table, ("train", "optimizer", number), list(left), config)
        divided.append({name: left.pop(name) for name in names})
    if left:
        message = f"no optimizer matches {list_first(list(left), SHOWN)}; extend a 'match', or remove that of the last optimizer"
        raise ConfigError([config.problem(("train", "optimizer"), message)])
    return divided


def match_optimizer(table: schema.OptimizerPart, path: KeyPath, left: list[str], config: Config) -> list[str]:
    """Return which of the parameters that are left belong to an optimizer. Raises ConfigError if a pattern matches none."""
    if not table.match and not left:
        raise ConfigError([config.problem(path, "the optimizers before it match all trained parameters; remove this optimizer")])
    if not table.match:
        return left
    patterns = [table.match] if isinstance(table.match, str) else table.match
    none = "no trained parameter outside the optimizers before"
    matched = {name for pattern in patterns for name in match_names(config, (*path, "match"), pattern, left, none)}
    return [name for name in left if name in matched]


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], table: schema.Optimizer, path: KeyPath, config: Config
) -> list[dict[str, Any]]:
    """Return the parameters of an optimizer as groups for torch: first those of no group, then the `groups` of its table.

    Without `decay_norm_and_bias`, norms and biases get groups of their own, without weight decay. Raises ConfigError for a group
    without a parameter.
    """
    left, groups, none = dict(parameters), [], "no trained parameter outside the groups before"
    for number, group in enumerate(table.groups):
        names = match_names(config, (*path, "groups", number, "match"), group["match"], left, none)
        options = {GROUP_KEYS.get(key, key): value for key, value in group.items() if key != "match"}
        groups.append({"params": [left.pop(name) for name in names], **options})
    groups = [{"params": list(left.values())}, *groups] if left else groups
    return groups if table.decay_norm_and_bias else [part for group in groups for part in split_by_decay(group)]


def check_parameters(
    config: Config, path: KeyPath, model: nn.Module, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer
) -> None:
    """Raise ConfigError at `path` if the optimizer lacks some of its `parameters`, or has trained ones of other optimizers.

    Parameters that no optimizer has would keep their weights and add up their gradients; those that two have would get two steps.
    """
    optimized = {id(each) for group in optimizer.param_groups for each in group["params"]}
    missing = [name for name, each in parameters.items() if id(each) not in optimized]
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    foreign = [name for name, each in trained.items() if id(each) in optimized and name not in parameters]
    if missing:
        message = f"{len(missing)} trained parameters are in none of the groups that it builds ({list_first(missing, SHOWN)})"
        advice = "add them to a group, or freeze them with 'model.freeze'"
        raise ConfigError([config.problem(path, f"{message}; {advice}")])
    if foreign:
        message = f"it has {len(foreign)} parameters of other optimizers ({list_first(foreign, SHOWN)})"
        raise ConfigError([config.problem(path, f"{message}; build its groups from 'params', or extend its 'match'")])


def split_by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a group in two: norms and biases (parameters with at most one axis) get no weight decay."""
    flat = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    rest = [parameter for parameter in group["params"] if parameter.ndim > 1]
    parts = [{**group, "params": rest}, {**group, "params": flat, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


OTHER_KERNELS = {"fused", "foreach", "differentiable", "capturable"}
"""Options of torch's optimizers that conflict with `fused`, or that already set it."""


def fused_option(table: schema.Optimizer) -> Mapping[str, bool]:
    """Return `fused=True` unless the config already selects a kernel. Torch has fused optimizers for CPU and CUDA.

    The option is passed only to an optimizer that has it.
    """
    # With momentum, torch's fused kernel fails if a parameter gets its first gradient later than the others.
    has_momentum = any(options.get("momentum") for options in (table.params, *table.groups))
    return {} if OTHER_KERNELS & table.params.keys() or has_momentum else {"fused": True}


def check_unused_parameters(config: Config, unused: Mapping[str, int], n_ranks: int) -> None:
    """Warn about trained parameters that get no gradient from an epoch on, unless `ddp.find_unused_parameters` is set.

    Raises ConfigError with several ranks, because DDP would wait for these gradients.
    """
    if not unused or config.run.ddp.find_unused_parameters:
        return
    names = [name + f" from epoch {epoch} on" * (epoch > 1) for name, epoch in unused.items()]
    shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)  # noqa: PLR2004
    message = f"{len(names)} trained parameters get no gradient ({shown})"
    if n_ranks > 1:
        advice = "freeze them with 'model.freeze', or set 'find_unused_parameters = true'"
        raise ConfigError([config.problem(("ddp", "find_unused_parameters"), f"{message}; {advice}")])
    LOGGER.warning("%s; with several ranks, 'ddp.find_unused_parameters = true' would be required", message)
