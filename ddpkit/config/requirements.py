"""Requirements for the objects that the targets of components return, by kind."""

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ddpkit.config.component_refs import SPLITS
from ddpkit.plugins.signatures import import_target


@attrs.frozen
class Requirement:
    """Requirement for the objects of one kind."""

    is_met: Callable[[Any, Mapping[str, Any]], bool]
    """Function of the object and the run-time values."""
    text: str
    """What the target must return."""


def find_wrong_object(kind: str, made: Any, runtime: Mapping[str, Any]) -> str:
    """Return what is wrong with the object that a target returned, and what it must return; empty if it fits its kind."""
    requirement = REQUIREMENTS[kind]
    if requirement.is_met(made, runtime):
        return ""
    given = "None" if made is None else f"an object of type {type(made).__name__!r}"
    return f"its target returned {given}; it must return {requirement.text}"


def is_instance(path: str) -> Callable[[Any, Mapping[str, Any]], bool]:
    """Return a check for instances of the class `package.module:Class`, which is imported at the check."""
    return lambda made, _runtime: isinstance(made, import_target(path))


def has_methods(*names: str) -> Callable[[Any, Mapping[str, Any]], bool]:
    """Return a check for objects with these methods."""
    return lambda made, _runtime: not inspect.isclass(made) and all(callable(getattr(made, name, None)) for name in names)


def is_callable(made: Any, _runtime: Mapping[str, Any]) -> bool:
    return callable(made)


def is_map_style(made: Any, _runtime: Mapping[str, Any]) -> bool:
    """Return whether an object has a length and samples by index. Torch's `Dataset` only has a placeholder for the latter."""
    placeholder = import_target("torch.utils.data:Dataset").__getitem__
    return hasattr(type(made), "__len__") and getattr(type(made), "__getitem__", placeholder) is not placeholder


def is_dataset(made: Any, runtime: Mapping[str, Any]) -> bool:
    """Return whether an object is a map-style dataset or a stream."""
    return is_map_style(made, runtime) or has_methods("read_shard")(made, runtime)


def is_split(made: Any, runtime: Mapping[str, Any]) -> bool:
    """Return whether an object maps names of splits to positions of the `n_samples` samples."""
    if not isinstance(made, Mapping) or not made.keys() <= {*SPLITS}:
        return False
    try:
        return all(0 <= operator.index(position) < runtime["n_samples"] for each in made.values() for position in each)
    except TypeError:
        return False


REQUIREMENTS: Mapping[str, Requirement] = {
    "model": Requirement(is_instance("torch.nn:Module"), "an nn.Module"),
    "criterion": Requirement(is_callable, "a callable (outputs, targets) -> scalar tensor"),
    "transform": Requirement(is_callable, "a callable (image, target) -> (image, target)"),
    "postprocess": Requirement(is_callable, "a callable outputs -> predictions"),
    "metric": Requirement(is_instance("torchmetrics:Metric"), "one torchmetrics.Metric"),
    "dataset": Requirement(
        is_dataset,
        "a map-style dataset with the methods __getitem__(index) and __len__(), or a stream with the method read_shard(shard) "
        "(docs/streams.md); an iterable dataset of torch alone cannot be resumed, so turn it into a stream",
    ),
    "split": Requirement(
        is_split, "a dict from 'train', 'valid', 'test' to lists of positions, each at least 0 and less than 'n_samples'"
    ),
    "step": Requirement(is_callable, "a callable (context, images, targets) -> loss"),
    "optimizer": Requirement(is_instance("torch.optim:Optimizer"), "a torch.optim.Optimizer"),
    "lr_scheduler": Requirement(
        has_methods("step", "state_dict", "load_state_dict"),
        "a torch.optim.lr_scheduler.LRScheduler, or an object with the methods step() or step(epoch), state_dict() and "
        "load_state_dict(state)",
    ),
    "logger": Requirement(
        has_methods("on_epoch_end", "close"),
        "an object with the methods on_epoch_end(row), which was called epoch_ended, and close()",
    ),
    "writer": Requirement(has_methods("write", "close"), "an object with the methods write(name, prediction) and close()"),
}
"""Kind -> what a target of this kind must return."""
