"""Select the trained parameters and divide them into groups: `model.freeze`, `train.optimizer.groups`, weight decay."""

import fnmatch
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ddpkit.config import schema
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, KeyPath, closest, list_first, suggest

LOGGER = logging.getLogger(__name__)

GROUP_KEYS = {"learning_rate": "lr"}
"""Keys of `optimizer.groups` -> names that torch's optimizers use."""
SHOWN = 3
"""Maximum number of parameters in a message."""


def freeze(model: nn.Module, config: Config) -> None:
    """Freeze the parameters that match `model.freeze`.

    Raises ConfigError if a pattern matches no parameter, or if no trained parameter remains.
    """
    parameters = dict(model.named_parameters())
    for number, pattern in enumerate(config.run.model.freeze):
        names = fnmatch.filter(parameters, pattern)
        if not names:
            message = f"no parameter matches {pattern!r}; {suggest(pattern, suggest_patterns(pattern, parameters))}"
            raise ConfigError([config.problem(("model", "freeze", number), message)])
        for name in names:
            parameters[name].requires_grad = False
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError([config.problem(("model", "freeze"), "leaves no parameter to train; remove a pattern")])


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
    for pattern in patterns:
        if not fnmatch.filter(left, pattern):
            suggestion = suggest(pattern, suggest_patterns(pattern, left))
            message = f"no trained parameter outside the optimizers before matches {pattern!r}; {suggestion}"
            raise ConfigError([config.problem((*path, "match"), message)])
    return [name for name in left if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], table: schema.Optimizer, path: KeyPath, config: Config
) -> list[dict[str, Any]]:
    """Return the parameters of an optimizer as groups for torch: first those of no group, then the `groups` of its table.

    Without `decay_norm_and_bias`, norms and biases get groups of their own, without weight decay. Raises ConfigError for a group
    without a parameter.
    """
    left, groups = dict(parameters), []
    for number, group in enumerate(table.groups):
        names = fnmatch.filter(left, group["match"])
        if not names:
            suggestion = suggest(group["match"], suggest_patterns(group["match"], left))
            message = f"no trained parameter outside the groups before matches {group['match']!r}; {suggestion}"
            raise ConfigError([config.problem((*path, "groups", number, "match"), message)])
        options = {GROUP_KEYS.get(key, key): value for key, value in group.items() if key != "match"}
        groups.append({"params": [left.pop(name) for name in names], **options})
    groups = [{"params": list(left.values())}, *groups] if left else groups
    return groups if table.decay_norm_and_bias else [part for group in groups for part in split_by_decay(group)]


def split_by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a group in two: norms and biases (parameters with at most one axis) get no weight decay."""
    flat = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    rest = [parameter for parameter in group["params"] if parameter.ndim > 1]
    parts = [{**group, "params": rest}, {**group, "params": flat, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


def find_frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers whose parameters are all frozen: their statistics must stay unchanged too."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - base class
    return [layer for layer in norms if [*layer.parameters()] and not any(each.requires_grad for each in layer.parameters())]


OTHER_KERNELS = {"fused", "foreach", "differentiable", "capturable"}
"""Options of torch's optimizers that conflict with `fused`, or that already set it."""


def fused_option(table: schema.Optimizer) -> Mapping[str, bool]:
    """Return `fused=True` unless the config already selects a kernel. Torch has fused optimizers for CPU and CUDA.

    The option is passed only to an optimizer that has it.
    """
    # With momentum, torch's fused kernel fails if a parameter gets its first gradient later than the others.
    return {} if OTHER_KERNELS & table.params.keys() or table.params.get("momentum") else {"fused": True}


def check_unused_parameters(config: Config, names: Sequence[str], n_ranks: int) -> None:
    """Warn about trained parameters that get no gradient, unless `ddp.find_unused_parameters` is set.

    Raises ConfigError with several ranks, because DDP would wait for these gradients.
    """
    if not names or config.run.ddp.find_unused_parameters:
        return
    shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)  # noqa: PLR2004
    message = f"{len(names)} trained parameters get no gradient ({shown})"
    if n_ranks > 1:
        advice = "freeze them with 'model.freeze', or set 'find_unused_parameters = true'"
        raise ConfigError([config.problem(("ddp", "find_unused_parameters"), f"{message}; {advice}")])
    LOGGER.warning("%s; with several ranks, 'ddp.find_unused_parameters = true' would be required", message)
