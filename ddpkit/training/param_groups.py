"""Which parameters of a model are trained, and how: `model.freeze`, `optimizer.groups`, weight decay."""

import fnmatch
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ddpkit.config import schema
from ddpkit.config.loading import Config
from ddpkit.errors import ConfigError, closest, suggest

LOGGER = logging.getLogger(__name__)

GROUP_KEYS = {"learning_rate": "lr"}
"""Keys of `optimizer.groups` that torch calls otherwise."""


def freeze(model: nn.Module, config: Config) -> None:
    """Parameters that `model.freeze` names are not trained."""
    parameters = dict(model.named_parameters())
    for number, pattern in enumerate(config.run.model.freeze):
        names = fnmatch.filter(parameters, pattern)
        if not names:
            message = f"no parameter is called like {pattern!r}, {suggest(pattern, patterns(pattern, parameters))}"
            raise ConfigError([config.problem(("model", "freeze", number), message)])
        for name in names:
            parameters[name].requires_grad = False
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError([config.problem(("model", "freeze"), "leaves nothing to train")])


def patterns(given: str, names: Iterable[str]) -> list[str]:
    """What to suggest in place of a pattern: the names where one is near, else the model's parts."""
    names = list(names)
    return names if closest(given, names) else list(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in names))


def parameter_groups(model: nn.Module, config: Config) -> list[dict[str, Any]]:
    """What is trained, as torch's optimizers take it: those of no group first, then each of `optimizer.groups`.

    Raises ConfigError for a group without a parameter.
    """
    table = config.run.train.optimizer
    left = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups = []
    for number, group in enumerate(table.groups):
        names = fnmatch.filter(left, group["match"])
        if not names:
            known = suggest(group["match"], patterns(group["match"], left))
            message = f"no trained parameter that is left is called like {group['match']!r}, {known}"
            raise ConfigError([config.problem(("train", "optimizer", "groups", number, "match"), message)])
        options = {GROUP_KEYS.get(key, key): value for key, value in group.items() if key != "match"}
        groups.append({"params": [left.pop(name) for name in names], **options})
    groups = [{"params": list(left.values())}, *groups] if left else groups
    return groups if table.decay_norm_and_bias else [part for group in groups for part in by_decay(group)]


def by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group as two: norms and biases, which have one axis at most, without weight decay."""
    flat = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    rest = [parameter for parameter in group["params"] if parameter.ndim > 1]
    parts = [{**group, "params": rest}, {**group, "params": flat, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """BatchNorm layers none of whose parameters is trained: their statistics stay too."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - their base
    return [layer for layer in norms if [*layer.parameters()] and not any(each.requires_grad for each in layer.parameters())]


OTHER_KERNELS = {"fused", "foreach", "differentiable", "capturable"}
"""Keys of torch's optimizers that leave no choice."""


def fused_kernels(table: schema.Optimizer) -> Mapping[str, bool]:
    """What an optimizer that has a `fused` way is told, where the config does not choose: torch has it for CPU and CUDA.

    With momentum torch's fails at a parameter whose first gradient comes later than that of others.
    """
    return {} if OTHER_KERNELS & table.params.keys() or table.params.get("momentum") else {"fused": True}


def refuse_unreached(config: Config, names: Sequence[str], n_ranks: int) -> None:
    """Trained parameters that no gradient reaches: a warning, and ConfigError where the ranks would wait for theirs."""
    if not names or config.run.ddp.find_unused_parameters:
        return
    shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)  # noqa: PLR2004
    message = f"no gradient reaches {len(names)} trained parameters ({shown})"
    if n_ranks > 1:
        advice = "freeze them by 'model.freeze', or let each step look for such by 'find_unused_parameters = true'"
        raise ConfigError([config.problem(("ddp", "find_unused_parameters"), f"{message}; {advice}")])
    LOGGER.warning("%s; several ranks would need 'ddp.find_unused_parameters = true'", message)
